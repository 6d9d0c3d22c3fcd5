// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the host asks for (num_pages), and how it is met.
 *
 * What is owned up to num_pages is forced, what is owned beyond it is voluntary.
 * The host is told min(owned, num_pages), so it never learns of voluntary blocks
 * and a restore or a migration does not make a hard limit of them.
 *
 * A higher target is met by the attached agent, which knows what is cold. Where
 * there is none, or it is late, the module does it: free blocks from the top
 * down, then used ones, then single pages. A lower target frees what was forced
 * and is forced no more; what is voluntary stays.
 */
#include <linux/module.h>
#include <linux/virtio_config.h>

#include "acma.h"

/* Where nothing was had: tried again after 1 s, then 2 s, up to about a minute. */
#define RETRY_FIRST HZ
#define RETRY_MOST_SHIFT 6
#define SAY_EVERY (60 * HZ)
/* While much is taken the host and the guest are told now and then. */
#define SETTLE_EVERY (HZ / 5)
#define SETTLE_PAGES (16 * ACMA_BLOCK_PAGES)
/* How finely windows are told apart by how much of them is used. */
#define USED_PARTS 8

static u32 read_target(struct acma *acma)
{
	u32 num_pages = 0;

	if (acma->vdev)
		/* The balloon's configuration is little-endian even where virtio is not. */
		virtio_cread_le(acma->vdev, struct virtio_balloon_config, num_pages, &num_pages);
	/* Else a page would be taken and given back for ever. */
	return round_up(num_pages, (u32)ACMA_PFNS_PER_PAGE);
}

/**
 * acma_write_actual() - tells the host how much of what it asks for it has
 * @acma: the instance
 * @actual: balloon pages
 */
void acma_write_actual(struct acma *acma, u32 actual)
{
	if (!acma->vdev || acma->actual == actual)
		return;
	virtio_cwrite_le(acma->vdev, struct virtio_balloon_config, actual, &actual);
	acma->actual = actual;
}

/**
 * acma_target_look() - lets the worker look at the target
 * @acma: the instance
 * @delay: jiffies
 */
void acma_target_look(struct acma *acma, unsigned long delay)
{
	unsigned long flags;

	spin_lock_irqsave(&acma->stop_lock, flags);
	if (!acma->stopping)
		mod_delayed_work(acma->wq, &acma->target_work, delay);
	spin_unlock_irqrestore(&acma->stop_lock, flags);
}

/**
 * acma_target_changed() - the device's configuration changed; any context
 * @acma: the instance
 */
void acma_target_changed(struct acma *acma)
{
	acma_stay_awake(acma, ACMA_WAKEUP_TARGET);
	acma_target_look(acma, 0);
}

/**
 * acma_settle_forced() - counts and tells anew what is forced
 * @acma: the instance; @acma->take is held
 */
void acma_settle_forced(struct acma *acma)
{
	acma->forced = min_t(u64, acma_owned_pfns(acma), acma->target);
	acma_count_forced(acma);
	acma_manage_as_forced(acma);
	acma_write_actual(acma, acma->forced + (acma->asked - acma->target));
}

/**
 * acma_count_forced() - what is forced, in the guest's own statistics
 * @acma: the instance; @acma->take is held, or nobody takes
 *
 * As stock: balloon_inflate and balloon_deflate of /proc/vmstat; Linux 7.3 shows
 * nr_balloon_pages too. The kernel counts single pages by itself. Blocks are
 * counted on the first node, wherever they are: which ones are forced is open.
 */
void acma_count_forced(struct acma *acma)
{
	u64 single = atomic_long_read(&acma->nr_pages) * ACMA_PFNS_PER_PAGE;
	u32 blocks = acma->forced - min_t(u64, single, acma->forced);
	long more = ((long)blocks - (long)acma->counted) / (long)ACMA_PFNS_PER_PAGE;

	acma_count_balloon_pages(more);
	acma->counted = blocks;
}

/* The host wants less than it was given: that much comes back, and what is voluntary stays. */
static void shrink_forced(struct acma *acma)
{
	u64 owned = acma_owned_pfns(acma);
	u64 forced = min_t(u64, owned, acma->forced);	/* some may be gone: OOM, offline */
	u64 kept = round_down(owned - forced, ACMA_PFNS_PER_BLOCK) + acma->target;
	u64 surplus, pages;

	if (owned <= kept)
		return;
	surplus = owned - kept;
	pages = min_t(u64, surplus / ACMA_PFNS_PER_PAGE, atomic_long_read(&acma->nr_pages));
	surplus -= acma_pages_give(acma, pages) * ACMA_PFNS_PER_PAGE;
	surplus /= ACMA_PFNS_PER_BLOCK;
	acma_release_look(acma, surplus - acma_give_some(acma, surplus, false));
}

/*
 * Has the host changed its mind? Or is the system about to sleep? It waits for
 * the worker. Or does memory go offline? What was used there needs room.
 */
static bool target_moved(struct acma *acma)
{
	return read_target(acma) != acma->asked || READ_ONCE(acma->stopping) ||
	       READ_ONCE(acma->release.asleep) || READ_ONCE(acma->offlining);
}

static u64 missing_blocks(struct acma *acma)
{
	u64 owned = acma_owned_pfns(acma);

	return owned >= acma->target ? 0 : DIV_ROUND_UP(acma->target - owned, ACMA_PFNS_PER_BLOCK);
}

/*
 * From the top down, until enough is owned or nothing more is to be had: free
 * blocks, or all of the windows of which at most @parts of USED_PARTS are used.
 */
