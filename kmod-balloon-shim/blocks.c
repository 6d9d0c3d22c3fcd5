// SPDX-License-Identifier: GPL-2.0-only
/*
 * Taking blocks away from the kernel, and giving them back.
 *
 * What is owned is marked PageOffline, so that dumps leave it out and memory
 * that holds it can be taken offline.
 */
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/module.h>
#include <linux/page-flags.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/swap.h>

#include "acma.h"

static unsigned int floor_mib = 32;
module_param(floor_mib, uint, 0644);
MODULE_PARM_DESC(floor_mib, "nothing is taken below so much MemAvailable, and 1/64 of RAM more (MiB, default 32)");

/* A block that could not be emptied is tried again after 2 s, then 4 s, up to so long. */
#define RETRY_FIRST (2 * HZ)
#define RETRY_MOST_SHIFT 6

static unsigned long block_pfn(u64 block)
{
	return block << ACMA_BLOCK_ORDER;
}

static u64 window_block(u64 window)
{
	return window << ACMA_WINDOW_SHIFT;
}

/**
 * acma_floor_pages() - how much MemAvailable is left alone
 *
 * Return: pages
 */
unsigned long acma_floor_pages(void)
{
	return ((unsigned long)floor_mib << (20 - PAGE_SHIFT)) + totalram_pages() / 64;
}

/**
 * acma_below_floor() - would too little be left?
 * @pages: that are to be taken
 *
 * Return: whether these must not be taken
 */
bool acma_below_floor(unsigned long pages)
{
	return si_mem_available() < (long)(acma_floor_pages() + pages);
}

/**
 * acma_has_room() - would enough be left?
 * @pfn: first page of what is to be taken
 * @pages: how many
 * @moves: some of it is used
 *
 * Migrating needs as much free memory elsewhere as it frees here, and what is
 * free is left above the watermarks at which kswapd stops. What does not find a
 * page in this zone gets one of a lower zone of the node, so that all of these
 * count; never of a higher one.
 *
 * Return: whether they may be taken
 */
bool acma_has_room(unsigned long pfn, unsigned long pages, bool moves)
{
	struct zone *zone = page_zone(pfn_to_page(pfn));
	unsigned long room = 0;
	int i;

	for (i = zone_idx(zone); i >= 0; i--) {
		struct zone *lower = &zone->zone_pgdat->node_zones[i];
		unsigned long free = zone_page_state(lower, NR_FREE_PAGES);
		unsigned long kept = high_wmark_pages(lower) +
				     lower->lowmem_reserve[zone_idx(zone)];

		if (populated_zone(lower) && free > kept)
			room += free - kept;
	}
	return room >= (moves ? 2 : 1) * pages && !acma_below_floor(pages);
}

/*
 * How many of its pages are not in buddy's hands; at least @enough if it is that
 * many. Read without the zone's lock: true a moment ago.
 */
static unsigned int block_used(u64 block, unsigned int enough)
{
	unsigned long pfn = block_pfn(block);
	unsigned long end = pfn + ACMA_BLOCK_PAGES;
	unsigned long around = ALIGN_DOWN(pfn, MAX_ORDER_NR_PAGES);
	unsigned int used = 0;

	if (PageBuddy(pfn_to_page(around)) &&
	    page_private(pfn_to_page(around)) == MAX_PAGE_ORDER)
		return 0;
	while (pfn < end && used < enough) {
		struct page *page = pfn_to_page(pfn);
		unsigned long order = PageBuddy(page) ? READ_ONCE(page->private) : 0;

		if (!PageBuddy(page) || order > MAX_PAGE_ORDER) {
			used++;
			order = 0;
		}
		pfn += 1UL << order;
	}
	return used;
}

/**
 * acma_free_bits() - which blocks of a window are entirely free
 * @window: its number
 * @candidates: present ones
 *
 * Return: a subset of @candidates, true a moment ago
 */
