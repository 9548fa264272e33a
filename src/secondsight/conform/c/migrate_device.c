/*
 * mm/migrate_device.c as it is, with the kernel's own walk over real x86 page tables. See conform/targets/migrate_device.py, which has the same
 * world in the model: the numbers of operations and of frames and the form of the look are those there.
 *
 * The page tables and the folios are this side's own. Functions of mm/rmap.c and mm/migrate.c are stubs that do what the model's do, at the same places;
 * in those of mm/mmu_notifier.c a thread waits until the model's has returned.
 */
#include <linux/migrate.h>
#include <linux/version.h>

#include "conform.h"
#include "migrate_device_places.h"

#include SS_KERNEL_FILE

#undef folio_put
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/swapops.h>
#include <asm/paravirt.h>

#define PAGES 2
#define THREADS 2
#define FIRST_PFN 0x1000UL
#define ADDRESS(page) (base + (unsigned long)(page) * PAGE_SIZE)

/* Frames: the zero page; of each page the one that it begins with, and what a fault brings; of each thread and page one of the system's and one in
 * the driver's own memory. */
enum { ZERO, OWN = 1, FILLED = OWN + PAGES, SYSTEM = FILLED + PAGES, DEVICE = SYSTEM + THREADS * PAGES, FRAMES = DEVICE + THREADS * PAGES };

enum { VMA_WRITE, VMA_READ, VMA_FILE, VMA_PFNMAP };
enum { ENTRY_NONE, ENTRY_ZERO, ENTRY_READ, ENTRY_WRITE, ENTRY_DEVICE_READ, ENTRY_DEVICE_WRITE, ENTRY_OTHERS };
enum { EXCLUSIVE = 1, PINNED = 2 };

static struct mm_struct *mm;
static struct vm_area_struct *vma;
static unsigned long base;
static unsigned long *table[4]; /* pgd, pud, pmd, and one of entries */
static struct page *pages;
static struct dev_pagemap pagemap[2];
static spinlock_t lock; /* of the page table */
static int freed;
static long locks;

#define LOG 8
static struct { long start, end, event, owned; } called[LOG];
static int calls;

static struct { struct folio *held, *locked, *isolated; } had[THREADS];

#include "page_tables.h"
#include "migrate_device_releases.h"

pteval_t __default_kernel_pte_mask = ~0UL, __supported_pte_mask = ~0UL;
bool swap_migration_ad_supported;
struct static_key_true memory_cgrp_subsys_enabled_key;

/* What the files call on ways that lead nowhere here. */
SS_NEVER(BUG_func);
SS_NEVER(__folio_lock);
SS_NEVER(__p4d_alloc);
SS_NEVER(__pte_offset_map);
SS_NEVER(__split_huge_pmd);
SS_NEVER(__split_huge_pud);
SS_NEVER(folio_alloc_noprof);
SS_NEVER(folio_copy);
SS_NEVER(folio_free_swap);
SS_NEVER(huge_pte_offset);
SS_NEVER_DATA(huge_zero_folio);
SS_NEVER_DATA(huge_zero_pfn);
SS_NEVER_DATA(hugetlb_optimize_vmemmap_key);
SS_NEVER(hugetlb_vma_lock_read);
SS_NEVER(hugetlb_vma_unlock_read);
SS_NEVER_DATA(init_mm);
SS_NEVER(p4d_clear_bad);
SS_NEVER(pgd_clear_bad);
SS_NEVER(split_folio_to_list);
SS_NEVER(vm_normal_page_pmd);
SS_NEVER(vma_interval_tree_iter_first);
SS_NEVER(vma_interval_tree_iter_next);
SS_NEVER(vma_pgtable_walk_begin);
SS_NEVER(vma_pgtable_walk_end);

/* What other files of the kernel's do. */

static struct folio *folio_of(int frame) { return (struct folio *)&pages[frame]; }
static int frame_of(struct folio *folio) { return (int)((struct page *)folio - pages); }

