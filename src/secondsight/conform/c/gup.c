/*
 * mm/gup.c as it is, on real x86 page tables. See conform/targets/gup.py, which has the same world in the model: the numbers of
 * operations and the form of the look are those there.
 *
 * The page tables and the vmas belong to other files: the model says what they are before each step (ss_poke), and what the frames'
 * counts are once another file has changed them. handle_mm_fault() is one of those other files' functions: the thread waits in it
 * until the model's has returned, and returns the same.
 */
#include SS_KERNEL_FILE

#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/version.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#include <linux/pagevec.h>
#endif
#include <asm/paravirt.h>

#include "conform.h"

#define PAGES 4
#define FRAMES 12
#define FIRST_PFN 0x1000UL
#define LISTS 3 /* one a thread */

/* What a thread is given with the model's step: that its fault goes on; that it has given the mmap lock up. */
#define NOT_YET (1L << 20)
#define UNLOCKS (1L << 21)


enum { VMA_NONE, VMA_READ, VMA_WRITE, VMA_PFNMAP, VMA_FILE_READ, VMA_FILE_WRITE, VMA_PRIVATE_READ, VMA_PRIVATE_WRITE };

static struct address_space *mapping;
static const struct address_space_operations of_shmem;
static int kind[PAGES];
static struct page *pages;
static int dirty[FRAMES];
static int cached[PAGES]; /* the frame of each page of the file, 0: a hole */

/* What each thread has; it gives that back before it takes more. */
static struct page *list[LISTS][PAGES];
static long held[LISTS], pinned[LISTS], of_memfd[LISTS];

/* What a thread has called handle_mm_fault() with, while the model has not begun with it. */
static struct { int asks; long page, flags; } fault[SS_THREADS];

#include "user_memory.h"

/* What the file calls on ways that lead nowhere here. */
SS_NEVER(BUG_func);
SS_NEVER(__folio_lock);
SS_NEVER(__folio_swap_cache_index);
SS_NEVER(__free_pages);
SS_NEVER(__list_add_valid_or_report);
SS_NEVER(__list_del_entry_valid_or_report);
SS_NEVER(__lruvec_stat_mod_folio);
SS_NEVER(__pte_alloc);
SS_NEVER(__put_devmap_managed_folio_refs);
SS_NEVER(__split_huge_pmd);
SS_NEVER(alloc_migration_target);
SS_NEVER(call_rcu);
SS_NEVER(dump_stack);
SS_NEVER(find_vma_intersection);
SS_NEVER(flush_tlb_mm_range);
SS_NEVER(folio_isolate_lru);
SS_NEVER(folio_unlock);
SS_NEVER(follow_devmap_pmd);
SS_NEVER(get_dev_pagemap);
SS_NEVER(get_gate_vma);
SS_NEVER(hugetlbfs_pagecache_present);
SS_NEVER(isolate_hugetlb);
SS_NEVER(lru_add_drain);
SS_NEVER(lru_add_drain_all);
SS_NEVER(migrate_device_coherent_folio);
SS_NEVER(migrate_pages);
SS_NEVER(putback_movable_pages);
SS_NEVER(touch_pmd);
SS_NEVER(touch_pud);
SS_NEVER_DATA(devmap_managed_key);
SS_NEVER_DATA(huge_zero_pfn);
SS_NEVER_DATA(hugetlb_optimize_vmemmap_key);
SS_NEVER_DATA(init_mm);
SS_NEVER_DATA(jiffies);
SS_NEVER_DATA(secretmem_aops);

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
SS_NEVER(__list_add_valid);
SS_NEVER(__list_del_entry_valid);
SS_NEVER(__put_devmap_managed_page_refs);
SS_NEVER(folio_mapcount);
SS_NEVER(follow_devmap_pud);
SS_NEVER(follow_huge_pmd_pte);
SS_NEVER(follow_huge_pud);
SS_NEVER(follow_hugetlb_page);
SS_NEVER(follow_trans_huge_pmd);
SS_NEVER_DATA(huge_zero_page);
SS_NEVER(migrate_device_coherent_page);
SS_NEVER(migration_entry_wait);
SS_NEVER(pmd_migration_entry_wait);
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
SS_NEVER(iommu_sva_invalidate_kva_range);
SS_NEVER(lruvec_stat_mod_folio);
SS_NEVER(queue_work_on);
SS_NEVER_DATA(system_percpu_wq);
SS_NEVER_DATA(system_state);
#endif
SS_NEVER(folio_isolate_hugetlb);

