// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/acma: include/uapi/acma_balloon.h.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/uaccess.h>

#include "acma.h"

#define DEADLINE_LEAST_MS 100
#define DEADLINE_MOST_MS 60000
#define HOLD_OFF_MOST_MS 600000
#define HOLD_OFF_DEFAULT_MS 30000

/* What user space was built with. */
static_assert(sizeof(struct acma_blocks) == 80);
static_assert(sizeof(struct acma_window) == 48);
static_assert(sizeof(struct acma_map_query) == 16 + ACMA_MAP_WINDOWS * 48);
static_assert(sizeof(struct acma_state) == 176);
static_assert(sizeof(struct acma_attach) == 16);
static_assert(sizeof(struct acma_keep_window) == 16);
static_assert(sizeof(struct acma_release_window) == 16);
static_assert(sizeof(struct acma_pool) == 16);

/**
 * struct opened - one open file
 * @acma: the instance
 * @seen: events that it has taken note of
 */
struct opened {
	struct acma *acma;
	u64 seen;
};

/**
 * acma_event() - wakes up whoever polls
 * @acma: the instance
 */
void acma_event(struct acma *acma)
{
	spin_lock(&acma->lock);
	acma->event++;
	spin_unlock(&acma->lock);
	wake_up_interruptible(&acma->events);
}

static int acma_open(struct inode *inode, struct file *file)
{
	struct acma *acma = container_of(file->private_data, struct acma, misc);
	struct opened *opened = kzalloc(sizeof(*opened), GFP_KERNEL);

	if (!opened)
		return -ENOMEM;
	opened->acma = acma;
	opened->seen = READ_ONCE(acma->event);
	file->private_data = opened;
	return nonseekable_open(inode, file);
}

static int acma_release(struct inode *inode, struct file *file)
{
	struct opened *opened = file->private_data;
	struct acma *acma = opened->acma;
	bool left;

	spin_lock(&acma->lock);
	left = acma->agent.file == file;
	if (left) {
		acma->agent.file = NULL;
		acma->agent.left = jiffies;
	}
	spin_unlock(&acma->lock);
	down_read(&acma->alive);
	acma_keep_end(acma, file);
	if (left && acma->misc_on) {
		acma_relief_look(acma, 0);
		acma_target_look(acma, 0);	/* the module's turn */
	}
	up_read(&acma->alive);
	kfree(opened);
	return 0;
}

static bool blocks_make_sense(struct acma *acma, const struct acma_blocks *blocks, u32 flags)
{
	u64 window = blocks->first >> ACMA_WINDOW_SHIFT;

	return blocks->nr >= 1 && blocks->nr <= ACMA_WINDOW_BLOCKS &&
	       blocks->first % ACMA_WINDOW_BLOCKS + blocks->nr <= ACMA_WINDOW_BLOCKS &&
	       window < acma->map.nr_windows && !(blocks->flags & ~flags);
}

static int blocks_from_user(struct acma *acma, void __user *arg, u32 flags, struct acma_blocks *to)
{
	if (copy_from_user(to, arg, sizeof(*to)))
		return -EFAULT;
	if (!blocks_make_sense(acma, to, flags))
		return -EINVAL;
	if (memchr_inv(to->result, 0, sizeof(to->result)))
		return -EINVAL;
	return 0;
}

/* Results are by place in the window inside, from the first block on outside. */
static int blocks_to_user(void __user *arg, struct acma_blocks *blocks, const u8 *result)
{
	memcpy(blocks->result, result + blocks->first % ACMA_WINDOW_BLOCKS, blocks->nr);
	return copy_to_user(arg, blocks, sizeof(*blocks)) ? -EFAULT : 0;
}

static long ioctl_alloc(struct acma *acma, void __user *arg)
{
	u8 result[ACMA_WINDOW_BLOCKS] = {};
	struct acma_blocks blocks;
	int err;

	err = blocks_from_user(acma, arg, ACMA_ALLOC_FREE_ONLY, &blocks);
	if (err)
		return err;
	/* Before anything is taken: afterwards nobody would learn of it. */
	if (copy_to_user(arg, &blocks, sizeof(blocks)))
		return -EFAULT;
	if (mutex_lock_killable(&acma->take))
		return -EINTR;
	acma_take(acma, blocks.first >> ACMA_WINDOW_SHIFT,
		  acma_bits(blocks.first % ACMA_WINDOW_BLOCKS, blocks.nr), blocks.flags, result);
	acma_settle_forced(acma);
	mutex_unlock(&acma->take);
	acma_relief_look(acma, HZ);
	return blocks_to_user(arg, &blocks, result);
}

