// SPDX-License-Identifier: GPL-2.0-only
/*
 * Free page hinting: while the host migrates the guest it wants to know what is
 * free, so as not to send it. It writes a command id to the configuration; the
 * driver answers with that id, then with all free memory that it can get in the
 * largest pieces, then with a stop. The pieces are kept until the host is done,
 * but the kernel may have them back at any time: the host copes with that.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>

#include "acma.h"

#define HINT_GFP (__GFP_NORETRY | __GFP_NOWARN | __GFP_NOMEMALLOC)
#define HINT_PAGES BIT(MAX_PAGE_ORDER)

/**
 * struct acma_hinting - free page hinting, where the host has it
 * @lock: protects @pieces and @nr
 * @pieces: linked by page->lru
 * @nr: how many
 * @shrinker: gives them back under pressure
 * @changed: the command id is to be read anew
 * @received: as last read
 * @active: as last answered; in the device's byte order, since it is sent
 * @stop: to be sent
 */
struct acma_hinting {
	spinlock_t lock;	/* the two below */
	struct list_head pieces;
	unsigned long nr;
	struct shrinker *shrinker;
	unsigned long changed;
	u32 received;
	__virtio32 active;
	__virtio32 stop;
};

static u32 received_id(struct acma *acma)
{
	struct acma_hinting *hinting = acma->hinting;

	if (test_and_clear_bit(0, &hinting->changed))
		virtio_cread_le(acma->vdev, struct virtio_balloon_config, free_page_hint_cmd_id,
				&hinting->received);
	return hinting->received;
}

static void forget_used(struct virtqueue *vq)
{
	unsigned int len;

	while (virtqueue_get_buf(vq, &len))
		;
}

static int send_id(struct acma *acma, __virtio32 *id)
{
	struct scatterlist sg;
	int err;

	forget_used(acma->hint_vq);
	sg_init_one(&sg, id, sizeof(*id));
	err = virtqueue_add_outbuf(acma->hint_vq, &sg, 1, id, GFP_KERNEL);
	if (!err)
		virtqueue_kick(acma->hint_vq);
	return err;
}

static unsigned long give_back(struct acma_hinting *hinting, unsigned long most)
{
	unsigned long given = 0;

	while (given < most) {
		struct page *page;

		spin_lock_irq(&hinting->lock);
		page = list_first_entry_or_null(&hinting->pieces, struct page, lru);
		if (page) {
			list_del(&page->lru);
			hinting->nr--;
		}
		spin_unlock_irq(&hinting->lock);
		if (!page)
			break;
		__free_pages(page, MAX_PAGE_ORDER);
		given++;
	}
	return given;
}

/* -EINTR: no more free memory in such pieces. */
static int send_piece(struct acma *acma)
{
	struct acma_hinting *hinting = acma->hinting;
	struct scatterlist sg;
	struct page *page;
	int err;

	forget_used(acma->hint_vq);
	page = alloc_pages(HINT_GFP, MAX_PAGE_ORDER);
	if (!page)
		return -EINTR;
	/* One entry stays free for the id that ends this. */
	if (acma->hint_vq->num_free <= 1) {
		__free_pages(page, MAX_PAGE_ORDER);
		return 0;
	}
	sg_init_table(&sg, 1);
	sg_set_page(&sg, page, HINT_PAGES << PAGE_SHIFT, 0);
	err = virtqueue_add_inbuf(acma->hint_vq, &sg, 1, page, GFP_KERNEL);
	if (err) {
		__free_pages(page, MAX_PAGE_ORDER);
		return err;
	}
	virtqueue_kick(acma->hint_vq);
	spin_lock_irq(&hinting->lock);
	list_add(&page->lru, &hinting->pieces);
	hinting->nr++;
	spin_unlock_irq(&hinting->lock);
	return 0;
}

