/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between the kernels that this module is built for. The rest
 * of the module is written against what is here.
 */
#ifndef ACMA_COMPAT_H
#define ACMA_COMPAT_H

#include <linux/gfp.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/page_reporting.h>
#include <linux/version.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
#include <linux/balloon.h>
#else
#include <linux/balloon_compaction.h>
#endif

#define ACMA_BLOCK_ORDER (ACMA_BLOCK_SHIFT - PAGE_SHIFT)
#define ACMA_BLOCK_PAGES BIT(ACMA_BLOCK_ORDER)

/*
 * acma_contig_alloc() - takes [@start, @end) as blocks of ACMA_BLOCK_ORDER
 *
 * The size is a power of two, and the range is aligned to it.
 *
 * Asked for single pages, alloc_contig_range() goes over every page some five
 * times. Asked for a compound page it goes over them once; that is taken apart
 * here, so that each block is as alloc_pages() would have made it: a reference
 * on its first page, none on the others, not compound. It has to be: memory goes
 * offline only if each PageOffline page in it has no reference and is not
 * compound (mm/page_isolation.c), and a block is freed by one __free_pages().
 * hugetlb did the same when it demoted pages (6.12 and before,
 * mm/hugetlb.c, __destroy_compound_gigantic_folio).
 *
 * Return: 0, -EBUSY (something in it does not move), -ENOMEM (nowhere to move
 * it to), -EINTR (a fatal signal), -EINVAL (not in one zone)
 */
static inline int acma_contig_alloc(unsigned long start, unsigned long end)
{
	const gfp_t gfp = GFP_KERNEL | __GFP_NOWARN | __GFP_COMP;
	struct page *head = pfn_to_page(start);
	unsigned long i;
	int err;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
	/* Frozen: also the head has no reference. Exported since 7.0. */
	err = alloc_contig_frozen_range_noprof(start, end, ACR_FLAGS_NONE, gfp);
#else
	err = alloc_contig_range_noprof(start, end, MIGRATE_MOVABLE, gfp);
#endif
	if (err)
		return err;
	/* What is in the second page of a folio: its order, and counters that start at 0 or -1. */
#ifdef NR_PAGES_IN_LARGE_FOLIO
	((struct folio *)head)->_nr_pages = 0;
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
	head[1].flags.f &= ~PAGE_FLAGS_SECOND;
#else
	head[1].flags &= ~PAGE_FLAGS_SECOND;
#endif
	head[1].private = 0;
	__ClearPageHead(head);
	for (i = 1; i < end - start; i++) {
		head[i].mapping = NULL;
		clear_compound_head(head + i);
	}
	for (i = 0; i < end - start; i += ACMA_BLOCK_PAGES)
		set_page_count(head + i, 1);
	return 0;
}

/*
 * Can a System RAM resource be split that has something in it? Before, what lay
 * in its upper part was lost (kernel/resource.c, release_mem_region_adjustable).
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
#define ACMA_RESOURCE_CHILDREN_MOVE true
#else
#define ACMA_RESOURCE_CHILDREN_MOVE false
#endif

/* Does memory that is added come online by itself? Where it is not told: when it did not. */
static inline bool acma_comes_online(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
	return mhp_get_default_online_type() != MMOP_OFFLINE;
#else
	return true;
#endif
}

/* What 7.3 counts for each node was a VM event before. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
#define acma_scan_event(events, item) ((void)(events), global_node_page_state(item))
#else
#define acma_scan_event(events, item) ((events)[item])
#endif

/* How many descriptors one report may have, and the least order: pageblock_order. */
static inline void acma_report_limits(struct page_reporting_dev_info *info,
				      unsigned int capacity)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
	info->order = PAGE_REPORTING_ORDER_UNSPECIFIED;
	info->capacity = capacity;
#else
	info->order = 0;
#endif
}

/* 6.12 has no field for the capacity: it needs this much (-ENOSPC otherwise). */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
#define ACMA_LEAST_REPORTS 1
#else
#define ACMA_LEAST_REPORTS PAGE_REPORTING_CAPACITY
#endif

/*
 * Pages on a balloon's list. 7.3 keeps the count of managed pages itself, and
 * does all of a move but telling the host; before, both were the driver's.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
#ifdef CONFIG_BALLOON_MIGRATION
#define ACMA_PAGES_MOVE
#endif

static inline void acma_pages_unmanage(struct balloon_dev_info *info, bool unmanage)
{
	info->adjust_managed_page_count = unmanage;
}

static inline void acma_page_enqueue(struct balloon_dev_info *info, struct page *page,
				     bool unmanage)
{
	balloon_page_enqueue(info, page);
}

static inline void acma_page_dequeued(struct page *page, bool unmanaged)
{
}

static inline void acma_page_moving(struct balloon_dev_info *info, struct page *newpage,
				    struct page *page, bool unmanaged)
{
}

static inline void acma_page_moved(struct page *page)
{
}
#else
#ifdef CONFIG_BALLOON_COMPACTION
#define ACMA_PAGES_MOVE
#endif

static inline void acma_pages_unmanage(struct balloon_dev_info *info, bool unmanage)
{
}

static inline void acma_page_enqueue(struct balloon_dev_info *info, struct page *page,
				     bool unmanage)
{
	balloon_page_enqueue(info, page);
	if (unmanage)
		adjust_managed_page_count(page, -1);
}

static inline void acma_page_dequeued(struct page *page, bool unmanaged)
{
	if (unmanaged)
		adjust_managed_page_count(page, 1);
}

static inline void acma_page_moving(struct balloon_dev_info *info, struct page *newpage,
				    struct page *page, bool unmanaged)
{
	unsigned long flags;

	get_page(newpage);
	if (unmanaged && page_zone(page) != page_zone(newpage)) {
		adjust_managed_page_count(page, 1);
		adjust_managed_page_count(newpage, -1);
	}
	spin_lock_irqsave(&info->pages_lock, flags);
	balloon_page_insert(info, newpage);
	info->isolated_pages--;
	__count_vm_event(BALLOON_MIGRATE);
	spin_unlock_irqrestore(&info->pages_lock, flags);
}

static inline void acma_page_moved(struct page *page)
{
	balloon_page_finalize(page);
	put_page(page);
}
#endif

/* Drivers may do something at shutdown since 7.0; before, the bus reset the device. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
#define ACMA_DRIVER_SHUTDOWN(function) .shutdown = (function),
#define acma_virtio_shutdown(vdev) virtio_device_shutdown(vdev)
#else
#define ACMA_DRIVER_SHUTDOWN(function)
#endif

/* As the kernel counts the single pages that balloon_page_enqueue() gets; negative: fewer. */
static inline void acma_count_balloon_pages(long pages)
{
	if (!pages)
		return;
	count_vm_events(pages > 0 ? BALLOON_INFLATE : BALLOON_DEFLATE, abs(pages));
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
	mod_node_page_state(NODE_DATA(first_online_node), NR_BALLOON_PAGES, pages);
#endif
}

#endif