/*
 * Only what is voluntary. What is forced the host asks for: the module would
 * have to take it again at once.
 */
static long ioctl_free(struct acma *acma, void __user *arg)
{
	u8 result[ACMA_WINDOW_BLOCKS] = {};
	struct acma_blocks blocks;
	struct acma_words words;
	u64 window, bits, owned, freed;
	unsigned int i;
	int err;

	err = blocks_from_user(acma, arg, 0, &blocks);
	if (err)
		return err;
	window = blocks.first >> ACMA_WINDOW_SHIFT;
	bits = acma_bits(blocks.first % ACMA_WINDOW_BLOCKS, blocks.nr);
	spin_lock(&acma->lock);
	words = acma->map.window[window];
	spin_unlock(&acma->lock);
	owned = words.owned & bits;
	freed = acma_give(acma, window, owned, true);
	for (i = 0; i < ACMA_WINDOW_BLOCKS; i++) {
		u64 bit = 1ULL << i;

		if (freed & bit)
			result[i] = ACMA_FREED;
		else if (!(owned & bit))
			result[i] = ACMA_ALREADY;
		else if (words.pending & bit)
			result[i] = ACMA_PENDING;
		else
			result[i] = ACMA_FORCED;
	}
	return blocks_to_user(arg, &blocks, result);
}

static u32 zone_word(unsigned long pfn)
{
	switch (page_zonenum(pfn_to_page(pfn))) {
#ifdef CONFIG_ZONE_DMA
	case ZONE_DMA:
		return ACMA_ZONE_DMA;
#endif
#ifdef CONFIG_ZONE_DMA32
	case ZONE_DMA32:
		return ACMA_ZONE_DMA32;
#endif
	case ZONE_NORMAL:
		return ACMA_ZONE_NORMAL;
	case ZONE_MOVABLE:
		return ACMA_ZONE_MOVABLE;
	default:
		return ACMA_ZONE_OTHER;
	}
}

static void describe(struct acma *acma, u64 window, u32 flags, struct acma_window *to)
{
	unsigned long pfn;

	spin_lock(&acma->lock);
	to->present = acma->map.window[window].present;
	to->owned = acma->map.window[window].owned;
	to->pending = acma->map.window[window].pending;
	spin_unlock(&acma->lock);
	to->nid = -1;
	to->zone = ACMA_ZONE_OTHER;
	if (!to->present)
		return;
	pfn = ((window << ACMA_WINDOW_SHIFT) + __ffs64(to->present)) << ACMA_BLOCK_ORDER;
	if (!pfn_to_online_page(pfn))
		return;
	to->nid = page_to_nid(pfn_to_page(pfn));
	to->zone = zone_word(pfn);
	if (flags & ACMA_MAP_FREE)
		to->free = acma_free_bits(window, to->present & ~to->owned);
}

static long ioctl_map(struct acma *acma, void __user *arg)
{
	struct acma_map_query *query = memdup_user(arg, sizeof(*query));
	long err = -EINVAL;
	u32 i;

	if (IS_ERR(query))
		return PTR_ERR(query);
	if (query->nr < 1 || query->nr > ACMA_MAP_WINDOWS || query->flags & ~ACMA_MAP_FREE ||
	    memchr_inv(query->window, 0, sizeof(query->window)) ||
	    query->first >= acma->map.nr_windows)
		goto out;
	query->nr = min_t(u64, query->nr, acma->map.nr_windows - query->first);
	for (i = 0; i < query->nr; i++)
		describe(acma, query->first + i, query->flags, &query->window[i]);
	err = copy_to_user(arg, query, sizeof(*query)) ? -EFAULT : 0;
out:
	kfree(query);
	return err;
}

static u32 state_flags(struct acma *acma)
{
	u32 flags = 0;

	if (acma->vdev)
		flags |= ACMA_DEVICE;
	if (acma_queue_for_blocks(acma->vdev, acma->report_vq, acma->poison_val) ==
	    ACMA_REPORT_QUEUE)
		flags |= ACMA_REPORTS;
	if (acma_has(acma, VIRTIO_BALLOON_F_DEFLATE_ON_OOM))
		flags |= ACMA_DEFLATE_ON_OOM;
	if (acma_has(acma, VIRTIO_BALLOON_F_MUST_TELL_HOST))
		flags |= ACMA_MUST_TELL_HOST;
	if (acma_agent_there(acma))
		flags |= ACMA_ATTACHED;
	if (acma->suspended)
		flags |= ACMA_SUSPENDED;
	if (want_init_on_alloc(GFP_KERNEL))
		flags |= ACMA_ZEROES;
	return flags;
}

