/*
 * The world that mm/rmap.c and mm/migrate.c are compared in: two processes with real page tables, the frames, what others do meanwhile, and the look. See
 * conform/targets/rmap_world.py, which has the same in the model: the numbers of operations, of frames and of entries and the form of the look are those there.
 *
 * The model says what entries and folios are before each step (ss_poke); locks and trees are this side's own. In functions of mm/mmu_notifier.c a thread
 * waits until the model's has returned. Included after the kernel's file; who includes it has folio_unlock() and mapping_of().
 */
#pragma once

#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mmu_notifier.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <asm/paravirt.h>

#include "conform.h"

#define FIRST_PFN 0UL /* of the zero page, which nothing maps here; the frames' numbers begin at `first_pfn` */
#include "page_tables.h"

#define MMS 2
#define LENGTH 2 /* pages of a vma */
#define PAGES 3
#define FRAMES 9
#define TABLES 4 /* of a process */
#define SLOTS 3
#define LOG 64
#define ADDRESS(page) (base + (unsigned long)(page) * PAGE_SIZE)
#define ANON_VMA_USERS 4
#define DEVICE 5 /* the frame that is in a device's memory */

static struct mm_struct *mm[MMS];
static struct vm_area_struct *vma[MMS];
static struct anon_vma_chain *chain[MMS];
static struct anon_vma *anon;
static struct address_space *file;
static struct dev_pagemap pagemap;
static unsigned long base, first_pfn;
static unsigned long *table[MMS][TABLES];
static struct page *pages;
static int swap_count[SLOTS];
static struct { long mm, start, end, event, owned; } called[LOG];
static int calls;
static struct list_head others;
static long contents[FRAMES];

#include "rmap_nowhere.h"
#include "rmap_releases.h"

static struct folio *folio_of(long frame) { return (struct folio *)&pages[frame]; }
static long frame_of(const struct folio *folio) { return (struct page *)folio - pages; }
static unsigned long *entry(int of, int page) { return table[of][3] + pte_index(ADDRESS(page)); }
static int owner_of(const struct mm_struct *of) { return of == mm[1]; }

/* mm/mmu_notifier.c: the model's runs; of the call of the subscriber this side is told (1), and of the return (0). */

static void notify(const struct mmu_notifier_range *range, const void *from)
{
	long given;

	while ((given = ss_stop("elsewhere", from, 0, 0)))
		if (given == 1 && calls < LOG) {
			called[calls].mm = owner_of(range->mm);
			called[calls].start = (long)(range->start - base) >> PAGE_SHIFT;
			called[calls].end = (long)(range->end - base) >> PAGE_SHIFT;
			called[calls].event = range->event == MMU_NOTIFY_CLEAR ? 0 : range->event == MMU_NOTIFY_EXCLUSIVE ? 1 : 2;
			called[calls++].owned = range->event == MMU_NOTIFY_EXCLUSIVE && range->owner; /* it is set of those events alone */
		}
}
int __mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)
{
	notify(range, SS_FROM);
	return 0;
}
static void bracket_ends(struct mmu_notifier_range *range, const void *from)
{
	notify(range, from);
	ss_stop("bracket_closed", from, 0, 0);
}

/* Other files' functions. */

static bool dirtied(struct folio *folio)
{
	set_bit(PG_dirty, &FOLIO_FLAGS(folio));
	return true;
}
bool folio_mark_dirty(struct folio *folio) { return dirtied(folio); }
void __folio_put(struct folio *folio)
{
	folio_set_swapbacked(folio);
	folio_clear_dirty(folio);
	ClearPageAnonExclusive(&folio->page);
}
void mlock_folio(struct folio *folio) { }
void munlock_folio(struct folio *folio) { }
void mlock_drain_local(void) { }
void flush_tlb_mm_range(struct mm_struct *of, unsigned long start, unsigned long end, unsigned int shift, bool tables) { }
void ss_nothing(void);
asm(".text\nss_nothing:\n.globl __SCT__preempt_schedule\n__SCT__preempt_schedule:\n.globl __SCT__preempt_schedule_notrace\n__SCT__preempt_schedule_notrace:\n\tret");
int percpu_counter_batch;
struct static_key_true memory_cgrp_subsys_enabled_key;
void refcount_warn_saturate(refcount_t *counter, enum refcount_saturation_type type) { ss_warned(); }
void percpu_counter_add_batch(struct percpu_counter *counter, s64 amount, s32 batch) { }

