// SPDX-License-Identifier: GPL-2.0
/*
 * A mirror of a process's memory: the device has a page table of its own, filled by hmm_range_fault()
 * and cleared by an interval notifier's callback. Line by line this is devices/device.py (the access)
 * and devices/mirror.py (the drivers); the hold points stand at the same places.
 *
 * A wrong driver uses entries that the CPU's table no longer has. So that this costs wrong values and
 * not the machine, it keeps a reference for each: taken while the mmap lock is held, and only if the
 * range was not invalidated since it was collected. The right driver takes none, as real ones do:
 * a reference changes what migration and copy-on-write do.
 *
 * @lock is the driver's lock. @hardware makes each look of the device into its table, and each store
 * of the driver to it, one step; it is the hardware's, and no driver relies on it.
 */
#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "session.h"

#define SS_ENTRIES (SS_MAX_HANDLES * SS_WINDOW_PAGES)
#define SS_DEVICE_FAULT 1 /* the device's table does not allow the access */

struct ss_entry {
	unsigned long pfn;
	struct page *kept; /* of wrong drivers: their reference */
	bool present;
	bool writable;
};

struct ss_mirror;

struct ss_driver {
	const char *name;
	int (*fault)(struct ss_mirror *mirror, unsigned long addr, bool write, struct ss_access *access);
	bool (*invalidate)(struct ss_mirror *mirror, const struct mmu_notifier_range *range, unsigned long seq);
	bool keeps; /* a reference for each entry */
};

struct ss_mirror {
	struct mmu_interval_notifier notifier;
	struct ss_session *session;
	struct mm_struct *mm;
	const struct ss_driver *driver;
	struct mutex lock;
	spinlock_t hardware;
	bool closed;
	struct ss_entry entries[SS_ENTRIES];
};

/* The page table: one step each */

static unsigned long addr_of(unsigned int i)
{
	return SS_WINDOWS + ((unsigned long)(i / SS_WINDOW_PAGES) << SS_WINDOW_SHIFT) + (i % SS_WINDOW_PAGES) * PAGE_SIZE;
}

/* The entry of an address, or NULL for one that is in no window. */
static struct ss_entry *entry_of(struct ss_mirror *mirror, unsigned long addr)
{
	unsigned long window = (addr - SS_WINDOWS) >> SS_WINDOW_SHIFT;
	unsigned long page = (addr & ((1UL << SS_WINDOW_SHIFT) - 1)) >> PAGE_SHIFT;

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

static void table_map(struct ss_mirror *mirror, unsigned long addr, unsigned long pfn, bool write, struct page *kept)
{
	struct ss_entry *entry = entry_of(mirror, addr);

	spin_lock(&mirror->hardware);
	clear(entry);
	if (!mirror->closed)
		*entry = (struct ss_entry){ .pfn = pfn, .kept = kept, .present = true, .writable = write };
	else if (kept)
		put_page(kept);
	spin_unlock(&mirror->hardware);
}

static void table_unmap(struct ss_mirror *mirror, unsigned long start, unsigned long end)
{
	unsigned int i;

	spin_lock(&mirror->hardware);
	for (i = 0; i < SS_ENTRIES; i++)
		if (mirror->entries[i].present && addr_of(i) >= start && addr_of(i) < end)
			clear(&mirror->entries[i]);
	spin_unlock(&mirror->hardware);
}

/* The device's table walk and access: 0, an error, or SS_DEVICE_FAULT. */
static int table_access(struct ss_mirror *mirror, struct ss_access *access)
{
	struct ss_entry *entry = entry_of(mirror, access->addr);
	int ret = 0;

	spin_lock(&mirror->hardware);
	if (mirror->closed)
		ret = -EBADF;
	else if (!entry->present || (access->write && !entry->writable))
		ret = SS_DEVICE_FAULT;
	else if (access->write)
		ret = ss_page_store(pfn_to_page(entry->pfn), access->value);
	else
		access->value = ss_page_load(pfn_to_page(entry->pfn));
	spin_unlock(&mirror->hardware);
	return ret;
}

/* What the drivers share */

static unsigned long read_begin(struct ss_mirror *mirror, struct ss_access *access)
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
	*pfn = page_to_pfn(hmm_pfn_to_page(collecting.found));
	ss_hold(mirror->session, SS_POINT_RANGE_FAULTED);
	return 0;
}