static long ioctl_state(struct opened *opened, void __user *arg)
{
	struct acma *acma = opened->acma;
	struct acma_state state = {};
	u64 single, unmanaged;

	spin_lock(&acma->lock);
	single = (u64)atomic_long_read(&acma->nr_pages) << PAGE_SHIFT;
	unmanaged = acma->map.nr_unmanaged * ACMA_BLOCK_BYTES +
		    (acma_unmanages(acma) ? single : 0);
	state.released_bytes = (acma->map.nr_released + acma->release.leaving) * ACMA_BLOCK_BYTES;
	state.ram_bytes = ((u64)totalram_pages() << PAGE_SHIFT) + unmanaged + state.released_bytes;
	state.owned_bytes = acma_owned_blocks(acma) * ACMA_BLOCK_BYTES + single;
	state.pending_bytes = acma->map.nr_pending * ACMA_BLOCK_BYTES;
	state.single_bytes = single;
	state.target_bytes = (u64)acma->target << VIRTIO_BALLOON_PFN_SHIFT;
	state.actual_bytes = (u64)acma->actual << VIRTIO_BALLOON_PFN_SHIFT;
	state.voluntary_bytes = state.owned_bytes - min(state.owned_bytes, state.target_bytes);
	state.floor_bytes = (u64)acma_floor_pages() << PAGE_SHIFT;
	state.windows = acma->map.nr_windows;
	state.event = acma->event;
	state.target_changes = acma->target_changes;
	state.oom_freed_bytes = acma->oom_freed * ACMA_BLOCK_BYTES;
	state.pressure_freed_bytes = acma->pressure_freed * ACMA_BLOCK_BYTES;
	state.pressure_events = acma->pressure_events;
	state.taken_bytes = acma->taken * ACMA_BLOCK_BYTES;
	state.freed_bytes = acma->freed * ACMA_BLOCK_BYTES;
	state.descriptors = atomic64_read(&acma->descriptors);
	state.gone_window = acma->gone;
	state.pool_bytes = acma->pool_blocks * ACMA_BLOCK_BYTES;
	opened->seen = acma->event;
	spin_unlock(&acma->lock);
	state.flags = state_flags(acma);
	state.kept = acma_unmanages(acma) ? READ_ONCE(acma->release.kept) : ACMA_GUESTS_OWN;
	return copy_to_user(arg, &state, sizeof(state)) ? -EFAULT : 0;
}

static long ioctl_attach(struct acma *acma, struct file *file, void __user *arg)
{
	struct acma_attach attach;
	long err = -EBUSY;

	if (copy_from_user(&attach, arg, sizeof(attach)))
		return -EFAULT;
	if (attach.reserved || attach.deadline_ms < DEADLINE_LEAST_MS ||
	    attach.deadline_ms > DEADLINE_MOST_MS || attach.hold_off_ms > HOLD_OFF_MOST_MS)
		return -EINVAL;
	spin_lock(&acma->lock);
	if (!acma->agent.file || acma->agent.file == file) {
		acma->agent.file = file;
		acma->agent.deadline = msecs_to_jiffies(attach.deadline_ms);
		acma->agent.hold_off = msecs_to_jiffies(attach.hold_off_ms);
		acma->agent.seen = jiffies;
		err = 0;
	}
	spin_unlock(&acma->lock);
	return err;
}

static long ioctl_keep(struct acma *acma, struct file *file, void __user *arg)
{
	struct acma_keep_window keep;

	if (copy_from_user(&keep, arg, sizeof(keep)))
		return -EFAULT;
	if (keep.reserved || keep.window >= acma->map.nr_windows)
		return -EINVAL;
	return acma_keep_begin(acma, file, keep.window);
}

static long ioctl_pool(struct acma *acma, void __user *arg)
{
	struct acma_pool pool;

	if (copy_from_user(&pool, arg, sizeof(pool)))
		return -EFAULT;
	if (pool.flags || pool.reserved || pool.blocks < 1 || pool.blocks > ACMA_POOL_BLOCKS)
		return -EINVAL;
	if (pool.nid != NUMA_NO_NODE &&
	    (pool.nid < 0 || pool.nid >= MAX_NUMNODES || !node_state(pool.nid, N_MEMORY)))
		return -EINVAL;
	return acma_pool_open(acma, pool.blocks, pool.nid);
}