/* mm/mmu_notifier.c: the model's runs; of the call of the subscriber this side is told (1), and of the return (0). */
static void notify(const struct mmu_notifier_range *range, const void *from)
{
	long given;

	while ((given = ss_stop("elsewhere", from, 0, 0)))
		if (given == 1 && calls < LOG) {
			called[calls].start = (long)(range->start - base) >> PAGE_SHIFT;
			called[calls].end = (long)(range->end - base) >> PAGE_SHIFT;
			called[calls].event = range->event == MMU_NOTIFY_MIGRATE ? 1 : 0;
			called[calls++].owned = range->owner == &pagemap[0];
		}
}
int __mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)
{
	notify(range, SS_FROM);
	return 0;
}

struct vm_area_struct *find_vma(struct mm_struct *of, unsigned long address)
{
	ss_stop("find_vma", SS_FROM, 0, 0);
	return address < vma->vm_end ? vma : NULL;
}

/* As mm/memory.c has it, where the page tables say which entries have no page. */
struct page *vm_normal_page(struct vm_area_struct *of, unsigned long address, pte_t pte)
{
	return pte_special(pte) ? NULL : pte_page(pte);
}

static unsigned long *entry(int page) { return table[3] + pte_index(ADDRESS(page)); }

/* Link the tables on the way to the pages, `levels` of them below the first. */
static void make_tables(int levels)
{
	if (levels > 0)
		table[0][pgd_index(base)] = (unsigned long)table[1] | _KERNPG_TABLE | _PAGE_USER;
	if (levels > 1)
		table[1][pud_index(base)] = (unsigned long)table[2] | _KERNPG_TABLE | _PAGE_USER;
	if (levels > 2)
		table[2][pmd_index(base)] = (unsigned long)table[3] | _KERNPG_TABLE | _PAGE_USER;
}
int __pud_alloc(struct mm_struct *of, p4d_t *p4d, unsigned long address)
{
	make_tables(1);
	return 0;
}
int __pmd_alloc(struct mm_struct *of, pud_t *pud, unsigned long address)
{
	make_tables(2);
	return 0;
}
int __pte_alloc(struct mm_struct *of, pmd_t *pmd)
{
	make_tables(3);
	return 0;
}

static pte_t *map_and_lock(pmd_t *pmd, unsigned long address, spinlock_t **ptl)
{
	ss_stop("page_table", SS_FROM, 0, 0);
	if (SINCE(6, 5))
		rcu_read_lock();
	*ptl = &lock;
	atomic_set(&lock.rlock.raw_lock.val, 1);
	return (pte_t *)(table[3] + pte_index(address));
}
pte_t ptep_clear_flush(struct vm_area_struct *of, unsigned long address, pte_t *pte)
{
	pte_t old = *pte;

	pte->pte = 0;
	return old;
}
static void set_one(pte_t *at, pte_t to) { *at = to; }
void flush_tlb_mm_range(struct mm_struct *of, unsigned long start, unsigned long end, unsigned int shift, bool tables) { }
void percpu_counter_add_batch(struct percpu_counter *counter, s64 amount, s32 batch) { }
int __mem_cgroup_charge(struct folio *folio, struct mm_struct *of, gfp_t gfp) { return 0; }
int __anon_vma_prepare(struct vm_area_struct *of) { return 0; }
bool folio_mark_dirty(struct folio *folio) { return false; }

/* mm/swap.c, mm/vmscan.c */