static void drop(struct page *kept)
{
	if (kept)
		put_page(kept);
}

static void lock(struct ss_mirror *mirror)
{
	ss_waits(mirror->session, true);
	mutex_lock(&mirror->lock);
	ss_waits(mirror->session, false);
}

/* Mirror */

static int right_fault(struct ss_mirror *mirror, unsigned long addr, bool write, struct ss_access *access)
{
	for (;;) {
		unsigned long seq, pfn;
		struct page *kept;
		int ret;

		seq = read_begin(mirror, access);
		ret = range_fault(mirror, addr, write, &pfn, &kept);
		if (ret == -EBUSY)
			continue;
		if (ret)
			return ret;
		ss_hold(mirror->session, SS_POINT_BEFORE_LOCK);
		lock(mirror);
		ss_hold(mirror->session, SS_POINT_LOCKED);
		if (mmu_interval_read_retry(&mirror->notifier, seq)) {
			mutex_unlock(&mirror->lock);
			drop(kept);
			continue;
		}
		ss_hold(mirror->session, SS_POINT_TESTED);
		table_map(mirror, addr, pfn, write, kept);
		ss_hold(mirror->session, SS_POINT_INSTALLED);
		mutex_unlock(&mirror->lock);
		ss_hold(mirror->session, SS_POINT_UNLOCKED);
		return 0;
	}
}

static bool right_invalidate(struct ss_mirror *mirror, const struct mmu_notifier_range *range, unsigned long seq)
{
	if (mmu_notifier_range_blockable(range))
		lock(mirror);
	else if (!mutex_trylock(&mirror->lock))
		return false;
	mmu_interval_set_seq(&mirror->notifier, seq);
	table_unmap(mirror, range->start, range->end);
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

		read_begin(mirror, access);
		ret = range_fault(mirror, addr, write, &pfn, &kept);
		if (ret == -EBUSY)
			continue;
		if (ret)
			return ret;
		ss_hold(mirror->session, SS_POINT_BEFORE_LOCK);
		lock(mirror);
		ss_hold(mirror->session, SS_POINT_LOCKED);
		table_map(mirror, addr, pfn, write, kept);
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

		seq = read_begin(mirror, access);
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
		lock(mirror);
		ss_hold(mirror->session, SS_POINT_LOCKED);
		table_map(mirror, addr, pfn, write, kept);
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
	table_unmap(mirror, range->start, range->end);
	return true;
}

/* MirrorDereferencesLater: the reference is for the last line. */

static u32 touched(struct ss_mirror *mirror, struct page *page, unsigned long addr);

