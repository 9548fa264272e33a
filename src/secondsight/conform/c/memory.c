/*
 * mm/memory.c as it is, with mm/mmu_gather.c, on real x86 page tables. See conform/targets/memory.py, which has the same world in the model: the numbers of
 * operations and of kinds and the form of the look are those there.
 *
 * The page tables and the counts of folios are this side's own. Functions of mm/rmap.c, mm/page_alloc.c, mm/swap.c and mm/shmem.c are stubs that do what the model's
 * do; in those of mm/mmu_notifier.c a thread waits until the model's has returned. A page that is allocated has no number until the model has it too: the C allocates
 * before it takes the lock under which the page is entered, the model then.
 */
#include SS_KERNEL_FILE

#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/version.h>
#include <asm/paravirt.h>

#include "conform.h"

#define PAGES 4
#define FRAMES 16
#define SPARE 4 /* those without a number */
#define ALL (FRAMES + SPARE)
#define TABLES 10 /* five of each process */
#define FIRST_PFN 0
#define THREADS 3

enum { VMA_NONE, VMA_READ, VMA_WRITE, VMA_FILE_READ, VMA_FILE_WRITE, VMA_PRIVATE_READ, VMA_PRIVATE_WRITE };

/* What a thread is given in mmu_notifier_invalidate_range_start() and _end(): that it is still there; that the subscriber has been called. */
enum { STILL = 1, CALLED = 2 };

/* What one is given before it looks at the entry: that it has been another since the model looked, whose fault returns; that the page is the process's alone by now, which
 * the model notes before it returns; that the model holds the folio of a device-exclusive entry and has not tried to lock it yet. */
enum { RETURNS = 1, REUSES = 2, HOLDS = 4 };

static struct page *pages;
static unsigned long first_pfn;
static int number_of[ALL], dirty[ALL], contents[ALL];
static int fresh, fresh_of_file, fresh_of_child[PAGES]; /* the numbers of the frames that the model allocates in this step; the child's by page */
static struct page *cache[PAGES];
static struct address_space *mapping;
static struct file *file;

/* The second process, if there is one: what it has is behind what the first has. */
static struct mm_struct *child;
static unsigned long *child_table[5];

/* For the look: how often each page is in a bracket, and the event of the last; of each process. */
static int brackets[2][PAGES], event[2][PAGES];

/* Pages whose references a zap drops before its bracket ends; the model after it. */
static int within[SS_THREADS], early[SS_THREADS];
static struct page *early_page[SS_THREADS][PAGES];

/* In 6.1: who is in a fault, and the page that it has copied, whose entry's reference is given back before the bracket ends; later releases, and the model, do so after it. */
static int in_fault[SS_THREADS];
static struct page *copied_page[SS_THREADS];

#include "user_memory.h"
#include "memory_releases.h"
#include "memory_others.h"
#include "memory_swap.h"

static struct mm_struct *mm_of(int who) { return who ? child : mm; }
static unsigned long *entry_of(int who, int page) { return who ? child_table[3] + pte_index(ADDRESS(page)) : entry(page); }
static struct vm_area_struct *vma_of(int who, unsigned long address)
{
	struct vm_area_struct *of;

	for (of = vma + who * PAGES; of < vma + (1 + who) * PAGES; of++)
		if (of->vm_end > address)
			return of;
	return NULL;
}
static int frame_of(const struct page *page) { return (int)(page - pages) - TABLES; }
static struct page *page_of(int frame) { return &pages[TABLES + frame]; }
static int mapped(int frame) { return atomic_read(&page_of(frame)->_mapcount) + 1; }

/* mm/mmu_notifier.c: the model's runs. */

static void notify(const struct mmu_notifier_range *range, int change, const void *from)
{
	int who = range->mm == child;
	long given, page;

	do {
		given = ss_stop("elsewhere", from, 0, 0);
		if (given & CALLED)
			for (page = (long)(range->start - base) >> PAGE_SHIFT; page < (long)(range->end - base) >> PAGE_SHIFT; page++) {
				brackets[who][page] += change;
				event[who][page] = (int)range->event;
			}
	} while (given & STILL);
}
int __mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)
{
	notify(range, 1, SS_FROM);
	within[ss_self()]++;
	return 0;
}
static void bracket_ends(struct mmu_notifier_range *range, const void *from)
{
	within[ss_self()]--;
	notify(range, -1, from);
	ss_stop("bracket_closed", from, 0, 0);
	copied_page[ss_self()] = NULL;
}
#if OF_PAGES
void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range, bool only_end) { bracket_ends(range, SS_FROM); }
void __mmu_notifier_invalidate_range(struct mm_struct *of, unsigned long start, unsigned long end) { }
void __mmu_notifier_change_pte(struct mm_struct *of, unsigned long address, pte_t pte) { }
#else
void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range) { bracket_ends(range, SS_FROM); }
#endif