void lru_add_drain(void) { ss_stop("lru_add_drain", SS_FROM, 0, 0); }
void lru_add_drain_all(void) { }
static bool isolate(struct folio *folio)
{
	if (!folio_test_lru(folio))
		return false;
	folio_get(folio);
	folio_clear_lru(folio);
	return true;
}
void folio_add_lru(struct folio *folio) { folio_set_lru(folio); }
static void put_back(struct folio *folio)
{
	folio_set_lru(folio);
	folio_put(folio);
}
void __folio_put(struct folio *folio)
{
	if (atomic_read(&folio->_mapcount) >= 0)
		ss_warned();
	freed++;
	FOLIO_FLAGS(folio) = 1UL << PG_lru;
	folio->mapping = NULL;
}
void folio_unlock(struct folio *folio)
{
	ss_stop("folio_unlock", SS_FROM, 0, 0);
	clear_bit(PG_locked, &FOLIO_FLAGS(folio));
}
struct address_space *folio_mapping(SAME_FOLIO *folio)
{
	ss_stop("folio_mapping", SS_FROM, 0, 0);
	return NULL;
}

/* mm/rmap.c, mm/migrate.c */

static void map_anon(struct folio *folio, int exclusive)
{
	folio->mapping = (void *)((unsigned long)&vma | ANONYMOUS);
	atomic_inc(&folio->_mapcount);
	if (exclusive)
		SetPageAnonExclusive(&folio->page);
}
void try_to_migrate(struct folio *folio, enum ttu_flags flags) { ss_die("a folio that is mapped elsewhere too: try_to_migrate() is not compared", SS_FROM); }

static void map_again(struct folio *src, struct folio *dst, const void *from)
{
	int i;

	ss_stop("rmap", from, 0, 0);
	ss_stop("rmap_folio", from, 0, 0);
	ss_stop("rmap_first", from, 0, 0);
	ss_stop("rmap_one", from, 0, 0);
	for (i = 0; i < PAGES; i++) {
		pte_t pte = __pte(*entry(i));
		swp_entry_t was = to_leaf(pte);
		bool write, device = folio_is_device_private(dst);

		if (pte_none(pte) || pte_present(pte) || !leaf_is_migration(was) || leaf_pfn(was) != folio_pfn(src))
			continue;
		write = leaf_is_migration_write(was);
		folio_get(dst);
		map_anon(dst, !leaf_is_migration_read(was));
		if (device)
			*entry(i) = swp_entry_to_pte(write ? make_writable_device_private_entry(folio_pfn(dst)) :
							     make_readable_device_private_entry(folio_pfn(dst))).pte;
		else
			*entry(i) = folio_pfn(dst) << PAGE_SHIFT | _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | (write ? _PAGE_RW : 0);
	}
	ss_stop("rmap_unlock", from, 0, 0);
	ss_stop("rmap_unlocked", from, 0, 0);
}
int folio_migrate_mapping(struct address_space *mapping, struct folio *new, struct folio *folio, int extra)
{
	if (mapping || folio_ref_count(folio) != 1 + extra)
		return -EAGAIN;
	new->index = folio->index;
	new->mapping = folio->mapping;
	return 0;
}
void folio_migrate_flags(struct folio *new, struct folio *folio) { }

/* The world. */

static void set_entry(int page, int kind, int flags)
{
	int frame = kind == ENTRY_ZERO ? ZERO : OWN + page;
	struct folio *folio = folio_of(frame);
	unsigned long pfn = FIRST_PFN + frame;

	if (kind == ENTRY_NONE)
		return;
	make_tables(3);
	if (kind == ENTRY_ZERO) {
		*entry(page) = pfn << PAGE_SHIFT | _PAGE_PRESENT | _PAGE_USER | _PAGE_SPECIAL;
		return;
	}
	set_page_count(&folio->page, 1 + (flags & PINNED ? 1024 : 0));
	map_anon(folio, flags & EXCLUSIVE);
	if (kind <= ENTRY_WRITE) {
		*entry(page) = pfn << PAGE_SHIFT | _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | (kind == ENTRY_WRITE ? _PAGE_RW : 0);
		return;
	}
	PGMAP(&folio->page) = &pagemap[kind == ENTRY_OTHERS];
	FOLIO_FLAGS(folio) |= (unsigned long)ZONE_DEVICE << ZONES_PGSHIFT;
	*entry(page) = swp_entry_to_pte(kind == ENTRY_DEVICE_READ ? make_readable_device_private_entry(pfn) :
								  make_writable_device_private_entry(pfn)).pte;
}

