/*
 * Places in mm/mmu_notifier.c that are calls of inline functions, or of what is another call elsewhere: where an mm is held and let go, and where the
 * frees of what was put are waited for. Included before the kernel's file.
 */
#pragma once

#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>
#include <linux/srcu.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
typedef bool young_t;
#else
typedef int young_t;
#endif

static void grabs(struct mm_struct *mm)
{
	ss_stop("mmgrab", SS_FROM, 0, 0);
	mmgrab(mm);
}
#define mmgrab(mm) grabs(mm)

static void drops(struct mm_struct *mm)
{
	ss_stop("mmdrop", SS_FROM, 0, 0);
	mmdrop(mm);
}
#define mmdrop(mm) drops(mm)

/* A grace period is waited for as everywhere; by mmu_notifier_synchronize() the callbacks of all that began before: on one CPU they are in one queue. */
static void all_freed(void);
#define synchronize_srcu(of) (__builtin_strcmp(__func__, "mmu_notifier_synchronize") ? (synchronize_srcu)(of) : all_freed())