/* mm/page_alloc.c, mm/swap.c. */

struct folio *VMA_ALLOC_FOLIO(gfp_t gfp, int order, struct vm_area_struct *of, unsigned long address)
{
	int i;

	for (i = 1; i < ALL; i++)
		if (!page_count(page_of(i))) {
			memset(page_of(i), 0, sizeof(struct page));
			set_page_count(page_of(i), 1);
			atomic_set(&page_of(i)->_mapcount, -1);
			number_of[i] = dirty[i] = contents[i] = 0;
			return (struct folio *)page_of(i);
		}
	ss_die("no frame is free", SS_FROM);
}
void __folio_put(struct folio *folio)
{
	int frame = frame_of(&folio->page);

	if (mapped(frame))
		ss_warned();
	number_of[frame] = dirty[frame] = 0;
	folio->mapping = NULL;
}
static void put_freed(struct page *page)
{
	leave_swap_cache(page_folio(page));
	put_page(page);
}
static void put_early(void)
{
	int self = ss_self();

	if (!early[self])
		return;
	ss_stop("free_pages", 0, 0, 0);
	while (early[self])
		put_freed(early_page[self][--early[self]]);
}
#if OF_PAGES
#define encoded_page page
#define encoded_page_ptr(page) (page)
#endif
void free_pages_and_swap_cache(struct encoded_page **of, int nr)
{
	int self = ss_self(), i;

	if (!within[self])
		ss_stop("free_pages", SS_FROM, 0, 0);
	for (i = 0; i < nr; i++)
		if (within[self])
			early_page[self][early[self]++] = encoded_page_ptr(of[i]);
		else
			put_freed(encoded_page_ptr(of[i]));
	while (!within[self] && early[self])
		put_freed(early_page[self][--early[self]]);
}
bool folio_mark_dirty(struct folio *folio)
{
	int was = dirty[frame_of(&folio->page)];

	dirty[frame_of(&folio->page)] = 1;
	return !was;
}
void folio_unlock(struct folio *folio)
{
	ss_stop("folio_unlock", SS_FROM, 0, 0);
	if (!folio_test_locked(folio))
		ss_warned();
	clear_bit(PG_locked, (unsigned long *)&folio->flags);
	ss_stop("folio_unlocked", SS_FROM, 0, 0);
}
void unlock_page(struct page *page) { folio_unlock(page_folio(page)); }
void __folio_lock(struct folio *folio) { ss_die("a folio lock is waited for", SS_FROM); }

/* mm/rmap.c: the counts. */

void folio_add_new_anon_rmap(struct folio *folio, struct vm_area_struct *of, unsigned long address, rmap_t flags)
{
	int frame = frame_of(&folio->page), number = of->vm_mm == child ? fresh_of_child[(address - base) >> PAGE_SHIFT] : fresh;

	if (!(number_of[frame] ? number_of[frame] : number) || mapped(frame))
		ss_warned();
	if (!number_of[frame]) /* else it has been read from swap */
		number_of[frame] = number;
	folio->mapping = (void *)((unsigned long)mapping | PAGE_MAPPING_ANON);
	atomic_set(&folio->_mapcount, 0);
	if (flags & RMAP_EXCLUSIVE)
		SetPageAnonExclusive(&folio->page);
}
void folio_add_file_rmap_ptes(struct folio *folio, struct page *page, int nr, struct vm_area_struct *of)
{
	atomic_inc(&page->_mapcount);
}
void folio_add_anon_rmap_ptes(struct folio *folio, struct page *page, int nr, struct vm_area_struct *of, unsigned long address, rmap_t flags)
{
	atomic_inc(&page->_mapcount);
	if (flags & RMAP_EXCLUSIVE)
		SetPageAnonExclusive(page);
}
void folio_remove_rmap_ptes(struct folio *folio, struct page *page, int nr, struct vm_area_struct *of)
{
	if (!mapped(frame_of(page)))
		ss_warned();
	atomic_dec(&page->_mapcount);
}
#if OF_PAGES
void page_move_anon_rmap(struct page *page, struct vm_area_struct *of) { SetPageAnonExclusive(page); }
void page_add_new_anon_rmap(struct page *page, struct vm_area_struct *of, unsigned long address) { folio_add_new_anon_rmap(page_folio(page), of, address, RMAP_EXCLUSIVE); }
void page_add_anon_rmap(struct page *page, struct vm_area_struct *of, unsigned long address, rmap_t flags)
{
	if (PageAnon(page))
		folio_add_anon_rmap_ptes(page_folio(page), page, 1, of, address, flags);
	else /* it has been read from swap */
		folio_add_new_anon_rmap(page_folio(page), of, address, flags);
}
void page_add_file_rmap(struct page *page, struct vm_area_struct *of, bool compound) { folio_add_file_rmap_ptes(page_folio(page), page, 1, of); }
void page_remove_rmap(struct page *page, struct vm_area_struct *of, bool compound)
{
	folio_remove_rmap_ptes(page_folio(page), page, 1, of);
	if (in_fault[ss_self()])
		copied_page[ss_self()] = page;
}
bool set_page_dirty(struct page *page) { return folio_mark_dirty(page_folio(page)); }
void mark_page_accessed(struct page *page) { }
void lru_cache_add_inactive_or_unevictable(struct page *page, struct vm_area_struct *of) { }
void __cgroup_throttle_swaprate(struct page *page, gfp_t gfp) { }
#else
void folio_move_anon_rmap(struct folio *folio, struct vm_area_struct *of) { }
#endif
int __anon_vma_prepare(struct vm_area_struct *of)
{
	of->anon_vma = (void *)mapping;
	return 0;
}

