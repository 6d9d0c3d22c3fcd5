// SPDX-License-Identifier: GPL-2.0-only
/*
 * The virtio driver: a balloon device, whose host needs to know nothing of ACMA.
 */
#include <linux/module.h>
#include <linux/poison.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include "acma.h"

static bool standalone;
module_param(standalone, bool, 0444);
MODULE_PARM_DESC(standalone, "make /dev/acma without a balloon device: blocks are taken, and nobody is told (default N)");

/* Everything hangs on this; only the entry points of the module and the driver name it. */
static struct acma *the_acma;

/**
 * acma_stay_awake() - the host waits for something: no suspend now; any context
 * @acma: the instance, with its device
 * @what: ACMA_WAKEUP_*
 */
void acma_stay_awake(struct acma *acma, unsigned int what)
{
	unsigned long flags;

	spin_lock_irqsave(&acma->wakeup_lock, flags);
	acma->wakeup_for |= what;
	if (!acma->awake) {
		acma->awake = true;
		pm_stay_awake(&acma->vdev->dev);
	}
	spin_unlock_irqrestore(&acma->wakeup_lock, flags);
}

/**
 * acma_may_sleep() - that is done
 * @acma: the instance
 * @what: ACMA_WAKEUP_*
 */
void acma_may_sleep(struct acma *acma, unsigned int what)
{
	unsigned long flags;

	spin_lock_irqsave(&acma->wakeup_lock, flags);
	acma->wakeup_for &= ~what;
	if (!acma->wakeup_for && acma->awake) {
		acma->awake = false;
		pm_relax(&acma->vdev->dev);
	}
	spin_unlock_irqrestore(&acma->wakeup_lock, flags);
}

/**
 * struct queue - one that the device may have
 * @feature: it has it with this one, or always (-1)
 * @info: for virtio
 * @to: where it goes; NULL there without the feature
 */
struct queue {
	int feature;
	struct virtqueue_info info;
	struct virtqueue **to;
};

/*
 * Only those that exist are asked for: their order is their number. 6.12.95
 * oopses in del_vqs() if one of the array is left out.
 */
static int find_queues(struct acma *acma)
{
	const struct queue queues[] = {
		{ -1, { .name = "inflate", .callback = acma_acked }, &acma->inflate_vq },
		{ -1, { .name = "deflate", .callback = acma_acked }, &acma->deflate_vq },
		{ VIRTIO_BALLOON_F_STATS_VQ,
		  { .name = "stats", .callback = acma_stats_asked }, &acma->stats_vq },
		{ VIRTIO_BALLOON_F_FREE_PAGE_HINT, { .name = "free_page_vq" }, &acma->hint_vq },
		{ VIRTIO_BALLOON_F_REPORTING,
		  { .name = "reporting_vq", .callback = acma_acked }, &acma->report_vq },
	};
	struct virtqueue_info info[ARRAY_SIZE(queues)];
	struct virtqueue *found[ARRAY_SIZE(queues)];
	struct virtqueue **to[ARRAY_SIZE(queues)];
	unsigned int i, nr = 0;
	int err;

	for (i = 0; i < ARRAY_SIZE(queues); i++) {
		if (queues[i].feature >= 0 && !acma_has(acma, queues[i].feature))
			continue;
		info[nr] = queues[i].info;
		to[nr++] = queues[i].to;
	}
	err = virtio_find_vqs(acma->vdev, nr, found, info, NULL);
	if (err)
		return err;
	/* Free page reporting's worker may be about to use it (a resume). */
	mutex_lock(&acma->report_lock);
	for (i = 0; i < nr; i++)
		*to[i] = found[i];
	mutex_unlock(&acma->report_lock);
	return acma_stats_prime(acma);
}

static void forget_queues(struct acma *acma)
{
	/* Free page reporting's worker may be about to use it. */
	mutex_lock(&acma->report_lock);
	acma->report_vq = NULL;
	mutex_unlock(&acma->report_lock);
	acma->vdev->config->del_vqs(acma->vdev);
	acma->inflate_vq = NULL;
	acma->deflate_vq = NULL;
	acma->stats_vq = NULL;
	acma->hint_vq = NULL;
}

static void write_poison(struct acma *acma)
{
	acma->poison_val = acma_poison_val(acma_features(acma), want_init_on_free(), PAGE_POISON);
	if (acma_has(acma, VIRTIO_BALLOON_F_PAGE_POISON))
		virtio_cwrite_le(acma->vdev, struct virtio_balloon_config, poison_val,
				 &acma->poison_val);
}

