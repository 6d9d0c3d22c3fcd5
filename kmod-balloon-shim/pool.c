// SPDX-License-Identifier: GPL-2.0-only
/*
 * Contiguous memory on request, as a file that is mapped.
 *
 * What is handed out is used memory: the host is not told, it is in dumps, it
 * does not go offline, and it is not owned in the map's sense, or it would be
 * given back on OOM. Each page has a reference of its own, so that it is free
 * only when the file, all mappings and whoever pinned it are gone.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/page_ref.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "acma.h"

/* So many runs are tried to be emptied; then there is none to be had. */
#define RUNS_TRIED 64

/**
 * struct pool - one file
 * @acma: the instance, which is there as long as the module is
 * @first: page frame
 * @blocks: how many
 */
struct pool {
	struct acma *acma;
	unsigned long first;
	unsigned int blocks;
};

/**
 * struct search - for a run of blocks
 * @acma: the instance
 * @nr: blocks wanted
 * @nid: on this node, or NUMA_NO_NODE
 * @zone: index of the zone that is searched
 * @free_only: nothing is migrated
 * @tries: left
 */
struct search {
	struct acma *acma;
	unsigned int nr;
	int nid;
	int zone;
	bool free_only;
	unsigned int tries;
};

static void give_blocks(u64 first, u64 nr)
{
	struct page *page = pfn_to_page(first << ACMA_BLOCK_ORDER);

	for (; nr > 0; nr--, page += ACMA_BLOCK_PAGES)
		__free_pages(page, ACMA_BLOCK_ORDER);
}

/*
 * All of a run or nothing, from the highest block down, in pieces that are as
 * large as one call can take: a power of two, aligned to it. @stop: out, on
 * -EBUSY: the block that did not move.
 */
static int take_run(u64 first, u64 nr, u64 *stop)
{
	unsigned int most = ACMA_WINDOW_SHIFT;
	u64 end = first + nr;
	u64 at = end;
	int err = 0;

	while (at > first && !err) {
		unsigned int order = min3(most, (unsigned int)__ffs64(at),
					  (unsigned int)ilog2(at - first));

		if (fatal_signal_pending(current))
			err = -EINTR;
		else
			err = acma_contig_alloc((at - (1ULL << order)) << ACMA_BLOCK_ORDER,
						at << ACMA_BLOCK_ORDER);
		if (!err) {
			at -= 1ULL << order;
			most = ACMA_WINDOW_SHIFT;
		} else if (err == -EBUSY && order > 0) {
			most = order - 1;	/* which half is it? */
			err = 0;
		}
	}
	if (err) {
		give_blocks(at, end - at);
		*stop = at - 1;
	}
	return err;
}

/* The blocks of a window that may be part of the run. */
static u64 candidates(const struct search *search, u64 window)
{
	struct acma *acma = search->acma;
	u64 bits, wanted = 0;
	unsigned int i;

	spin_lock(&acma->lock);
	bits = acma->map.window[window].present & ~acma->map.window[window].owned;
	spin_unlock(&acma->lock);
	for (i = 0; i < ACMA_WINDOW_BLOCKS; i++) {
		u64 block = (window << ACMA_WINDOW_SHIFT) + i;
		struct page *page;

		if (!(bits & (1ULL << i)))
			continue;
		page = pfn_to_online_page(block << ACMA_BLOCK_ORDER);
		if (page && page_zonenum(page) == search->zone &&
		    (search->nid == NUMA_NO_NODE || page_to_nid(page) == search->nid))
			wanted |= 1ULL << i;
	}
	return search->free_only ? acma_free_bits(window, wanted) : wanted;
}

static int block_nid(u64 block)
{
	return page_to_nid(pfn_to_page(block << ACMA_BLOCK_ORDER));
}

/*
 * The lowest run that can be had: scale-down takes from the highest window down,
 * and whole ones. Where a block does not move the search goes on behind it, so
 * that none is tried twice.
 */
static int search_zone(struct search *search, u64 *first)
{
	const u64 blocks = search->acma->map.nr_windows << ACMA_WINDOW_SHIFT;
	u64 known = ACMA_NO_WINDOW;
	int full = NUMA_NO_NODE;	/* a node that has too little left */
	int err = -EBUSY;
	u64 bits = 0;
	u64 have = 0;
	u64 block;

	for (block = 0; block < blocks && search->tries > 0; block++) {
		u64 window = block >> ACMA_WINDOW_SHIFT;
		u64 stop;

		if (window != known) {
			bits = candidates(search, window);
			known = window;
			cond_resched();
		}
		if (!(bits & (1ULL << (block % ACMA_WINDOW_BLOCKS))) ||
		    block_nid(block) == full) {
			have = 0;
			continue;
		}
		have = have && block_nid(block) == block_nid(block - 1) ? have + 1 : 1;
		if (have < search->nr)
			continue;
		*first = block - search->nr + 1;
		have = 0;
		search->tries--;
		if (!acma_has_room(*first << ACMA_BLOCK_ORDER, search->nr * ACMA_BLOCK_PAGES,
				   !search->free_only)) {
			full = block_nid(block);
			err = -ENOMEM;
			continue;
		}
		err = take_run(*first, search->nr, &stop);
		if (!err || err == -EINTR)
			return err;
		block = stop;
	}
	return err;
}