/* lib, arch: what is in a page. */

static int frame_at(const void *address) { return (int)(((unsigned long)address >> PAGE_SHIFT) - first_pfn); }
unsigned long copy_mc_to_kernel(void *to, const void *from, unsigned len)
{
	contents[frame_at(to)] = contents[frame_at(from)];
	return 0;
}
#if OF_PAGES
void copy_page(void *to, void *from) { copy_mc_to_kernel(to, from, PAGE_SIZE); }
#endif
bool can_change_pte_writable(struct vm_area_struct *of, unsigned long address, pte_t pte) { return PageAnonExclusive(pte_page(pte)); }
#if !OF_PAGES
pte_t pte_mkwrite(pte_t pte, struct vm_area_struct *of) { return pte_mkwrite_novma(pte); }
#endif
int ptep_set_access_flags(struct vm_area_struct *of, unsigned long address, pte_t *ptep, pte_t entry, int changed)
{
	changed = !pte_same(*ptep, entry);
	if (changed)
		set_pte(ptep, entry);
	return changed;
}
static void does_nothing(void) { }
static void plain_set_pte(pte_t *ptep, pte_t pte) { *ptep = pte; }

/* mm/shmem.c, mm/filemap.c. */

static vm_fault_t shmem_fault(struct vm_fault *vmf)
{
	struct page *page;

	ss_stop("shmem_fault", SS_FROM, 0, 0);
	page = cache[vmf->pgoff];
	if (!page) {
		page = new_page();
		number_of[frame_of(page)] = fresh_of_file;
		page->mapping = mapping;
		cache[vmf->pgoff] = page;
	}
	get_page(page);
	if (!trylock_page(page))
		ss_die("a folio lock is waited for", SS_FROM);
	vmf->page = page;
	return VM_FAULT_LOCKED;
}
static vm_fault_t shmem_map_pages(struct vm_fault *vmf, pgoff_t from, pgoff_t to)
{
	struct vm_area_struct *of = vmf->vma;
	vm_fault_t ret = 0;
	spinlock_t *ptl;
	pte_t *pte = pte_offset_map_lock(of->vm_mm, vmf->pmd, vmf->address, &ptl), *first = pte - (vmf->pgoff - from);

	for (; from <= to; from++, first++) {
		if (from >= PAGES || !cache[from] || !pte_none(*first))
			continue;
		get_page(cache[from]);
		vmf->pte = first;
#if OF_PAGES
		do_set_pte(vmf, cache[from], vmf->address + (first - pte) * PAGE_SIZE);
#else
		set_pte_range(vmf, page_folio(cache[from]), cache[from], 1, vmf->address + (first - pte) * PAGE_SIZE);
#endif
		if (first == pte)
			ret = VM_FAULT_NOPAGE;
	}
	vmf->pte = NULL;
	pte_unmap_unlock(pte, ptl);
	return ret;
}
static const struct vm_operations_struct of_file = { .fault = shmem_fault, .map_pages = shmem_map_pages };