static void start_work(struct acma *acma)
{
	spin_lock_irq(&acma->stop_lock);
	acma->stopping = false;
	spin_unlock_irq(&acma->stop_lock);
	acma_target_look(acma, 0);
}

static void stop_work(struct acma *acma)
{
	spin_lock_irq(&acma->stop_lock);
	acma->stopping = true;
	spin_unlock_irq(&acma->stop_lock);
	cancel_delayed_work_sync(&acma->target_work);
	cancel_work_sync(&acma->stats_work);
	if (acma->hinting)
		cancel_work_sync(&acma->hint_work);
}

/* Nothing is taken from here on, and what is being taken is done. */
static void suspend_taking(struct acma *acma)
{
	mutex_lock(&acma->take);
	acma->suspended = true;
	mutex_unlock(&acma->take);
}

/* Everything back to the guest. The device is idle, or reset. */
static void give_all(struct acma *acma)
{
	acma->asked = 0;
	acma->away = 0;
	acma->target = 0;
	acma->forced = 0;
	while (atomic_long_read(&acma->nr_pages)) {
		if (!acma_pages_give(acma, ULONG_MAX))
			cond_resched();	/* the rest is being moved */
	}
	acma_give_some(acma, U64_MAX, false);
	acma_count_forced(acma);
	WARN_ON_ONCE(acma->map.nr_owned);
	/* Not here: the kernel's hotplug lock may be held (ACPI). */
	acma->release.most = 0;
	acma_release_look(acma, U64_MAX);
}

static int acma_probe(struct virtio_device *vdev)
{
	struct acma *acma = the_acma;
	int err;

	if (!vdev->config->get)
		return -EINVAL;
	if (acma->vdev) {
		dev_err(&vdev->dev, "another balloon device is in use\n");
		return -EBUSY;
	}
	vdev->priv = acma;
	suspend_taking(acma);	/* until the device is ready */
	acma->vdev = vdev;
	WRITE_ONCE(acma->features, vdev->features);
	acma_pages_init(acma);
	err = find_queues(acma);
	if (err)
		goto out;
	err = acma_hinting_start(acma);
	if (err)
		goto out_queues;
	write_poison(acma);
	err = acma_reporting_start(acma);
	if (err)
		goto out_hinting;
	if (!acma->misc_on) {
		err = acma_device_add(acma);
		if (err)
			goto out_reporting;
	}
	device_set_wakeup_capable(&vdev->dev, true);
	virtio_device_ready(vdev);
	acma->suspended = false;
	start_work(acma);
	return 0;

out_reporting:
	acma_reporting_stop(acma);
out_hinting:
	acma_hinting_stop(acma);
out_queues:
	virtio_reset_device(vdev);
	forget_queues(acma);
out:
	WRITE_ONCE(acma->features, 0);
	acma->vdev = NULL;
	acma->suspended = !standalone;
	return err;
}

static void acma_remove(struct virtio_device *vdev)
{
	struct acma *acma = vdev->priv;

	if (!standalone)
		acma_device_remove(acma);
	suspend_taking(acma);
	stop_work(acma);
	acma_reporting_stop(acma);
	give_all(acma);
	acma_write_actual(acma, 0);
	virtio_reset_device(vdev);
	acma_hinting_stop(acma);
	forget_queues(acma);
	WRITE_ONCE(acma->features, 0);
	acma->vdev = NULL;
	if (standalone)
		acma->suspended = false;
}

#ifdef acma_virtio_shutdown
static void acma_shutdown(struct virtio_device *vdev)
{
	struct acma *acma = vdev->priv;

	suspend_taking(acma);
	stop_work(acma);
	acma_reporting_stop(acma);
	acma_virtio_shutdown(vdev);
}
#endif

static void acma_config_changed(struct virtio_device *vdev)
{
	struct acma *acma = vdev->priv;
	unsigned long flags;
	bool stopping;

	spin_lock_irqsave(&acma->stop_lock, flags);
	stopping = acma->stopping;
	if (!stopping)
		acma_hinting_changed(acma);
	spin_unlock_irqrestore(&acma->stop_lock, flags);
	if (!stopping)
		acma_target_changed(acma);
}

#ifdef CONFIG_PM_SLEEP
/* The host's side forgets everything at the reset, so everything is given back. */
static int acma_freeze(struct virtio_device *vdev)
{
	struct acma *acma = vdev->priv;

	suspend_taking(acma);
	stop_work(acma);
	acma_keep_end(acma, acma->keep.file);	/* whoever asked for it is frozen */
	give_all(acma);
	acma_write_actual(acma, 0);
	acma_hinting_return_all(acma);
	virtio_reset_device(vdev);
	forget_queues(acma);
	return 0;
}