static long ioctl_rereport(struct acma *acma)
{
	if (mutex_lock_killable(&acma->take))
		return -EINTR;
	if (!acma->suspended)
		acma_rereport(acma);
	mutex_unlock(&acma->take);
	return 0;
}

/* The caller holds nothing: see release.c. What is open keeps the module here. */
static long ioctl_release(struct acma *acma, unsigned int command, void __user *arg)
{
	struct acma_release_window window;

	if (copy_from_user(&window, arg, sizeof(window)))
		return -EFAULT;
	if (window.reserved || window.result || window.window >= acma->map.nr_windows)
		return -EINVAL;
	if (command == ACMA_IOC_RELEASE)
		window.result = acma_window_remove(acma, window.window);
	else
		window.result = acma_window_add(acma, window.window);
	return copy_to_user(arg, &window, sizeof(window)) ? -EFAULT : 0;
}

static long dispatch(struct file *file, unsigned int command, void __user *arg)
{
	struct opened *opened = file->private_data;
	struct acma *acma = opened->acma;

	switch (command) {
	case ACMA_IOC_ALLOC:
		return ioctl_alloc(acma, arg);
	case ACMA_IOC_FREE:
		return ioctl_free(acma, arg);
	case ACMA_IOC_MAP:
		return ioctl_map(acma, arg);
	case ACMA_IOC_STATE:
		return ioctl_state(opened, arg);
	case ACMA_IOC_ATTACH:
		return ioctl_attach(acma, file, arg);
	case ACMA_IOC_REREPORT:
		return ioctl_rereport(acma);
	case ACMA_IOC_KEEP:
		return ioctl_keep(acma, file, arg);
	case ACMA_IOC_KEPT:
		return acma_keep_end(acma, file);
	case ACMA_IOC_POOL:
		return ioctl_pool(acma, arg);
	default:
		return -ENOTTY;
	}
}

static long acma_ioctl(struct file *file, unsigned int command, unsigned long arg)
{
	struct opened *opened = file->private_data;
	struct acma *acma = opened->acma;
	long err = 0;

	down_read(&acma->alive);
	if (acma->misc_on) {
		if (READ_ONCE(acma->agent.file) == file)
			WRITE_ONCE(acma->agent.seen, jiffies);
		if (command != ACMA_IOC_RELEASE && command != ACMA_IOC_RESTORE)
			err = dispatch(file, command, (void __user *)arg);
	} else {
		err = -ENODEV;	/* the device went away */
	}
	up_read(&acma->alive);
	if (!err && (command == ACMA_IOC_RELEASE || command == ACMA_IOC_RESTORE))
		err = ioctl_release(acma, command, (void __user *)arg);
	return err;
}

static __poll_t acma_poll(struct file *file, struct poll_table_struct *table)
{
	struct opened *opened = file->private_data;
	struct acma *acma = opened->acma;

	poll_wait(file, &acma->events, table);
	if (!READ_ONCE(acma->misc_on))
		return EPOLLERR | EPOLLHUP;
	return READ_ONCE(acma->event) != opened->seen ? EPOLLPRI | EPOLLIN : 0;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = acma_open,
	.release = acma_release,
	.unlocked_ioctl = acma_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = acma_poll,
};

/**
 * acma_device_add() - makes /dev/acma
 * @acma: the instance
 *
 * Return: 0 or a negative errno
 */
int acma_device_add(struct acma *acma)
{
	int err;

	acma->agent.hold_off = msecs_to_jiffies(HOLD_OFF_DEFAULT_MS);
	acma->agent.left = jiffies;
	acma->misc = (struct miscdevice){
		.minor = MISC_DYNAMIC_MINOR,
		.name = "acma",
		.fops = &operations,
		.mode = 0600,
	};
	err = misc_register(&acma->misc);
	if (!err) {
		down_write(&acma->alive);
		acma->misc_on = true;
		up_write(&acma->alive);
	}
	return err;
}

/**
 * acma_device_remove() - ends /dev/acma; files that are open get ENODEV
 * @acma: the instance
 */
void acma_device_remove(struct acma *acma)
{
	down_write(&acma->alive);
	acma->misc_on = false;
	up_write(&acma->alive);
	acma_keep_end(acma, acma->keep.file);
	wake_up_interruptible(&acma->events);
	misc_deregister(&acma->misc);
}
