// SPDX-License-Identifier: GPL-2.0
/*
 * The forms of a mirror's driver, right and wrong: devices/mirror.py, line by line.
 *
 * A wrong driver uses entries that the CPU's table no longer has. So that this costs wrong values and
 * not the machine, it keeps a reference for each: taken while the mmap lock is held, and only if the
 * range was not invalidated since it was collected. The right driver takes none, as real ones do:
 * a reference changes what migration and copy-on-write do.
 */
#include <linux/hmm.h>
#include <linux/sched/mm.h>

#include "mirror.h"

unsigned long ss_read_begin(struct ss_mirror *mirror, struct ss_access *access)
{
	unsigned long seq;

	ss_waits(mirror->session, true);
	seq = mmu_interval_read_begin(&mirror->notifier);
	ss_waits(mirror->session, false);
	access->begun++;
	ss_hold(mirror->session, SS_POINT_READ_BEGUN);
	return seq;
}

/* One page collected by hmm_range_fault(): the entry that it gave, and the reference to it of a driver that keeps one. */
struct ss_collecting {
	struct hmm_range range;
	unsigned long found;
	bool keeps;
	bool done;
	int ret;
	struct page *kept;
};

/*
 * A reference to what was collected, for a wrong driver; the mmap lock is held. -EBUSY: invalidated since, and perhaps
 * nobody's page or another's by now.
 */
static int keep_page(struct ss_collecting *collecting)
{
	struct page *page = hmm_pfn_to_page(collecting->found);
	struct folio *folio = page_folio(page);

	if (!folio_try_get(folio))
		return -EBUSY;
	if (page_folio(page) != folio || mmu_interval_check_retry(collecting->range.notifier, collecting->range.notifier_seq)) {
		folio_put(folio);
		return -EBUSY;
	}
	collecting->kept = page;
	return 0;
}

/* hmm_range_fault() has returned @ret: at once, or before the hold at its exit. */
static void collected(struct ss_collecting *collecting, int ret)
{
	if (collecting->done)
		return;
	collecting->done = true;
	if (!ret && WARN_ON_ONCE(!(collecting->found & HMM_PFN_VALID)))
		ret = -EFAULT;
	if (!ret && collecting->keeps)
		ret = keep_page(collecting);
	collecting->ret = ret;
}

void ss_collected(struct ss_thread *thread, unsigned long range, unsigned long ret)
{
	if (thread->collecting && &thread->collecting->range == (struct hmm_range *)range)
		collected(thread->collecting, ret);
}

static void collect(struct ss_collecting *collecting)
{
	struct ss_session *session;
	struct ss_thread *thread = ss_current_thread(&session);

	if (thread)
		thread->collecting = collecting;
	collected(collecting, hmm_range_fault(&collecting->range));
	if (thread)
		thread->collecting = NULL;
}

static void drop(struct page *kept)
{
	if (kept)
		put_page(kept);
}

/* hmm_range_fault() with what drivers put around it: the frame at @addr, and the driver's reference if it keeps one. */
static int range_fault(struct ss_mirror *mirror, unsigned long addr, bool write, unsigned long *pfn, struct page **kept)
{
	struct ss_collecting collecting = {
		.range = {
			.notifier = &mirror->notifier,
			.start = addr,
			.end = addr + PAGE_SIZE,
			.hmm_pfns = &collecting.found,
			.default_flags = write ? HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE : HMM_PFN_REQ_FAULT,
			.dev_private_owner = mirror,
		},
		.keeps = mirror->driver->keeps,
		.ret = -EFAULT,
	};

	/* As in linux/hmm.py: read here and not passed; the earlier one would only say -EBUSY more often. */
	collecting.range.notifier_seq = READ_ONCE(mirror->notifier.invalidate_seq);
	if (mmget_not_zero(mirror->mm)) {
		mmap_read_lock(mirror->mm);
		collect(&collecting);
		mmap_read_unlock(mirror->mm);
		mmput(mirror->mm);
	}
	*kept = collecting.kept;
	if (collecting.ret)
		return collecting.ret;
	/* A page of the mirror's own memory is reported as it is. */
	if (write && !(collecting.found & HMM_PFN_WRITE)) {
		int ret = ss_bring_back(mirror, addr);

		drop(collecting.kept);
		return ret ? ret : -EBUSY;
	}
	*pfn = page_to_pfn(hmm_pfn_to_page(collecting.found));
	ss_hold(mirror->session, SS_POINT_RANGE_FAULTED);
	return 0;
}

void ss_driver_lock(struct ss_mirror *mirror)
{
	ss_waits(mirror->session, true);
	mutex_lock(&mirror->lock);
	ss_waits(mirror->session, false);
}

