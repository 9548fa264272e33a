// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of a mirror's own: devices/private_gpu.py and private_range.py, line by line. It comes with the first page that is to go there, and goes when
 * the mirror is closed.
 *
 * MEMORY_DEVICE_PRIVATE: no CPU can reach a page there, and what the device has in it lies in an ordinary page behind it. MEMORY_DEVICE_COHERENT
 * (devices/coherent_gpu.py): CPUs can. It is memory that the boot line sets aside, one of its slots for each mirror.
 *
 * @moving is held by everybody who moves pages; the mirror's own lock is taken within, by the callbacks.
 */
#include <linux/highmem.h>
#include <linux/ioport.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "mirror.h"

#ifdef CONFIG_DEVICE_PRIVATE
#define SS_SECTION (128UL << 20) /* what request_free_mem_region() gives at least */
#define SS_SLOT (2UL << 20) /* what memremap_pages() takes at least of memory that CPUs can reach */

enum { SS_AT_ONCE = 16 }; /* pages that are taken in one call */

struct ss_memory {
	struct dev_pagemap pagemap;
	struct ss_mirror *mirror;
	struct resource *range; /* NULL: coherent memory, of this slot */
	int slot;
	struct mutex moving;
	spinlock_t lock; /* the free pages */
	unsigned int nr_free;
	bool gone;
	struct page *free[SS_PRIVATE_PAGES];
};

struct page *ss_behind(struct page *page)
{
	return is_device_private_page(page) ? page->zone_device_data : page;
}

static DECLARE_BITMAP(slots, SS_COHERENT_SLOTS); /* those that are some mirror's */

static int take_slot(void)
{
	int slot;

	for (slot = 0; ss_coherent_start && slot < SS_COHERENT_SLOTS; slot++)
		if (!test_and_set_bit(slot, slots))
			return slot;
	return -ENOMEM;
}

static unsigned long first_pfn(struct ss_memory *memory)
{
	return PHYS_PFN(memory->pagemap.range.start);
}

static void lock_moving(struct ss_memory *memory)
{
	ss_waits(memory->mirror->session, true);
	mutex_lock(&memory->moving);
	ss_waits(memory->mirror->session, false);
}

static struct ss_memory *memory_of(struct dev_pagemap *pagemap)
{
	return container_of(pagemap, struct ss_memory, pagemap);
}

/* A free page, locked; NULL: there is none. */
static struct page *private_alloc(struct ss_memory *memory)
{
	struct page *page = NULL;

	spin_lock(&memory->lock);
	if (memory->nr_free)
		page = memory->free[--memory->nr_free];
	spin_unlock(&memory->lock);
	if (page)
		ss_zone_device_page_init(page, &memory->pagemap);
	return page;
}

static void take_back(struct page *page)
{
	struct ss_memory *memory = memory_of(ss_page_pgmap(page));

	spin_lock(&memory->lock);
	memory->free[memory->nr_free++] = page;
	spin_unlock(&memory->lock);
}

static bool all_free(struct ss_memory *memory)
{
	bool all;

	spin_lock(&memory->lock);
	all = memory->nr_free == SS_PRIVATE_PAGES;
	spin_unlock(&memory->lock);
	return all;
}

/* PrivateGpu.copy_to_device(), copy_to_ram() */

static void copy_to_device(struct ss_memory *memory, unsigned long src, unsigned long *dst)
{
	struct page *from = migrate_pfn_to_page(src), *page;

	if (!(src & MIGRATE_PFN_MIGRATE))
		return;
	page = private_alloc(memory);
	if (!page)
		return;
	if (from)
		copy_highpage(ss_behind(page), from);
	else
		clear_highpage(ss_behind(page));
	*dst = migrate_pfn(page_to_pfn(page));
}

static void copy_to_ram(unsigned long src, unsigned long *dst)
{
	struct page *from = migrate_pfn_to_page(src), *page;

	if (!from || !(src & MIGRATE_PFN_MIGRATE))
		return;
	page = alloc_page(GFP_HIGHUSER_MOVABLE);
	if (!page)
		return;
	lock_page(page);
	copy_highpage(page, ss_behind(from));
	*dst = migrate_pfn(page_to_pfn(page));
}

/* PrivateGpu.to_ram() */
static int to_ram(struct ss_memory *memory, struct vm_area_struct *vma, unsigned long addr, struct page *fault_page)
{
	unsigned long src = 0, dst = 0;
	struct migrate_vma args = {
		.vma = vma,
		.start = addr,
		.end = addr + PAGE_SIZE,
		.src = &src,
		.dst = &dst,
		.pgmap_owner = memory->mirror,
		.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
		.fault_page = fault_page,
	};
	int ret;

	lock_moving(memory);
	ret = migrate_vma_setup(&args);
	if (!ret) {
		copy_to_ram(src, &dst);
		migrate_vma_pages(&args);
		migrate_vma_finalize(&args);
	}
	mutex_unlock(&memory->moving);
	return ret;
}