/* What other files of the kernel's do. */

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
int PageHuge(struct page *page) { return 0; }
int PageHeadHuge(struct page *page) { return 0; }
int pmd_huge(pmd_t pmd) { return 0; }
int pud_huge(pud_t pud) { return 0; }
struct page *follow_huge_addr(struct mm_struct *of, unsigned long address, int write) { return ERR_PTR(-EINVAL); }
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
enum migratetype get_pfnblock_migratetype(const struct page *page, unsigned long pfn) { return MIGRATE_UNMOVABLE; }
#endif

static vm_fault_t given_up(long given)
{
	if (given & UNLOCKS)
		(*(long *)&mm->mmap_lock.count)--;
	return (vm_fault_t)(given & ~UNLOCKS);
}

static vm_fault_t wait_for_fault(const void *from, unsigned long address, unsigned int flags)
{
	int self = ss_self();
	vm_fault_t ret;

	fault[self].asks = 1;
	fault[self].page = (long)(address - base) >> PAGE_SHIFT;
	fault[self].flags = (flags & FAULT_FLAG_WRITE ? 1 : 0) + (flags & FAULT_FLAG_UNSHARE ? 2 : 0) + (flags & FAULT_FLAG_ALLOW_RETRY ? 4 : 0);
	ret = given_up(ss_stop("handle_mm_fault", from, 0, 0));
	fault[self].asks = 0;
	while (ret == NOT_YET)
		ret = given_up(ss_stop("elsewhere", 0, 0, 0));
	ss_stop("fault_handled", from, 0, 0);
	return ret;
}

vm_fault_t handle_mm_fault(struct vm_area_struct *of, unsigned long address, unsigned int flags, struct pt_regs *regs)
{
	if (address < of->vm_start || address >= of->vm_end)
		ss_warned();
	return wait_for_fault(SS_FROM, address, flags);
}

/* vma_lookup() */
void *mtree_load(struct maple_tree *tree, unsigned long address)
{
	struct vm_area_struct *there;

	ss_stop("find_vma", SS_FROM, 0, 0);
	there = next_vma(address);
	return there && there->vm_start <= address ? there : NULL;
}

/* As mm/memory.c has it, where the page tables say which entries have no page. */
struct page *vm_normal_page(struct vm_area_struct *of, unsigned long address, pte_t pte)
{
	return pte_special(pte) ? NULL : pfn_to_page(pte_pfn(pte));
}

static long frame_of(struct page *page) { return page - pages; }

bool folio_mark_dirty(struct folio *folio)
{
	dirty[frame_of(&folio->page)] = 1;
	return true;
}
bool set_page_dirty(struct page *page) { return folio_mark_dirty(page_folio(page)); }
void folio_mark_accessed(struct folio *folio) { }
void mark_page_accessed(struct page *page) { }
void __folio_put(struct folio *folio) { dirty[frame_of(&folio->page)] = 0; }
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
bool shmem_mapping(struct address_space *of) { return true; }
#else
#define PAGE_MAPPING_ANON FOLIO_MAPPING_ANON
bool shmem_mapping(const struct address_space *of) { return true; }
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0) /* these told of the vmas then */
#define pin_user_pages(start, number, flags, into) pin_user_pages(start, number, flags, into, NULL)
#define get_user_pages(start, number, flags, into) get_user_pages(start, number, flags, into, NULL)
#define pin_user_pages_remote(of, start, number, flags, into, locked) pin_user_pages_remote(of, start, number, flags, into, NULL, locked)
#define get_user_pages_remote(of, start, number, flags, into, locked) get_user_pages_remote(of, start, number, flags, into, NULL, locked)
#endif
int in_gate_area(struct mm_struct *of, unsigned long address) { return 0; }
bool vma_is_secretmem(struct vm_area_struct *of) { return false; }
void vma_pgtable_walk_begin(struct vm_area_struct *of) { }
void vma_pgtable_walk_end(struct vm_area_struct *of) { }
void mod_node_page_state(struct pglist_data *node, enum node_stat_item item, long delta) { }
struct pglist_data *node_data[MAX_NUMNODES];
bool vma_needs_dirty_tracking(struct vm_area_struct *of) { return false; }