/* The world. */

/* An entry: its kind, 8 times whether it may be written (1), is dirty (2), is of a page of its process alone (4), and 64 times the number of its frame, or slot. */
enum { ENTRY_NONE, ENTRY_PRESENT, ENTRY_MIGRATION, ENTRY_PRIVATE, ENTRY_EXCLUSIVE, ENTRY_SWAP };

static unsigned long leaf(swp_entry_t of) { return swp_entry_to_pte(of).pte; }

static unsigned long entry_of(long value)
{
	long kind = value % 8, how = value / 8 % 8, number = value / 64;
	unsigned long pfn = first_pfn + (unsigned long)number;
	swp_entry_t made;

	switch (kind) {
	case ENTRY_PRESENT:
		return pfn << PAGE_SHIFT | _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | (how & 1 ? _PAGE_RW : 0) | (how & 2 ? _PAGE_DIRTY : 0);
	case ENTRY_MIGRATION:
		made = how & 1 ? make_writable_migration_entry(pfn) : how & 4 ? make_readable_exclusive_migration_entry(pfn) : make_readable_migration_entry(pfn);
		return leaf(how & 2 ? make_migration_entry_dirty(made) : made);
	case ENTRY_PRIVATE:
		return leaf(how & 1 ? make_writable_device_private_entry(pfn) : make_readable_device_private_entry(pfn));
	case ENTRY_EXCLUSIVE:
		return leaf(exclusive_leaf(pfn, how & 1));
	case ENTRY_SWAP:
		return how & 4 ? pte_swp_mkexclusive(swp_entry_to_pte(swp_entry(0, number))).pte : leaf(swp_entry(0, number));
	}
	return 0;
}

/* pte_to_swp_entry(), which has another name in 7.2. */
static swp_entry_t leaf_of(pte_t pte)
{
	swp_entry_t arch = __pte_to_swp_entry(pte_swp_clear_exclusive(pte));

	return swp_entry(__swp_type(arch), __swp_offset(arch));
}

static void look_at_entry(unsigned long value)
{
	pte_t pte = __pte(value);
	bool alone = pte_swp_exclusive(pte);
	swp_entry_t was;
	unsigned int type;
	const char *kind, *how = "";

	if (pte_none(pte))
		return;
	if (pte_present(pte)) {
		ss_number((long)(pte_pfn(pte) - first_pfn));
		ss_text(pte_write(pte) ? "w" : "r");
		ss_text(pte_dirty(pte) ? "d" : "");
		return;
	}
	ss_text(pte_swp_uffd_wp(pte) ? "u" : "");
	was = leaf_of(pte);
	type = swp_type(was);
	if (type < MAX_SWAPFILES) {
		ss_text("s");
		ss_number((long)swp_offset(was));
		ss_text(alone ? "x" : "");
		return;
	}
	kind = "?";
	if (type == SWP_MIGRATION_READ || type == SWP_MIGRATION_WRITE || type == SWP_MIGRATION_READ_EXCLUSIVE)
		kind = "m", how = type == SWP_MIGRATION_WRITE ? "w" : type == SWP_MIGRATION_READ ? "r" : "x";
	else if (type == SWP_DEVICE_READ || type == SWP_DEVICE_WRITE)
		kind = "p", how = type == SWP_DEVICE_WRITE ? "w" : "r";
	else if (is_exclusive_type(type))
		kind = "e", how = exclusive_write(was) ? "w" : "r";
	ss_text(kind);
	ss_number((long)(swp_offset(was) & SWP_PFN_MASK) - (long)first_pfn);
	ss_text(how);
	if (*kind == 'm' && swp_offset(was) & SWP_MIG_DIRTY)
		ss_text("d");
}

