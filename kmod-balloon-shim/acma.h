/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The module's parts and what they share.
 *
 *   map.c      which blocks are owned; pure
 *   queues.c   what the host is told, through which queue, and when; pure
 *   blocks.c   taking blocks from the kernel and giving them back
 *   hotplug.c  memory that comes and goes
 *   keep.c     taking a free memory block without touching it
 *   release.c  removing owned memory blocks, for their page structs
 *   pool.c     contiguous memory on request, as a file that is mapped
 *   pages.c    single pages, where a host asks for more than blocks can give
 *   host.c     telling the host: report, inflate and deflate queues
 *   target.c   what the host asks for, and how it is met
 *   relief.c   giving back without anybody asking: OOM, pressure, no agent
 *   stats.c    the statistics queue
 *   hinting.c  free page hinting
 *   device.c   /dev/acma
 *   driver.c   the virtio driver: probe, remove, freeze, restore
 */
#ifndef ACMA_H
#define ACMA_H

#include <linux/atomic.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/rwsem.h>
#include <linux/scatterlist.h>
#include <linux/shrinker.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/virtio_balloon.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "include/uapi/acma_balloon.h"
#include "compat.h"
#include "map.h"
#include "queues.h"

#define ACMA_PFNS_PER_PAGE (PAGE_SIZE >> VIRTIO_BALLOON_PFN_SHIFT)

/**
 * struct acma_agent - who is attached to /dev/acma
 * @file: the attached file, or NULL
 * @deadline: for a new host target
 * @hold_off: how long voluntary blocks stay without an agent
 * @seen: when it last called (jiffies)
 * @left: when the last one went, or was found late (jiffies)
 * @looked: when relief_work() last looked after it (jiffies)
 */
struct acma_agent {
	struct file *file;
	unsigned long deadline;
	unsigned long hold_off;
	unsigned long seen;
	unsigned long left;
	unsigned long looked;
};

/**
 * struct acma_keep - the memory block that is kept when it comes online (keep.c)
 * @claimed: there is one
 * @file: who asked for it, or NULL
 * @window: its number; stays when @file is gone
 * @bits: blocks that came online
 */
struct acma_keep {
	bool claimed;
	struct file *file;
	u64 window;
	u64 bits;
};

/**
 * struct acma_releasing - memory blocks that are removed (release.c)
 * @one: at a time; waits for the kernel's hotplug lock
 * @window: this one is being removed, or ACMA_NO_WINDOW
 * @leaving: blocks of it that went offline and are not yet in the map's count
 * @most: so much may be removed: what the host asks for, and nobody else may have
 *        (balloon pages)
 * @owed: blocks to give back as soon as they are added again
 * @asleep: the system is about to sleep: nothing is removed
 * @work: adds what is needed
 * @slow: removes what the host has for long
 * @kept: why it did not remove more, enum acma_release_result, or 0
 * @pm_nb: when the system goes to sleep
 */
struct acma_releasing {
	/* Held while one is removed or added. */
	struct mutex one;
	u64 window;
	u64 leaving;
	u32 most;
	u64 owed;
	bool asleep;
	struct delayed_work work;
	struct delayed_work slow;
	u32 kept;
	struct notifier_block pm_nb;
};

/*
 * The one instance. Locks come first, the outer ones above. Nobody who frees, no
 * notifier and no shrinker may need one over which memory is allocated: that is
 * @take alone.
 */
struct acma {
	/* Held for reading while /dev/acma is used, for writing to end that. */
	struct rw_semaphore alive;
	/* Serialises those who take blocks; held over alloc_contig_range(). */
	struct mutex take;
	/* The list of single pages, against moving them. */
	struct mutex pages_lock;
	/* The report queue and its descriptors. */
	struct mutex report_lock;
	/* The inflate queue and its buffer. */
	struct mutex inflate_lock;
	/* The deflate queue and its buffer. */
	struct mutex deflate_lock;
	/* Blocks that are being marked as owned, against memory that goes offline. */
	struct mutex marking;
	/* The map, the agent, and the counters for /dev/acma. */
	spinlock_t lock;

