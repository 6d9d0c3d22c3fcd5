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

/*
 * Memory at the edge of its zone makes the zone shrink when it goes offline, and
 * may come online in another one (default_kernel_zone_for_pfn()).
 */
static bool inside_its_zone(unsigned long pfn, unsigned long pages)
{
	struct zone *zone = page_zone(pfn_to_page(pfn));

	return zone->zone_start_pfn < pfn && pfn + pages < zone_end_pfn(zone);
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
	if (acma->keep.file || acma->suspended || acma->map.window[window].owned)
		err = -EBUSY;
	else if (acma->map.window[window].present != ~0ULL)
		err = -EOPNOTSUPP;
	else
		acma->keep.file = file;
	spin_unlock(&acma->lock);
	if (err)
		return err;
	if (!inside_its_zone(pfn, pages))
		err = -EOPNOTSUPP;
	else if (!acma_has_room(pfn, pages))
		err = -ENOMEM;
	if (!err) {
		acma->keep.window = window;
		acma->keep.bits = 0;
		keeper = acma;
		err = set_online_page_callback(&keep_page) ? -EBUSY : 0;
	}
	if (err) {
		spin_lock(&acma->lock);
		acma->keep.file = NULL;
		spin_unlock(&acma->lock);
	}
	return err;
}

/**
 * acma_keep_online() - what was kept of a window that came online is owned
 * @acma: the instance
 * @window: its number; its memory is in the map
 */
void acma_keep_online(struct acma *acma, u64 window)
{
	u64 bits = 0;

	spin_lock(&acma->lock);
	if (acma->keep.file && acma->keep.window == window) {
		bits = acma->keep.bits & acma->map.window[window].present;
		acma_map_own(&acma->map, window, bits);
		acma_map_unmanage(&acma->map, window, bits);
		acma->taken += acma_count(bits);
	}
	spin_unlock(&acma->lock);
}

/**
 * acma_keep_end() - tells the host of what was kept, and keeps nothing any more
 * @acma: the instance
 * @file: who asked for it; else nothing is done
 *
 * Return: how many blocks were kept
 */
u64 acma_keep_end(struct acma *acma, struct file *file)
{
	u64 window, kept;

	spin_lock(&acma->lock);
	if (!acma->keep.file || acma->keep.file != file) {
		spin_unlock(&acma->lock);
		return 0;
	}
	spin_unlock(&acma->lock);
	/* Waits for memory that is coming online. */
	restore_online_page_callback(&keep_page);
	keeper = NULL;
	mutex_lock(&acma->take);
	spin_lock(&acma->lock);
	window = acma->keep.window;
	kept = acma->keep.bits & acma->map.window[window].pending;
	acma->keep.file = NULL;
	spin_unlock(&acma->lock);
	if (kept) {
		acma_report_blocks(acma, window, kept);
		spin_lock(&acma->lock);
		acma_map_confirm(&acma->map, window, kept);
		spin_unlock(&acma->lock);
		acma_settle_forced(acma);
	}
	mutex_unlock(&acma->take);
	return acma_count(kept);
}
