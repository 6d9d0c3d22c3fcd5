// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that goes offline while blocks in it are owned, and memory that comes.
 *
 * The kernel lets memory with PageOffline pages go if nobody holds a reference
 * on them. So at MEM_GOING_OFFLINE the owned blocks give theirs up and leave the
 * map; at MEM_CANCEL_OFFLINE they come back. As virtio_mem does it.
 */
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/page_ref.h>

#include "acma.h"

static struct page *first_page(u64 window, unsigned int i)
{
	return pfn_to_page(((window << ACMA_WINDOW_SHIFT) + i) << ACMA_BLOCK_ORDER);
}

/* The part of a window that lies in the notified range. */
static u64 bits_of(u64 window, const struct memory_notify *range)
{
	u64 first = max_t(u64, DIV_ROUND_UP(range->start_pfn, ACMA_BLOCK_PAGES),
			  window << ACMA_WINDOW_SHIFT);
	u64 last = min_t(u64, (range->start_pfn + range->nr_pages) / ACMA_BLOCK_PAGES,
			 (window + 1) << ACMA_WINDOW_SHIFT);

	return first < last ? acma_bits(first % ACMA_WINDOW_BLOCKS, last - first) : 0;
}

/* The kernel takes PageOffline pages for unmanaged, so those that were not are now. */
static void give_up(u64 window, u64 leaving, u64 unmanaged)
{
	unsigned int i;

	for (i = 0; i < ACMA_WINDOW_BLOCKS; i++) {
		u64 bit = 1ULL << i;

		if (!(leaving & bit))
			continue;
		if (!(unmanaged & bit))
			adjust_managed_page_count(first_page(window, i), -(long)ACMA_BLOCK_PAGES);
		if (WARN_ON_ONCE(!page_ref_dec_and_test(first_page(window, i))))
			dump_page(first_page(window, i), "acma: block in use");
	}
}

static void take_again(u64 window, u64 staying, u64 unmanaged)
{
	unsigned int i;

	for (i = 0; i < ACMA_WINDOW_BLOCKS; i++) {
		u64 bit = 1ULL << i;

		if (!(staying & bit))
			continue;
		set_page_count(first_page(window, i), 1);
		if (!(unmanaged & bit))
			adjust_managed_page_count(first_page(window, i), ACMA_BLOCK_PAGES);
	}
}

static int going_offline(struct acma *acma, u64 window, u64 bits)
{
	struct acma_words *words = &acma->map.window[window];
	u64 leaving, unmanaged;

	spin_lock(&acma->lock);
	if (words->pending & bits) {
		spin_unlock(&acma->lock);
		return -EBUSY;	/* the host has not confirmed it yet */
	}
	if (acma->release.window == window && words->owned != ~0ULL) {
		spin_unlock(&acma->lock);
		return -EBUSY;	/* some of it was given back meanwhile */
	}
	leaving = acma_map_leave(&acma->map, window, bits, &unmanaged);
	if (acma->release.window == window)
		acma->release.leaving = acma_count(leaving);
	spin_unlock(&acma->lock);
	give_up(window, leaving, unmanaged);
	return 0;
}

static void cancel_offline(struct acma *acma, u64 window, u64 bits)
{
	u64 staying, unmanaged;

	spin_lock(&acma->lock);
	staying = acma->map.window[window].leaving & bits;
	unmanaged = acma->map.window[window].leaving_unmanaged & bits;
	spin_unlock(&acma->lock);
	take_again(window, staying, unmanaged);
	spin_lock(&acma->lock);
	acma_map_stay(&acma->map, window, bits);
	if (acma->release.window == window)
		acma->release.leaving = 0;
	spin_unlock(&acma->lock);
	acma_look_for_ram(acma, window, window + 1);
}

/*
 * What the host had of it, it has as before: as much is not taken of the rest
 * (until the host asks for something else, which knows what memory there is).
 */