static int late_deref_fault(struct ss_mirror *mirror, unsigned long addr, bool write, struct ss_access *access)
{
	for (;;) {
		unsigned long seq, pfn;
		struct page *kept;
		bool retry;
		u32 found;
		int ret;

		seq = read_begin(mirror, access);
		ret = range_fault(mirror, addr, write, &pfn, &kept);
		if (ret == -EBUSY)
			continue;
		if (ret)
			return ret;
		ss_hold(mirror->session, SS_POINT_BEFORE_LOCK);
		lock(mirror);
		ss_hold(mirror->session, SS_POINT_LOCKED);
		retry = mmu_interval_read_retry(&mirror->notifier, seq);
		if (!retry) {
			ss_hold(mirror->session, SS_POINT_TESTED);
			table_map(mirror, addr, pfn, write, NULL);
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

static u32 against_cpu(struct ss_mirror *mirror, unsigned long addr, unsigned long pfn, u32 if_none);

/* What a late dereference finds: the page that the CPU's table has at the address, another, or one that is there no longer. */
static u32 touched(struct ss_mirror *mirror, struct page *page, unsigned long addr)
{
	ss_page_load(page);
	return against_cpu(mirror, addr, page_to_pfn(page), SS_PROBE_NONE);
}

static const struct ss_driver drivers[] = {
	{ "right", right_fault, right_invalidate, false },
	{ "no-test", no_test_fault, right_invalidate, true },
	{ "test-before-lock", test_before_lock_fault, right_invalidate, true },
	{ "callback-unlocked", right_fault, unlocked_invalidate, true },
	{ "late-deref", late_deref_fault, right_invalidate, true },
};

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

static struct ss_mirror *mirror_of(struct ss_session *session, u32 handle)
{
	return handle < SS_MAX_HANDLES ? READ_ONCE(session->mirror[handle]) : NULL;
}

long ss_mirror_open(struct ss_session *session, const struct ss_mirror_open *open)
{
	struct ss_mirror *mirror;
	unsigned int i;
	long ret;

	if (open->handle >= SS_MAX_HANDLES || mirror_of(session, open->handle))
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(drivers); i++)
		if (!strncmp(drivers[i].name, open->variant, sizeof(open->variant)))
			break;
	if (i == ARRAY_SIZE(drivers))
		return -ENOENT;
	mirror = kvzalloc(sizeof(*mirror), GFP_KERNEL);
	if (!mirror)
		return -ENOMEM;
	mirror->session = session;
	mirror->mm = current->mm;
	mirror->driver = &drivers[i];
	mutex_init(&mirror->lock);
	spin_lock_init(&mirror->hardware);
	ret = mmu_interval_notifier_insert(&mirror->notifier, mirror->mm, SS_WINDOWS,
					   (unsigned long)SS_MAX_HANDLES << SS_WINDOW_SHIFT, &notifier_ops);
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

/* Device.read() and Device.write() */
long ss_mirror_access(struct ss_session *session, struct ss_access *access)
{
	struct ss_mirror *mirror = mirror_of(session, access->handle);
	int ret;

	if (!mirror || !entry_of(mirror, access->addr))
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

/* hmm_range_fault() without a fault: value 0 for nothing, 1 for readable, 2 for writable as well. */
long ss_mirror_snapshot(struct ss_session *session, struct ss_access *access)
{
	struct ss_mirror *mirror = mirror_of(session, access->handle);
	unsigned long found;
	long ret;

	if (!mirror || !entry_of(mirror, access->addr))
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
		range.notifier_seq = read_begin(mirror, access);
		if (!mmget_not_zero(mirror->mm))
			return -EFAULT;
		mmap_read_lock(mirror->mm);
		ret = hmm_range_fault(&range);
		mmap_read_unlock(mirror->mm);
		mmput(mirror->mm);
		if (ret == -EBUSY)
			continue;
		if (ret)
			return ret;
		lock(mirror);
		if (!mmu_interval_read_retry(&mirror->notifier, range.notifier_seq))
			break;
		mutex_unlock(&mirror->lock);
	}
	mutex_unlock(&mirror->lock);
	if (found & HMM_PFN_ERROR)
		return -EFAULT;
	access->value = !(found & HMM_PFN_VALID) ? 0 : found & HMM_PFN_WRITE ? 2 : 1;
	return 0;
}

#ifdef CONFIG_DEVICE_PRIVATE
/* The page at @addr, which the CPU cannot reach until it faults: locked, and with a reference. */
static struct page *exclusive_page(struct ss_mirror *mirror, unsigned long addr)
{
	struct page *page;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
	int ret = make_device_exclusive_range(mirror->mm, addr, addr + PAGE_SIZE, &page, mirror);

	return ret == 1 && page ? page : ERR_PTR(ret < 0 ? ret : -EBUSY);
#else
	struct folio *folio;

	page = make_device_exclusive(mirror->mm, addr, mirror, &folio);
	return page;
#endif
}

/* Exchange a page's value while the CPU cannot reach it. The table keeps the page until it is invalidated. */
long ss_mirror_exclusive(struct ss_session *session, struct ss_access *access)
{
	struct ss_mirror *mirror = mirror_of(session, access->handle);
	struct page *page;
	long ret;

	if (!mirror || !entry_of(mirror, access->addr))
		return -EINVAL;
	for (;;) {
		unsigned long seq = read_begin(mirror, access);

		if (!mmget_not_zero(mirror->mm))
			return -EFAULT;
		mmap_read_lock(mirror->mm);
		page = exclusive_page(mirror, access->addr);
		mmap_read_unlock(mirror->mm);
		mmput(mirror->mm);
		if (IS_ERR(page))
			return PTR_ERR(page);
		ss_hold(session, SS_POINT_BEFORE_LOCK);
		lock(mirror);
		ss_hold(session, SS_POINT_LOCKED);
		if (!mmu_interval_read_retry(&mirror->notifier, seq))
			break;
		mutex_unlock(&mirror->lock);
		unlock_page(page);
		put_page(page);
	}
	ss_hold(session, SS_POINT_TESTED);
	table_map(mirror, access->addr, page_to_pfn(page), true, NULL);
	{
		u32 value = access->value;

		access->value = ss_page_load(page);
		ret = ss_page_store(page, value);
	}
	ss_hold(session, SS_POINT_INSTALLED);
	mutex_unlock(&mirror->lock);
	unlock_page(page);
	put_page(page);
	return ret;
}
#else
long ss_mirror_exclusive(struct ss_session *session, struct ss_access *access)
{
	return -EOPNOTSUPP;
}
#endif

static void close_mirror(struct ss_mirror *mirror)
{
	unsigned int i;

	ss_waits(mirror->session, true);
	mmu_interval_notifier_remove(&mirror->notifier);
	ss_waits(mirror->session, false);
	spin_lock(&mirror->hardware);
	mirror->closed = true;
	for (i = 0; i < SS_ENTRIES; i++)
		clear(&mirror->entries[i]);
	spin_unlock(&mirror->hardware);
}

/* Device.close(): no callback runs when this has returned, and the device's table is empty. */
long ss_mirror_close(struct ss_session *session, unsigned long handle)
{
	struct ss_mirror *mirror = mirror_of(session, handle);
	bool closed;

	if (!mirror)
		return -EINVAL;
	spin_lock(&mirror->hardware);
	closed = mirror->closed;
	spin_unlock(&mirror->hardware);
	if (closed)
		return -EBADF;
	close_mirror(mirror);
	return 0;
}

void ss_mirror_free(struct ss_mirror *mirror)
{
	if (!mirror)
		return;
	if (!mirror->closed)
		close_mirror(mirror);
	mmdrop(mirror->mm);
	kvfree(mirror);
}

/* The probe */

/*
 * Whether the CPU's table has a page at @addr, and which frame; interrupts are off, so that no table goes away, as for
 * get_user_pages_fast(). Nobody is waited for. No huge pages: there are none in a window.
 */
static bool cpu_pfn(struct mm_struct *mm, unsigned long addr, unsigned long *pfn)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;
	pte_t pte;

	if (pgd_none(*pgd) || pgd_bad(*pgd))
		return false;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d) || p4d_bad(*p4d))
		return false;
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud) || pud_bad(*pud))
		return false;
	pmd = pmd_offset(pud, addr);
	if (pmd_none(*pmd) || pmd_bad(*pmd))
		return false;
	pte = READ_ONCE(*pte_offset_kernel(pmd, addr));
	*pfn = pte_pfn(pte);
	return pte_present(pte);
}

/* What a frame is to the CPU's table at @addr: the frame there, another, or @if_none when there is none. */
static u32 against_cpu(struct ss_mirror *mirror, unsigned long addr, unsigned long pfn, u32 if_none)
{
	unsigned long flags, now = 0;
	bool there;

	local_irq_save(flags);
	there = cpu_pfn(mirror->mm, addr, &now);
	local_irq_restore(flags);
	if (!there)
		return if_none;
	return now == pfn ? SS_PROBE_SAME : SS_PROBE_OTHER;
}

/* What the device's table has at an address. For when nothing else goes on. */
long ss_mirror_probe(struct ss_session *session, struct ss_probe *probe)
{
	struct ss_mirror *mirror = mirror_of(session, probe->handle);
	struct ss_entry *entry = mirror ? entry_of(mirror, probe->addr) : NULL;

	if (!entry)
		return -EINVAL;
	spin_lock(&mirror->hardware);
	probe->found = SS_PROBE_NONE;
	if (entry->present)
		probe->found = against_cpu(mirror, probe->addr, entry->pfn, SS_PROBE_OTHER);
	if (entry->present && entry->writable)
		probe->found |= SS_PROBE_WRITABLE;
	spin_unlock(&mirror->hardware);
	return 0;
}