/* What the device may write is dirty from now on: the CPU's entry, which says so of a CPU's stores, is not written through. */
static void map_page(struct ss_mirror *mirror, unsigned long addr, unsigned long pfn, bool write, struct page *kept)
{
	ss_table_map(mirror, addr, pfn, write, kept);
	if (write && !mirror->driver->unmarked)
		set_page_dirty(pfn_to_page(pfn));
}

/* Mirror */

static int right_fault(struct ss_mirror *mirror, unsigned long addr, bool write, struct ss_access *access)
{
	for (;;) {
		unsigned long seq, pfn;
		struct page *kept;
		int ret;

		seq = ss_read_begin(mirror, access);
		ret = range_fault(mirror, addr, write, &pfn, &kept);
		if (ret == -EBUSY)
			continue;
		if (ret)
			return ret;
		ss_hold(mirror->session, SS_POINT_BEFORE_LOCK);
		ss_driver_lock(mirror);
		ss_hold(mirror->session, SS_POINT_LOCKED);
		if (mmu_interval_read_retry(&mirror->notifier, seq)) {
			mutex_unlock(&mirror->lock);
			drop(kept);
			continue;
		}
		ss_hold(mirror->session, SS_POINT_TESTED);
		map_page(mirror, addr, pfn, write, kept);
		ss_hold(mirror->session, SS_POINT_INSTALLED);
		mutex_unlock(&mirror->lock);
		ss_hold(mirror->session, SS_POINT_UNLOCKED);
		return 0;
	}
}

static bool right_invalidate(struct ss_mirror *mirror, const struct mmu_notifier_range *range, unsigned long seq)
{
	if (mmu_notifier_range_blockable(range))
		ss_driver_lock(mirror);
	else if (!mutex_trylock(&mirror->lock))
		return false;
	mmu_interval_set_seq(&mirror->notifier, seq);
	ss_table_unmap(mirror, range->start, range->end);
	mutex_unlock(&mirror->lock);
	return true;
}

/* MirrorWithoutTest */

static int no_test_fault(struct ss_mirror *mirror, unsigned long addr, bool write, struct ss_access *access)
{
	for (;;) {
		unsigned long pfn;
		struct page *kept;
		int ret;

		ss_read_begin(mirror, access);
		ret = range_fault(mirror, addr, write, &pfn, &kept);
		if (ret == -EBUSY)
			continue;
		if (ret)
			return ret;
		ss_hold(mirror->session, SS_POINT_BEFORE_LOCK);
		ss_driver_lock(mirror);
		ss_hold(mirror->session, SS_POINT_LOCKED);
		map_page(mirror, addr, pfn, write, kept);
		ss_hold(mirror->session, SS_POINT_INSTALLED);
		mutex_unlock(&mirror->lock);
		ss_hold(mirror->session, SS_POINT_UNLOCKED);
		return 0;
	}
}

/* MirrorTestsBeforeLock */

static int test_before_lock_fault(struct ss_mirror *mirror, unsigned long addr, bool write, struct ss_access *access)
{
	for (;;) {
		unsigned long seq, pfn;
		struct page *kept;
		int ret;

		seq = ss_read_begin(mirror, access);
		ret = range_fault(mirror, addr, write, &pfn, &kept);
		if (ret == -EBUSY)
			continue;
		if (ret)
			return ret;
		if (mmu_interval_read_retry(&mirror->notifier, seq)) {
			drop(kept);
			continue;
		}
		ss_hold(mirror->session, SS_POINT_TESTED);
		ss_hold(mirror->session, SS_POINT_BEFORE_LOCK);
		ss_driver_lock(mirror);
		ss_hold(mirror->session, SS_POINT_LOCKED);
		map_page(mirror, addr, pfn, write, kept);
		ss_hold(mirror->session, SS_POINT_INSTALLED);
		mutex_unlock(&mirror->lock);
		ss_hold(mirror->session, SS_POINT_UNLOCKED);
		return 0;
	}
}

/* MirrorCallbackWithoutLock */

static bool unlocked_invalidate(struct ss_mirror *mirror, const struct mmu_notifier_range *range, unsigned long seq)
{
	mmu_interval_set_seq(&mirror->notifier, seq);
	ss_table_unmap(mirror, range->start, range->end);
	return true;
}

/* MirrorDereferencesLater: the reference is for the last line. */

/* What a late dereference finds: the page that the CPU's table has at the address, another, or one that is there no longer. */
static u32 touched(struct ss_mirror *mirror, struct page *page, unsigned long addr)
{
	ss_page_load(page);
	return ss_against_cpu(mirror, addr, page_to_pfn(page), SS_PROBE_NONE);
}

