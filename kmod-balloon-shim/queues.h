/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the host is told, through which queue, and when. No kernel calls: as
 * map.c, this also builds in user space. It is tested there for every device,
 * also for those that no guest meets: QEMU does not demand to be told before a
 * page is used again, and the guests' kernels do not poison free pages.
 */
#ifndef ACMA_QUEUES_H
#define ACMA_QUEUES_H

#include <linux/virtio_balloon.h>

#include "include/uapi/acma_balloon.h"
#include "map.h"

/* The device counts in pages of 4 KiB, whatever PAGE_SIZE is. */
#define ACMA_PFNS_PER_BLOCK (ACMA_BLOCK_BYTES >> VIRTIO_BALLOON_PFN_SHIFT)
/* Descriptors of one report: no window has more rows of blocks. */
#define ACMA_REPORT_MAX (ACMA_WINDOW_BLOCKS / 2)

enum acma_queue {
	ACMA_NO_QUEUE,
	ACMA_REPORT_QUEUE,
	ACMA_INFLATE_QUEUE,
	ACMA_DEFLATE_QUEUE,
};

struct acma;

u64 acma_wanted_features(u64 offered, bool init_on_free, bool poisoning);
u32 acma_poison_val(u64 features, bool init_on_free, u8 pattern);
enum acma_queue acma_queue_for_blocks(bool device, bool report, u32 poison_val);
u32 acma_block_pfn(u64 block, unsigned int i);
void acma_tell_runs(struct acma *acma, u64 first, u64 bits, unsigned int most);
void acma_tell_each(struct acma *acma, enum acma_queue queue, u64 first, u64 bits);
void acma_hand_back(struct acma *acma, u64 features, u64 window, u64 bits, u64 unmanaged);

/* What these do it with: host.c and blocks.c, or a test. Not 0: the device is broken. */
int acma_send_runs(struct acma *acma, const struct acma_run *runs, unsigned int nr);
int acma_send_block(struct acma *acma, enum acma_queue queue, u64 block);
void acma_tell_deflated(struct acma *acma, u64 window, u64 bits);
void acma_free_block(struct acma *acma, u64 block, bool unmanaged);

#endif