/* The file's tree: the child's vmas are behind their parents'. */
static struct vm_area_struct *of_tree(long at, unsigned long first, unsigned long last)
{
	for (; at < 2 * PAGES; at++) {
		struct vm_area_struct *of = &vma[at / 2 + at % 2 * PAGES];

		if (of->vm_file && of->vm_pgoff <= last && of->vm_pgoff + vma_pages(of) > first)
			return of;
	}
	return NULL;
}
struct vm_area_struct *vma_interval_tree_iter_first(struct rb_root_cached *root, unsigned long first, unsigned long last)
{
	ss_stop("next_vma", SS_FROM, 0, 0);
	return of_tree(0, first, last);
}
struct vm_area_struct *vma_interval_tree_iter_next(struct vm_area_struct *from, unsigned long first, unsigned long last)
{
	long at = from - vma;

	put_early();
	ss_stop("next_vma", SS_FROM, 0, 0);
	return of_tree(at < PAGES ? 2 * at + 1 : 2 * (at - PAGES) + 2, first, last);
}
void *mas_find(struct ma_state *mas, unsigned long max)
{
	struct vm_area_struct *there = vma_of(current->mm == child, mas->index);

	if (!there || there->vm_start > max)
		return NULL;
	mas->index = there->vm_end;
	return there;
}
void fput(struct file *of) { }

#include "memory_world.h"

/* The numbers of the frames that the model allocates in the step that comes. */
void ss_poke(int what, const long *arguments)
{
	int i;

	fresh = (int)arguments[0];
	fresh_of_file = (int)arguments[1];
	for (i = 0; i < PAGES; i++)
		fresh_of_child[i] = (int)arguments[2 + i];
}

/* Operations; their numbers are those of `FaultOp` in conform/targets/memory_world.py. */

enum { OP_FAULT, OP_ZAP, OP_UNMAP, OP_PUNCH, OP_FORK, OP_UNLOCK };

#define OF_CHILD 8 /* of all but OP_PUNCH and OP_FORK, in the third argument: the second process does it */

static long fault(int who, int page, long flags)
{
	unsigned int of = (flags & 1 ? FAULT_FLAG_WRITE : 0) | (flags & 2 ? FAULT_FLAG_UNSHARE : 0) | (flags & 4 ? FAULT_FLAG_ALLOW_RETRY : 0);
	struct vm_area_struct *there;
	vm_fault_t ret;
	struct page *held;
	long given;

	mmap_read_lock(mm_of(who));
	fault_flags[ss_self()] = flags;
	given = ss_stop("enter", 0, 0, 0);
	if (given & HOLDS) {
		held = pfn_to_page(PFN_OF(pte_to_swp_entry((pte_t){ *entry_of(who, page) })));
		page_ref_inc(held);
		ss_stop("held", 0, 0, 0);
		page_ref_dec(held);
	}
	if (given & REUSES)
		SetPageAnonExclusive(pfn_to_page((*entry_of(who, page) & PTE_PFN_MASK) >> PAGE_SHIFT));
	if (given & RETURNS) {
		mmap_read_unlock(mm_of(who));
		return 0;
	}
	there = vma_of(who, ADDRESS(page));
	if (!there || there->vm_start > ADDRESS(page) || (flags & 1 && !(there->vm_flags & VM_WRITE)))
		ret = VM_FAULT_SIGSEGV; /* the callers look */
	else
		ret = handle_mm_fault(there, ADDRESS(page), of, NULL);
	if (ret & (VM_FAULT_COMPLETED | VM_FAULT_RETRY))
		return ret & VM_FAULT_COMPLETED ? 2 : 1;
	mmap_read_unlock(mm_of(who));
	return ret & VM_FAULT_SIGSEGV ? -SIGSEGV : ret & VM_FAULT_SIGBUS ? -SIGBUS : ret & VM_FAULT_ERROR ? -1 : 0;
}

static long unmap(int who, int from, int to)
{
	struct vm_area_struct *there;
	struct mmu_gather tlb;
	struct ma_state mas;

	mmap_read_lock(mm_of(who));
	there = vma_of(who, ADDRESS(from));
	if (there && there->vm_start < ADDRESS(to)) {
		memset(&mas, 0, sizeof(mas));
		mas.index = there->vm_end;
		tlb_gather_mmu(&tlb, mm_of(who));
		unmap_all(&tlb, &mas, there, ADDRESS(from), ADDRESS(to));
		tlb_finish_mmu(&tlb);
		put_early();
	}
	mmap_read_unlock(mm_of(who));
	return 0;
}

/* Page i's own frame, which somebody has locked. */
static struct page *own_page(int i)
{
	int frame;

	for (frame = 1; frame < ALL; frame++)
		if (number_of[frame] == 1 + i && page_count(page_of(frame)))
			return page_of(frame);
	ss_die("the page is gone", SS_FROM);
}

