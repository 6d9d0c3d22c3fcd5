// SPDX-License-Identifier: GPL-2.0-only
/*
 * Giving back without anybody asking: before the kernel kills for memory, under
 * pressure while no agent watches, and some time after the last agent has gone.
 */
#include <linux/module.h>
#include <linux/oom.h>
#include <linux/slab.h>
#include <linux/vmstat.h>

#include "acma.h"

/* Above the stock balloon's 80: what is voluntary comes first. */
#define OOM_PRIORITY 90
#define OOM_BLOCKS 16
/* An attached agent that has not called for so long is late (or longer, if its deadline is). */
#define AGENT_LATE (5 * HZ)
/* Who looks after it every second and has not for so long was late himself. */
#define LOOKED_LATE (3 * HZ)
/* Events of pressure are at least so far apart. */
#define PRESSURE_EVERY (HZ / 20)
/* After an OOM forced blocks are not taken again for so long. */
#define RETAKE_AFTER (30 * HZ)

static unsigned int return_mib_per_s = 64;
module_param(return_mib_per_s, uint, 0644);
MODULE_PARM_DESC(return_mib_per_s, "how fast voluntary blocks come back after the hold-off without an agent (MiB/s, default 64)");

#define RETURN_EVERY (HZ / 4)

/**
 * acma_agent_there() - is somebody attached, and alive?
 * @acma: the instance
 *
 * Return: whether decisions are left to the agent
 */
bool acma_agent_there(struct acma *acma)
{
	unsigned long patience = max_t(unsigned long, AGENT_LATE, 2 * acma->agent.deadline);
	unsigned long late = READ_ONCE(acma->agent.seen) + patience;

	return READ_ONCE(acma->agent.file) && time_before(jiffies, late);
}

static void note(struct acma *acma, u64 *total, u64 more)
{
	spin_lock(&acma->lock);
	*total += more;
	spin_unlock(&acma->lock);
	acma_event(acma);
}

static int oom_notify(struct notifier_block *nb, unsigned long unused, void *freed)
{
	struct acma *acma = container_of(nb, struct acma, oom_nb);
	u64 blocks = acma_give_some(acma, OOM_BLOCKS, true);

	if (!blocks && acma_has(acma, VIRTIO_BALLOON_F_DEFLATE_ON_OOM)) {
		u64 pages = acma_pages_give(acma, OOM_BLOCKS * ACMA_BLOCK_PAGES);

		*(unsigned long *)freed += pages;
		if (!pages)
			blocks = acma_give_some(acma, OOM_BLOCKS, false);
		if (pages || blocks) {
			acma->retake_after = jiffies + RETAKE_AFTER;
			acma->retake_waits = true;
			acma_target_look(acma, 0);	/* tells the host */
		}
	}
	*(unsigned long *)freed += blocks * ACMA_BLOCK_PAGES;
	if (blocks)
		note(acma, &acma->oom_freed, blocks);
	return NOTIFY_OK;
}

/*
 * Reclaim asks the shrinkers too, and does so before anybody stalls: the first
 * sign of pressure. An attached agent is told of it.
 */
static unsigned long shrink_count(struct shrinker *shrinker, struct shrink_control *control)
{
	struct acma *acma = shrinker->private_data;
	u64 voluntary = acma_voluntary_blocks(acma);

	if (!voluntary)
		return SHRINK_EMPTY;
	if (!acma_agent_there(acma))
		return voluntary * ACMA_BLOCK_PAGES;
	if (time_after(jiffies, READ_ONCE(acma->pressure_at) + PRESSURE_EVERY)) {
		WRITE_ONCE(acma->pressure_at, jiffies);
		note(acma, &acma->pressure_events, 1);
	}
	return SHRINK_EMPTY;
}

static unsigned long shrink_scan(struct shrinker *shrinker, struct shrink_control *control)
{
	struct acma *acma = shrinker->private_data;
	u64 blocks = DIV_ROUND_UP(control->nr_to_scan, ACMA_BLOCK_PAGES);

	if (acma_agent_there(acma))
		return SHRINK_STOP;
	blocks = acma_give_some(acma, blocks, true);
	if (!blocks)
		return SHRINK_STOP;
	note(acma, &acma->pressure_freed, blocks);
	control->nr_scanned = blocks * ACMA_BLOCK_PAGES;
	return blocks * ACMA_BLOCK_PAGES;
}

/* Looks now and then while something voluntary is owned. */
static void relief_work(struct work_struct *work)
{
	struct acma *acma = container_of(to_delayed_work(work), struct acma, relief_work);
	unsigned long next = HZ;

	if (!acma_voluntary_blocks(acma))
		return;
	/*
	 * The guest did not run, or its clock jumped (it was reverted to a
	 * snapshot): that says nothing of the agent.
	 */
	if (time_after(jiffies, acma->agent.looked + LOOKED_LATE))
		WRITE_ONCE(acma->agent.seen, jiffies);
	acma->agent.looked = jiffies;
	if (acma_agent_there(acma)) {
		acma->agent.left = jiffies;
	} else if (time_after(jiffies, acma->agent.left + acma->agent.hold_off)) {
		u64 blocks = max(1U, return_mib_per_s / (HZ / RETURN_EVERY) /
				     (unsigned int)(ACMA_BLOCK_BYTES >> 20));

		acma_give_some(acma, blocks, true);
		next = RETURN_EVERY;
	}
	acma_relief_look(acma, next);
}

/**
 * acma_relief_look() - watches over what is voluntary from now on
 * @acma: the instance
 * @delay: jiffies
 */
void acma_relief_look(struct acma *acma, unsigned long delay)
{
	queue_delayed_work(acma->wq, &acma->relief_work, delay);
}

/**
 * acma_relief_start() - registers with the kernel
 * @acma: the instance
 *
 * Return: 0 or a negative errno
 */
int acma_relief_start(struct acma *acma)
{
	int err;

	INIT_DELAYED_WORK(&acma->relief_work, relief_work);
	acma->shrinker = shrinker_alloc(0, "acma-balloon");
	if (!acma->shrinker)
		return -ENOMEM;
	acma->shrinker->count_objects = shrink_count;
	acma->shrinker->scan_objects = shrink_scan;
	acma->shrinker->private_data = acma;
	acma->oom_nb.notifier_call = oom_notify;
	acma->oom_nb.priority = OOM_PRIORITY;
	err = register_oom_notifier(&acma->oom_nb);
	if (err) {
		shrinker_free(acma->shrinker);
		return err;
	}
	shrinker_register(acma->shrinker);
	return 0;
}

/**
 * acma_relief_stop() - undoes acma_relief_start()
 * @acma: the instance
 */
void acma_relief_stop(struct acma *acma)
{
	unregister_oom_notifier(&acma->oom_nb);
	shrinker_free(acma->shrinker);
	cancel_delayed_work_sync(&acma->relief_work);
}