/* Arguments: how many levels of page tables there are; the vma's kind; whether the mm is being torn down by the OOM reaper; whether a fault locks the
 * page that it is for; of each page what its entry is and what its page. */
void ss_setup(const long *at)
{
	static const unsigned long flags[] = { VM_READ | VM_WRITE, VM_READ, VM_READ | VM_WRITE, VM_READ | VM_WRITE | VM_PFNMAP };
	static struct vm_operations_struct operations;
	char *memory = (char *)ALIGN((unsigned long)ss_alloc(5 * PAGE_SIZE), PAGE_SIZE);
	int i;

	entries_are_numbers();
	pv_ops.mmu.set_pte = set_one;
	no_lazy_mode();
	base = 2 * PMD_SIZE - PAGES * PAGE_SIZE;
	pages = ss_alloc(FRAMES * sizeof(*pages));
	vmemmap_base = (unsigned long)pages - FIRST_PFN * sizeof(*pages);
	for (i = 0; i < 2; i++) {
		pagemap[i].type = MEMORY_DEVICE_PRIVATE;
		pagemap[i].owner = &pagemap[i];
	}
	for (i = 0; i < FRAMES; i++) {
		atomic_set(&pages[i]._mapcount, -1);
		FOLIO_FLAGS(&pages[i]) = 1UL << PG_lru;
		if (i >= DEVICE) {
			PGMAP(&pages[i]) = &pagemap[0];
			FOLIO_FLAGS(&pages[i]) |= (unsigned long)ZONE_DEVICE << ZONES_PGSHIFT;
		}
	}
	mm = ss_alloc(sizeof(*mm));
	mm->notifier_subscriptions = (void *)mm;
	locks = at[3];
	if (at[2])
		set_bit(MMF_UNSTABLE, &mm->flags);
	vma = ss_alloc(sizeof(*vma));
	vma->vm_mm = mm;
	vma->vm_start = base;
	vma->vm_end = ADDRESS(PAGES);
	vma->anon_vma = (void *)vma;
	*(unsigned long *)&vma->vm_flags = flags[at[1]];
	if (at[1] >= VMA_FILE)
		vma->vm_ops = &operations;
	vma->vm_page_prot = __pgprot(_PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED);
	for (i = 0; i < 4; i++)
		table[i] = (unsigned long *)(memory + i * PAGE_SIZE);
	mm->pgd = (pgd_t *)table[0];
	make_tables((int)at[0]);
	for (i = 0; i < PAGES; i++) {
		set_entry(i, (int)at[4 + 2 * i], (int)at[5 + 2 * i]);
		set_page_count(&pages[FILLED + i], 1); /* the file's, say */
	}
}

void ss_poke(int what, const long *arguments) { }

/* Operations; their numbers are those of `Op` in conform/targets/migrate_device.py. */

enum { OP_MIGRATE, OP_HOLD, OP_DROP, OP_LOCK, OP_UNLOCK, OP_ISOLATE, OP_PUTBACK, OP_FILL, OP_ZAP };
enum { TO_NOTHING, TO_SYSTEM, TO_DEVICE };
enum { FAULT_NONE, FAULT_DEVICE, FAULT_ANY, FAULT_UNLOCKED };

/* The page of an entry: one of the system's, or of the driver's memory; NULL. */
static struct folio *folio_at(int page, int present)
{
	pte_t pte = __pte(*entry(page));
	swp_entry_t swap = to_leaf(pte);

