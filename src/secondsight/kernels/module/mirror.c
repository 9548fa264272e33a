// SPDX-License-Identifier: GPL-2.0
/*
 * A mirror of a process's memory: the device has a page table of its own, filled by hmm_range_fault()
 * and cleared by an interval notifier's callback. Line by line this is devices/device.py, and drivers.c
 * is devices/mirror.py; the hold points stand at the same places.
 *
 * @lock is the driver's lock. @hardware makes each look of the device into its table, and each store
 * of the driver to it, one step; it is the hardware's, and no driver relies on it.
 */
#include <linux/hmm.h>
#include <linux/memremap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "mirror.h"

/* The page table: one step each */

static unsigned long addr_of(struct ss_mirror *mirror, unsigned int i)
{
	return SS_WINDOWS + ((unsigned long)(i / SS_WINDOW_PAGES) << SS_WINDOW_SHIFT) +
	       ((unsigned long)(i % SS_WINDOW_PAGES) << mirror->page_shift);
}

/* The entry of an address, or NULL for one that is in no window. */
struct ss_entry *ss_entry_of(struct ss_mirror *mirror, unsigned long addr)
{
	unsigned long window = (addr - SS_WINDOWS) >> SS_WINDOW_SHIFT;
	unsigned long page = (addr & ((1UL << SS_WINDOW_SHIFT) - 1)) >> mirror->page_shift;

	if (addr < SS_WINDOWS || window >= SS_MAX_HANDLES || page >= SS_WINDOW_PAGES)
		return NULL;
	return &mirror->entries[window * SS_WINDOW_PAGES + page];
}

static void clear(struct ss_entry *entry)
{
	if (entry->kept)
		put_page(entry->kept);
	*entry = (struct ss_entry){};
}

void ss_table_map(struct ss_mirror *mirror, unsigned long addr, unsigned long pfn, bool write, struct page *kept)
{
	struct ss_entry *entry = ss_entry_of(mirror, addr);

	spin_lock(&mirror->hardware);
	clear(entry);
	if (!mirror->closed)
		*entry = (struct ss_entry){ .pfn = pfn, .kept = kept, .present = true, .writable = write };
	else if (kept)
		put_page(kept);
	spin_unlock(&mirror->hardware);
}

void ss_table_unmap(struct ss_mirror *mirror, unsigned long start, unsigned long end)
{
	unsigned int i;

	spin_lock(&mirror->hardware);
	for (i = 0; i < SS_ENTRIES; i++)
		if (mirror->entries[i].present && addr_of(mirror, i) >= start && addr_of(mirror, i) < end)
			clear(&mirror->entries[i]);
	spin_unlock(&mirror->hardware);
}

void ss_table_save(struct ss_mirror *mirror)
{
	unsigned int i;

	spin_lock(&mirror->hardware);
	mirror->stopped = true;
	for (i = 0; i < SS_ENTRIES; i++) {
		clear(&mirror->saved[i]);
		swap(mirror->saved[i], mirror->entries[i]);
	}
	spin_unlock(&mirror->hardware);
}

void ss_table_restore(struct ss_mirror *mirror)
{
	unsigned int i;

	spin_lock(&mirror->hardware);
	for (i = 0; i < SS_ENTRIES; i++)
		if (mirror->saved[i].present) {
			clear(&mirror->entries[i]);
			swap(mirror->entries[i], mirror->saved[i]);
			mirror->entries[i].writable = false;
		}
	spin_unlock(&mirror->hardware);
}

/* What was saved and not mapped again: a wrong driver's references. */
void ss_table_forget(struct ss_mirror *mirror)
{
	unsigned int i;

	spin_lock(&mirror->hardware);
	for (i = 0; i < SS_ENTRIES; i++)
		clear(&mirror->saved[i]);
	spin_unlock(&mirror->hardware);
}

void ss_device_goes_on(struct ss_mirror *mirror)
{
	spin_lock(&mirror->hardware);
	mirror->stopped = false;
	spin_unlock(&mirror->hardware);
}