static void take_blocks(struct acma *acma, unsigned int parts)
{
	u32 flags = parts ? 0 : ACMA_ALLOC_FREE_ONLY;
	unsigned long settled = jiffies;
	u64 window = acma->map.nr_windows;
	u8 result[ACMA_WINDOW_BLOCKS];

	for (;;) {
		u64 missing = missing_blocks(acma);
		u64 bits;

		cond_resched();
		spin_lock(&acma->lock);
		window = acma_map_take_from(&acma->map, window);
		if (window != ACMA_NO_WINDOW)
			bits = acma->map.window[window].present & ~acma->map.window[window].owned;
		spin_unlock(&acma->lock);
		if (!missing || window == ACMA_NO_WINDOW || target_moved(acma))
			return;
		if (!parts)
			bits = acma_free_bits(window, bits);
		else if (time_before(jiffies, acma->retry_at[window]) ||
			 acma_used_pages(window, bits) * USED_PARTS >
				 acma_count(bits) * ACMA_BLOCK_PAGES * parts)
			continue;
		memset(result, 0, sizeof(result));
		acma_take(acma, window, acma_highest(bits, min_t(u64, missing, 64)), flags, result);
		/* The host sees how far it is. */
		if (time_after(jiffies, settled + SETTLE_EVERY)) {
			acma_settle_forced(acma);
			settled = jiffies;
		}
		/* This zone may have too little left, and the next one enough. */
		if (acma_below_floor(ACMA_BLOCK_PAGES))
			return;
	}
}

static void grow_forced(struct acma *acma)
{
	unsigned int parts;
	u64 owned, pages;

	/* What moves fills up other windows: these would be moved out of once more. */
	for (parts = 0; parts <= USED_PARTS; parts++)
		take_blocks(acma, parts);
	/* Also where there is room for no block: this lets the kernel reclaim. */
	while ((owned = acma_owned_pfns(acma)) < acma->target && !target_moved(acma)) {
		pages = min_t(u64, (acma->target - owned) / ACMA_PFNS_PER_PAGE, SETTLE_PAGES);
		if (acma_pages_take(acma, pages) < pages)
			break;
		acma_settle_forced(acma);
	}
}

static void missed(struct acma *acma)
{
	unsigned int shift = min(acma->target_failed, RETRY_MOST_SHIFT);

	/* Also of a host that changes its mind all the time. */
	if (!acma->target_failed &&
	    (!acma->missed_at || time_after(jiffies, acma->missed_at + SAY_EVERY))) {
		acma->missed_at = jiffies | 1;
		dev_info(&acma->vdev->dev,
			 "the host asks for %llu MiB, %llu MiB can be had; trying again now and then\n",
			 (u64)acma->target >> 8, acma_owned_pfns(acma) >> 8);
	}
	acma->target_failed++;
	acma_target_look(acma, RETRY_FIRST << shift);
}

static void target_work(struct work_struct *work)
{
	struct acma *acma = container_of(to_delayed_work(work), struct acma, target_work);
	u32 asked = read_target(acma);
	bool changed = false;
	u64 before;
	u32 target;

	mutex_lock(&acma->take);
	spin_lock(&acma->lock);
	if (asked != acma->asked) {
		acma->asked = asked;
		acma->away = 0;	/* the host knows what memory there is */
		acma->target_since = jiffies;
		acma->target_failed = 0;
		acma->target_changes++;
		changed = true;
	}
	acma->target = acma_target_here(acma);
	target = acma->target;
	spin_unlock(&acma->lock);
	if (changed)
		acma_event(acma);
	if (acma->forced > target)
		shrink_forced(acma);
	acma_settle_forced(acma);
	acma->release.most = acma_unmanages(acma) ? target : 0;
	acma_release_look(acma, 0);

	before = acma_owned_pfns(acma);
	if (before >= target) {
		acma->target_failed = 0;
	} else if (READ_ONCE(acma->release.asleep) || READ_ONCE(acma->offlining)) {
		/* Looked at again after that. */
	} else if (acma->retake_waits && time_before(jiffies, acma->retake_after)) {
		acma_target_look(acma, acma->retake_after - jiffies);
	} else if (acma_agent_there(acma) &&
		   time_before(jiffies, acma->target_since + acma->agent.deadline)) {
		acma_target_look(acma, acma->target_since + acma->agent.deadline - jiffies);
	} else {
		acma->retake_waits = false;
		grow_forced(acma);
		acma_settle_forced(acma);
		if (target_moved(acma)) {
			if (!READ_ONCE(acma->release.asleep) && !READ_ONCE(acma->offlining))
				acma_target_look(acma, 0);
		} else if (acma_owned_pfns(acma) < target && acma_owned_pfns(acma) > before) {
			acma_target_look(acma, HZ / 5);
		} else if (acma_owned_pfns(acma) < target) {
			missed(acma);
		}
	}
	if (acma_owned_pfns(acma) >= target)
		acma_release_settled(acma);
	mutex_unlock(&acma->take);
	acma_may_sleep(acma, ACMA_WAKEUP_TARGET);
}

/**
 * acma_target_init() - nothing is asked for
 * @acma: the instance
 */
void acma_target_init(struct acma *acma)
{
	INIT_DELAYED_WORK(&acma->target_work, target_work);
	spin_lock_init(&acma->stop_lock);
	acma->asked = 0;
	acma->away = 0;
	acma->target = 0;
	acma->forced = 0;
	acma->counted = 0;
	acma->actual = 0;
	acma->stopping = true;
}