/* A frame: how it is, in bits, and what its page holds, so many times CONTENTS. */
enum { SHARED = 1, DIRTY = 2, LOCKED = 4, LAZY = 8, CACHED = 16, ANON = 32, OF_FILE = 64, ISOLATED = 128, WRITEBACK = 256, CONTENTS = 512 };

static void set_frame(int i, const long *at)
{
	struct folio *folio = folio_of(i);
	long how = at[2];

	set_page_count(&folio->page, (int)(at[0] % 64 - at[0] / 64 + GUP_PIN_COUNTING_BIAS * (at[0] / 64)));
	atomic_set(&folio->_mapcount, (int)at[1] - 1);
	FOLIO_FLAGS(folio) = (how & ISOLATED ? 0 : 1UL << PG_lru) | (how & WRITEBACK ? 1UL << PG_writeback : 0) | (how & DIRTY ? 1UL << PG_dirty : 0) | (how & LOCKED ? 1UL << PG_locked : 0);
	FOLIO_FLAGS(folio) |= (how & LAZY || !(how & (ANON | OF_FILE)) ? 0 : 1UL << PG_swapbacked) | (how & CACHED ? 1UL << PG_swapcache : 0);
	if (i == DEVICE) {
		FOLIO_FLAGS(folio) |= (unsigned long)ZONE_DEVICE << ZONES_PGSHIFT;
		PGMAP(&folio->page) = &pagemap;
	}
	folio->index = (unsigned long)at[3] % 8;
	folio->mapping = how & ANON ? (void *)((unsigned long)anon | ANONYMOUS) : how & OF_FILE ? file : NULL;
	if (how & ANON && !(how & SHARED))
		SetPageAnonExclusive(&folio->page);
	contents[i] = how / CONTENTS;
	if (how & CACHED) /* else it is what the kernel keeps there of its own */
		set_slot(folio, (unsigned long)at[3] / 8);
}

/* 0: the entries of each process, and how many stand for each slot. Else so many frames from a number on: of each its references and 64 times its pins, how often it is mapped, how
 * it is, and its place and 8 times its slot. */
void ss_poke(int what, const long *arguments)
{
	int i;

	if (what == 0) {
		for (i = 0; i < MMS * PAGES; i++)
			*entry(i / PAGES, i % PAGES) = entry_of(arguments[i]);
		for (i = 0; i < SLOTS; i++)
			swap_count[i] = (int)arguments[MMS * PAGES + i];
		return;
	}
	for (i = (int)*arguments++; what--; i++, arguments += 4)
		set_frame(i, arguments);
}

static void make_tables(int of, char *memory)
{
	int i;

	for (i = 0; i < TABLES; i++)
		table[of][i] = (unsigned long *)(memory + i * PAGE_SIZE);
	table[of][0][pgd_index(base)] = (unsigned long)table[of][1] | _KERNPG_TABLE | _PAGE_USER;
	table[of][1][pud_index(base)] = (unsigned long)table[of][2] | _KERNPG_TABLE | _PAGE_USER;
	table[of][2][pmd_index(base)] = (unsigned long)table[of][3] | _KERNPG_TABLE | _PAGE_USER;
	mm[of]->pgd = (pgd_t *)table[of][0];
}