u64 acma_free_bits(u64 window, u64 candidates)
{
	u64 free = 0;
	unsigned int i;

	for (i = 0; i < ACMA_WINDOW_BLOCKS; i++) {
		u64 bit = 1ULL << i;

		if (!(candidates & bit))
			continue;
		if (!pfn_to_online_page(block_pfn(window_block(window) + i)))
			continue;
		if (!block_used(window_block(window) + i, 1))
			free |= bit;
	}
	return free;
}

/**
 * acma_used_pages() - how many pages of these blocks are used
 * @window: its number
 * @candidates: present ones
 *
 * Return: pages, as of a moment ago
 */
unsigned int acma_used_pages(u64 window, u64 candidates)
{
	unsigned int used = 0;
	unsigned int i;

	for (i = 0; i < ACMA_WINDOW_BLOCKS; i++) {
		u64 block = window_block(window) + i;

		if ((candidates & (1ULL << i)) && pfn_to_online_page(block_pfn(block)))
			used += block_used(block, ACMA_BLOCK_PAGES);
	}
	return used;
}

static void set_offline(u64 block)
{
	struct page *page = pfn_to_page(block_pfn(block));
	unsigned int i;

	for (i = 0; i < ACMA_BLOCK_PAGES; i++)
		__SetPageOffline(page + i);
}

/**
 * acma_free_block() - back to the kernel
 * @acma: the instance
 * @block: released from the map
 * @unmanaged: it is not in the count of managed pages
 */
void acma_free_block(struct acma *acma, u64 block, bool unmanaged)
{
	struct page *page = pfn_to_page(block_pfn(block));
	unsigned int i;

	for (i = 0; i < ACMA_BLOCK_PAGES; i++)
		__ClearPageOffline(page + i);
	if (unmanaged)
		adjust_managed_page_count(page, ACMA_BLOCK_PAGES);
	__free_pages(page, ACMA_BLOCK_ORDER);
}

static void set_results(u8 *result, u64 bits, u8 value)
{
	unsigned int i;

	for (i = 0; i < ACMA_WINDOW_BLOCKS; i++) {
		if (bits & (1ULL << i))
			result[i] = value;
	}
}

static u8 result_of(int err)
{
	switch (err) {
	case 0:
		return ACMA_TAKEN;
	case -ENOMEM:
		return ACMA_NO_MEMORY;
	case -EINTR:
		return ACMA_NOT_TRIED;
	case -EINVAL:
		return ACMA_NOT_RAM;
	default:
		return ACMA_BUSY;
	}
}

/*
 * One adjacent row of blocks at once, a power of two and aligned, which costs
 * hardly more than one block: isolating, draining and the LRU caches come once.
 * Used pages of a row move out of all of it, not into its next block. A row that
 * cannot be taken is tried block by block. Returns the bits of what was taken.
 */
static u64 take_row(u64 window, unsigned int first, unsigned int nr, bool moves, u8 *result)
{
	unsigned long pfn = block_pfn(window_block(window) + first);
	u64 taken = 0;
	unsigned int i;
	int err;

	if (fatal_signal_pending(current)) {
		set_results(result, acma_bits(first, nr), ACMA_NOT_TRIED);
		return 0;
	}
	while (nr > 1 && !acma_has_room(pfn, nr * ACMA_BLOCK_PAGES, moves)) {
		/* From above: the highest blocks come first. */
		unsigned int left = nr / 2;

		set_results(result, acma_bits(first, left), ACMA_NO_MEMORY);
		first += left;
		nr -= left;
		pfn = block_pfn(window_block(window) + first);
	}
	if (!acma_has_room(pfn, nr * ACMA_BLOCK_PAGES, moves)) {
		set_results(result, acma_bits(first, nr), ACMA_NO_MEMORY);
		return 0;
	}
	err = acma_contig_alloc(pfn, pfn + nr * ACMA_BLOCK_PAGES);
	set_results(result, acma_bits(first, nr), result_of(err));
	if (!err)
		return acma_bits(first, nr);
	if (err != -EBUSY || nr == 1)
		return 0;
	for (i = nr; i-- > 0;)
		taken |= take_row(window, first + i, 1, true, result);
	return taken;
}

