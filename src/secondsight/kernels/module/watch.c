// SPDX-License-Identifier: GPL-2.0
/*
 * A subscriber that hears of flushes of a process's TLBs, as an IOMMU's driver does whose device walks the process's page tables:
 * which pages of the windows it was told of, and how often it was called. It is called with spinlocks held.
 */
#include <linux/mmu_notifier.h>
#include <linux/slab.h>

#include "compat.h"
#include "session.h"

#define SS_WATCHED (SS_MAX_HANDLES * SS_WINDOW_PAGES)

struct ss_watch {
	struct mmu_notifier notifier;
	struct mm_struct *mm;
	u32 page_shift;
	atomic_t calls;
	bool told[SS_WATCHED];
};

static void flushed(struct mmu_notifier *notifier, struct mm_struct *mm, unsigned long start, unsigned long end)
{
	struct ss_watch *watch = container_of(notifier, struct ss_watch, notifier);
	unsigned int i;

	atomic_inc(&watch->calls);
	for (i = 0; i < SS_WATCHED; i++) {
		unsigned long addr = SS_WINDOWS + ((unsigned long)(i / SS_WINDOW_PAGES) << SS_WINDOW_SHIFT) +
				     ((unsigned long)(i % SS_WINDOW_PAGES) << watch->page_shift);

		if (addr < end && addr + PAGE_SIZE > start)
			WRITE_ONCE(watch->told[i], true);
	}
}

static const struct mmu_notifier_ops watch_ops = { .SS_FLUSHED = flushed };

long ss_watch_open(struct ss_session *session, const struct ss_mirror_open *open)
{
	struct ss_watch *watch;
	long ret;

	if (open->page_shift != PAGE_SHIFT && open->page_shift != SS_HUGE_SHIFT)
		return -EINVAL;
	watch = kvzalloc(sizeof(*watch), GFP_KERNEL);
	if (!watch)
		return -ENOMEM;
	watch->mm = current->mm;
	watch->page_shift = open->page_shift;
	watch->notifier.ops = &watch_ops;
	mutex_lock(&session->devices);
	ret = session->watch ? -EBUSY : 0;
	if (!ret)
		session->watch = watch;
	mutex_unlock(&session->devices);
	if (!ret) {
		ret = mmu_notifier_register(&watch->notifier, watch->mm);
		if (!ret)
			return 0;
		session->watch = NULL;
	}
	kvfree(watch);
	return ret;
}

/* Whether it was told of a page since that was asked last: value; how often it was called at all: begun. */
long ss_watch_told(struct ss_session *session, struct ss_access *access)
{
	unsigned long window = (access->addr - SS_WINDOWS) >> SS_WINDOW_SHIFT;
	struct ss_watch *watch = session->watch;
	unsigned long page;

	if (!watch || access->addr < SS_WINDOWS || window >= SS_MAX_HANDLES)
		return -EINVAL;
	page = (access->addr & ((1UL << SS_WINDOW_SHIFT) - 1)) >> watch->page_shift;
	if (page >= SS_WINDOW_PAGES)
		return -EINVAL;
	access->value = xchg(&watch->told[window * SS_WINDOW_PAGES + page], false);
	return 0;
}

void ss_watch_free(struct ss_watch *watch)
{
	if (!watch)
		return;
	mmu_notifier_unregister(&watch->notifier, watch->mm);
	kvfree(watch);
}
