// SPDX-License-Identifier: GPL-2.0-only
/*
 * The statistics queue works the other way round: it holds one buffer of ours,
 * which the host returns when it wants a fresh one.
 */
#include <linux/mm.h>
#include <linux/swap.h>
#include <linux/virtio_config.h>
#include <linux/vmstat.h>

#include "acma.h"

struct stat_writer {
	struct acma *acma;
	unsigned int nr;
};

static void put(struct stat_writer *to, u16 tag, u64 value)
{
	struct virtio_balloon_stat *stat;

	if (WARN_ON_ONCE(to->nr >= VIRTIO_BALLOON_S_NR))
		return;
	stat = &to->acma->stats[to->nr++];
	stat->tag = cpu_to_virtio16(to->acma->vdev, tag);
	stat->val = cpu_to_virtio64(to->acma->vdev, value);
}

static u64 bytes(u64 pages)
{
	return pages << PAGE_SHIFT;
}

static void put_events(struct stat_writer *to)
{
#ifdef CONFIG_VM_EVENT_COUNTERS
	unsigned long events[NR_VM_EVENT_ITEMS];
	unsigned long stalls = 0;
	unsigned int zone;

	all_vm_events(events);
	for (zone = 0; zone < MAX_NR_ZONES; zone++)
		stalls += events[ALLOCSTALL_NORMAL - ZONE_NORMAL + zone];
	put(to, VIRTIO_BALLOON_S_SWAP_IN, bytes(events[PSWPIN]));
	put(to, VIRTIO_BALLOON_S_SWAP_OUT, bytes(events[PSWPOUT]));
	put(to, VIRTIO_BALLOON_S_MAJFLT, events[PGMAJFAULT]);
	put(to, VIRTIO_BALLOON_S_MINFLT, events[PGFAULT]);
	put(to, VIRTIO_BALLOON_S_OOM_KILL, events[OOM_KILL]);
	put(to, VIRTIO_BALLOON_S_ALLOC_STALL, stalls);
	put(to, VIRTIO_BALLOON_S_ASYNC_SCAN, bytes(acma_scan_event(events, PGSCAN_KSWAPD)));
	put(to, VIRTIO_BALLOON_S_DIRECT_SCAN, bytes(acma_scan_event(events, PGSCAN_DIRECT)));
	put(to, VIRTIO_BALLOON_S_ASYNC_RECLAIM, bytes(acma_scan_event(events, PGSTEAL_KSWAPD)));
	put(to, VIRTIO_BALLOON_S_DIRECT_RECLAIM, bytes(acma_scan_event(events, PGSTEAL_DIRECT)));
#ifdef CONFIG_HUGETLB_PAGE
	put(to, VIRTIO_BALLOON_S_HTLB_PGALLOC, events[HTLB_BUDDY_PGALLOC]);
	put(to, VIRTIO_BALLOON_S_HTLB_PGFAIL, events[HTLB_BUDDY_PGALLOC_FAIL]);
#endif
#endif
}

/* Returns how many there are. */
static unsigned int collect(struct acma *acma)
{
	struct stat_writer to = { .acma = acma };
	struct sysinfo info;

	put_events(&to);
	si_meminfo(&info);
	put(&to, VIRTIO_BALLOON_S_MEMFREE, bytes(info.freeram));
	put(&to, VIRTIO_BALLOON_S_MEMTOT, bytes(info.totalram));
	put(&to, VIRTIO_BALLOON_S_AVAIL, bytes(si_mem_available()));
	put(&to, VIRTIO_BALLOON_S_CACHES, bytes(global_node_page_state(NR_FILE_PAGES)));
	return to.nr;
}

static int send(struct acma *acma)
{
	struct scatterlist sg;
	int err;

	sg_init_one(&sg, acma->stats, collect(acma) * sizeof(acma->stats[0]));
	err = virtqueue_add_outbuf(acma->stats_vq, &sg, 1, acma, GFP_KERNEL);
	if (!WARN_ON_ONCE(err))
		virtqueue_kick(acma->stats_vq);
	return err;
}

/**
 * acma_stats_prime() - gives the host the buffer by which it asks
 * @acma: the instance, with its queues
 *
 * Return: 0 or a negative errno
 */
int acma_stats_prime(struct acma *acma)
{
	return acma->stats_vq ? send(acma) : 0;
}

static void stats_work(struct work_struct *work)
{
	struct acma *acma = container_of(work, struct acma, stats_work);
	unsigned int len;

	if (virtqueue_get_buf(acma->stats_vq, &len))
		send(acma);
	acma_may_sleep(acma, ACMA_WAKEUP_STATS);
}

/**
 * acma_stats_asked() - the host has returned the buffer; interrupt context
 * @vq: the statistics queue
 */
void acma_stats_asked(struct virtqueue *vq)
{
	struct acma *acma = vq->vdev->priv;
	unsigned long flags;

	spin_lock_irqsave(&acma->stop_lock, flags);
	if (!acma->stopping) {
		acma_stay_awake(acma, ACMA_WAKEUP_STATS);
		queue_work(acma->wq, &acma->stats_work);
	}
	spin_unlock_irqrestore(&acma->stop_lock, flags);
}

/**
 * acma_stats_init() - nothing is asked for
 * @acma: the instance
 */
void acma_stats_init(struct acma *acma)
{
	INIT_WORK(&acma->stats_work, stats_work);
}