static u64 take_rows(u64 window, u64 bits, bool moves, u8 *result)
{
	struct acma_run pieces[ACMA_WINDOW_BLOCKS];
	unsigned int nr = acma_pieces(0, bits, pieces, ARRAY_SIZE(pieces));
	u64 taken = 0;

	while (nr-- > 0)
		taken |= take_row(window, pieces[nr].first, pieces[nr].nr, moves, result);
	return taken;
}

/* A window from which nothing moves is not tried again and again. */
static void note_failures(struct acma *acma, u64 window, u64 failed, u64 taken)
{
	if (taken) {
		acma->failed[window] = 0;
		acma->retry_at[window] = jiffies;
	} else if (failed) {
		unsigned int shift = min(acma->failed[window], RETRY_MOST_SHIFT);

		acma->retry_at[window] = jiffies + (RETRY_FIRST << shift);
		acma->failed[window]++;
	}
}

/**
 * acma_take() - takes blocks of one window, and tells the host
 * @acma: the instance; @acma->take is held, none of the other locks
 * @window: its number
 * @want: its blocks
 * @flags: ACMA_ALLOC_*
 * @result: out: what became of each wanted block, by its place in the window
 *
 * Free blocks first, then used ones by migration; whole rows at once, from the
 * highest down.
 */
void acma_take(struct acma *acma, u64 window, u64 want, u32 flags, u8 *result)
{
	struct acma_words *words = &acma->map.window[window];
	u64 candidates, free, used, taken;

	spin_lock(&acma->lock);
	candidates = want & words->present & ~words->owned;
	set_results(result, want & ~words->present, ACMA_NOT_RAM);
	set_results(result, want & words->owned, ACMA_ALREADY);
	spin_unlock(&acma->lock);

	/* While memory goes offline, what is used there needs the room that is left. */
	if (acma->suspended || READ_ONCE(acma->offlining)) {
		set_results(result, candidates, ACMA_NOT_TRIED);
		return;
	}
	free = acma_free_bits(window, candidates);
	used = candidates & ~free;
	taken = take_rows(window, free, false, result);
	if (flags & ACMA_ALLOC_FREE_ONLY)
		set_results(result, used, ACMA_USED);
	else
		taken |= take_rows(window, used, true, result);
	if (!(flags & ACMA_ALLOC_FREE_ONLY))
		note_failures(acma, window, used & ~taken, taken & used);
	if (taken) {
		unsigned int i;

		mutex_lock(&acma->marking);
		page_offline_begin();
		for (i = 0; i < ACMA_WINDOW_BLOCKS; i++) {
			if (taken & (1ULL << i))
				set_offline(window_block(window) + i);
		}
		page_offline_end();
		spin_lock(&acma->lock);
		acma_map_own(&acma->map, window, taken);
		acma->taken += acma_count(taken);
		spin_unlock(&acma->lock);
		mutex_unlock(&acma->marking);
		acma_report_blocks(acma, window, taken);
		spin_lock(&acma->lock);
		acma_map_confirm(&acma->map, window, taken);
		spin_unlock(&acma->lock);
	}
}

/*
 * How many are voluntary is counted with the lock that all who give hold: of two
 * who give the last voluntary ones at once, one gives nothing.
 */
static u64 give(struct acma *acma, u64 window, u64 bits, bool voluntary)
{
	struct acma_words *words = &acma->map.window[window];
	u64 unmanaged, freed;

	spin_lock(&acma->lock);
	if (voluntary)
		bits = acma_lowest(bits & words->owned & ~words->pending,
				   min_t(u64, acma_voluntary_blocks(acma), ACMA_WINDOW_BLOCKS));
	freed = acma_map_release(&acma->map, window, bits, &unmanaged);
	acma->freed += acma_count(freed);
	spin_unlock(&acma->lock);
	if (freed)
		acma_hand_back(acma, acma_features(acma), window, freed, unmanaged);
	return freed;
}

