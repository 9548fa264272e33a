// SPDX-License-Identifier: GPL-2.0
/*
 * Device-exclusive access: for a while the device has a page, and the CPU none.
 */
#include <linux/rmap.h>
#include <linux/sched/mm.h>

#include "mirror.h"

#ifdef CONFIG_DEVICE_PRIVATE
/* The page at @addr, which the CPU cannot reach until it faults: locked, and with a reference. */
static struct page *exclusive_page_of(struct mm_struct *mm, unsigned long addr, void *owner)
{
	struct page *page;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
	int ret = make_device_exclusive_range(mm, addr, addr + PAGE_SIZE, &page, owner);

	return ret == 1 && page ? page : ERR_PTR(ret < 0 ? ret : -EBUSY);
#else
	struct folio *folio;

	page = make_device_exclusive(mm, addr, owner, &folio);
	return page;
#endif
}

static struct page *exclusive_page(struct ss_mirror *mirror, unsigned long addr)
{
	return exclusive_page_of(mirror->mm, addr, mirror);
}

/* Some other device of a process that has one, or else of the caller's: it has no mirror, and no notifier that would know it. */
long ss_make_exclusive(struct ss_session *session, const struct ss_access *access)
{
	struct mm_struct *mm = current->mm;
	struct page *page;
	u32 i;

	for (i = 0; i < SS_MAX_HANDLES; i++)
		if (ss_mirror_of(session, i))
			mm = ss_mirror_of(session, i)->mm;
	if (!mmget_not_zero(mm))
		return -EFAULT;
	mmap_read_lock(mm);
	page = exclusive_page_of(mm, access->addr, NULL);
	mmap_read_unlock(mm);
	mmput(mm);
	if (IS_ERR(page))
		return PTR_ERR(page);
	unlock_page(page);
	put_page(page);
	return 0;
}

/* How long to try, in ms. */
#define SS_EXCLUSIVE_TIMEOUT 1000

/* Exchange a page's value, and say whether the table has it for the device alone. */
static bool exchanged(struct ss_mirror *mirror, struct ss_access *access, long *ret)
{
	struct ss_entry *entry = ss_entry_of(mirror, access->addr);
	bool alone;

	spin_lock(&mirror->hardware);
	alone = mirror->closed || (entry->present && entry->alone);
	if (mirror->closed) {
		*ret = -EBADF;
	} else if (alone) {
		struct page *page = pfn_to_page(entry->pfn);
		u32 value = access->value;

		access->value = ss_page_load(page);
		*ret = ss_page_store(page, value, false);
	}
	spin_unlock(&mirror->hardware);
	return alone;
}

static void map_alone(struct ss_mirror *mirror, unsigned long addr, unsigned long pfn)
{
	ss_table_map(mirror, addr, pfn, true, NULL);
	spin_lock(&mirror->hardware);
	ss_entry_of(mirror, addr)->alone = true;
	spin_unlock(&mirror->hardware);
}

/* Exchange a page's value while the CPU cannot reach it. The table keeps the page until it is invalidated. */
long ss_mirror_exclusive(struct ss_session *session, struct ss_access *access)
{
	struct ss_mirror *mirror = ss_mirror_of(session, access->handle);
	unsigned long timeout = jiffies + msecs_to_jiffies(SS_EXCLUSIVE_TIMEOUT);
	bool done = false;
	long ret = 0;

	if (!mirror || !ss_entry_of(mirror, access->addr))
		return -EINVAL;
	ss_hold(session, SS_POINT_ACCESSING);
	while (!done && !exchanged(mirror, access, &ret)) {
		struct page *page;
		unsigned long seq;

		if (time_after(jiffies, timeout))
			return -EBUSY;
		if (mirror->driver->gives_back) {
			if (!mmget_not_zero(mirror->mm))
				return -EFAULT;
			mmap_read_lock(mirror->mm);
			ret = fixup_user_fault(mirror->mm, access->addr, FAULT_FLAG_WRITE, NULL);
			mmap_read_unlock(mirror->mm);
			mmput(mirror->mm);
			if (ret)
				return -EFAULT;
		}
		seq = ss_read_begin(mirror, access);
		if (!mmget_not_zero(mirror->mm))
			return -EFAULT;
		mmap_read_lock(mirror->mm);
		page = exclusive_page(mirror, access->addr);
		mmap_read_unlock(mirror->mm);
		mmput(mirror->mm);
		if (PTR_ERR_OR_ZERO(page) == -EBUSY)
			continue;
		if (IS_ERR(page))
			return PTR_ERR(page);
		ss_hold(session, SS_POINT_BEFORE_LOCK);
		ss_driver_lock(mirror);
		ss_hold(session, SS_POINT_LOCKED);
		if (!mmu_interval_read_retry(&mirror->notifier, seq)) {
			ss_hold(session, SS_POINT_TESTED);
			map_alone(mirror, access->addr, page_to_pfn(page));
			ss_hold(session, SS_POINT_INSTALLED);
			done = exchanged(mirror, access, &ret); /* while the page is locked: nobody can be kept from it for ever */
		}
		mutex_unlock(&mirror->lock);
		unlock_page(page);
		put_page(page);
	}
	return ret;
}
#else
long ss_mirror_exclusive(struct ss_session *session, struct ss_access *access)
{
	return -EOPNOTSUPP;
}

long ss_make_exclusive(struct ss_session *session, const struct ss_access *access)
{
	return -EOPNOTSUPP;
}
#endif
