// SPDX-License-Identifier: GPL-2.0
/*
 * The machine's area of contiguous memory (CMA), which a driver asks for as a whole: dma_alloc_pages() of so much comes from there or from nowhere.
 */
#include <linux/dma-mapping.h>
#include <linux/mutex.h>

#include "session.h"

static DEFINE_MUTEX(lock);
static struct page *pages;
static dma_addr_t address;

static long allocate(struct device *device)
{
	long ret = -EBUSY;

	mutex_lock(&lock);
	if (!pages) {
		pages = dma_alloc_pages(device, ss_cma_bytes, &address, DMA_BIDIRECTIONAL, GFP_KERNEL | __GFP_NOWARN);
		ret = pages ? 0 : -EBUSY;
	}
	mutex_unlock(&lock);
	return ret;
}

static void release(struct device *device)
{
	mutex_lock(&lock);
	if (pages)
		dma_free_pages(device, ss_cma_bytes, pages, address, DMA_BIDIRECTIONAL);
	pages = NULL;
	mutex_unlock(&lock);
}

/* Allocate the area, -EBUSY: somebody has it, or holds a page of it; or give it back. */
long ss_cma(struct device *device, unsigned long allocates)
{
	if (!ss_cma_bytes)
		return -ENODEV;
	if (allocates)
		return allocate(device);
	release(device);
	return 0;
}