/* What of dup_mmap() is this file's. */
static long do_fork(void)
{
	struct vm_area_struct *of;
	int page = 0;
	long ret = 0;

	mmap_write_lock(mm);
	while (page < PAGES && !ret) {
		ss_stop("looks_for_vma", 0, 0, 0);
		of = vma_of(0, ADDRESS(page));
		if (!of)
			break;
		page = (int)((of->vm_end - base) >> PAGE_SHIFT);
		ss_stop("copies_vma", 0, 0, 0);
		ret = copy_page_range(of + PAGES, of);
	}
	mmap_write_unlock(mm);
	return ret;
}

long ss_operate(int operation, const long *at)
{
	int who = operation < OP_PUNCH && at[2] & OF_CHILD;
	long ret;

	current->mm = mm_of(who);
	switch (operation) {
	case OP_FAULT:
		in_fault[ss_self()] = 1;
		ret = fault(who, (int)at[0], at[2]);
		in_fault[ss_self()] = 0;
		return ret;
	case OP_ZAP:
		mmap_read_lock(mm_of(who));
		zap(vma_of(who, ADDRESS(at[0])), ADDRESS(at[0]), (unsigned long)(at[1] - at[0]) * PAGE_SIZE);
		put_early();
		mmap_read_unlock(mm_of(who));
		break;
	case OP_UNMAP:
		return unmap(who, (int)at[0], (int)at[1]);
	case OP_PUNCH:
		unmap_mapping_pages(mapping, (unsigned long)at[0], (unsigned long)(at[1] - at[0]), at[2]);
		break;
	case OP_FORK:
		return do_fork();
	case OP_UNLOCK:
		folio_unlock(page_folio(own_page((int)at[0])));
		break;
	}
	return 0;
}

/* The look. */

static void look_frame(int frame)
{
	struct page *page = page_of(frame);
	int thread, of_copies = 0;

	for (thread = 0; thread < SS_THREADS; thread++)
		of_copies += copied_page[thread] == page;
	ss_text(" frame=");
	ss_number(number_of[frame]);
	ss_text(":");
	ss_number(page_count(page) + of_copies);
	ss_text(":");
	ss_number(mapped(frame));
	ss_text(":");
	ss_number(contents[frame]);
	ss_text(page->mapping == mapping ? "f" : !page->mapping || PageAnonExclusive(page) ? "e" : "s");
	ss_text(dirty[frame] ? "d" : "");
	ss_text(PageLocked(page) ? "l" : "");
}

static void look_entry(int who, int page)
{
	pteval_t value = *entry_of(who, page);

	ss_text(" page=");
	ss_number(brackets[who][page]);
	ss_text(":");
	ss_number(event[who][page]);
	ss_text(":");
	if (value & _PAGE_PRESENT) {
		ss_number(number_of[frame_at((void *)(value & PTE_PFN_MASK))]);
		ss_text(value & _PAGE_RW ? "w" : "r");
		ss_text(pte_dirty((pte_t){ value }) ? "d" : "");
	} else if (value) {
		swp_entry_t is = pte_to_swp_entry((pte_t){ value });

		ss_text(is_migration_entry(is) ? "M" : is_device_private_entry(is) ? "P" : is_device_exclusive_entry(is) ? "X" : "S");
		ss_number(non_swap_entry(is) ? number_of[frame_of(pfn_to_page(PFN_OF(is)))] : (long)place_of(is));
		if (!non_swap_entry(is))
			ss_text(pte_swp_exclusive((pte_t){ value }) ? "x" : "");
		else
			ss_text(is_writable(is) ? "w" : is_readable_exclusive_migration_entry(is) ? "x" : "r");
	}
}

void ss_look(void)
{
	int i, number;

	ss_text("mmap=");
	ss_number(*(long *)&mm->mmap_lock.count);
	ss_text(" i_mmap=");
	ss_number(*(long *)&mapping->i_mmap_rwsem.count);
	for (i = 0; i < PAGES; i++)
		look_entry(0, i);
	if (child) {
		ss_text(" child=");
		ss_number(*(long *)&child->mmap_lock.count);
		for (i = 0; i < PAGES; i++)
			look_entry(1, i);
	}
	ss_text(" swap=");
	for (i = 0; i < PAGES; i++)
		ss_number(slot[i]);
	for (number = 1; number < FRAMES; number++)
		for (i = 1; i < ALL; i++)
			if (number_of[i] == number && page_count(page_of(i)))
				look_frame(i);
}