	if (pte_none(pte))
		return NULL;
	if (pte_present(pte))
		return pte_special(pte) ? NULL : (struct folio *)pte_page(pte);
	return present || !leaf_is_device(swap) ? NULL : (struct folio *)pfn_to_page(leaf_pfn(swap));
}

/* Pages `at[0]` to before `at[1]`, of the kinds `at[2]`, to `at[3]`; `at[4]`: for which fault on the first. */
static long migrate(const long *at)
{
	unsigned long src[PAGES], dst[PAGES];
	struct migrate_vma args = {
		.vma = vma, .start = ADDRESS(at[0]), .end = ADDRESS(at[1]), .src = src, .dst = dst, .pgmap_owner = &pagemap[0], .flags = at[2],
	};
	struct folio *faulted = NULL;
	long ret = 0, i, count = at[1] - at[0], can_move = 0;

	for (i = 0; i < PAGES; i++) { /* what a driver's arrays have before is nothing to the kernel */
		src[i] = migrate_pfn(FIRST_PFN + FILLED) | MIGRATE_PFN_MIGRATE;
		dst[i] = migrate_pfn(FIRST_PFN + FILLED);
	}
	args.cpages = args.npages = 1;
	mmap_read_lock(mm);
	ss_stop("stack", 0, 0, 0);
	ss_stop("prepare", 0, 0, 0);
	if (at[4] != FAULT_NONE)
		faulted = folio_at((int)at[0], 0);
	if (faulted && at[4] == FAULT_DEVICE && !folio_is_device_private(faulted))
		faulted = NULL;
	if (faulted && locks && at[4] != FAULT_UNLOCKED && test_and_set_bit(PG_locked, &FOLIO_FLAGS(faulted)))
		faulted = NULL;
	if (faulted) {
		folio_get(faulted);
		args.fault_page = &faulted->page;
	}
	ss_stop("setup", 0, 0, 0);
	ret = migrate_vma_setup(&args);
	if (!ret) {
		ss_stop("give", 0, 0, 0);
		for (i = 0; i < count; i++) {
			int frame = (at[3] == TO_DEVICE ? DEVICE : SYSTEM) + ss_self() * PAGES + (int)i;

			can_move += !!(src[i] & MIGRATE_PFN_MIGRATE);
			ret |= !!(src[i] & MIGRATE_PFN_MIGRATE) << i;
			ret |= (src[i] & MIGRATE_PFN_VALID && src[i] & MIGRATE_PFN_WRITE ? 4 : 0) << i;
			ret |= (src[i] & MIGRATE_PFN_VALID ? 16 : 0) << i;
			if (at[3] == TO_NOTHING || !(src[i] & MIGRATE_PFN_MIGRATE))
				continue;
			set_page_count(&pages[frame], 1);
			set_bit(PG_locked, &FOLIO_FLAGS(&pages[frame]));
			dst[i] = migrate_pfn(FIRST_PFN + frame);
		}
		ret |= (long)args.cpages == can_move ? 0 : 256; /* the driver is told how many it can move */
		ss_stop("pages", 0, 0, 0);
		migrate_vma_pages(&args);
		ss_stop("moved", 0, 0, 0);
		for (i = 0; i < count; i++)
			ret |= (src[i] & MIGRATE_PFN_MIGRATE ? 64 : 0) << i;
		ss_stop("finalize", 0, 0, 0);
		migrate_vma_finalize(&args);
	}
	ss_stop("end", 0, 0, 0);
	if (faulted) {
		if (locks && at[4] != FAULT_UNLOCKED)
			clear_bit(PG_locked, &FOLIO_FLAGS(faulted));
		folio_put(faulted);
	}
	ss_stop("stack", 0, 0, 0);
	mmap_read_unlock(mm);
	return ret;
}