	/* The device; NULL without one. Changed with all of the above idle. */
	struct virtio_device *vdev;
	u64 features;			/* those in use; notifiers may look while it goes */
	struct virtqueue *inflate_vq;
	struct virtqueue *deflate_vq;
	struct virtqueue *stats_vq;
	struct virtqueue *hint_vq;
	struct virtqueue *report_vq;
	wait_queue_head_t acked;	/* the host has read a buffer */
	u32 poison_val;			/* what free pages hold */
	bool suspended;			/* nothing is taken */
	struct page_reporting_dev_info reporting;
	bool reporting_on;
	__virtio32 inflate_pfns[ACMA_PFNS_PER_BLOCK];
	__virtio32 deflate_pfns[ACMA_PFNS_PER_BLOCK];
	struct scatterlist report_sg[ACMA_REPORT_MAX];

	/* Blocks. */
	struct acma_map map;
	unsigned long *retry_at;	/* per window: not migrated before (jiffies) */
	unsigned int *failed;		/* per window: how often in a row */
	int *added;			/* per window: NUMA node, if it was ever released */
	struct acma_releasing release;

	/* Single pages. */
	struct balloon_dev_info pages;
	atomic_long_t nr_pages;		/* of PAGE_SIZE */

	/* What the host asks for. In balloon pages. */
	struct workqueue_struct *wq;
	struct delayed_work target_work;
	u32 asked;			/* num_pages, last read */
	u64 away;			/* blocks that went offline while the host had them */
	u32 target;			/* what is asked less what is away */
	u32 counted;			/* of @forced, in the kernel's counters */
	bool offlining;			/* memory goes offline: nothing is taken of the rest */
	u32 forced;			/* of what is owned: what it asked for and got */
	u32 actual;			/* last written */
	unsigned long target_since;	/* jiffies */
	unsigned long retake_after;	/* jiffies: not before, after an OOM */
	bool retake_waits;
	unsigned int target_failed;	/* how often in a row nothing was had */
	unsigned long missed_at;	/* jiffies: when it was said last */
	bool stopping;			/* no work is queued any more */
	/* Protects @stopping; taken in interrupts. */
	spinlock_t stop_lock;

	/* Relief. */
	struct notifier_block oom_nb;
	struct notifier_block memory_nb;
	struct shrinker *shrinker;
	struct delayed_work relief_work;

	/* /dev/acma. */
	struct miscdevice misc;
	bool misc_on;
	struct acma_agent agent;
	wait_queue_head_t events;
	struct acma_keep keep;
	u64 gone;			/* window that went offline to be kept, or ACMA_NO_WINDOW */
	u64 event;
	u64 target_changes;
	u64 oom_freed;
	u64 pressure_freed;
	u64 pressure_events;
	unsigned long pressure_at;	/* jiffies: the last event */
	u64 taken;
	u64 freed;
	u64 pool_blocks;		/* handed out, see pool.c; not owned */
	atomic64_t descriptors;

	/* Statistics and hinting. */
	struct virtio_balloon_stat stats[VIRTIO_BALLOON_S_NR];
	struct work_struct stats_work;
	struct work_struct hint_work;
	struct acma_hinting *hinting;

	/* The system stays awake while the host waits for something. */
	/* Protects the two below; taken in interrupts. */
	spinlock_t wakeup_lock;
	bool awake;
	unsigned int wakeup_for;
};

#define ACMA_WAKEUP_TARGET 0x1
#define ACMA_WAKEUP_STATS 0x2

static inline bool acma_has(struct acma *acma, unsigned int feature)
{
	return READ_ONCE(acma->features) & BIT_ULL(feature);
}

static inline u64 acma_features(struct acma *acma)
{
	return READ_ONCE(acma->features);
}

/* What the host asks for, of the memory that is here. @acma->lock is held. */
static inline u32 acma_target_here(struct acma *acma)
{
	return acma->asked - min_t(u64, acma->asked, acma->away * ACMA_PFNS_PER_BLOCK);
}

