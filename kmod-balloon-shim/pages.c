// SPDX-License-Identifier: GPL-2.0-only
/*
 * Single pages, as the stock driver takes them: where a host asks for more than
 * can be had in blocks, since pages that do not move are everywhere. They are
 * movable, so a block may still be taken around them later.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>

#include "acma.h"

static void fill(struct acma *acma, __virtio32 *pfns, struct page *page)
{
	unsigned int i;

	for (i = 0; i < ACMA_PFNS_PER_PAGE; i++)
		pfns[i] = cpu_to_virtio32(acma->vdev, page_to_pfn(page) * ACMA_PFNS_PER_PAGE + i);
}

/*
 * Takes up to @pages; one element of the inflate queue. Does what reclaim it
 * takes, but does not try hard. Returns how many were had.
 */
static u64 inflate_element(struct acma *acma, u64 pages)
{
	u64 most = min_t(u64, pages, ACMA_PFNS_PER_BLOCK / ACMA_PFNS_PER_PAGE);
	struct page *page, *next;
	LIST_HEAD(taken);
	u64 nr = 0;

	while (nr < most && !acma_below_floor(1)) {
		page = balloon_page_alloc();
		if (!page)
			break;
		list_add(&page->lru, &taken);
		nr++;
	}
	if (!nr)
		return 0;
	mutex_lock(&acma->pages_lock);
	mutex_lock(&acma->inflate_lock);
	nr = 0;
	list_for_each_entry_safe(page, next, &taken, lru) {
		list_del(&page->lru);
		acma_page_enqueue(&acma->pages, page, acma_unmanages(acma));
		fill(acma, acma->inflate_pfns + nr * ACMA_PFNS_PER_PAGE, page);
		nr++;
	}
	atomic_long_add(nr, &acma->nr_pages);
	acma_tell(acma, acma->inflate_vq, acma->inflate_pfns, nr * ACMA_PFNS_PER_PAGE);
	mutex_unlock(&acma->inflate_lock);
	mutex_unlock(&acma->pages_lock);
	return nr;
}

/**
 * acma_pages_take() - takes single pages and tells the host
 * @acma: the instance, with its device
 * @pages: of PAGE_SIZE, at most
 *
 * Return: how many were had
 */
u64 acma_pages_take(struct acma *acma, u64 pages)
{
	u64 taken = 0;

	while (taken < pages && !acma->suspended) {
		u64 more = inflate_element(acma, pages - taken);

		if (!more)
			break;
		taken += more;
		cond_resched();
	}
	return taken;
}

static u64 deflate_element(struct acma *acma, u64 pages)
{
	u64 most = min_t(u64, pages, ACMA_PFNS_PER_BLOCK / ACMA_PFNS_PER_PAGE);
	struct page *page, *next;
	LIST_HEAD(freed);
	u64 nr = 0;

	mutex_lock(&acma->pages_lock);
	most = min_t(u64, most, atomic_long_read(&acma->nr_pages));
	mutex_lock(&acma->deflate_lock);
	while (nr < most) {
		page = balloon_page_dequeue(&acma->pages);
		if (!page)
			break;	/* the rest is being moved */
		fill(acma, acma->deflate_pfns + nr * ACMA_PFNS_PER_PAGE, page);
		list_add(&page->lru, &freed);
		nr++;
	}
	atomic_long_sub(nr, &acma->nr_pages);
	if (nr && acma_has(acma, VIRTIO_BALLOON_F_MUST_TELL_HOST))
		acma_tell(acma, acma->deflate_vq, acma->deflate_pfns, nr * ACMA_PFNS_PER_PAGE);
	mutex_unlock(&acma->deflate_lock);
	list_for_each_entry_safe(page, next, &freed, lru) {
		list_del(&page->lru);
		acma_page_dequeued(page, acma_unmanages(acma));
		put_page(page);
	}
	mutex_unlock(&acma->pages_lock);
	return nr;
}

/**
 * acma_pages_give() - gives single pages back
 * @acma: the instance
 * @pages: of PAGE_SIZE, at most
 *
 * Return: how many
 */
u64 acma_pages_give(struct acma *acma, u64 pages)
{
	u64 given = 0;

	while (given < pages) {
		u64 more = deflate_element(acma, pages - given);

		if (!more)
			break;
		given += more;
		cond_resched();
	}
	return given;
}

#ifdef ACMA_PAGES_MOVE
/*
 * The kernel moves a page of ours to @newpage, to make room for a block. As in
 * the stock driver: the host gets the new one, then we use the old one.
 */
static int move_page(struct balloon_dev_info *info, struct page *newpage, struct page *page,
		     enum migrate_mode mode)
{
	struct acma *acma = container_of(info, struct acma, pages);

	/* Who takes or gives pages now may be who waits for this. */
	if (!mutex_trylock(&acma->pages_lock))
		return -EAGAIN;
	mutex_lock(&acma->inflate_lock);
	acma_page_moving(info, newpage, page, acma_unmanages(acma));
	fill(acma, acma->inflate_pfns, newpage);
	acma_tell(acma, acma->inflate_vq, acma->inflate_pfns, ACMA_PFNS_PER_PAGE);
	mutex_unlock(&acma->inflate_lock);
	mutex_lock(&acma->deflate_lock);
	fill(acma, acma->deflate_pfns, page);
	acma_tell(acma, acma->deflate_vq, acma->deflate_pfns, ACMA_PFNS_PER_PAGE);
	mutex_unlock(&acma->deflate_lock);
	mutex_unlock(&acma->pages_lock);
	acma_page_moved(page);
	return 0;
}
#endif

/**
 * acma_pages_init() - none are taken
 * @acma: the instance; whether pages leave the managed count is known
 */
void acma_pages_init(struct acma *acma)
{
	balloon_devinfo_init(&acma->pages);
	acma_pages_unmanage(&acma->pages, acma_unmanages(acma));
#ifdef ACMA_PAGES_MOVE
	acma->pages.migratepage = move_page;
#endif
	atomic_long_set(&acma->nr_pages, 0);
}
