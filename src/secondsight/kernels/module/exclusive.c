// SPDX-License-Identifier: GPL-2.0
/*
 * Device-exclusive access: for a while the device has a page, and the CPU none.
 */
#include <linux/rmap.h>
#include <linux/sched/mm.h>

#include "mirror.h"

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
	struct ss_mirror *mirror = ss_mirror_of(session, access->handle);
	struct page *page;
	long ret;

	if (!mirror || !ss_entry_of(mirror, access->addr))
		return -EINVAL;
	for (;;) {
		unsigned long seq = ss_read_begin(mirror, access);

		if (!mmget_not_zero(mirror->mm))
			return -EFAULT;
		mmap_read_lock(mirror->mm);
		page = exclusive_page(mirror, access->addr);
		mmap_read_unlock(mirror->mm);
		mmput(mirror->mm);
		if (IS_ERR(page))
			return PTR_ERR(page);
		ss_hold(session, SS_POINT_BEFORE_LOCK);
		ss_driver_lock(mirror);
		ss_hold(session, SS_POINT_LOCKED);
		if (!mmu_interval_read_retry(&mirror->notifier, seq))
			break;
		mutex_unlock(&mirror->lock);
		unlock_page(page);
		put_page(page);
	}
	ss_hold(session, SS_POINT_TESTED);
	ss_table_map(mirror, access->addr, page_to_pfn(page), true, NULL);
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
