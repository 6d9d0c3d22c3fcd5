/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * /dev/acma: taking memory away from a guest, and giving it back, in blocks.
 *
 * A block is 2 MiB, numbered by its physical address / 2 MiB. A window is 64
 * blocks (128 MiB), numbered in the same way. The device node has mode 0600.
 *
 * Every reserved field must be zero. Every call either does nothing and fails
 * with an errno (EINVAL: what was asked makes no sense; ENOTTY: not a call of
 * this module), or succeeds and tells for each block what became of it.
 *
 * docs/balloon.md explains the rules that the module keeps.
 */
#ifndef ACMA_BALLOON_UAPI_H
#define ACMA_BALLOON_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define ACMA_BLOCK_SHIFT 21
#define ACMA_BLOCK_BYTES (2ULL << 20)
#define ACMA_WINDOW_BLOCKS 64

/* What became of a block that was to be allocated or freed. */
enum acma_result {
	ACMA_TAKEN = 1,		/* ALLOC: owned now, and the host was told */
	ACMA_FREED = 2,		/* FREE: the guest has it back */
	ACMA_ALREADY = 3,	/* ALLOC: owned before; FREE: not owned */
	ACMA_BUSY = 4,		/* ALLOC: has pages that cannot be moved now */
	ACMA_NO_MEMORY = 5,	/* ALLOC: the guest has too little left */
	ACMA_NOT_RAM = 6,	/* ALLOC: not, or only partly, memory in use */
	ACMA_USED = 7,		/* ALLOC, only free ones asked: it is not free */
	ACMA_PENDING = 8,	/* FREE: the host has not confirmed it yet */
	ACMA_FORCED = 9,	/* FREE: the host asks for it */
	ACMA_NOT_TRIED = 10,	/* ended early: a signal, or suspended */
};

/* ACMA_IOC_ALLOC: only blocks that are entirely free; nothing is migrated. */
#define ACMA_ALLOC_FREE_ONLY 0x1

/* Blocks of one window at most: first % 64 + nr <= 64. */
struct acma_blocks {
	__u64 first;		/* block number */
	__u32 nr;		/* 1 to 64 */
	__u32 flags;		/* ALLOC: ACMA_ALLOC_*; FREE: 0 */
	__u8 result[ACMA_WINDOW_BLOCKS];	/* out: enum acma_result */
};

/* One window as it is: bit n is block n of the window. */
struct acma_window {
	__u64 present;		/* memory that is in use by the kernel, wholly */
	__u64 owned;
	__u64 pending;		/* owned, and not confirmed by the host */
	__u64 free;		/* entirely free; a moment ago */
	__s32 nid;		/* NUMA node of the first present block, or -1 */
	__u32 zone;		/* its zone, ACMA_ZONE_* */
	__u64 reserved;
};

#define ACMA_ZONE_DMA 0
#define ACMA_ZONE_DMA32 1
#define ACMA_ZONE_NORMAL 2
#define ACMA_ZONE_MOVABLE 3
#define ACMA_ZONE_OTHER 4

#define ACMA_MAP_WINDOWS 32

struct acma_map_query {
	__u64 first;		/* window number */
	__u32 nr;		/* in: 1 to 32; out: how many are there */
	__u32 flags;		/* in: ACMA_MAP_* */
	struct acma_window window[ACMA_MAP_WINDOWS];
};

/* Also find out which blocks are free, which looks at their page structs. */
#define ACMA_MAP_FREE 0x1

/* acma_state.flags */
#define ACMA_DEVICE 0x1		/* a virtio-balloon device is there */
#define ACMA_REPORTS 0x2	/* blocks go through its report queue */
#define ACMA_DEFLATE_ON_OOM 0x4
#define ACMA_MUST_TELL_HOST 0x8
#define ACMA_ATTACHED 0x10	/* an agent is attached, and is not late */
#define ACMA_SUSPENDED 0x20	/* nothing is taken */
#define ACMA_ZEROES 0x40	/* the kernel zeroes what ALLOC takes: see KEEP */

struct acma_state {
	__u64 features;		/* of this interface; none so far */
	__u64 ram_bytes;	/* that the host gave: present, with what is owned */
	__u64 owned_bytes;	/* blocks and single pages */
	__u64 voluntary_bytes;	/* of these, beyond what the host asks for */
	__u64 pending_bytes;
	__u64 single_bytes;	/* taken as pages, where no block could be had */
	__u64 target_bytes;	/* what the host asks for (num_pages) */
	__u64 actual_bytes;	/* what it was told (actual) */
	__u64 floor_bytes;	/* nothing is taken below so much MemAvailable */
	__u64 windows;		/* 0 to windows - 1 can hold memory */
	__u64 event;		/* counts what poll() wakes up for */
	__u64 target_changes;	/* the host asked for something else */
	__u64 oom_freed_bytes;	/* given back since an OOM was near */
	__u64 pressure_freed_bytes;	/* given back since nobody was attached */
	__u64 pressure_events;	/* reclaim began, and blocks are voluntary */
	__u64 taken_bytes;	/* all ever taken */
	__u64 freed_bytes;	/* all ever given back */
	__u64 descriptors;	/* sent to the host to report blocks */
	__u64 gone_window;	/* went offline, to be kept or released, and is not back; or ~0 */
	__u64 released_bytes;	/* owned, and the memory blocks are removed */
	__u64 pool_bytes;	/* handed out by POOL; used memory, not owned */
	__u32 flags;
	__u32 kept;		/* why not more of them, enum acma_release_result; or 0 */
};