/* The device's table walk and access: 0, an error, or SS_DEVICE_FAULT. */
static int table_access(struct ss_mirror *mirror, struct ss_access *access)
{
	struct ss_entry *entry = ss_entry_of(mirror, access->addr);
	int ret = 0;

	spin_lock(&mirror->hardware);
	if (mirror->closed || mirror->stopped)
		ret = -EBADF;
	else if (!entry->present || (access->write && !entry->writable))
		ret = SS_DEVICE_FAULT;
	else if (access->write)
		ret = ss_page_store(pfn_to_page(entry->pfn), access->value, access->half);
	else if (access->half)
		access->value = ss_half_load(pfn_to_page(entry->pfn));
	else
		access->value = ss_page_load(pfn_to_page(entry->pfn));
	spin_unlock(&mirror->hardware);
	return ret;
}

static bool invalidate(struct mmu_interval_notifier *notifier, const struct mmu_notifier_range *range, unsigned long seq)
{
	struct ss_mirror *mirror = container_of(notifier, struct ss_mirror, notifier);
	bool may_hold = mmu_notifier_range_blockable(range) && range->event != MMU_NOTIFY_RELEASE;
	bool done;

	/* This device's own exclusive access: the driver installs it itself. */
	if (range->event == MMU_NOTIFY_EXCLUSIVE && range->owner == mirror)
		return true;
	if (may_hold)
		ss_hold(mirror->session, SS_POINT_INVALIDATE_ENTER);
	done = mirror->driver->invalidate(mirror, range, seq);
	if (may_hold)
		ss_hold(mirror->session, SS_POINT_INVALIDATE_LEAVE);
	return done;
}

static const struct mmu_interval_notifier_ops notifier_ops = { .invalidate = invalidate };

/* The calls */

struct ss_mirror *ss_mirror_of(struct ss_session *session, u32 handle)
{
	return handle < SS_MAX_HANDLES ? READ_ONCE(session->mirror[handle]) : NULL;
}

static int subscribe(struct ss_mirror *mirror)
{
	int ret = mmu_interval_notifier_insert(&mirror->notifier, mirror->mm, SS_WINDOWS,
					       (unsigned long)SS_MAX_HANDLES << SS_WINDOW_SHIFT, &notifier_ops);

	mirror->subscribed = !ret;
	return ret;
}

long ss_mirror_open(struct ss_session *session, const struct ss_mirror_open *open)
{
	const struct ss_driver *driver;
	struct ss_mirror *mirror;
	long ret;

	if (open->page_shift != PAGE_SHIFT && open->page_shift != SS_HUGE_SHIFT)
		return -EINVAL;
	if (open->handle >= SS_MAX_HANDLES || ss_mirror_of(session, open->handle))
		return -EINVAL;
	driver = ss_driver_of(open->variant, sizeof(open->variant));
	if (!driver)
		return -ENOENT;
	mirror = kvzalloc(sizeof(*mirror), GFP_KERNEL);
	if (!mirror)
		return -ENOMEM;
	mirror->session = session;
	mirror->mm = current->mm;
	mirror->driver = driver;
	mirror->page_shift = open->page_shift;
	mutex_init(&mirror->lock);
	spin_lock_init(&mirror->hardware);
	ret = open->later ? 0 : subscribe(mirror);
	if (ret) {
		kvfree(mirror);
		return ret;
	}
	mmgrab(mirror->mm);
	mutex_lock(&session->devices);
	WRITE_ONCE(session->mirror[open->handle], mirror);
	mutex_unlock(&session->devices);
	return 0;
}

/* Device.open(): whoever calls it need not be a user of the address space. */
long ss_mirror_subscribe(struct ss_session *session, unsigned long handle)
{
	struct ss_mirror *mirror = ss_mirror_of(session, handle);
	long ret;

	if (!mirror || mirror->subscribed || mirror->closed)
		return -EBADF;
	if (!mmget_not_zero(mirror->mm))
		return -EINVAL;
	ret = subscribe(mirror);
	mmput(mirror->mm);
	return ret;
}