static int late_deref_fault(struct ss_mirror *mirror, unsigned long addr, bool write, struct ss_access *access)
{
	for (;;) {
		unsigned long seq, pfn;
		struct page *kept;
		bool retry;
		u32 found;
		int ret;

		seq = ss_read_begin(mirror, access);
		ret = range_fault(mirror, addr, write, &pfn, &kept);
		if (ret == -EBUSY)
			continue;
		if (ret)
			return ret;
		ss_hold(mirror->session, SS_POINT_BEFORE_LOCK);
		ss_driver_lock(mirror);
		ss_hold(mirror->session, SS_POINT_LOCKED);
		retry = mmu_interval_read_retry(&mirror->notifier, seq);
		if (!retry) {
			ss_hold(mirror->session, SS_POINT_TESTED);
			map_page(mirror, addr, pfn, write, NULL);
			ss_hold(mirror->session, SS_POINT_INSTALLED);
		}
		mutex_unlock(&mirror->lock);
		if (retry) {
			drop(kept);
			continue;
		}
		ss_hold(mirror->session, SS_POINT_UNLOCKED);
		/* An access may fault more than once: a touch that was wrong is the one to tell. */
		found = touched(mirror, kept, addr);
		if (found != SS_PROBE_SAME || !access->late)
			access->late = found;
		drop(kept);
		return 0;
	}
}

/* Resets, RestoresItsTable (devices/small/resetting.py): of the holds those that stand in the functions that every driver calls */

static int resets_fault(struct ss_mirror *mirror, unsigned long addr, bool write, struct ss_access *access)
{
	for (;;) {
		unsigned long seq, pfn;
		struct page *kept;
		bool retry;
		int ret;

		seq = ss_read_begin(mirror, access);
		ret = range_fault(mirror, addr, write, &pfn, &kept);
		if (ret == -EBUSY)
			continue;
		if (ret)
			return ret;
		ss_driver_lock(mirror);
		retry = mmu_interval_read_retry(&mirror->notifier, seq);
		if (!retry)
			ss_hold(mirror->session, SS_POINT_TESTED);
		if (!retry && mirror->refuses)
			ret = -ENOENT;
		else if (!retry)
			map_page(mirror, addr, pfn, write, kept);
		mutex_unlock(&mirror->lock);
		if (retry || ret)
			drop(kept);
		if (!retry)
			return ret;
	}
}

static int resets(struct ss_mirror *mirror, struct ss_access *access)
{
	unsigned long seq = ss_read_begin(mirror, access);
	bool refuses;

	ss_driver_lock(mirror);
	refuses = mirror->refuses;
	if (!refuses)
		ss_table_save(mirror);
	mutex_unlock(&mirror->lock);
	if (refuses)
		return -ENODEV;
	ss_driver_lock(mirror);
	if (!mirror->refuses) {
		if (mirror->driver->restores) {
			ss_table_restore(mirror);
		} else if (!mmu_interval_read_retry(&mirror->notifier, seq)) {
			ss_hold(mirror->session, SS_POINT_TESTED);
			ss_table_restore(mirror);
		}
		ss_device_goes_on(mirror);
	}
	mutex_unlock(&mirror->lock);
	return 0;
}

static void refuse(struct ss_mirror *mirror)
{
	ss_driver_lock(mirror);
	mirror->refuses = true;
	ss_table_unmap(mirror, 0, ULONG_MAX);
	mutex_unlock(&mirror->lock);
}

static const struct ss_driver drivers[] = {
	{ "right", right_fault, right_invalidate, .gives_back = true },
	{ "no-test", no_test_fault, right_invalidate, .keeps = true },
	{ "test-before-lock", test_before_lock_fault, right_invalidate, .keeps = true },
	{ "callback-unlocked", right_fault, unlocked_invalidate, .keeps = true },
	{ "late-deref", late_deref_fault, right_invalidate, .keeps = true },
	{ "unmarked", right_fault, right_invalidate, .unmarked = true },
	{ "resets", resets_fault, right_invalidate, .reset = resets, .stop = refuse },
	{ "restores", resets_fault, right_invalidate, .reset = resets, .stop = refuse, .keeps = true, .restores = true },
	{ "coherent", right_fault, right_invalidate, .gives_back = true, .coherent = true },
};

const struct ss_driver *ss_driver_of(const char *name, size_t size)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(drivers); i++)
		if (!strncmp(drivers[i].name, name, size))
			return &drivers[i];
	return NULL;
}
