// SPDX-License-Identifier: GPL-2.0-only
/*
 * Telling the host: which blocks it may have, which pages it has no more.
 *
 * Blocks go through the report queue where the host offers it: one descriptor
 * for a row of blocks, which the host discards in one call. Otherwise they go
 * through the inflate queue, all 512 PFNs of a block in one element: a host that
 * backs the guest with huge pages frees one only if it finds the whole of it in
 * one element (QEMU, hw/virtio/virtio-balloon.c, PartiallyBalloonedPage).
 */
#include <linux/mm.h>
#include <linux/page_reporting.h>
#include <linux/virtio_config.h>

#include "acma.h"

/**
 * acma_acked() - the host has read a buffer
 * @vq: of this queue
 */
void acma_acked(struct virtqueue *vq)
{
	struct acma *acma = vq->vdev->priv;

	wake_up_all(&acma->acked);
}

static void wait_until_read(struct acma *acma, struct virtqueue *vq)
{
	unsigned int len;

	virtqueue_kick(vq);
	/* A device that is broken reads nothing any more. */
	wait_event(acma->acked, virtqueue_get_buf(vq, &len) || virtqueue_is_broken(vq));
}

/**
 * acma_tell() - sends an array of PFNs
 * @acma: the instance; the queue's lock is held
 * @vq: the inflate or the deflate queue
 * @pfns: __virtio32, in memory that is not on the stack
 * @nr: how many
 *
 * Allocates nothing: indirect descriptors are off.
 *
 * Return: 0, or an error that says that the device is broken
 */
int acma_tell(struct acma *acma, struct virtqueue *vq, void *pfns, unsigned int nr)
{
	struct scatterlist sg;
	int err;

	sg_init_one(&sg, pfns, nr * sizeof(__virtio32));
	err = virtqueue_add_outbuf(vq, &sg, 1, acma, GFP_NOWAIT | __GFP_NOWARN);
	if (WARN_ON_ONCE(err))
		return err;
	wait_until_read(acma, vq);
	return 0;
}

/**
 * acma_send_block() - all PFNs of a block in one element
 * @acma: the instance; the queue's lock is held
 * @queue: the inflate or the deflate queue
 * @block: its number
 *
 * Return: 0, or an error that says that the device is broken
 */
int acma_send_block(struct acma *acma, enum acma_queue queue, u64 block)
{
	bool inflate = queue == ACMA_INFLATE_QUEUE;
	__virtio32 *pfns = inflate ? acma->inflate_pfns : acma->deflate_pfns;
	unsigned int i;
	int err;

	for (i = 0; i < ACMA_PFNS_PER_BLOCK; i++)
		pfns[i] = cpu_to_virtio32(acma->vdev, acma_block_pfn(block, i));
	err = acma_tell(acma, inflate ? acma->inflate_vq : acma->deflate_vq, pfns,
			ACMA_PFNS_PER_BLOCK);
	if (!err && inflate)
		atomic64_inc(&acma->descriptors);
	return err;
}

static int send_report(struct acma *acma, struct scatterlist *sg, unsigned int nents)
{
	int err;

	err = virtqueue_add_inbuf(acma->report_vq, sg, nents, acma, GFP_NOWAIT | __GFP_NOWARN);
	if (WARN_ON_ONCE(err))
		return err;
	wait_until_read(acma, acma->report_vq);
	return 0;
}

/**
 * acma_send_runs() - one report
 * @acma: the instance; the queue's lock is held
 * @runs: a descriptor each
 * @nr: how many, at most ACMA_REPORT_MAX
 *
 * Return: 0, or an error that says that the device is broken
 */
int acma_send_runs(struct acma *acma, const struct acma_run *runs, unsigned int nr)
{
	unsigned int i;
	int err;

	sg_init_table(acma->report_sg, nr);
	for (i = 0; i < nr; i++)
		sg_set_page(&acma->report_sg[i], pfn_to_page(runs[i].first << ACMA_BLOCK_ORDER),
			    runs[i].nr << ACMA_BLOCK_SHIFT, 0);
	err = send_report(acma, acma->report_sg, nr);
	if (!err)
		atomic64_add(nr, &acma->descriptors);
	return err;
}

