// SPDX-License-Identifier: GPL-2.0-only
/*
 * Removing a memory block that is owned, so that its page structs (2 MiB for
 * 128 MiB) are free memory too, and adding it again.
 *
 * Only what the host asks for, and would not come back on OOM: adding memory
 * needs memory, and takes locks that nobody who is short of it may wait for.
 *
 * Only memory blocks for which the kernel's two steps undo each other:
 *
 * - Not where the kernel's mapping of all memory has a leaf of 1 GiB.
 *   remove_pud_table() takes such a leaf for a table when only a part of it goes
 *   (6.12 and 7.3, arch/x86/mm/init_64.c), and clears what it finds there.
 * - Not where something else is in the same System RAM resource, such as the
 *   kernel's code, in kernels that cannot split it then: it stays as it is, and
 *   the memory cannot be added again (kernel/resource.c,
 *   release_mem_region_adjustable()).
 * - Only memory from boot, and what was added here: whoever added other memory
 *   (virtio-mem, ACPI) removes it, and has to find it as it was.
 * - Not at the edge of its zone (keep.c).
 *
 * Both steps take the kernel's hotplug lock, under which a device can be removed
 * (ACPI): none of the locks that this needs may be held over them.
 */
#include <linux/ioport.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pgtable.h>
#include <linux/slab.h>
#include <linux/suspend.h>

#include "acma.h"

static unsigned int release_after_s = 600;
module_param(release_after_s, uint, 0644);
MODULE_PARM_DESC(release_after_s, "memory blocks are removed for their page structs when the host has had what it asks for unchanged for so long (s, default 600; 0: only when asked to)");

#define RELEASE_AFTER_MOST_S 86400
/* Each stops all who add or remove memory for some 10 ms. */
#define RELEASE_EVERY HZ

#define WINDOW_PAGES (ACMA_WINDOW_BLOCKS * ACMA_BLOCK_PAGES)
#define WINDOW_BYTES (ACMA_WINDOW_BLOCKS * ACMA_BLOCK_BYTES)

/* Memory that could not be added (too little for its page structs): tried again. */
#define RETRY_EVERY HZ
/* When the module goes it has to be. */
#define EXIT_TRIES 20

#ifdef CONFIG_X86_64
static bool mapped_by_gib(unsigned long pfn)
{
	unsigned int level;

	/* Two memory blocks never share a leaf of less. */
	return !lookup_address((unsigned long)page_address(pfn_to_page(pfn)), &level) ||
	       level >= PG_LEVEL_1G;
}

static const bool proven = true;
#else
static bool mapped_by_gib(unsigned long pfn)
{
	return false;
}

static const bool proven;
#endif

/*
 * Is it in a System RAM resource that can be split around it? The list of
 * resources has a lock that is not exported. But a resource that is inserted
 * there shows what it came to lie in and what lies beside it, and holds both.
 */
static bool resource_splits(u64 start)
{
	struct resource probe = {
		.name = "acma_balloon", .start = start, .end = start + PAGE_SIZE - 1,
		.flags = IORESOURCE_MEM,
	};
	const unsigned long ram_flags = IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY;
	struct resource *ram;
	bool splits;

	if (insert_resource(&iomem_resource, &probe))
		return false;
	ram = probe.parent;
	splits = ram->parent == &iomem_resource && (ram->flags & ram_flags) == ram_flags &&
		 !(ram->flags & IORESOURCE_SYSRAM_DRIVER_MANAGED) &&
		 ram->start <= start && ram->end >= start + WINDOW_BYTES - 1 &&
		 (ACMA_RESOURCE_CHILDREN_MOVE || (ram->child == &probe && !probe.sibling));
	remove_resource(&probe);
	return splits;
}

/* Looks at what the blocks are; they are owned, so none of it changes. */
static u32 why_not(struct acma *acma, u64 window)
{
	unsigned long pfn = window * WINDOW_PAGES;

	if (!proven)
		return ACMA_NOT_PROVEN;
	if (memory_block_size_bytes() != WINDOW_BYTES)
		return ACMA_NOT_A_MEMORY_BLOCK;
	if (!acma_inside_its_zone(pfn, WINDOW_PAGES))
		return ACMA_AT_ZONE_EDGE;
	if (acma->added[window] == NUMA_NO_NODE && !early_section(__pfn_to_section(pfn)))
		return ACMA_NOT_FROM_BOOT;
	if (mapped_by_gib(pfn))
		return ACMA_GIB_LEAF;
	if (!resource_splits((u64)pfn << PAGE_SHIFT))
		return ACMA_KERNEL_INSIDE;
	if (!acma_comes_online())
		return ACMA_STAYS_OFFLINE;
	return 0;
}

/* With so many blocks more, is all that is released asked for by the host? */
static bool host_asks_for(struct acma *acma, u64 more)
{
	return (READ_ONCE(acma->map.nr_released) + more) * ACMA_PFNS_PER_BLOCK <=
	       READ_ONCE(acma->release.most);
}