/**
 * acma_give() - gives blocks of one window back
 * @acma: the instance
 * @window: its number
 * @bits: its blocks; those that are not owned, or pending, are left out
 * @voluntary: none that the host asks for
 *
 * Never waits for whoever takes blocks. Waits for the host only where the
 * device wants to be told before a page is used again.
 *
 * Return: those that were given back
 */
u64 acma_give(struct acma *acma, u64 window, u64 bits, bool voluntary)
{
	u64 freed = give(acma, window, bits, voluntary);

	acma_manage_as_forced(acma);
	return freed;
}

/**
 * acma_give_some() - gives blocks back, from the lowest partly taken window on
 * @acma: the instance
 * @blocks: at most so many
 * @voluntary: none that the host asks for
 *
 * Return: how many
 */
u64 acma_give_some(struct acma *acma, u64 blocks, bool voluntary)
{
	u64 given = 0;

	while (given < blocks) {
		u64 window, bits, freed;

		spin_lock(&acma->lock);
		window = acma_map_give_from(&acma->map);
		bits = 0;
		if (window != ACMA_NO_WINDOW) {
			struct acma_words *words = &acma->map.window[window];

			bits = acma_lowest(words->owned & ~words->pending,
					   min_t(u64, blocks - given, ACMA_WINDOW_BLOCKS));
		}
		spin_unlock(&acma->lock);
		freed = bits ? give(acma, window, bits, voluntary) : 0;
		/* Those of another may have gone meanwhile, but none are voluntary now. */
		if (!bits || (!freed && voluntary))
			break;
		given += acma_count(freed);
		cond_resched();
	}
	acma_manage_as_forced(acma);
	return given;
}

/**
 * acma_owned_blocks() - also those whose memory block is removed
 * @acma: the instance
 *
 * Return: how many
 */
u64 acma_owned_blocks(struct acma *acma)
{
	return READ_ONCE(acma->map.nr_owned) + READ_ONCE(acma->map.nr_released) +
	       READ_ONCE(acma->release.leaving);
}

/**
 * acma_owned_pfns() - all that is owned
 * @acma: the instance
 *
 * Return: balloon pages, in blocks and single ones
 */
u64 acma_owned_pfns(struct acma *acma)
{
	return acma_owned_blocks(acma) * ACMA_PFNS_PER_BLOCK +
	       atomic_long_read(&acma->nr_pages) * ACMA_PFNS_PER_PAGE;
}

/**
 * acma_voluntary_blocks() - blocks beyond what the host asks for, which can be given back
 * @acma: the instance
 *
 * Return: how many
 */
u64 acma_voluntary_blocks(struct acma *acma)
{
	u64 owned = acma_owned_pfns(acma);
	u64 forced = min_t(u64, owned, READ_ONCE(acma->target));

	return min_t(u64, (owned - forced) / ACMA_PFNS_PER_BLOCK, READ_ONCE(acma->map.nr_owned));
}

/**
 * acma_manage_as_forced() - as many blocks are unmanaged as are forced
 * @acma: the instance
 *
 * Voluntary blocks stay in the count of managed pages: the guest may have them
 * back at any time, and a large mapping must not be refused without any
 * pressure that would bring them back (overcommit_memory=0). Forced ones leave
 * it, as stock does, unless they come back on OOM too. Which ones does not
 * matter.
 */