static vm_fault_t migrate_to_ram(struct vm_fault *vmf)
{
	struct ss_memory *memory = memory_of(ss_page_pgmap(vmf->page));

	return to_ram(memory, vmf->vma, vmf->address & PAGE_MASK, vmf->page) ? VM_FAULT_SIGBUS : 0;
}

#ifdef SS_FREES_FOLIOS
static void folio_free(struct folio *folio)
{
	take_back(&folio->page);
}

static const struct dev_pagemap_ops memory_ops = { .folio_free = folio_free, .migrate_to_ram = migrate_to_ram };
#else
static const struct dev_pagemap_ops memory_ops = { .page_free = take_back, .migrate_to_ram = migrate_to_ram };
#endif

/* Where memory is that nobody has. */
static bool range_comes(struct ss_memory *memory)
{
	struct range *range = &memory->pagemap.range;

	if (memory->mirror->driver->coherent) {
		memory->slot = take_slot();
		if (memory->slot < 0)
			return false;
		memory->pagemap.type = MEMORY_DEVICE_COHERENT;
		range->start = ss_coherent_start + memory->slot * SS_SLOT;
		range->end = range->start + SS_SLOT - 1;
		return true;
	}
	memory->range = request_free_mem_region(&iomem_resource, SS_SECTION, "secondsight");
	if (IS_ERR(memory->range))
		return false;
	memory->pagemap.type = MEMORY_DEVICE_PRIVATE;
	range->start = memory->range->start;
	range->end = memory->range->end;
	return true;
}

static void range_goes(struct ss_memory *memory)
{
	if (memory->range)
		release_mem_region(memory->range->start, resource_size(memory->range));
	else
		clear_bit(memory->slot, slots);
}

/* PrivateGpu.memory_comes() */
static struct ss_memory *memory_comes(struct ss_mirror *mirror)
{
	struct ss_memory *memory = kzalloc(sizeof(*memory), GFP_KERNEL);
	unsigned long first;
	void *there;
	int i;

	if (!memory)
		return NULL;
	memory->mirror = mirror;
	mutex_init(&memory->moving);
	spin_lock_init(&memory->lock);
	if (!range_comes(memory))
		goto free;
	memory->pagemap.nr_range = 1;
	memory->pagemap.ops = &memory_ops;
	memory->pagemap.owner = mirror;
	there = memremap_pages(&memory->pagemap, numa_node_id());
	if (IS_ERR(there))
		goto release;
	first = first_pfn(memory);
	for (i = 0; i < SS_PRIVATE_PAGES; i++) {
		struct page *page = pfn_to_page(first + i);

		if (memory->range)
			page->zone_device_data = alloc_page(GFP_HIGHUSER);
		if (!memory->range || page->zone_device_data)
			memory->free[memory->nr_free++] = page;
	}
	return memory;
release:
	range_goes(memory);
free:
	kfree(memory);
	return NULL;
}

static bool is_closed(struct ss_mirror *mirror)
{
	bool closed;

	spin_lock(&mirror->hardware);
	closed = mirror->closed;
	spin_unlock(&mirror->hardware);
	return closed;
}

/* The mirror's memory, which comes now if it has not yet; NULL: there is none. */
static struct ss_memory *own_memory(struct ss_mirror *mirror)
{
	mutex_lock(&mirror->session->devices);
	if (!mirror->memory && !is_closed(mirror))
		mirror->memory = memory_comes(mirror);
	mutex_unlock(&mirror->session->devices);
	return mirror->memory;
}

/*
 * PrivateRangeGpu.range_to_device(): how many of the pages have come, or an error; *@count: of how many, in one vma. (PrivateGpu takes them one by
 * one. What has come at the end is the same; this one is line by line as lib/test_hmm.c.)
 */
static int to_device(struct ss_memory *memory, unsigned long addr, u32 *count)
{
	unsigned long src[SS_AT_ONCE] = {}, dst[SS_AT_ONCE] = {};
	struct migrate_vma args = {
		.vma = vma_lookup(memory->mirror->mm, addr),
		.start = addr,
		.src = src,
		.dst = dst,
		.pgmap_owner = memory->mirror,
		.flags = MIGRATE_VMA_SELECT_SYSTEM,
	};
	int ret;
	u32 i;

	if (!args.vma || !(args.vma->vm_flags & VM_READ))
		return -EINVAL;
	*count = min3(*count, (u32)SS_AT_ONCE, (u32)((args.vma->vm_end - addr) >> PAGE_SHIFT));
	args.end = addr + *count * PAGE_SIZE;
	lock_moving(memory);
	ret = is_closed(memory->mirror) ? -EBADF : migrate_vma_setup(&args);
	if (!ret) {
		for (i = 0; i < *count; i++)
			copy_to_device(memory, src[i], &dst[i]);
		migrate_vma_pages(&args);
		for (i = 0; i < *count; i++)
			ret += !!(src[i] & MIGRATE_PFN_MIGRATE);
		migrate_vma_finalize(&args);
	}
	mutex_unlock(&memory->moving);
	return ret;
}