static void send_all(struct acma *acma)
{
	struct acma_hinting *hinting = acma->hinting;
	int err;

	hinting->active = cpu_to_virtio32(acma->vdev, received_id(acma));
	err = send_id(acma, &hinting->active);
	while (!err && virtio32_to_cpu(acma->vdev, hinting->active) == received_id(acma)) {
		err = send_piece(acma);
		cond_resched();
	}
	if (err && err != -EINTR)
		dev_err(&acma->vdev->dev, "free page hinting failed: %d\n", err);
	err = send_id(acma, &hinting->stop);
	if (err)
		dev_err(&acma->vdev->dev, "cannot end free page hinting: %d\n", err);
}

static void hint_work(struct work_struct *work)
{
	struct acma *acma = container_of(work, struct acma, hint_work);
	u32 id = received_id(acma);

	if (id == VIRTIO_BALLOON_CMD_ID_DONE)
		acma_hinting_return_all(acma);
	else if (id != VIRTIO_BALLOON_CMD_ID_STOP &&
		 id != virtio32_to_cpu(acma->vdev, acma->hinting->active))
		send_all(acma);
}

/**
 * acma_hinting_changed() - the device's configuration changed; any context
 * @acma: the instance; its stop_lock is held and it is not stopping
 */
void acma_hinting_changed(struct acma *acma)
{
	if (acma->hinting && !test_and_set_bit(0, &acma->hinting->changed))
		queue_work(acma->wq, &acma->hint_work);
}

/**
 * acma_hinting_return_all() - gives every piece back
 * @acma: the instance
 */
void acma_hinting_return_all(struct acma *acma)
{
	if (acma->hinting)
		give_back(acma->hinting, ULONG_MAX);
}

static unsigned long shrink_count(struct shrinker *shrinker, struct shrink_control *control)
{
	struct acma_hinting *hinting = shrinker->private_data;

	return READ_ONCE(hinting->nr) * HINT_PAGES;
}

static unsigned long shrink_scan(struct shrinker *shrinker, struct shrink_control *control)
{
	struct acma_hinting *hinting = shrinker->private_data;

	return give_back(hinting, DIV_ROUND_UP(control->nr_to_scan, HINT_PAGES)) * HINT_PAGES;
}

/**
 * acma_hinting_start() - gets ready, where the host has hinting
 * @acma: the instance, with its queues
 *
 * Return: 0 or a negative errno
 */
int acma_hinting_start(struct acma *acma)
{
	struct acma_hinting *hinting;

	if (!acma->hint_vq)
		return 0;
	/* One entry is for an id. */
	if (virtqueue_get_vring_size(acma->hint_vq) < 2)
		return -ENOSPC;
	hinting = kzalloc(sizeof(*hinting), GFP_KERNEL);
	if (!hinting)
		return -ENOMEM;
	hinting->shrinker = shrinker_alloc(0, "acma-balloon-hints");
	if (!hinting->shrinker) {
		kfree(hinting);
		return -ENOMEM;
	}
	spin_lock_init(&hinting->lock);
	INIT_LIST_HEAD(&hinting->pieces);
	INIT_WORK(&acma->hint_work, hint_work);
	hinting->received = VIRTIO_BALLOON_CMD_ID_STOP;
	hinting->active = cpu_to_virtio32(acma->vdev, VIRTIO_BALLOON_CMD_ID_STOP);
	hinting->stop = cpu_to_virtio32(acma->vdev, VIRTIO_BALLOON_CMD_ID_STOP);
	hinting->shrinker->count_objects = shrink_count;
	hinting->shrinker->scan_objects = shrink_scan;
	hinting->shrinker->private_data = hinting;
	acma->hinting = hinting;
	shrinker_register(hinting->shrinker);
	return 0;
}

/**
 * acma_hinting_stop() - undoes acma_hinting_start(); the work is cancelled, and
 * the device is reset or idle
 * @acma: the instance
 */
void acma_hinting_stop(struct acma *acma)
{
	if (!acma->hinting)
		return;
	shrinker_free(acma->hinting->shrinker);
	give_back(acma->hinting, ULONG_MAX);
	kfree(acma->hinting);
	acma->hinting = NULL;
}