static u32 release(struct acma *acma, u64 window)
{
	struct acma_words *words = &acma->map.window[window];
	u32 result = 0;

	spin_lock(&acma->lock);
	if (acma->suspended || acma->release.asleep)
		result = ACMA_RELEASE_BUSY;
	else if (words->released)
		result = ACMA_RELEASED;
	else if (words->owned != ~0ULL || words->pending)
		result = ACMA_NOT_WHOLLY_OWNED;
	else if (!host_asks_for(acma, ACMA_WINDOW_BLOCKS))
		result = ACMA_GUESTS_OWN;
	if (!result)
		acma->release.window = window;
	spin_unlock(&acma->lock);
	if (result)
		return result;
	result = why_not(acma, window);
	if (!result) {
		int nid = page_to_nid(pfn_to_page(window * WINDOW_PAGES));

		if (offline_and_remove_memory(window * WINDOW_BYTES, WINDOW_BYTES)) {
			result = ACMA_RELEASE_BUSY;
		} else {
			acma->added[window] = nid;
			result = ACMA_RELEASED;
		}
	}
	spin_lock(&acma->lock);
	acma->release.window = ACMA_NO_WINDOW;
	spin_unlock(&acma->lock);
	acma_release_look(acma, 0);	/* the host may want it back by now */
	return result;
}

static u32 restore(struct acma *acma, u64 window)
{
	u32 result;
	int err;

	if (!READ_ONCE(acma->map.window[window].released))
		return ACMA_NOT_RELEASED;
	if (acma_keep_claim(acma, NULL, window))
		return ACMA_RELEASE_BUSY;
	/* Comes online at once, so that its blocks are owned as before. */
	err = add_memory(acma->added[window], window * WINDOW_BYTES, WINDOW_BYTES, MHP_NONE);
	acma_keep_settle(acma);
	if (!READ_ONCE(acma->map.window[window].released))
		return ACMA_RESTORED;
	result = err == -ENOMEM ? ACMA_NO_ROOM : ACMA_RELEASE_BUSY;
	if (!err || err == -EEXIST) {
		/* It is there; somebody has to write "online" to its state. */
		acma->gone = window;
		result = ACMA_STAYS_OFFLINE;
	}
	return result;
}

/* The lowest one: what is highest is taken first, and given back last. */
static u64 released_window(struct acma *acma)
{
	u64 window;

	spin_lock(&acma->lock);
	window = acma_map_restore_from(&acma->map);
	spin_unlock(&acma->lock);
	return window;
}

static bool too_much_released(struct acma *acma)
{
	return READ_ONCE(acma->map.nr_released) &&
	       (READ_ONCE(acma->release.owed) || !host_asks_for(acma, 0));
}

/* What could not be given back at once, since it was released, now can be. */
static void give_owed(struct acma *acma, u64 window)
{
	u64 blocks;

	spin_lock(&acma->lock);
	blocks = min_t(u64, acma->release.owed, ACMA_WINDOW_BLOCKS);
	acma->release.owed -= blocks;
	if (acma->suspended)
		blocks = ACMA_WINDOW_BLOCKS;	/* the device goes, or is gone */
	spin_unlock(&acma->lock);
	acma_give(acma, window, acma_lowest(~0ULL, blocks), false);
}

/* Return: false, if one of them could not be restored */
static bool restore_surplus(struct acma *acma)
{
	while (too_much_released(acma)) {
		u64 window = released_window(acma);

		if (restore(acma, window) != ACMA_RESTORED)
			return false;
		give_owed(acma, window);
	}
	return true;
}

static void restore_work(struct work_struct *work)
{
	struct acma *acma = container_of(to_delayed_work(work), struct acma, release.work);
	bool done;

	mutex_lock(&acma->release.one);
	done = restore_surplus(acma);
	mutex_unlock(&acma->release.one);
	if (!done)
		queue_delayed_work(acma->wq, &acma->release.work, RETRY_EVERY);
	acma_target_look(acma, 0);
}

/**
 * acma_release_look() - adds memory again, of which too much is released
 * @acma: the instance
 * @owed: so many blocks more are to be given back as soon as they are there
 */
void acma_release_look(struct acma *acma, u64 owed)
{
	spin_lock(&acma->lock);
	if (acma->map.nr_released > acma->release.owed)
		acma->release.owed += min(owed, acma->map.nr_released - acma->release.owed);
	spin_unlock(&acma->lock);
	if (too_much_released(acma))
		queue_delayed_work(acma->wq, &acma->release.work, 0);
}

/**
 * acma_window_remove() - removes a memory block, so that its page structs are free
 * @acma: the instance; the caller holds no lock
 * @window: its number
 *
 * Return: enum acma_release_result
 */
u32 acma_window_remove(struct acma *acma, u64 window)
{
	u32 result;

	mutex_lock(&acma->release.one);
	result = release(acma, window);
	mutex_unlock(&acma->release.one);
	return result;
}