/* mm/filemap.c, mm/memfd.c: pages of a memfd, one at a time. Which frame comes into a hole the model says. */
static int into_hole[LISTS];
static bool has_filled[LISTS];

void __folio_batch_release(struct folio_batch *batch)
{
	while (batch->nr)
		folio_put(batch->folios[--batch->nr]);
}
unsigned filemap_get_folios_contig(struct address_space *of, pgoff_t *start, pgoff_t end, struct folio_batch *batch)
{
	int self = ss_self();

	if (!has_filled[self])
		into_hole[self] = (int)ss_stop("find_folio", SS_FROM, 0, 0);
	has_filled[self] = false;
	if (*start > end || !cached[*start])
		return 0;
	folio_get(page_folio(&pages[cached[*start]]));
	folio_batch_add(batch, page_folio(&pages[cached[*start]]));
	++*start;
	return 1;
}
struct folio *memfd_alloc_folio(struct file *memfd, pgoff_t at)
{
	int self = ss_self();

	if (!into_hole[self])
		ss_warned();
	cached[at] = into_hole[self];
	set_page_count(&pages[cached[at]], 2);
	has_filled[self] = true;
	return page_folio(&pages[cached[at]]);
}

/* The world that the model owns. */

/* An entry: 0, or 1 + 4 * its frame + 2 if it is dirty + 1 if it may be written. */
static void set_entry(int page, long value)
{
	unsigned long flags = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED, frame = (unsigned long)(value - 1) / 4;

	*entry(page) = 0;
	if (value == 0)
		return;
	if ((value - 1) & 1)
		flags |= _PAGE_RW;
	if ((value - 1) & 2)
		flags |= _PAGE_DIRTY;
	if (frame == 0)
		flags |= _PAGE_SPECIAL;
	*entry(page) = (FIRST_PFN + frame) << PAGE_SHIFT | flags;
}

/* A vma for each run of pages of one kind; what is left of the array lies at 0. */
static void make_vmas(void)
{
	static const unsigned long flags[] = {
		0, VM_READ | VM_MAYREAD | VM_MAYWRITE, VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE, VM_READ | VM_WRITE | VM_SHARED | VM_PFNMAP,
		VM_READ | VM_SHARED | VM_MAYSHARE | VM_MAYREAD | VM_MAYWRITE, VM_READ | VM_WRITE | VM_SHARED | VM_MAYSHARE | VM_MAYREAD | VM_MAYWRITE,
		VM_READ | VM_MAYREAD | VM_MAYWRITE, VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE,
	};
	static const struct vm_operations_struct of_file;
	int page, count = 0;

	memset(vma, 0, PAGES * sizeof(*vma));
	for (page = 0; page < PAGES; page++) {
		if (!kind[page])
			continue;
		if (!page || kind[page] != kind[page - 1]) {
			vma[count].vm_mm = mm;
			vma[count].vm_start = ADDRESS(page);
			vma[count].vm_ops = kind[page] < VMA_PFNMAP ? NULL : &of_file;
			*(unsigned long *)&vma[count++].vm_flags = flags[kind[page]];
		}
		vma[count - 1].vm_end = ADDRESS(page + 1);
	}
}

/* 0: of each page its vma's kind and its entry, then of each of the file's its frame. Else so many frames from a number on, of each its references, its pins, whether it is private memory, and not exclusive, and whether it is
 * dirty. */
