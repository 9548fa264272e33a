/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where 6.1, 6.12 and 7.2 differ: each name on the left is used as the newest release has it.
 */
#ifndef SS_COMPAT_H
#define SS_COMPAT_H

#include <linux/blkdev.h>
#include <linux/dma-buf.h>
#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/version.h>

/* 6.13: the namespace is a string. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define SS_IMPORT_DMA_BUF MODULE_IMPORT_NS(DMA_BUF)
#else
#define SS_IMPORT_DMA_BUF MODULE_IMPORT_NS("DMA_BUF")
#endif

/* 6.2: the caller no longer holds the reservation lock. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define dma_buf_map_attachment_unlocked dma_buf_map_attachment
#define dma_buf_unmap_attachment_unlocked dma_buf_unmap_attachment
#define dma_buf_vmap_unlocked dma_buf_vmap
#define dma_buf_vunmap_unlocked dma_buf_vunmap
#define ftrace_regs_set_instruction_pointer ftrace_instruction_pointer_set
#endif

/* 7.1: a callback and the function that calls it have other names. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 1, 0)
#define dma_buf_invalidate_mappings dma_buf_move_notify
#define SS_INVALIDATE_MAPPINGS move_notify
#else
#define SS_INVALIDATE_MAPPINGS invalidate_mappings
#endif

/* 7.2 (read; releases between it and 6.12 were not): a page of a device's knows its pagemap through its folio, and is freed as one. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 2, 0)
#define ss_zone_device_page_init(page, pagemap) zone_device_page_init(page)
#define ss_page_pgmap(page) ((page)->pgmap)
#else
#define ss_zone_device_page_init(page, pagemap) zone_device_page_init(page, pagemap, 0)
#define ss_page_pgmap(page) page_pgmap(page)
#define SS_FREES_FOLIOS
#endif

/* 6.6: before, subscribers heard of the end of every change instead, and of flushes in between. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
#define SS_FLUSHED invalidate_range
#else
#define SS_FLUSHED arch_invalidate_secondary_tlbs
#endif

/* 6.5: before, who pinned pages could ask for their vmas. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
#define ss_pin_user_pages(start, pages, flags, into) pin_user_pages(start, pages, flags, into, NULL)
#else
#define ss_pin_user_pages pin_user_pages
#endif

/* 6.9: a disk's limits are given with it. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 9, 0)
#define ss_alloc_disk() blk_alloc_disk(NUMA_NO_NODE)
#else
#define ss_alloc_disk() blk_alloc_disk(NULL, NUMA_NO_NODE)
#endif

/* 6.12: a task that sleeps may stay on its run queue until it would be picked. */
static inline bool ss_asleep(struct task_struct *task)
{
	if (READ_ONCE(task->__state) == TASK_RUNNING)
		return false;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	if (READ_ONCE(task->se.sched_delayed))
		return true;
#endif
	return !READ_ONCE(task->on_rq);
}

#endif