/* Device.reset() */
long ss_mirror_reset(struct ss_session *session, struct ss_access *access)
{
	struct ss_mirror *mirror = ss_mirror_of(session, access->handle);

	if (!mirror)
		return -EINVAL;
	return mirror->driver->reset ? mirror->driver->reset(mirror, access) : -EOPNOTSUPP;
}

/* Device.read(), Device.write(), and half_page.py */
long ss_mirror_access(struct ss_session *session, struct ss_access *access)
{
	struct ss_mirror *mirror = ss_mirror_of(session, access->handle);
	int ret;

	if (!mirror || !ss_entry_of(mirror, access->addr))
		return -EINVAL;
	for (;;) {
		ss_hold(session, SS_POINT_ACCESSING);
		ret = table_access(mirror, access);
		if (ret != SS_DEVICE_FAULT)
			return ret;
		ret = mirror->driver->fault(mirror, access->addr, access->write, access);
		if (ret)
			return ret;
	}
}

/* hmm_range_fault() without a fault: value 0 for nothing, 1 for readable, 2 for writable as well, 3 and 4 for the mirror's own, 5 and 6 for a huge page's part. */
long ss_mirror_snapshot(struct ss_session *session, struct ss_access *access)
{
	struct ss_mirror *mirror = ss_mirror_of(session, access->handle);
	unsigned long found;
	long ret;

	if (!mirror || !ss_entry_of(mirror, access->addr))
		return -EINVAL;
	for (;;) {
		struct hmm_range range = {
			.notifier = &mirror->notifier,
			.start = access->addr,
			.end = access->addr + PAGE_SIZE,
			.hmm_pfns = &found,
			.dev_private_owner = mirror,
		};

		found = 0;
		range.notifier_seq = ss_read_begin(mirror, access);
		ret = -EFAULT;
		if (mmget_not_zero(mirror->mm)) {
			mmap_read_lock(mirror->mm);
			ret = hmm_range_fault(&range);
			mmap_read_unlock(mirror->mm);
			mmput(mirror->mm);
		}
		if (ret == -EBUSY)
			continue;
		if (!mmu_interval_read_retry(&mirror->notifier, range.notifier_seq))
			break;
	}
	ss_hold(session, SS_POINT_TESTED);
	if (ret || found & HMM_PFN_ERROR)
		return -EFAULT;
	access->value = !(found & HMM_PFN_VALID) ? 0 : found & HMM_PFN_WRITE ? 2 : 1;
	if (access->value && is_device_private_page(hmm_pfn_to_page(found)))
		access->value += 2;
	else if (access->value && hmm_pfn_to_map_order(found))
		access->value += 4;
	return 0;
}

static void close_mirror(struct ss_mirror *mirror)
{
	unsigned int i;

	if (mirror->driver->stop)
		mirror->driver->stop(mirror);
	if (mirror->memory) {
		spin_lock(&mirror->hardware);
		mirror->closed = true;
		spin_unlock(&mirror->hardware);
		ss_memory_empties(mirror);
	}
	ss_waits(mirror->session, true);
	mmu_interval_notifier_remove(&mirror->notifier);
	ss_waits(mirror->session, false);
	mirror->subscribed = false;
	if (mirror->driver->stop)
		return;
	ss_memory_goes(mirror);
	spin_lock(&mirror->hardware);
	mirror->closed = true;
	for (i = 0; i < SS_ENTRIES; i++)
		clear(&mirror->entries[i]);
	spin_unlock(&mirror->hardware);
}

/* Device.close(): no callback runs when this has returned, and the device's table is empty. */
long ss_mirror_close(struct ss_session *session, unsigned long handle)
{
	struct ss_mirror *mirror = ss_mirror_of(session, handle);

	if (!mirror)
		return -EINVAL;
	if (!mirror->subscribed)
		return -EBADF;
	close_mirror(mirror);
	return 0;
}

void ss_mirror_free(struct ss_mirror *mirror)
{
	if (!mirror)
		return;
	if (mirror->subscribed)
		close_mirror(mirror);
	ss_table_forget(mirror);
	ss_memory_free(mirror);
	mmdrop(mirror->mm);
	kvfree(mirror);
}