static int acma_restore(struct virtio_device *vdev)
{
	struct acma *acma = vdev->priv;
	int err;

	err = find_queues(acma);
	if (err)
		return err;
	write_poison(acma);
	virtio_device_ready(vdev);
	acma->suspended = false;
	start_work(acma);
	return 0;
}
#endif

static int acma_validate(struct virtio_device *vdev)
{
	vdev->features = acma_wanted_features(vdev->features, want_init_on_free(),
					      page_poisoning_enabled_static());
	return 0;
}

static const unsigned int features[] = {
	VIRTIO_BALLOON_F_MUST_TELL_HOST,
	VIRTIO_BALLOON_F_STATS_VQ,
	VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
	VIRTIO_BALLOON_F_FREE_PAGE_HINT,
	VIRTIO_BALLOON_F_PAGE_POISON,
	VIRTIO_BALLOON_F_REPORTING,
};

static const struct virtio_device_id ids[] = {
	{ VIRTIO_ID_BALLOON, VIRTIO_DEV_ANY_ID },
	{ 0 },
};

static struct virtio_driver driver = {
	.feature_table = features,
	.feature_table_size = ARRAY_SIZE(features),
	.driver.name = KBUILD_MODNAME,
	.id_table = ids,
	.validate = acma_validate,
	.probe = acma_probe,
	.remove = acma_remove,
	ACMA_DRIVER_SHUTDOWN(acma_shutdown)
	.config_changed = acma_config_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze = acma_freeze,
	.restore = acma_restore,
#endif
};

static struct acma *make_acma(void)
{
	struct acma *acma = kvzalloc(sizeof(*acma), GFP_KERNEL);

	if (!acma)
		return NULL;
	init_rwsem(&acma->alive);
	acma->gone = ACMA_NO_WINDOW;
	mutex_init(&acma->take);
	mutex_init(&acma->marking);
	mutex_init(&acma->pages_lock);
	mutex_init(&acma->report_lock);
	mutex_init(&acma->inflate_lock);
	mutex_init(&acma->deflate_lock);
	spin_lock_init(&acma->lock);
	spin_lock_init(&acma->wakeup_lock);
	init_waitqueue_head(&acma->acked);
	init_waitqueue_head(&acma->events);
	acma_pages_init(acma);
	acma_target_init(acma);
	acma_stats_init(acma);
	return acma;
}

static int __init acma_init(void)
{
	struct acma *acma = make_acma();
	int err = -ENOMEM;

	if (!acma)
		return -ENOMEM;
	/* Freezable: nothing is taken or told while the system suspends. */
	acma->wq = alloc_workqueue("acma_balloon", WQ_FREEZABLE | WQ_UNBOUND, 0);
	if (!acma->wq)
		goto out_free;
	err = acma_blocks_init(acma);
	if (err)
		goto out_wq;
	err = acma_hotplug_start(acma);
	if (err)
		goto out_blocks;
	err = acma_release_start(acma);
	if (err)
		goto out_hotplug;
	err = acma_relief_start(acma);
	if (err)
		goto out_release;
	if (standalone) {
		err = acma_device_add(acma);
		if (err)
			goto out_relief;
	}
	the_acma = acma;
	err = register_virtio_driver(&driver);
	if (err)
		goto out_device;
	return 0;

out_device:
	if (standalone)
		acma_device_remove(acma);
out_relief:
	acma_relief_stop(acma);
out_release:
	acma_release_stop(acma);
out_hotplug:
	acma_hotplug_stop(acma);
out_blocks:
	acma_blocks_exit(acma);
out_wq:
	destroy_workqueue(acma->wq);
out_free:
	kvfree(acma);
	return err;
}

static void __exit acma_exit(void)
{
	struct acma *acma = the_acma;

	unregister_virtio_driver(&driver);
	if (standalone) {
		acma_device_remove(acma);
		suspend_taking(acma);
		acma_give_some(acma, U64_MAX, false);
	}
	acma_release_stop(acma);
	acma_relief_stop(acma);
	acma_hotplug_settle(acma);
	acma_hotplug_stop(acma);
	acma_blocks_exit(acma);
	destroy_workqueue(acma->wq);
	kvfree(acma);
}

module_init(acma_init);
module_exit(acma_exit);
MODULE_DEVICE_TABLE(virtio, ids);
MODULE_DESCRIPTION("virtio balloon that takes and returns memory in blocks of 2 MiB");
MODULE_LICENSE("GPL");