/**
 * acma_report_blocks() - the host may have these; returns when it has read that
 * @acma: the instance
 * @window: its number
 * @bits: its blocks; they are pending
 */
void acma_report_blocks(struct acma *acma, u64 window, u64 bits)
{
	u64 first = window << ACMA_WINDOW_SHIFT;

	switch (acma_queue_for_blocks(acma->vdev, acma->report_vq, acma->poison_val)) {
	case ACMA_REPORT_QUEUE:
		mutex_lock(&acma->report_lock);
		acma_tell_runs(acma, first, bits, virtqueue_get_vring_size(acma->report_vq));
		mutex_unlock(&acma->report_lock);
		break;
	case ACMA_INFLATE_QUEUE:
		mutex_lock(&acma->inflate_lock);
		acma_tell_each(acma, ACMA_INFLATE_QUEUE, first, bits);
		mutex_unlock(&acma->inflate_lock);
		break;
	default:
		break;
	}
}

/**
 * acma_tell_deflated() - the guest will use these again
 * @acma: the instance
 * @window: its number
 * @bits: its blocks
 *
 * May be called while memory is being reclaimed: allocates nothing.
 */
void acma_tell_deflated(struct acma *acma, u64 window, u64 bits)
{
	mutex_lock(&acma->deflate_lock);
	acma_tell_each(acma, ACMA_DEFLATE_QUEUE, window << ACMA_WINDOW_SHIFT, bits);
	mutex_unlock(&acma->deflate_lock);
}

/**
 * acma_rereport() - tells the host again of every block that is owned
 * @acma: the instance; @acma->take is held
 *
 * After a migration, a restore or a post-copy the new host knows nothing of
 * them: it may hold their content.
 */
void acma_rereport(struct acma *acma)
{
	u64 window;

	for (window = 0; window < acma->map.nr_windows; window++) {
		u64 bits, released;

		/* Pending, so that none of them is given back meanwhile. */
		spin_lock(&acma->lock);
		bits = acma->map.window[window].owned & ~acma->map.window[window].pending;
		acma_map_own(&acma->map, window, bits);
		released = acma->map.window[window].released;
		spin_unlock(&acma->lock);
		if (!(bits | released))
			continue;
		acma_report_blocks(acma, window, bits | released);
		spin_lock(&acma->lock);
		acma_map_confirm(&acma->map, window, bits);
		spin_unlock(&acma->lock);
	}
}

/* Free page reporting: the kernel's free pages, through the same queue. */
static int report_free_pages(struct page_reporting_dev_info *info, struct scatterlist *sg,
			     unsigned int nents)
{
	struct acma *acma = container_of(info, struct acma, reporting);
	int err;

	mutex_lock(&acma->report_lock);
	/* The kernel's worker does not freeze: while suspended there is no queue. */
	err = acma->report_vq ? send_report(acma, sg, nents) : -ENODEV;
	mutex_unlock(&acma->report_lock);
	return err;
}

/**
 * acma_reporting_start() - begins free page reporting, where the host has it
 * @acma: the instance, with its queues
 *
 * Return: 0 or a negative errno
 */
int acma_reporting_start(struct acma *acma)
{
	unsigned int capacity;
	int err;

	if (!acma_has(acma, VIRTIO_BALLOON_F_REPORTING))
		return 0;
	capacity = virtqueue_get_vring_size(acma->report_vq);
	if (capacity < ACMA_LEAST_REPORTS)
		return -ENOSPC;
	acma->reporting.report = report_free_pages;
	acma_report_limits(&acma->reporting, capacity);
	err = page_reporting_register(&acma->reporting);
	acma->reporting_on = !err;
	return err;
}

/**
 * acma_reporting_stop() - ends free page reporting
 * @acma: the instance
 */
void acma_reporting_stop(struct acma *acma)
{
	if (acma->reporting_on)
		page_reporting_unregister(&acma->reporting);
	acma->reporting_on = false;
}