/* The caller decides from now on which blocks are taken. One at a time. */
struct acma_attach {
	/* To meet a new host target; then the module does. 100 to 60000. */
	__u32 deadline_ms;
	/* Voluntary blocks stay so long without an agent. At most 600000. */
	__u32 hold_off_ms;
	__u64 reserved;
};

/*
 * Taking a free memory block of 128 MiB without having it zeroed: KEEP, then
 * write "offline" and "online" to its state in sysfs, then KEPT.
 */
struct acma_keep_window {
	__u64 window;		/* its number, and the memory block's */
	__u64 reserved;
};

/*
 * Removing a memory block of 128 MiB that is owned, so that its page structs are
 * free memory, and adding it again. It is owned all the time.
 */
enum acma_release_result {
	ACMA_RELEASED = 1,
	ACMA_RESTORED = 2,
	ACMA_RELEASE_BUSY = 3,		/* not now */
	ACMA_NO_ROOM = 4,		/* RESTORE: too little memory for its page structs */
	ACMA_NOT_RELEASED = 5,		/* RESTORE: it was not */
	ACMA_NOT_WHOLLY_OWNED = 6,
	ACMA_GUESTS_OWN = 7,		/* the host does not ask for it, or it comes back on OOM */
	ACMA_NOT_A_MEMORY_BLOCK = 8,	/* the kernel's are larger */
	ACMA_AT_ZONE_EDGE = 9,
	ACMA_NOT_FROM_BOOT = 10,	/* memory that something else added */
	ACMA_GIB_LEAF = 11,		/* mapped by a page of 1 GiB */
	ACMA_KERNEL_INSIDE = 12,	/* the kernel is in the same memory resource */
	ACMA_STAYS_OFFLINE = 13,	/* memory that is added does not come online by itself */
	ACMA_NOT_PROVEN = 14,		/* on this architecture */
};

struct acma_release_window {
	__u64 window;		/* its number, and the memory block's */
	__u32 result;		/* out: enum acma_release_result */
	__u32 reserved;
};

/* Contiguous memory. */
struct acma_pool {
	__u32 blocks;		/* 1 to ACMA_POOL_BLOCKS, adjacent */
	__s32 nid;		/* of this NUMA node, or -1 */
	__u32 flags;		/* none so far: 0 */
	__u32 reserved;
};

#define ACMA_POOL_BLOCKS 512	/* 1 GiB */

#define ACMA_IOC_ALLOC _IOWR('a', 0x01, struct acma_blocks)
#define ACMA_IOC_FREE _IOWR('a', 0x02, struct acma_blocks)
#define ACMA_IOC_MAP _IOWR('a', 0x03, struct acma_map_query)
/* Also takes note of all events so far: poll() waits for the next one. */
#define ACMA_IOC_STATE _IOR('a', 0x04, struct acma_state)
/* EBUSY: another one is attached. Ends with the file's last close. */
#define ACMA_IOC_ATTACH _IOW('a', 0x05, struct acma_attach)
/* Tells the host again of every block that is owned. */
#define ACMA_IOC_REREPORT _IO('a', 0x06)
/*
 * The window's blocks are owned when they come online next, instead of free.
 * EOPNOTSUPP: not a memory block, or at the edge of its zone. EBUSY: partly owned,
 * or somebody else keeps one. ENOMEM: the guest would have too little left. Ends
 * with KEPT, or with the file's last close.
 */
#define ACMA_IOC_KEEP _IOW('a', 0x07, struct acma_keep_window)
/* The host is told. Returns how many blocks are owned since. */
#define ACMA_IOC_KEPT _IO('a', 0x08)
#define ACMA_IOC_RELEASE _IOWR('a', 0x09, struct acma_release_window)
#define ACMA_IOC_RESTORE _IOWR('a', 0x0a, struct acma_release_window)
/*
 * Returns a file descriptor (close-on-exec) of physically contiguous memory, all
 * zero, to be mapped with MAP_SHARED. It is the guest's again when the descriptor,
 * its copies and all mappings are gone. Nothing but the user's own closing takes
 * it back; it does not go offline, and the module is not unloaded before.
 * ENOMEM: the guest would have too little left. EBUSY: not so much in one piece.
 */
#define ACMA_IOC_POOL _IOW('a', 0x0b, struct acma_pool)

#endif