void acma_manage_as_forced(struct acma *acma)
{
	u64 wanted = 0;
	u64 window;

	if (acma_unmanages(acma))
		wanted = READ_ONCE(acma->map.nr_owned) - acma_voluntary_blocks(acma);
	for (window = acma->map.nr_windows; window-- > 0;) {
		struct acma_words *words = &acma->map.window[window];
		u64 less = 0, more = 0;
		unsigned int i;

		spin_lock(&acma->lock);
		if (acma->map.nr_unmanaged == wanted) {
			spin_unlock(&acma->lock);
			return;
		}
		if (acma->map.nr_unmanaged < wanted) {
			less = acma_highest(words->owned & ~words->unmanaged,
					    min_t(u64, wanted - acma->map.nr_unmanaged, 64));
			acma_map_unmanage(&acma->map, window, less);
		} else {
			more = acma_highest(words->unmanaged,
					    min_t(u64, acma->map.nr_unmanaged - wanted, 64));
			acma_map_manage(&acma->map, window, more);
		}
		spin_unlock(&acma->lock);
		for (i = 0; i < ACMA_WINDOW_BLOCKS; i++) {
			struct page *page;

			if (!((less | more) & (1ULL << i)))
				continue;
			page = pfn_to_page(block_pfn(window_block(window) + i));
			adjust_managed_page_count(page, less ? -(long)ACMA_BLOCK_PAGES
							     : (long)ACMA_BLOCK_PAGES);
		}
	}
}

/* Wholly memory that the kernel uses? Holes and what firmware keeps are reserved. */
static bool block_is_ram(u64 block)
{
	unsigned long pfn = block_pfn(block);
	struct page *first = pfn_to_online_page(pfn);
	struct page *last = pfn_to_online_page(pfn + ACMA_BLOCK_PAGES - 1);

	return first && last && !PageReserved(first) && !PageReserved(last) &&
	       page_zone(first) == page_zone(last);
}

/**
 * acma_look_for_ram() - finds out which blocks are memory that can be taken
 * @acma: the instance
 * @first: window
 * @last: the window after the last one
 */
void acma_look_for_ram(struct acma *acma, u64 first, u64 last)
{
	u64 window;

	for (window = first; window < last; window++) {
		u64 present = 0;
		unsigned int i;

		for (i = 0; i < ACMA_WINDOW_BLOCKS; i++) {
			if (block_is_ram(window_block(window) + i))
				present |= 1ULL << i;
		}
		spin_lock(&acma->lock);
		acma_map_present(&acma->map, window, present);
		spin_unlock(&acma->lock);
		cond_resched();
	}
}

/**
 * acma_blocks_init() - finds out what memory there is
 * @acma: the instance
 *
 * Return: 0 or -ENOMEM
 */
int acma_blocks_init(struct acma *acma)
{
	/*
	 * Room for memory that is plugged later: as much again, and up to 64 GiB at
	 * least. 72 bytes for 128 MiB.
	 */
	u64 top = 0;
	int nid;

	for_each_online_node(nid)
		top = max_t(u64, top, node_end_pfn(nid));
	top = 2 * max_t(u64, top, 1ULL << (35 - PAGE_SHIFT));
	acma->map.nr_windows = DIV_ROUND_UP(top, ACMA_WINDOW_BLOCKS * ACMA_BLOCK_PAGES);
	acma->map.window = kvcalloc(acma->map.nr_windows, sizeof(*acma->map.window), GFP_KERNEL);
	acma->retry_at = kvcalloc(acma->map.nr_windows, sizeof(*acma->retry_at), GFP_KERNEL);
	acma->failed = kvcalloc(acma->map.nr_windows, sizeof(*acma->failed), GFP_KERNEL);
	if (!acma->map.window || !acma->retry_at || !acma->failed) {
		acma_blocks_exit(acma);
		return -ENOMEM;
	}
	acma_look_for_ram(acma, 0, acma->map.nr_windows);
	return 0;
}

/**
 * acma_blocks_exit() - undoes acma_blocks_init(); nothing is owned any more
 * @acma: the instance
 */
void acma_blocks_exit(struct acma *acma)
{
	WARN_ON_ONCE(acma->map.nr_owned);
	kvfree(acma->map.window);
	kvfree(acma->retry_at);
	kvfree(acma->failed);
	acma->map.window = NULL;
	acma->retry_at = NULL;
	acma->failed = NULL;
}