/* Forced blocks leave the count of managed pages. Stock does the same. */
static inline bool acma_unmanages(struct acma *acma)
{
	return acma->vdev && !acma_has(acma, VIRTIO_BALLOON_F_DEFLATE_ON_OOM);
}

/* blocks.c */
int acma_blocks_init(struct acma *acma);
void acma_blocks_exit(struct acma *acma);
void acma_take(struct acma *acma, u64 window, u64 want, u32 flags, u8 *result);
u64 acma_give(struct acma *acma, u64 window, u64 bits, bool voluntary);
u64 acma_give_some(struct acma *acma, u64 blocks, bool voluntary);
u64 acma_free_bits(u64 window, u64 candidates);
unsigned int acma_used_pages(u64 window, u64 candidates);
void acma_manage_as_forced(struct acma *acma);
u64 acma_owned_blocks(struct acma *acma);
u64 acma_owned_pfns(struct acma *acma);
u64 acma_voluntary_blocks(struct acma *acma);
unsigned long acma_floor_pages(void);
bool acma_below_floor(unsigned long pages);
bool acma_has_room(unsigned long pfn, unsigned long pages, bool moves);
void acma_look_for_ram(struct acma *acma, u64 first, u64 last);

/* hotplug.c */
int acma_hotplug_start(struct acma *acma);
void acma_hotplug_settle(struct acma *acma);
void acma_hotplug_stop(struct acma *acma);

/* keep.c */
int acma_keep_begin(struct acma *acma, struct file *file, u64 window);
int acma_keep_claim(struct acma *acma, struct file *file, u64 window);
void acma_keep_online(struct acma *acma, u64 window);
u64 acma_keep_settle(struct acma *acma);
u64 acma_keep_end(struct acma *acma, struct file *file);
bool acma_inside_its_zone(unsigned long pfn, unsigned long pages);

/* release.c */
int acma_release_start(struct acma *acma);
void acma_release_stop(struct acma *acma);
void acma_release_look(struct acma *acma, u64 owed);
void acma_release_settled(struct acma *acma);
u32 acma_window_remove(struct acma *acma, u64 window);
u32 acma_window_add(struct acma *acma, u64 window);

/* pool.c */
int acma_pool_open(struct acma *acma, unsigned int blocks, int nid);

/* pages.c */
void acma_pages_init(struct acma *acma);
u64 acma_pages_take(struct acma *acma, u64 pages);
u64 acma_pages_give(struct acma *acma, u64 pages);

/* host.c */
void acma_acked(struct virtqueue *vq);
void acma_report_blocks(struct acma *acma, u64 window, u64 bits);
int acma_tell(struct acma *acma, struct virtqueue *vq, void *pfns, unsigned int nr);
int acma_reporting_start(struct acma *acma);
void acma_reporting_stop(struct acma *acma);
void acma_rereport(struct acma *acma);

/* target.c */
void acma_target_init(struct acma *acma);
void acma_target_changed(struct acma *acma);
void acma_target_look(struct acma *acma, unsigned long delay);
void acma_write_actual(struct acma *acma, u32 actual);
void acma_settle_forced(struct acma *acma);
void acma_count_forced(struct acma *acma);

/* relief.c */
int acma_relief_start(struct acma *acma);
void acma_relief_stop(struct acma *acma);
void acma_relief_look(struct acma *acma, unsigned long delay);
bool acma_agent_there(struct acma *acma);

/* stats.c */
void acma_stats_init(struct acma *acma);
int acma_stats_prime(struct acma *acma);
void acma_stats_asked(struct virtqueue *vq);

/* hinting.c */
int acma_hinting_start(struct acma *acma);
void acma_hinting_stop(struct acma *acma);
void acma_hinting_changed(struct acma *acma);
void acma_hinting_return_all(struct acma *acma);

/* device.c */
int acma_device_add(struct acma *acma);
void acma_device_remove(struct acma *acma);
void acma_event(struct acma *acma);

/* driver.c */
void acma_stay_awake(struct acma *acma, unsigned int what);
void acma_may_sleep(struct acma *acma, unsigned int what);

#endif