/* Free memory first, and the memory that fewer can use last: of DMA32 before DMA. */
static int find_run(struct acma *acma, unsigned int nr, int nid, u64 *first)
{
	int err = -EBUSY;
	int free_only;
	int zone;

	for (free_only = 1; free_only >= 0; free_only--) {
		for (zone = ZONE_NORMAL; zone >= 0; zone--) {
			struct search search = {
				.acma = acma,
				.nr = nr,
				.nid = nid,
				.zone = zone,
				.free_only = free_only,
				.tries = RUNS_TRIED,
			};
			int got;

#ifdef CONFIG_ZONE_DMA
			if (zone == ZONE_DMA)
				continue;	/* 16 MiB for old devices */
#endif
			got = search_zone(&search, first);
			if (!got || got == -EINTR)
				return got;
			if (got == -ENOMEM)
				err = -ENOMEM;
		}
	}
	return err;
}

/* From blocks to pages that live and die on their own. */
static void prepare(u64 first, u64 nr)
{
	struct page *page = pfn_to_page(first << ACMA_BLOCK_ORDER);
	u64 i;

	for (i = 0; i < nr; i++)
		split_page(page + i * ACMA_BLOCK_PAGES, ACMA_BLOCK_ORDER);
	if (want_init_on_alloc(GFP_KERNEL))
		return;		/* the kernel did it */
	for (i = 0; i < nr * ACMA_BLOCK_PAGES; i++) {
		clear_highpage(page + i);
		cond_resched();
	}
}

static void count(struct acma *acma, s64 blocks)
{
	spin_lock(&acma->lock);
	acma->pool_blocks += blocks;
	spin_unlock(&acma->lock);
}

/* From pages to a block again, which is free at once and not page by page on a CPU's list. */
static bool rejoin(struct page *page)
{
	unsigned int i;

	for (i = 0; i < ACMA_BLOCK_PAGES; i++) {
		if (!page_ref_freeze(page + i, 1))
			break;		/* somebody has pinned it */
	}
	if (i == ACMA_BLOCK_PAGES) {
		set_page_count(page, 1);
		return true;
	}
	while (i-- > 0)
		page_ref_unfreeze(page + i, 1);
	return false;
}

static void end_pool(struct pool *pool)
{
	unsigned int block, i;

	for (block = 0; block < pool->blocks; block++) {
		struct page *page = pfn_to_page(pool->first + block * ACMA_BLOCK_PAGES);

		if (rejoin(page)) {
			__free_pages(page, ACMA_BLOCK_ORDER);
		} else {
			for (i = 0; i < ACMA_BLOCK_PAGES; i++)
				__free_page(page + i);
		}
		cond_resched();
	}
	count(pool->acma, -(s64)pool->blocks);
	kfree(pool);
}

static vm_fault_t pool_fault(struct vm_fault *vmf)
{
	struct pool *pool = vmf->vma->vm_private_data;

	if (WARN_ON_ONCE(vmf->pgoff >= pool->blocks * ACMA_BLOCK_PAGES))
		return VM_FAULT_SIGBUS;
	vmf->page = pfn_to_page(pool->first + vmf->pgoff);
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct pool_vm_operations = {
	.fault = pool_fault,
};

/* A private mapping would copy what is written to pages that are anywhere. */
static int pool_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct pool *pool = file->private_data;
	unsigned long pages = pool->blocks * ACMA_BLOCK_PAGES;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff >= pages || vma_pages(vma) > pages - vma->vm_pgoff)
		return -EINVAL;
	/* Never longer than this; and its pages are on no LRU list: nothing for mlock() or KSM. */
	vm_flags_set(vma, VM_DONTEXPAND);
	vma->vm_private_data = pool;
	vma->vm_ops = &pool_vm_operations;
	return 0;
}

static int pool_release(struct inode *inode, struct file *file)
{
	end_pool(file->private_data);
	return 0;
}

/* The owner: the module stays until the last file is gone. */
static const struct file_operations pool_operations = {
	.owner = THIS_MODULE,
	.mmap = pool_mmap,
	.release = pool_release,
};

/**
 * acma_pool_open() - a file of contiguous memory
 * @acma: the instance; none of its locks is held
 * @blocks: how many, adjacent
 * @nid: of this node, or NUMA_NO_NODE
 *
 * Return: a file descriptor, -ENOMEM (too little would be left), -EBUSY (so much
 * is nowhere to be had in one piece, or the system suspends), -EINTR, or what a
 * new file fails with
 */
int acma_pool_open(struct acma *acma, unsigned int blocks, int nid)
{
	struct pool *pool = kzalloc(sizeof(*pool), GFP_KERNEL);
	struct file *file;
	int err, fd;
	u64 first;

	if (!pool)
		return -ENOMEM;
	if (mutex_lock_killable(&acma->take)) {
		kfree(pool);
		return -EINTR;
	}
	err = acma->suspended ? -EBUSY : find_run(acma, blocks, nid, &first);
	mutex_unlock(&acma->take);
	if (err) {
		kfree(pool);
		return err;
	}
	prepare(first, blocks);
	pool->acma = acma;
	pool->first = first << ACMA_BLOCK_ORDER;
	pool->blocks = blocks;
	count(acma, blocks);
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		end_pool(pool);
		return fd;
	}
	file = anon_inode_getfile("[acma-pool]", &pool_operations, pool, O_RDWR);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		end_pool(pool);
		return PTR_ERR(file);
	}
	fd_install(fd, file);
	return fd;
}