void ss_poke(int what, const long *arguments)
{
	int i;

	if (what == 0) {
		for (i = 0; i < PAGES; i++)
			kind[i] = (int)arguments[2 * i];
		for (i = 0; i < PAGES; i++)
			set_entry(i, arguments[2 * i + 1]);
		for (i = 0; i < PAGES; i++)
			cached[i] = (int)arguments[2 * PAGES + i];
		make_vmas();
		return;
	}
	for (i = (int)*arguments++; what--; i++, arguments += 5) {
		struct page *page = &pages[i];

		set_page_count(page, (int)(arguments[0] - arguments[1] + GUP_PIN_COUNTING_BIAS * arguments[1]));
		page->mapping = arguments[2] ? (void *)((unsigned long)mapping | PAGE_MAPPING_ANON) : mapping;
		if (arguments[2] && !arguments[3])
			SetPageAnonExclusive(page);
		else
			ClearPageAnonExclusive(page);
		dirty[i] = (int)arguments[4];
	}
}

void ss_setup(const long *arguments)
{
	char *memory = (char *)ALIGN((unsigned long)ss_alloc(6 * PAGE_SIZE), PAGE_SIZE);
	struct paravirt_callee_save nothing = { ss_identity };
	int i;

	entries_are_numbers();
	pv_ops.irq.save_fl = pv_ops.irq.irq_disable = pv_ops.irq.irq_enable = nothing;
	base = 2 * PMD_SIZE - PAGES / 2 * PAGE_SIZE;
	pages = ss_alloc(FRAMES * sizeof(*pages));
	vmemmap_base = (unsigned long)pages - FIRST_PFN * sizeof(*pages);
	mm = ss_alloc(sizeof(*mm));
	vma = ss_alloc(PAGES * sizeof(*vma));
	mapping = ss_alloc(sizeof(*mapping));
	mapping->a_ops = &of_shmem;
	for (i = 0; i < 5; i++)
		table[i] = (unsigned long *)(memory + i * PAGE_SIZE);
	mm->pgd = (pgd_t *)table[0];
	for (i = 0; i < PAGES; i++)
		make_tables(i, 3);
}

/* Operations; their numbers are those of `Op` in conform/targets/gup_world.py. */

enum { OP_PIN, OP_GET, OP_PIN_FAST, OP_PIN_REMOTE, OP_GET_REMOTE, OP_PUT, OP_ZAP, OP_TOUCH, OP_UNMAP, OP_PIN_MEMFD };

static unsigned int flags_of(long flags)
{
	return (flags & 1 ? FOLL_WRITE : 0) | (flags & 2 ? FOLL_LONGTERM : 0);
}

static void elsewhere(void)
{
	while (ss_stop("elsewhere", 0, 0, 0) == NOT_YET)
		;
}

static long has(long ret, int pins)
{
	int self = ss_self();

	ss_stop("keep", 0, 0, 0);
	held[self] = ret > 0 ? ret : 0;
	pinned[self] = pins;
	of_memfd[self] = 0;
	return ret;
}