/* Of each process: what its vma is of (0: anonymous memory, 1: the file, 2: the file, which it maps privately), where it begins, with which page of that, and whether it is locked. */
static void make_world(const long *at)
{
	char *memory = (char *)ALIGN((unsigned long)ss_alloc((MMS * TABLES + 1) * PAGE_SIZE), PAGE_SIZE);
	struct paravirt_callee_save nothing = { ss_identity };
	int i;

	entries_are_numbers();
	pv_ops.mmu.set_pte = set_one;
	pv_ops.irq.save_fl = pv_ops.irq.irq_disable = pv_ops.irq.irq_enable = nothing;
	no_lazy_mode();
	swap_migration_ad_supported = true;
	base = 4 * PMD_SIZE;
	pages = ss_alloc((FRAMES + MMS * TABLES) * sizeof(*pages));
	first_pfn = ((unsigned long)memory >> PAGE_SHIFT) - FRAMES; /* so that the tables' pages, in which their locks are, come behind the frames */
	vmemmap_base = (unsigned long)pages - first_pfn * sizeof(*pages);
	pagemap.type = MEMORY_DEVICE_PRIVATE;
	anon = ss_alloc(sizeof(*anon));
	anon->root = anon;
	atomic_set(&anon->refcount, ANON_VMA_USERS);
	file = ss_alloc(sizeof(*file));
	for (i = 0; i < MMS; i++, at += 4) {
		mm[i] = ss_alloc(sizeof(struct mm_struct));
		mm[i]->notifier_subscriptions = (void *)mm[i];
		mm[i]->mmlist.next = mm[i]->mmlist.prev = &others; /* it has pages in swap already */
		make_tables(i, memory + i * TABLES * PAGE_SIZE);
		vma[i] = ss_alloc(sizeof(struct vm_area_struct));
		vma[i]->vm_mm = mm[i];
		vma[i]->vm_start = ADDRESS(at[1]);
		vma[i]->vm_end = ADDRESS(at[1] + LENGTH);
		vma[i]->vm_pgoff = (unsigned long)at[2];
		vma[i]->vm_page_prot = __pgprot(_PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED);
		*(unsigned long *)&vma[i]->vm_flags = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | (at[3] ? VM_LOCKED : 0) | (at[0] == 1 ? VM_SHARED | VM_MAYSHARE : 0);
		if (at[0]) {
			vma[i]->vm_ops = &of_file;
			vma_interval_tree_insert(vma[i], &file->i_mmap);
			continue;
		}
		vma[i]->anon_vma = anon;
		chain[i] = ss_alloc(sizeof(struct anon_vma_chain));
		chain[i]->vma = vma[i];
		chain[i]->anon_vma = anon;
		anon_vma_interval_tree_insert(chain[i], &anon->rb_root);
	}
}

/* What others do meanwhile; the numbers of operations are those of `Op` in conform/targets/rmap_world.py. */

enum { OP_UNMAP, OP_MIGRATE, OP_HOLD, OP_DROP, OP_PIN, OP_UNPIN, OP_ZAP, OP_FILL, OP_TREE, OP_MOVE, OP_MISPLACED, OP_LOCK, OP_WRITEBACK, OP_MKCLEAN };

static long fill(int of, int page, long value)
{
	struct folio *folio = folio_of(value / 64);

	if (!folio_ref_count(folio) || folio_test_locked(folio) || *entry(of, page))
		return 0;
	*entry(of, page) = entry_of(value);
	atomic_inc(&folio->_mapcount);
	folio_get(folio);
	return 1;
}

static long zap(int of, int page)
{
	pte_t pte = __pte(*entry(of, page));
	struct folio *folio;
	unsigned int type;

	if (pte_none(pte))
		return 0;
	*entry(of, page) = 0;
	if (pte_present(pte)) {
		folio = page_folio(pte_page(pte));
		if (pte_dirty(pte) && !folio_test_anon(folio))
			dirtied(folio);
	} else {
		swp_entry_t was = leaf_of(pte);

		type = swp_type(was);
		if (type < MAX_SWAPFILES) {
			swap_count[swp_offset(was)]--;
			return 1;
		}
		if (type == SWP_MIGRATION_READ || type == SWP_MIGRATION_WRITE || type == SWP_MIGRATION_READ_EXCLUSIVE)
			return 1;
		folio = folio_of((long)(swp_offset(was) & SWP_PFN_MASK) - (long)first_pfn);
		if (is_exclusive_type(type) && !EXCLUSIVE_COUNTS) {
			folio_put(folio);
			return 1;
		}
	}
	atomic_dec(&folio->_mapcount);
	folio_put(folio);
	return 1;
}

