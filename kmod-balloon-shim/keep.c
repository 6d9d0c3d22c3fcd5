// SPDX-License-Identifier: GPL-2.0-only
/*
 * Taking a free memory block without touching it.
 *
 * With init_on_alloc=1 the kernel zeroes every page that it hands out, and no
 * flag of alloc_contig_range() keeps it from that: 128 MiB are written that are
 * about to be given away, and the host has to find memory for them first. But
 * memory that goes offline is not allocated, and memory that comes online is
 * shown to a callback before anybody can use it. So user space takes a memory
 * block offline and brings it online again, and this keeps its pages. Neither
 * step is open to a module (device_offline() is not exported).
 */
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>

#include "acma.h"

/* The kernel's callback has no argument. Set while pages may be kept. */
static struct acma *keeper;

/*
 * Called with the hotplug lock held for writing. The pages are marked
 * PageOffline and have one reference each (memmap_init_range()): as owned blocks
 * are, but for the references of all pages after a block's first.
 */
static void keep_page(struct page *page, unsigned int order)
{
	u64 block = page_to_pfn(page) >> ACMA_BLOCK_ORDER;
	unsigned int nr = order < ACMA_BLOCK_ORDER ? 0 : 1U << (order - ACMA_BLOCK_ORDER);
	unsigned int i;

	if (nr == 0 || block >> ACMA_WINDOW_SHIFT != keeper->keep.window) {
		generic_online_page(page, order);
		return;
	}
	for (i = 0; i < nr * ACMA_BLOCK_PAGES; i++) {
		if (i % ACMA_BLOCK_PAGES)
			set_page_count(page + i, 0);
	}
	keeper->keep.bits |= acma_bits(block % ACMA_WINDOW_BLOCKS, nr);
}

/**
 * acma_inside_its_zone() - does it come online where it went offline?
 * @pfn: the first page
 * @pages: how many
 *
 * Memory at the edge of its zone makes the zone shrink when it goes offline, and
 * may come online in another one (default_kernel_zone_for_pfn()).
 *
 * Return: whether it is not at the edge
 */
bool acma_inside_its_zone(unsigned long pfn, unsigned long pages)
{
	struct zone *zone = page_zone(pfn_to_page(pfn));

	return zone->zone_start_pfn < pfn && pfn + pages < zone_end_pfn(zone);
}

/**
 * acma_keep_claim() - keeps the pages of a window without asking whether it may
 * @acma: the instance
 * @file: who asks, or NULL; until acma_keep_settle()
 * @window: its number
 *
 * Return: 0, or -EBUSY (another one is kept; another driver has the callback)
 */
int acma_keep_claim(struct acma *acma, struct file *file, u64 window)
{
	int err = 0;

	spin_lock(&acma->lock);
	if (acma->keep.claimed) {
		err = -EBUSY;
	} else {
		acma->keep.claimed = true;
		acma->keep.file = file;
		acma->keep.window = window;
		acma->keep.bits = 0;
	}
	spin_unlock(&acma->lock);
	if (err)
		return err;
	keeper = acma;
	if (!set_online_page_callback(&keep_page))
		return 0;
	spin_lock(&acma->lock);
	acma->keep.file = NULL;
	acma->keep.claimed = false;
	spin_unlock(&acma->lock);
	return -EBUSY;
}

/**
 * acma_keep_begin() - keeps the pages of a window that come online from now on
 * @acma: the instance
 * @file: who asks; until acma_keep_end()
 * @window: its number
 *
 * Return: 0, -EOPNOTSUPP (not a memory block, or at the edge of its zone),
 * -EBUSY (partly owned already, or another one is kept; another driver has the
 * callback), -ENOMEM (too little would be left)
 */
int acma_keep_begin(struct acma *acma, struct file *file, u64 window)
{
	const unsigned long pages = ACMA_WINDOW_BLOCKS * ACMA_BLOCK_PAGES;
	unsigned long pfn = window * pages;
	int err = 0;

	if (memory_block_size_bytes() != ACMA_WINDOW_BLOCKS * ACMA_BLOCK_BYTES)
		return -EOPNOTSUPP;
	spin_lock(&acma->lock);
	if (acma->suspended || acma->map.window[window].owned)
		err = -EBUSY;
	else if (acma->map.window[window].present != ~0ULL)
		err = -EOPNOTSUPP;
	spin_unlock(&acma->lock);
	if (err)
		return err;
	if (!acma_inside_its_zone(pfn, pages))
		return -EOPNOTSUPP;
	if (!acma_has_room(pfn, pages, true))
		return -ENOMEM;
	return acma_keep_claim(acma, file, window);
}

/**
 * acma_keep_online() - what was kept of a window that came online is owned; nothing
 * of it is released any more
 * @acma: the instance
 * @window: its number; its memory is in the map
 */
void acma_keep_online(struct acma *acma, u64 window)
{
	u64 released, bits;

	spin_lock(&acma->lock);
	released = acma->map.window[window].released;
	acma_map_added(&acma->map, window, ~0ULL);
	if (acma->keep.claimed && acma->keep.window == window) {
		bits = acma->keep.bits & acma->map.window[window].present;
		acma_map_own(&acma->map, window, bits);
		acma_map_unmanage(&acma->map, window, bits);
		acma->taken += acma_count(bits & ~released);
	} else {
		/* What was owed of it is free now. */
		acma->release.owed -= min_t(u64, acma->release.owed, acma_count(released));
	}
	spin_unlock(&acma->lock);
}

/**
 * acma_keep_settle() - tells the host of what was kept, and keeps nothing any more
 * @acma: the instance; the caller claimed it and holds no lock
 *
 * Return: how many blocks were kept
 */
u64 acma_keep_settle(struct acma *acma)
{
	u64 window, kept;

	/* Waits for memory that is coming online. */
	restore_online_page_callback(&keep_page);
	mutex_lock(&acma->take);
	spin_lock(&acma->lock);
	window = acma->keep.window;
	kept = acma->keep.bits & acma->map.window[window].pending;
	acma->keep.file = NULL;
	acma->keep.claimed = false;
	spin_unlock(&acma->lock);
	if (kept) {
		/* While the device goes away nobody is told of anything. */
		if (!acma->suspended)
			acma_report_blocks(acma, window, kept);
		spin_lock(&acma->lock);
		acma_map_confirm(&acma->map, window, kept);
		spin_unlock(&acma->lock);
		if (!acma->suspended)
			acma_settle_forced(acma);
	}
	mutex_unlock(&acma->take);
	return acma_count(kept);
}

/**
 * acma_keep_end() - the same, for a file
 * @acma: the instance
 * @file: who asked for it; else nothing is done
 *
 * Return: how many blocks were kept
 */
u64 acma_keep_end(struct acma *acma, struct file *file)
{
	bool mine;

	spin_lock(&acma->lock);
	mine = file && acma->keep.file == file;
	spin_unlock(&acma->lock);
	return mine ? acma_keep_settle(acma) : 0;
}