/**
 * acma_window_add() - adds it again; it is owned then
 * @acma: the instance; the caller holds no lock
 * @window: its number
 *
 * Return: enum acma_release_result
 */
u32 acma_window_add(struct acma *acma, u64 window)
{
	u32 result;

	mutex_lock(&acma->release.one);
	result = restore(acma, window);
	mutex_unlock(&acma->release.one);
	return result;
}

/*
 * Removes the highest memory block that can be. @kept: out: why the others were
 * not; what lies in how they are counts before what may change. Returns whether
 * one was removed.
 */
static bool release_one(struct acma *acma, u32 *kept)
{
	u64 window;

	*kept = 0;
	for (window = acma->map.nr_windows; window-- > 0;) {
		u32 result;

		if (READ_ONCE(acma->map.window[window].owned) != ~0ULL)
			continue;
		result = acma_window_remove(acma, window);
		if (result == ACMA_RELEASED)
			return true;
		if (!*kept || *kept == ACMA_GUESTS_OWN || *kept == ACMA_RELEASE_BUSY)
			*kept = result;
	}
	return false;
}

static void release_work(struct work_struct *work)
{
	struct acma *acma = container_of(to_delayed_work(work), struct acma, release.slow);
	unsigned long after = min_t(unsigned int, READ_ONCE(release_after_s),
				    RELEASE_AFTER_MOST_S) * HZ;
	u32 kept;

	if (!after || acma->suspended || !host_asks_for(acma, ACMA_WINDOW_BLOCKS))
		return;
	if (time_before(jiffies, acma->target_since + after)) {
		queue_delayed_work(acma->wq, &acma->release.slow,
				   acma->target_since + after - jiffies);
		return;
	}
	if (release_one(acma, &kept))
		queue_delayed_work(acma->wq, &acma->release.slow, RELEASE_EVERY);
	WRITE_ONCE(acma->release.kept, kept);
}

/**
 * acma_release_settled() - the host has what it asks for: if that stays so for
 * long, memory blocks are removed, one a second
 * @acma: the instance
 */
void acma_release_settled(struct acma *acma)
{
	mod_delayed_work(acma->wq, &acma->release.slow, RELEASE_EVERY);
}

/* An image is not resumed by a kernel that boots with more memory than it had. */
static int before_sleep(struct acma *acma)
{
	u64 window;
	int err = 0;

	mutex_lock(&acma->release.one);
	acma->release.asleep = true;
	while (!err && (window = released_window(acma)) != ACMA_NO_WINDOW)
		err = restore(acma, window) == ACMA_RESTORED ? 0 : -EBUSY;
	if (err)
		acma->release.asleep = false;
	mutex_unlock(&acma->release.one);
	return err;
}

static int sleep_notify(struct notifier_block *nb, unsigned long action, void *unused)
{
	struct acma *acma = container_of(nb, struct acma, release.pm_nb);

	switch (action) {
	case PM_HIBERNATION_PREPARE:
	case PM_SUSPEND_PREPARE:
		return notifier_from_errno(before_sleep(acma));
	case PM_POST_HIBERNATION:
	case PM_POST_SUSPEND:
		WRITE_ONCE(acma->release.asleep, false);
		acma_target_look(acma, 0);	/* it was not, if the device did not sleep */
		break;
	}
	return NOTIFY_OK;
}

/**
 * acma_release_start() - nothing is released
 * @acma: the instance, with its map
 *
 * Return: 0 or a negative errno
 */
int acma_release_start(struct acma *acma)
{
	u64 window;
	int err;

	acma->added = kvmalloc_array(acma->map.nr_windows, sizeof(*acma->added), GFP_KERNEL);
	if (!acma->added)
		return -ENOMEM;
	for (window = 0; window < acma->map.nr_windows; window++)
		acma->added[window] = NUMA_NO_NODE;
	acma->release.window = ACMA_NO_WINDOW;
	mutex_init(&acma->release.one);
	INIT_DELAYED_WORK(&acma->release.work, restore_work);
	INIT_DELAYED_WORK(&acma->release.slow, release_work);
	acma->release.pm_nb.notifier_call = sleep_notify;
	err = register_pm_notifier(&acma->release.pm_nb);
	if (err)
		kvfree(acma->added);
	return err;
}

/**
 * acma_release_stop() - adds all that is released
 * @acma: the instance; no device is there, and the caller holds no lock
 */
void acma_release_stop(struct acma *acma)
{
	unsigned int tries;

	unregister_pm_notifier(&acma->release.pm_nb);
	cancel_delayed_work_sync(&acma->release.slow);
	cancel_delayed_work_sync(&acma->release.work);
	for (tries = 0; !restore_surplus(acma) && tries < EXIT_TRIES; tries++)
		schedule_timeout_uninterruptible(RETRY_EVERY);
	acma_give_some(acma, U64_MAX, false);
	if (acma->map.nr_released)
		pr_err("acma_balloon: %llu MiB of memory cannot be added again\n",
		       acma->map.nr_released * ACMA_BLOCK_BYTES >> 20);
	kvfree(acma->added);
}