static void count_away(struct acma *acma, u64 window, u64 bits)
{
	u64 owned = acma_owned_pfns(acma);
	u64 target = acma_target_here(acma);
	u64 missing = target > owned ? (target - owned) / ACMA_PFNS_PER_BLOCK : 0;

	acma->away += min_t(u64, missing, acma_count(acma->map.window[window].leaving & bits));
}

static void gone_offline(struct acma *acma, u64 window, u64 bits)
{
	spin_lock(&acma->lock);
	if (acma->release.window == window) {
		acma_map_removed(&acma->map, window, bits);
		acma->release.leaving = 0;
	} else {
		count_away(acma, window, bits);
	}
	acma_map_absent(&acma->map, window, bits);
	spin_unlock(&acma->lock);
}

static int acma_memory_notify(struct notifier_block *nb, unsigned long action, void *arg)
{
	struct acma *acma = container_of(nb, struct acma, memory_nb);
	const struct memory_notify *range = arg;
	u64 window = range->start_pfn / (ACMA_BLOCK_PAGES * ACMA_WINDOW_BLOCKS);
	u64 end = min_t(u64, acma->map.nr_windows,
			DIV_ROUND_UP(range->start_pfn + range->nr_pages,
				     ACMA_BLOCK_PAGES * ACMA_WINDOW_BLOCKS));
	int err = 0;

	mutex_lock(&acma->marking);
	/* The kernel's hotplug lock lets one range go at a time. */
	WRITE_ONCE(acma->offlining, action == MEM_GOING_OFFLINE);
	for (; window < end && !err; window++) {
		u64 bits = bits_of(window, range);

		switch (action) {
		case MEM_GOING_OFFLINE:
			err = going_offline(acma, window, bits);
			break;
		case MEM_CANCEL_OFFLINE:
			cancel_offline(acma, window, bits);
			break;
		case MEM_OFFLINE:
			gone_offline(acma, window, bits);
			if (acma->keep.file && acma->keep.window == window)
				acma->gone = window;
			break;
		case MEM_ONLINE:
			acma_look_for_ram(acma, window, window + 1);
			acma_keep_online(acma, window);
			if (acma->gone == window)
				acma->gone = ACMA_NO_WINDOW;
			break;
		}
	}
	if (action == MEM_ONLINE) {
		spin_lock(&acma->lock);
		acma->away = 0;
		spin_unlock(&acma->lock);
	}
	mutex_unlock(&acma->marking);
	if (action == MEM_OFFLINE || action == MEM_CANCEL_OFFLINE || action == MEM_ONLINE)
		acma_target_look(acma, 0);	/* more, or less, is owned than before */
	return notifier_from_errno(err);
}

/**
 * acma_hotplug_start() - follows memory that comes and goes
 * @acma: the instance
 *
 * Return: 0 or a negative errno
 */
int acma_hotplug_start(struct acma *acma)
{
	acma->memory_nb.notifier_call = acma_memory_notify;
	return register_memory_notifier(&acma->memory_nb);
}

static bool any_leaving(struct acma *acma)
{
	bool any = false;
	u64 window;

	spin_lock(&acma->lock);
	for (window = 0; window < acma->map.nr_windows && !any; window++)
		any = acma->map.window[window].leaving;
	spin_unlock(&acma->lock);
	return any;
}

/**
 * acma_hotplug_settle() - waits for memory that goes offline with blocks in it
 * @acma: the instance; nothing is taken any more
 *
 * They are neither owned nor free meanwhile. Where it fails, which may take as
 * long as somebody holds a page there, they come back, and are given back here.
 */
void acma_hotplug_settle(struct acma *acma)
{
	while (any_leaving(acma))
		schedule_timeout_idle(HZ / 10);
	acma_give_some(acma, U64_MAX, false);
}

/**
 * acma_hotplug_stop() - undoes acma_hotplug_start()
 * @acma: the instance
 */
void acma_hotplug_stop(struct acma *acma)
{
	unregister_memory_notifier(&acma->memory_nb);
}
