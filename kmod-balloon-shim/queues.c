// SPDX-License-Identifier: GPL-2.0-only
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "queues.h"

static bool has(u64 features, unsigned int feature)
{
	return features & (1ULL << feature);
}

/**
 * acma_wanted_features() - what of a device's features is used
 * @offered: by the device, as far as the driver knows them
 * @init_on_free: free pages are zeros
 * @poisoning: free pages have a pattern
 *
 * Return: a subset of @offered
 */
u64 acma_wanted_features(u64 offered, bool init_on_free, bool poisoning)
{
	u64 unwanted = 0;

	/*
	 * Free pages have a known content only with init_on_free or page
	 * poisoning; where the host cannot be told which, it must not replace them.
	 */
	if (!init_on_free && !poisoning)
		unwanted |= 1ULL << VIRTIO_BALLOON_F_PAGE_POISON;
	else if (!has(offered, VIRTIO_BALLOON_F_PAGE_POISON))
		unwanted |= 1ULL << VIRTIO_BALLOON_F_REPORTING;

	/* The host is told of pages while memory is short: nothing may be allocated then. */
	unwanted |= 1ULL << VIRTIO_RING_F_INDIRECT_DESC;
	/* Addresses are the guest's physical ones, never an IOMMU's. */
	unwanted |= 1ULL << VIRTIO_F_ACCESS_PLATFORM;
	return offered & ~unwanted;
}

/**
 * acma_poison_val() - what free pages hold
 * @features: those in use
 * @init_on_free: zeros
 * @pattern: or else this, in each byte
 *
 * Return: as the host is told; 0 where it is not
 */
u32 acma_poison_val(u64 features, bool init_on_free, u8 pattern)
{
	if (init_on_free || !has(features, VIRTIO_BALLOON_F_PAGE_POISON))
		return 0;
	return pattern * 0x01010101U;
}

/**
 * acma_queue_for_blocks() - through which queue the host is told of taken blocks
 * @device: there is one
 * @report: and it has a report queue
 * @poison_val: what free pages hold
 *
 * A host that would have to keep a value in free pages ignores reports.
 *
 * Return: ACMA_NO_QUEUE without a device
 */
enum acma_queue acma_queue_for_blocks(bool device, bool report, u32 poison_val)
{
	if (!device)
		return ACMA_NO_QUEUE;
	return report && !poison_val ? ACMA_REPORT_QUEUE : ACMA_INFLATE_QUEUE;
}

/**
 * acma_block_pfn() - a block as the inflate and the deflate queue name it
 * @block: its number
 * @i: below ACMA_PFNS_PER_BLOCK; all of them make one element
 *
 * Return: the PFN
 */
u32 acma_block_pfn(u64 block, unsigned int i)
{
	return block * ACMA_PFNS_PER_BLOCK + i;
}

/**
 * acma_tell_runs() - blocks through the report queue, one descriptor for a row of them
 * @acma: for acma_send_runs()
 * @first: number of the window's first block
 * @bits: the window's blocks
 * @most: descriptors of one report, at least 1
 */
void acma_tell_runs(struct acma *acma, u64 first, u64 bits, unsigned int most)
{
	struct acma_run runs[ACMA_REPORT_MAX];

	while (bits) {
		unsigned int nr = acma_runs(first, bits, runs, most);
		unsigned int i;

		if (acma_send_runs(acma, runs, nr))
			return;
		for (i = 0; i < nr; i++)
			bits &= ~acma_bits(runs[i].first - first, runs[i].nr);
	}
}

/**
 * acma_tell_each() - blocks through the inflate or the deflate queue, one element for each
 * @acma: for acma_send_block()
 * @queue: which
 * @first: number of the window's first block
 * @bits: the window's blocks
 */
void acma_tell_each(struct acma *acma, enum acma_queue queue, u64 first, u64 bits)
{
	for (; bits; bits &= bits - 1) {
		if (acma_send_block(acma, queue, first + __builtin_ctzll(bits)))
			return;
	}
}

/**
 * acma_hand_back() - blocks to the kernel, which may use them at once
 * @acma: for acma_tell_deflated() and acma_free_block()
 * @features: those in use
 * @window: number of a window
 * @bits: its blocks; the caller has released them from the map
 * @unmanaged: those of them that were unmanaged
 *
 * A host that must be told is told of all of them before the first is free.
 */
void acma_hand_back(struct acma *acma, u64 features, u64 window, u64 bits, u64 unmanaged)
{
	if (has(features, VIRTIO_BALLOON_F_MUST_TELL_HOST))
		acma_tell_deflated(acma, window, bits);
	for (; bits; bits &= bits - 1) {
		unsigned int i = __builtin_ctzll(bits);

		acma_free_block(acma, (window << ACMA_WINDOW_SHIFT) + i, unmanaged & (1ULL << i));
	}
}