static long one(int operation, const long *at)
{
	struct folio *folio = folio_of(at[0]);

	ss_stop("one", 0, 0, 0);
	switch (operation) {
	case OP_HOLD:
		if (folio_ref_count(folio))
			folio_get(folio);
		return folio_ref_count(folio) != 0;
	case OP_DROP:
		if (folio_ref_count(folio))
			folio_put(folio);
		return 0;
	case OP_PIN:
		if (!folio_ref_count(folio))
			return 0;
		folio_ref_add(folio, GUP_PIN_COUNTING_BIAS);
		return 1;
	case OP_UNPIN:
		if (folio_maybe_dma_pinned(folio))
			folio_ref_sub(folio, GUP_PIN_COUNTING_BIAS);
		return 0;
	case OP_ZAP:
		return zap((int)at[0], (int)at[1]);
	}
	return fill((int)at[0], (int)at[1], at[2]);
}

static long tree(long of_file)
{
	struct rw_semaphore *lock = of_file ? &file->i_mmap_rwsem : &anon->rwsem;

	down_write(lock);
	up_write(lock);
	return 0;
}

/* When nobody is in a function of the kernel's any more, nobody reads under RCU. */

static long operate(int operation, const long *at);
static int operating;

long ss_operate(int operation, const long *at)
{
	long ret;

	operating++;
	ret = operate(operation, at);
	if (!--operating && rcu)
		ss_warned();
	return ret;
}

/* The look. */

static void look(void)
{
	int i;

	ss_text("anon=");
	ss_number(*(long *)&anon->rwsem.count);
	ss_text(" file=");
	ss_number(*(long *)&file->i_mmap_rwsem.count);
	for (i = 0; i < MMS * PAGES; i++) {
		ss_text(" pte=");
		look_at_entry(*entry(i / PAGES, i % PAGES));
	}
	for (i = 1; i < FRAMES; i++) {
		struct folio *folio = folio_of(i);
		long count = folio_ref_count(folio), mapped = atomic_read(&folio->_mapcount) + 1;
		bool of_file = folio->mapping && !folio_test_anon(folio), known = mapped || of_file || folio_test_swapcache(folio);

		ss_text(" frame=");
		ss_number(count % GUP_PIN_COUNTING_BIAS + count / GUP_PIN_COUNTING_BIAS);
		ss_text(":");
		ss_number(mapped);
		ss_text(folio_test_dirty(folio) && i != DEVICE && known ? "d" : "");
		ss_text(folio_test_locked(folio) && folio->mapping ? "l" : ""); /* one that is nobody's nobody can find */
		ss_text(!folio_test_swapbacked(folio) && folio->mapping ? "z" : "");
		ss_text(folio_test_swapcache(folio) ? "c" : "");
		ss_text(count && !folio_test_lru(folio) ? "i" : "");
		ss_text(folio_test_writeback(folio) ? "w" : "");
		if (count && contents[i]) {
			ss_text("=");
			ss_number(contents[i]);
		}
		ss_text(mapped && folio_test_anon(folio) && PageAnonExclusive(&folio->page) ? "x" : "");
	}
	for (i = 0; i < SLOTS; i++) {
		ss_text(" slot=");
		ss_number(swap_count[i]);
	}
	for (i = 0; i < calls; i++) {
		ss_text(" call=");
		ss_number(called[i].mm);
		ss_text(":");
		ss_number(called[i].start);
		ss_text(":");
		ss_number(called[i].end);
		ss_text(called[i].event == 0 ? "c" : called[i].event == 1 ? "e" : "?");
		ss_text(called[i].owned ? "o" : "");
	}
}