long ss_operate(int operation, const long *at)
{
	int self = ss_self();
	struct folio *folio;

	if (operation == OP_MIGRATE)
		return migrate(at);
	ss_stop("one", 0, 0, 0);
	folio = folio_at((int)at[0], operation != OP_ZAP);
	switch (operation) {
	case OP_HOLD:
		if (!folio || had[self].held)
			return 0;
		folio_get(folio);
		had[self].held = folio;
		return 1;
	case OP_DROP:
		if (!had[self].held)
			return 0;
		folio_put(had[self].held);
		had[self].held = NULL;
		return 1;
	case OP_LOCK:
		if (!folio || had[self].locked || test_bit(PG_locked, &FOLIO_FLAGS(folio)))
			return 0;
		folio_get(folio);
		set_bit(PG_locked, &FOLIO_FLAGS(folio));
		had[self].locked = folio;
		return 1;
	case OP_UNLOCK:
		if (!had[self].locked)
			return 0;
		clear_bit(PG_locked, &FOLIO_FLAGS(had[self].locked));
		folio_put(had[self].locked);
		had[self].locked = NULL;
		return 1;
	case OP_ISOLATE:
		if (!folio || had[self].isolated || !isolate(folio))
			return 0;
		had[self].isolated = folio;
		return 1;
	case OP_PUTBACK:
		if (!had[self].isolated)
			return 0;
		put_back(had[self].isolated);
		had[self].isolated = NULL;
		return 1;
	case OP_FILL:
		if (vma->vm_ops || *entry((int)at[0]))
			return 0;
		make_tables(3);
		folio = folio_of(FILLED + (int)at[0]);
		if (atomic_read(&folio->_mapcount) >= 0)
			return 0;
		folio_get(folio);
		map_anon(folio, 1);
		*entry((int)at[0]) = folio_pfn(folio) << PAGE_SHIFT | _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | (vma->vm_flags & VM_WRITE ? _PAGE_RW : 0);
		return 1;
	case OP_ZAP:
		if (!folio)
			return 0;
		*entry((int)at[0]) = 0;
		atomic_dec(&folio->_mapcount);
		folio_put(folio);
		return 1;
	}
	return -1;
}

/* The look. */

static void look_entry(int page)
{
	pte_t pte = __pte(*entry(page));
	swp_entry_t swap = to_leaf(pte);
	struct page *there;

	ss_text(" page=");
	if (pte_none(pte))
		return;
	there = pte_present(pte) ? pte_page(pte) : pfn_to_page(leaf_pfn(swap));
	ss_number(there - pages);
	if (!pte_present(pte) && leaf_is_migration(swap)) {
		ss_text(leaf_is_migration_write(swap) ? "mw" : leaf_is_migration_exclusive(swap) ? "mx" : "mr");
		return;
	}
	if (pte_present(pte))
		ss_text(pte_write(pte) ? "w" : "r");
	else
		ss_text(!leaf_is_device(swap) ? "?" : leaf_is_device_write(swap) ? "dw" : "dr");
	if (there - pages != ZERO && PageAnonExclusive(there))
		ss_text("x");
}

void ss_look(void)
{
	int i;

	ss_text("mmap=");
	ss_number(*(long *)&mm->mmap_lock.count);
	for (i = 0; i < PAGES; i++)
		look_entry(i);
	for (i = 1; i < FRAMES; i++) {
		ss_text(" ");
		ss_number(page_count(&pages[i]) % 1024 + page_count(&pages[i]) / 1024);
		ss_text(test_bit(PG_locked, &FOLIO_FLAGS(&pages[i])) ? "l" : "");
		ss_text(i < SYSTEM && !test_bit(PG_lru, &FOLIO_FLAGS(&pages[i])) ? "i" : "");
	}
	for (i = 0; i < calls; i++) {
		ss_text(" call=");
		ss_number(called[i].start);
		ss_text(":");
		ss_number(called[i].end);
		ss_text(called[i].event ? "m" : "?");
		ss_text(called[i].owned ? "o" : "?");
	}
	if (rcu)
		ss_text(" rcu");
}
