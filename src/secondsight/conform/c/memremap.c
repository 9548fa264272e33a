/*
 * mm/memremap.c as it is, with lib/percpu-refcount.c and lib/xarray.c: who looks a device's memory up, gives its pages out and back,
 * and takes it away; and a look at its state. See conform/targets/memremap.py, which has the same world in the model.
 */
#include SS_KERNEL_FILE

#include <linux/version.h>
#include <linux/xarray.h>

#include "conform.h"

#define PAGES 2
#define FIRST_PFN 0x1000UL
#define BIAS (1UL << (BITS_PER_LONG - 1)) /* as lib/percpu-refcount.c has it */

static struct dev_pagemap *pgmap;
static struct page *pages;

/* Read-side sections of RCU: none may be open where a thread can be left. */
static int rcu;

void __rcu_read_lock(void) { rcu++; }
void __rcu_read_unlock(void) { rcu--; }

static int private, gone, freed[PAGES], held[SS_THREADS];

/* One CPU: its counter lies where it is. A grace period of RCU that is asked for is over at once. */

unsigned long __per_cpu_offset[NR_CPUS];
struct cpumask __cpu_possible_mask;
unsigned int nr_cpu_ids = 1;
unsigned long page_offset_base, vmemmap_base, phys_base;
struct pglist_data *node_data[MAX_NUMNODES];

unsigned long _find_next_bit(const unsigned long *addr, unsigned long nbits, unsigned long start)
{
	while (start < nbits && !test_bit(start, addr))
		start++;
	return start;
}

void *ss_percpu(size_t size) asm("pcpu_alloc_noprof");
void *ss_percpu(size_t size) { return ss_alloc(size); }
void free_percpu(void *of) { }
void call_rcu_hurry(struct rcu_head *head, rcu_callback_t func) { func(head); }

void call_rcu(struct rcu_head *head, rcu_callback_t func) { } /* a node of the tree is given back: memory never is */

struct kmem_cache *radix_tree_node_cachep;

void *kmem_cache_alloc_lru_noprof(struct kmem_cache *cache, struct list_lru *lru, gfp_t flags)
{
	struct xa_node *node = ss_alloc(sizeof(*node));

	INIT_LIST_HEAD(&node->private_list);
	return node;
}

pteval_t __default_kernel_pte_mask = ~0UL;
struct cpuinfo_x86 boot_cpu_data;
u64 sme_me_mask;
struct static_key_true memory_cgrp_subsys_enabled_key;

/* What the files call on ways that lead nowhere here. */
SS_NEVER(__bitmap_clear);
SS_NEVER(__devm_add_action);
SS_NEVER(__folio_lock);
SS_NEVER(_raw_spin_lock_bh);
SS_NEVER(_raw_spin_unlock_bh);
SS_NEVER(cachemode2protval);
SS_NEVER(cc_mkdec);
SS_NEVER(devm_release_action);
SS_NEVER(mem_dump_obj);
SS_NEVER(radix_tree_node_rcu_free);
SS_NEVER(static_key_slow_dec);
SS_NEVER(static_key_slow_inc);
SS_NEVER(wake_up_var);
SS_NEVER_DATA(hugetlb_optimize_vmemmap_key);
SS_NEVER_DATA(numa_node);

/* What is printed: of a warning the trap that follows tells. */
void __warn_printk(const char *fmt, ...) { }
void __dynamic_pr_debug(struct _ddebug *descriptor, const char *fmt, ...) { }

/* A completion. */

static int is_done(void *of) { return ((struct completion *)of)->done; }

void __init_swait_queue_head(struct swait_queue_head *queue, const char *name, struct lock_class_key *key) { }
void complete(struct completion *of) { of->done++; }
void wait_for_completion(struct completion *of)
{
	ss_stop("wait_for_completion", SS_FROM, is_done, of);
	of->done--;
}

void __mem_cgroup_uncharge(struct folio *folio) { }

/* Memory that comes and goes: nothing but its pages, which are there from the beginning. */

void mem_hotplug_begin(void) { ss_stop("mem_hotplug", SS_FROM, 0, 0); }
void mem_hotplug_done(void) { }
int region_intersects(resource_size_t start, size_t size, unsigned long flags, unsigned long desc) { return REGION_DISJOINT; }
int track_pfn_remap(struct vm_area_struct *vma, pgprot_t *prot, unsigned long pfn, unsigned long addr, unsigned long size) { return 0; }
void untrack_pfn(struct vm_area_struct *vma, unsigned long pfn, unsigned long size, bool locked) { }
bool mhp_range_allowed(u64 start, u64 size, bool need_mapping) { return true; }
int add_pages(int nid, unsigned long start, unsigned long nr, struct mhp_params *params) { return 0; }
int arch_add_memory(int nid, u64 start, u64 size, struct mhp_params *params) { return 0; }
void __remove_pages(unsigned long pfn, unsigned long nr, struct vmem_altmap *altmap, struct dev_pagemap *of)
{
	gone++;
	if (!private)
		ss_warned();
}
void arch_remove_memory(u64 start, u64 size, struct vmem_altmap *altmap, struct dev_pagemap *of)
{
	gone++;
	if (private)
		ss_warned();
}
void move_pfn_range_to_zone(struct zone *zone, unsigned long pfn, unsigned long nr, struct vmem_altmap *altmap, int migratetype) { }
void remove_pfn_range_from_zone(struct zone *zone, unsigned long pfn, unsigned long nr) { }