static long has_one(long ret, int pins)
{
	has(ret, pins);
	return ret == 1 ? frame_of(list[ss_self()][0]) : ret;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
static long pin_memfd(long start, long number)
{
	static const struct file_operations operations;
	int self = ss_self();
	pgoff_t offset = 1;
	struct inode inode = { .i_size = PAGES * PAGE_SIZE };
	struct file file = { .f_op = &operations, .f_mapping = mapping, .f_inode = &inode };
	long ret;

	ss_stop("enter", 0, 0, 0);
	ret = memfd_pin_folios(&file, start * PAGE_SIZE, (start + number) * PAGE_SIZE - 1, (struct folio **)list[self], number > PAGES ? PAGES : (unsigned int)number, &offset);
	if (ret > 0 && offset)
		ss_warned(); /* a page's beginning was asked for */
	has(ret, 0);
	of_memfd[self] = 1;
	return ret;
}
static void unpin_memfd(void) { unpin_folios((struct folio **)list[ss_self()], (unsigned long)held[ss_self()]); }
#else
static long pin_memfd(long start, long number) { ss_die("no memfd_pin_folios()", SS_FROM); }
static void unpin_memfd(void) { }
#endif

static long give_back(void)
{
	int self = ss_self(), i;

	ss_stop("give_back", 0, 0, 0);
	if (pinned[self])
		unpin_user_pages(list[self], (unsigned long)held[self]);
	else if (of_memfd[self])
		unpin_memfd();
	else
		for (i = 0; i < held[self]; i++)
			if (frame_of(list[self][i]))
				put_page(list[self][i]);
	held[self] = 0;
	return 0;
}

long ss_operate(int operation, const long *at)
{
	unsigned long address = ADDRESS(at[0]), number = (unsigned long)at[1];
	unsigned int flags = flags_of(at[2]);
	struct page **into = list[ss_self()];
	long ret = 0;

	current->mm = mm;
	if ((operation <= OP_PUT || operation == OP_PIN_MEMFD) && held[ss_self()])
		return give_back();
	switch (operation) {
	case OP_PIN_FAST:
		ss_stop("enter", 0, 0, 0);
		return has_one(pin_user_pages_fast(address, 1, flags, into), 1);
	case OP_PIN_MEMFD:
		return pin_memfd(at[0], at[1]);
	case OP_PUT:
		return 0;
	case OP_ZAP:
		elsewhere();
		return 0;
	case OP_UNMAP:
		mmap_write_lock(mm);
		ss_stop("gather", 0, 0, 0);
		mmap_write_downgrade(mm);
		elsewhere();
		mmap_read_unlock(mm);
		return 0;
	}
	mmap_read_lock(mm);
	switch (operation) {
	case OP_PIN:
		ret = has(pin_user_pages(address, number, flags, into), 1);
		break;
	case OP_GET:
		ret = has(get_user_pages(address, number, flags, into), 0);
		break;
	case OP_PIN_REMOTE:
		ret = has_one(pin_user_pages_remote(mm, address, 1, flags, into, NULL), 1);
		break;
	case OP_GET_REMOTE:
		ret = has_one(get_user_pages_remote(mm, address, 1, flags, into, NULL), 0);
		break;
	case OP_TOUCH:
		wait_for_fault(SS_FROM, address, flags & FOLL_WRITE ? FAULT_FLAG_WRITE : 0);
		break;
	}
	mmap_read_unlock(mm);
	return ret;
}

/* The look. */

void ss_look(void)
{
	int i, j;

	ss_text("mmap=");
	ss_number(*(long *)&mm->mmap_lock.count);
	for (i = 0; i < PAGES; i++) {
		unsigned long value = *entry(i);

		ss_text(" page=");
		ss_number(kind[i]);
		ss_text(":");
		if (value & _PAGE_PRESENT) {
			ss_number((long)(value >> PAGE_SHIFT & 0xffffffUL) - (long)FIRST_PFN);
			ss_text(value & _PAGE_RW ? "w" : "r");
			ss_text(value & _PAGE_DIRTY ? "d" : "");
		}
	}
	for (i = 1; i < FRAMES; i++) {
		long count = page_count(&pages[i]);

		if (!count)
			continue;
		ss_text(" frame=");
		ss_number(i);
		ss_text(":");
		ss_number(count % GUP_PIN_COUNTING_BIAS + count / GUP_PIN_COUNTING_BIAS);
		ss_text(":");
		ss_number(count / GUP_PIN_COUNTING_BIAS);
		ss_text(dirty[i] ? "d" : "");
	}
	ss_text(" file=");
	for (i = 0; i < PAGES; i++) {
		ss_text(i ? "," : "");
		ss_number(cached[i]);
	}
	for (i = 0; i < LISTS; i++) {
		ss_text(" list=");
		for (j = 0; j < held[i]; j++) {
			ss_text(j ? "," : "");
			ss_number(frame_of(list[i][j]));
		}
	}
	for (i = 0; i < SS_THREADS; i++)
		if (fault[i].asks) {
			ss_text(" fault=");
			ss_number(i);
			ss_text(":");
			ss_number(fault[i].page);
			ss_text(":");
			ss_number(fault[i].flags);
		}
}