/* PrivateGpu.migrate(): how many of the pages from @access->addr on have come; @access->value says how many are asked for. */
long ss_mirror_migrate(struct ss_session *session, struct ss_access *access)
{
	struct ss_mirror *mirror = ss_mirror_of(session, access->handle);
	struct ss_memory *memory;
	u32 pages = access->value, moved = 0, count, i;
	int ret = 0;

	if (!mirror || !ss_entry_of(mirror, access->addr))
		return -EINVAL;
	memory = own_memory(mirror);
	if (!memory)
		return is_closed(mirror) ? -EBADF : -ENOMEM;
	if (!mmget_not_zero(mirror->mm))
		return -EFAULT;
	mmap_read_lock(mirror->mm);
	for (i = 0; i < pages && ret >= 0; i += count) {
		count = pages - i;
		ret = to_device(memory, access->addr + i * PAGE_SIZE, &count);
		if (ret > 0)
			moved += ret;
	}
	mmap_read_unlock(mirror->mm);
	mmput(mirror->mm);
	access->value = moved;
	return ret < 0 ? ret : 0;
}

/* PrivateGpu.bring_back() */
int ss_bring_back(struct ss_mirror *mirror, unsigned long addr)
{
	int ret = -EFAULT;

	if (!mmget_not_zero(mirror->mm))
		return ret;
	mmap_read_lock(mirror->mm);
	ret = to_ram(mirror->memory, vma_lookup(mirror->mm, addr), addr, NULL);
	mmap_read_unlock(mirror->mm);
	mmput(mirror->mm);
	return ret;
}

/* PrivateGpu.evict() */
static unsigned int evict(struct ss_memory *memory)
{
	unsigned long first = first_pfn(memory);
	unsigned int moved = 0, i;

	for (i = 0; i < SS_PRIVATE_PAGES; i++) {
		unsigned long src = 0, dst = 0;

		lock_moving(memory);
		migrate_device_range(&src, first + i, 1);
		copy_to_ram(src, &dst);
		migrate_device_pages(&src, &dst, 1);
		if ((src & MIGRATE_PFN_MIGRATE) && dst)
			moved++;
		migrate_device_finalize(&src, &dst, 1);
		mutex_unlock(&memory->moving);
	}
	return moved;
}

long ss_mirror_evict(struct ss_session *session, struct ss_access *access)
{
	struct ss_mirror *mirror = ss_mirror_of(session, access->handle);

	if (!mirror)
		return -EINVAL;
	access->value = mirror->memory ? evict(mirror->memory) : 0;
	return 0;
}

/* The end of PrivateGpu.close(), in two: what is there goes back, the device being stopped; and the memory goes. */

void ss_memory_empties(struct ss_mirror *mirror)
{
	struct ss_memory *memory = mirror->memory;

	if (!memory)
		return;
	lock_moving(memory); /* who saw it open has moved what it moves */
	mutex_unlock(&memory->moving);
	while (!all_free(memory)) {
		evict(memory);
		cond_resched();
	}
}

void ss_memory_goes(struct ss_mirror *mirror)
{
	struct ss_memory *memory = mirror->memory;
	unsigned int i;

	if (!memory || memory->gone)
		return;
	memory->gone = true;
	for (i = 0; i < SS_PRIVATE_PAGES && memory->range; i++)
		__free_page(memory->free[i]->zone_device_data);
	memunmap_pages(&memory->pagemap);
	range_goes(memory);
}

/* A thread that asks for it late finds the mirror closed, until the session ends. */
void ss_memory_free(struct ss_mirror *mirror)
{
	ss_memory_goes(mirror);
	kfree(mirror->memory);
}
#else
struct page *ss_behind(struct page *page)
{
	return page;
}

long ss_mirror_migrate(struct ss_session *session, struct ss_access *access)
{
	return -EOPNOTSUPP;
}

long ss_mirror_evict(struct ss_session *session, struct ss_access *access)
{
	return -EOPNOTSUPP;
}

int ss_bring_back(struct ss_mirror *mirror, unsigned long addr)
{
	return -EOPNOTSUPP;
}

void ss_memory_empties(struct ss_mirror *mirror)
{
}

void ss_memory_goes(struct ss_mirror *mirror)
{
}

void ss_memory_free(struct ss_mirror *mirror)
{
}
#endif