void memmap_init_zone_device(struct zone *zone, unsigned long pfn, unsigned long nr, struct dev_pagemap *of)
{
	while (nr--) {
		pages[nr].pgmap = of;
		set_page_count(&pages[nr], of->type == MEMORY_DEVICE_PRIVATE ? 0 : 1);
	}
}

/* The driver. */

static void page_free(struct page *page) { freed[page - pages]++; }
static vm_fault_t migrate_to_ram(struct vm_fault *vmf) { return 0; }
static const struct dev_pagemap_ops ops = { .page_free = page_free, .migrate_to_ram = migrate_to_ram };

/* Operations; their numbers are those of `Op` in conform/targets/memremap.py. */

enum { OP_GET, OP_PUT, OP_GIVE, OP_UNLOCK, OP_FREE, OP_UNMAP, OP_GET_CACHED };

long ss_operate(int operation, const long *at)
{
	struct folio *folio = page_folio(&pages[at[0] % PAGES]);

	ss_stop("one", 0, 0, 0);
	if (gone && operation >= OP_GIVE && operation <= OP_FREE)
		return 0; /* the driver has nothing to give out any more */
	switch (operation) {
	case OP_GET:
		if (!get_dev_pagemap(FIRST_PFN + at[0], NULL))
			return 0;
		held[ss_self()]++;
		return 1;
	case OP_GET_CACHED:
		if (!held[ss_self()])
			return 0;
		if (get_dev_pagemap(FIRST_PFN + at[0], pgmap))
			return 2;
		held[ss_self()]--;
		return 1;
	case OP_PUT:
		if (!held[ss_self()])
			return 0;
		held[ss_self()]--;
		put_dev_pagemap(pgmap);
		return 1;
	case OP_GIVE:
		zone_device_page_init(&pages[at[0]]);
		return 0;
	case OP_UNLOCK:
		clear_bit(PG_locked, &folio->flags);
		return 0;
	case OP_FREE:
		set_page_count(&pages[at[0]], 0);
		folio->mapping = (void *)PAGE_MAPPING_ANON; /* as migration leaves it */
		free_zone_device_folio(folio);
		return 0;
	case OP_UNMAP:
		memunmap_pages(pgmap);
		return 0;
	}
	return -1;
}

/* The world. Arguments: whether the memory is private. */
void ss_setup(const long *at)
{
	void *ret;

	cpumask_set_cpu(0, &__cpu_possible_mask);
	private = at[0];
	pages = ss_alloc(PAGES * sizeof(*pages));
	vmemmap_base = (unsigned long)pages - FIRST_PFN * sizeof(*pages);
	pgmap = ss_alloc(sizeof(*pgmap));
	pgmap->type = private ? MEMORY_DEVICE_PRIVATE : MEMORY_DEVICE_GENERIC;
	pgmap->ops = &ops;
	pgmap->owner = &ops;
	pgmap->nr_range = 1;
	pgmap->range.start = PFN_PHYS(FIRST_PFN);
	pgmap->range.end = PFN_PHYS(FIRST_PFN + PAGES) - 1;
	ret = memremap_pages(pgmap, 0);
	BUG_ON(IS_ERR(ret));
}

void ss_poke(int what, const long *arguments) { }

/* The references, without the one of each page that the memory has until it is taken away, if it is not private. */
static long references(void)
{
	unsigned long __percpu *counter;
	long count;

	if (!pgmap->ref.data)
		return 0;
	count = atomic_long_read(&pgmap->ref.data->count);
	if (__ref_is_percpu(&pgmap->ref, &counter))
		count += (long)*(unsigned long *)counter - (long)BIAS;
	return count - (private || percpu_ref_is_dying(&pgmap->ref) ? 0 : PAGES);
}

void ss_look(void)
{
	int i;

	ss_text("count=");
	ss_number(references());
	ss_text(" dying=");
	ss_number(!pgmap->ref.data || percpu_ref_is_dying(&pgmap->ref));
	ss_text(" gone=");
	ss_number(gone);
	for (i = 0; i < PAGES && private; i++) {
		ss_text(" page=");
		ss_number(gone ? 0 : page_count(&pages[i]));
		ss_text(":");
		ss_number(test_bit(PG_locked, &pages[i].flags));
		ss_text(":");
		ss_number(freed[i]);
		if (pages[i].mapping)
			ss_text("!");
	}
	if (rcu)
		ss_text(" rcu");
}
