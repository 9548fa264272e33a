/*
 * mm/hmm.c as it is, with the kernel's own walk over real x86 page tables. See conform/targets/hmm.py, which has the same
 * world in the model: the numbers of operations and the form of the look are those there.
 *
 * The page tables, the vmas and the notifier's sequence number belong to other files: the model says what they are before
 * each step (ss_poke). handle_mm_fault() is one of those other files' functions: the thread waits in it until the model's has
 * returned, and returns the same.
 */
#include SS_KERNEL_FILE

#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/swapops.h>
#include <linux/version.h>
#include <asm/paravirt.h>

#include "conform.h"

#define PAGES 4
#define FIRST_PFN 0x1000UL
#define NOT_YET (-1L)

#define RANGES 3 /* one a thread */

/* What an entry of hmm_pfns[] keeps whatever hmm_range_fault() writes to it. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
#define KEPT HMM_PFN_DMA_MAPPED
#else
#define KEPT 0UL
#endif

#define PFN(entry) ((entry) & 0xffffffUL)

enum { VMA_NONE, VMA_READ, VMA_WRITE, VMA_PFNMAP, VMA_DEVICE, VMA_FILE_READ, VMA_FILE_WRITE };

static struct mmu_interval_notifier *notifier;
static int kind[PAGES];
static long absent, unmirrored;

/* Memory of devices that no CPU can reach: the driver's own, and another's. Every page has a struct page, for its pagemap. */
#define FRAMES 16
static struct page *pages;
static struct dev_pagemap pagemap[2];

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
#define softleaf_t swp_entry_t
#define softleaf_from_pte(pte) pte_to_swp_entry(pte)
#define softleaf_to_pfn(entry) swp_offset_pfn(entry)
#define softleaf_is_device_private(entry) is_device_private_entry(entry)
#define softleaf_is_device_private_write(entry) is_writable_device_private_entry(entry)
#endif

static void set_pagemap(struct page *page, struct dev_pagemap *of)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
	page->pgmap = of;
#else
	((struct folio *)page)->pgmap = of;
#endif
}
static unsigned long pfns[RANGES][PAGES];

/* What a thread has called handle_mm_fault() with, while the model has not begun with it. */
static struct { int asks; long page, write; } fault[SS_THREADS];

static struct dev_pagemap *pagemap_of(struct page *page)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
	return page->pgmap;
#else
	return ((struct folio *)page)->pgmap;
#endif
}

#include "user_memory.h"

/* What the files call on ways that lead nowhere here. */
SS_NEVER(__list_add_valid);
SS_NEVER(__list_add_valid_or_report);
SS_NEVER(__list_del_entry_valid);
SS_NEVER(__list_del_entry_valid_or_report);
SS_NEVER(__pud_trans_huge_lock);
SS_NEVER(__split_huge_pmd);
SS_NEVER(__split_huge_pud);
SS_NEVER(__free_pages);
SS_NEVER(__lruvec_stat_mod_folio);
SS_NEVER(lruvec_stat_mod_folio);
SS_NEVER(BUG_func);
SS_NEVER(call_rcu);
SS_NEVER(flush_tlb_mm_range);
SS_NEVER(huge_pte_offset);
SS_NEVER_DATA(huge_zero_pfn);
SS_NEVER_DATA(hugetlb_optimize_vmemmap_key);
SS_NEVER(hugetlb_vma_lock_read);
SS_NEVER(hugetlb_vma_unlock_read);
SS_NEVER_DATA(init_mm);
SS_NEVER(migration_entry_wait);
SS_NEVER(pmd_migration_entry_wait);
SS_NEVER(pud_huge);
SS_NEVER(vm_normal_page_pmd);
SS_NEVER(vm_normal_page_pud);
SS_NEVER(vma_interval_tree_iter_first);
SS_NEVER(vma_interval_tree_iter_next);
SS_NEVER(vma_pgtable_walk_begin);
SS_NEVER(vma_pgtable_walk_end);
SS_NEVER(__kvmalloc_node_noprof);
SS_NEVER(__p4d_alloc);
SS_NEVER(__pci_p2pdma_update_state);
SS_NEVER(__pmd_alloc);
SS_NEVER(__pte_alloc);
SS_NEVER(__pud_alloc);
SS_NEVER(__vma_start_write);
SS_NEVER(dma_addressing_limited);
SS_NEVER(dma_iova_free);
SS_NEVER(dma_iova_link);
SS_NEVER(dma_iova_sync);
SS_NEVER(dma_iova_try_alloc);
SS_NEVER(dma_iova_unlink);
SS_NEVER(dma_map_phys);
SS_NEVER(dma_need_unmap);
SS_NEVER(dma_unmap_phys);
SS_NEVER(iommu_sva_invalidate_kva_range);
SS_NEVER(kvfree);
SS_NEVER(queue_work_on);
SS_NEVER_DATA(system_percpu_wq);
SS_NEVER_DATA(system_state);

/* What other files of the kernel's do. */

static vm_fault_t wait_for_fault(const void *from, unsigned long address, unsigned int flags)
{
	int self = ss_self();
	long given;

	fault[self].asks = 1;
	fault[self].page = (long)(address - base) >> PAGE_SHIFT;
	fault[self].write = !!(flags & FAULT_FLAG_WRITE);
	given = ss_stop("handle_mm_fault", from, 0, 0);
	fault[self].asks = 0;
	while (given == NOT_YET)
		given = ss_stop("elsewhere", 0, 0, 0);
	ss_stop("fault_handled", from, 0, 0);
	return (vm_fault_t)given;
}

vm_fault_t handle_mm_fault(struct vm_area_struct *of, unsigned long address, unsigned int flags, struct pt_regs *regs)
{
	if (address < of->vm_start || address >= of->vm_end)
		ss_warned();
	return wait_for_fault(SS_FROM, address, flags);
}

/* As mm/memory.c has it, where the page tables say which entries have no page. */
struct page *vm_normal_page(struct vm_area_struct *of, unsigned long address, pte_t pte)
{
	return pte_special(pte) ? NULL : (struct page *)(pte_pfn(pte) * sizeof(struct page));
}

/* The world that the model owns. */

/* What an entry without a page is: the model has only one such. */
static unsigned long absent_entry(int page)
{
	if (!kind[page] || !absent)
		return 0;
	make_tables(page, 3);
	return absent == 1 ? __swp_entry_to_pte(__swp_entry(0, 7)).pte :
			     __swp_entry_to_pte(__swp_entry(SWP_PTE_MARKER, PTE_MARKER_UFFD_WP)).pte;
}

/* An entry: 0, or 1 + 2 * its frame + whether it may be written; and PRIVATE once for a page in the driver's own memory, twice in another's. */
#define PRIVATE 64

static void set_entry(int page, long value)
{
	unsigned long flags = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED, frame;
	long private = value / PRIVATE;

	value %= PRIVATE;
	frame = (unsigned long)(value - 1) / 2;
	if (value == 0) {
		*entry(page) = absent_entry(page);
		return;
	}
	make_tables(page, 3);
	if (private) {
		set_pagemap(&pages[frame], &pagemap[private - 1]);
		*entry(page) = swp_entry_to_pte((value - 1) % 2 ? make_writable_device_private_entry(FIRST_PFN + frame) :
								 make_readable_device_private_entry(FIRST_PFN + frame)).pte;
		return;
	}
	if ((value - 1) % 2)
		flags |= _PAGE_RW | _PAGE_DIRTY;
	if (frame == 0 || kind[page] == VMA_PFNMAP)
		flags |= _PAGE_SPECIAL;
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
	if (kind[page] == VMA_DEVICE)
		flags |= _PAGE_SPECIAL | _PAGE_DEVMAP;
#endif
	*entry(page) = (FIRST_PFN + frame) << PAGE_SHIFT | flags;
}

/* A vma for each run of pages of one kind; what is left of the array lies at 0. */
static void make_vmas(void)
{
	static const unsigned long flags[] = {
		0, VM_READ, VM_READ | VM_WRITE, 0, VM_READ | VM_WRITE | VM_MIXEDMAP,
		VM_READ, VM_READ | VM_WRITE
	};
	static const unsigned long not_mirrored[] = { VM_READ | VM_WRITE | VM_PFNMAP, VM_READ | VM_WRITE | VM_IO, 0 };
	int page, count = 0;

	memset(vma, 0, PAGES * sizeof(*vma));
	for (page = 0; page < PAGES; page++) {
		if (!kind[page])
			continue;
		if (!page || kind[page] != kind[page - 1]) {
			vma[count].vm_mm = mm;
			vma[count].vm_start = ADDRESS(page);
			*(unsigned long *)&vma[count++].vm_flags = kind[page] == VMA_PFNMAP ? not_mirrored[unmirrored] : flags[kind[page]];
		}
		vma[count - 1].vm_end = ADDRESS(page + 1);
	}
}

/* The notifier's number; of each page its vma's kind and its entry. */
void ss_poke(int what, const long *arguments)
{
	int page;

	notifier->invalidate_seq = (unsigned long)*arguments++;
	for (page = 0; page < PAGES; page++)
		kind[page] = (int)arguments[2 * page];
	for (page = 0; page < PAGES; page++)
		set_entry(page, arguments[2 * page + 1]);
	make_vmas();
}

/* Arguments: how many levels of empty page tables there are already below the first; whether the pages lie in two of the last;
 * one for the model alone; what an absent entry is; what a vma is that is not mirrored. */
void ss_setup(const long *arguments)
{
	char *memory = (char *)ALIGN((unsigned long)ss_alloc(6 * PAGE_SIZE), PAGE_SIZE);
	int i;

	entries_are_numbers();
	base = 2 * PMD_SIZE - (arguments[1] ? PAGES / 2 : PAGES) * PAGE_SIZE;
	absent = arguments[3];
	unmirrored = arguments[4];
	pages = ss_alloc(FRAMES * sizeof(*pages));
	vmemmap_base = (unsigned long)pages - FIRST_PFN * sizeof(*pages);
	pagemap[0].owner = &pagemap[0];
	pagemap[1].owner = &pagemap[1];
	mm = ss_alloc(sizeof(*mm));
	vma = ss_alloc(PAGES * sizeof(*vma));
	notifier = ss_alloc(sizeof(*notifier));
	notifier->mm = mm;
	for (i = 0; i < 5; i++)
		table[i] = (unsigned long *)(memory + i * PAGE_SIZE);
	mm->pgd = (pgd_t *)table[0];
	for (i = 0; i < RANGES * PAGES; i++)
		pfns[i / PAGES][i % PAGES] = KEPT;
	for (i = 0; i < PAGES; i++)
		make_tables(i, (int)arguments[0]);
}

/* Operations; their numbers are those of `Op` in conform/targets/hmm.py. */

enum { OP_FAULT, OP_FAULT_UNLOCKED, OP_ZAP, OP_TOUCH, OP_UNMAP, OP_RANGE, OP_RANGE_UNLOCKED };

static void elsewhere(void)
{
	while (ss_stop("elsewhere", 0, 0, 0) == NOT_YET)
		;
}

/* What an entry says, as the model writes it: a frame, or an errno. */
static long answer(int ret, unsigned long pfn, long request)
{
	long faults = request & 1;

	if ((pfn & KEPT) != KEPT)
		return -199;
	pfn &= ~KEPT;
	if (ret)
		return ret;
	if (pfn == HMM_PFN_ERROR)
		return faults ? -198 : -EFAULT;
	if (pfn == 0)
		return faults ? -197 : -ENOENT;
	if (!(pfn & HMM_PFN_VALID) || pfn & ~(HMM_PFN_VALID | HMM_PFN_WRITE | 0xffffffUL))
		return -196;
	if ((request & 3) == 3 && !(pfn & HMM_PFN_WRITE))
		return -103; /* HMM_PFN_READ_ONLY */
	return (long)PFN(pfn) - (long)FIRST_PFN;
}

static unsigned long flags_of(long request)
{
	return (request & 1 ? HMM_PFN_REQ_FAULT : 0) | (request & 2 ? HMM_PFN_REQ_WRITE : 0);
}

static int range_fault(struct hmm_range *range)
{
	ss_stop("read_seq", 0, 0, 0);
	range->notifier_seq = notifier->invalidate_seq;
	ss_stop("enter", 0, 0, 0);
	return hmm_range_fault(range);
}

static long one_page(long page, long request)
{
	unsigned long pfn = KEPT;
	struct hmm_range range = {
		.notifier = notifier,
		.start = ADDRESS(page),
		.end = ADDRESS(page + 1),
		.hmm_pfns = &pfn,
		.default_flags = flags_of(request),
		.dev_private_owner = &pagemap[0],
	};
	int ret = range_fault(&range);

	return answer(ret, pfn, request);
}

/* Pages `at[0]` to before `at[1]`; the default flags, the mask of those of each page, and these, two bits a page. */
static long several_pages(const long *at)
{
	struct hmm_range range = {
		.notifier = notifier,
		.start = ADDRESS(at[0]),
		.end = ADDRESS(at[1]),
		.hmm_pfns = pfns[ss_self()],
		.default_flags = flags_of(at[2]),
		.pfn_flags_mask = flags_of(at[3]),
		.dev_private_owner = &pagemap[0],
	};
	int i;

	ss_stop("fill_in", 0, 0, 0);
	for (i = 0; i < PAGES; i++)
		range.hmm_pfns[i] = flags_of(at[4] >> 2 * i) | KEPT;
	return range_fault(&range);
}

long ss_operate(int operation, const long *at)
{
	long ret = 0;

	switch (operation) {
	case OP_FAULT:
		mmap_read_lock(mm);
		ret = one_page(at[0], at[1]);
		mmap_read_unlock(mm);
		return ret;
	case OP_RANGE:
		mmap_read_lock(mm);
		ret = several_pages(at);
		mmap_read_unlock(mm);
		return ret;
	case OP_FAULT_UNLOCKED:
		return one_page(at[0], at[1]);
	case OP_RANGE_UNLOCKED:
		return several_pages(at);
	case OP_ZAP:
		elsewhere();
		return 0;
	case OP_TOUCH:
		mmap_read_lock(mm);
		wait_for_fault(SS_FROM, ADDRESS(at[0]), at[1] ? FAULT_FLAG_WRITE : 0);
		mmap_read_unlock(mm);
		return 0;
	case OP_UNMAP:
		mmap_write_lock(mm);
		ss_stop("gather", 0, 0, 0);
		mmap_write_downgrade(mm);
		elsewhere();
		mmap_read_unlock(mm);
		return 0;
	}
	return -1;
}

/* The look. */

/* What was asked of a page, or what is said of it. */
static void look_pfn(unsigned long entry)
{
	if ((entry & KEPT) != KEPT || entry & ~(KEPT | HMM_PFN_VALID | HMM_PFN_WRITE | HMM_PFN_ERROR | 0xffffffUL))
		ss_text("?");
	entry &= ~KEPT;
	if (entry == HMM_PFN_ERROR) {
		ss_text("E");
	} else if (PFN(entry)) {
		ss_number((long)PFN(entry) - (long)FIRST_PFN);
		ss_text(!(entry & HMM_PFN_VALID) || entry & HMM_PFN_ERROR ? "?" : entry & HMM_PFN_WRITE ? "w" : "r");
	} else {
		ss_text(entry & HMM_PFN_ERROR ? "?" : "-");
		ss_number((entry & HMM_PFN_REQ_FAULT ? 1 : 0) + (entry & HMM_PFN_REQ_WRITE ? 2 : 0));
	}
}

void ss_look(void)
{
	int i, j;

	ss_text("mmap=");
	ss_number(*(long *)&mm->mmap_lock.count);
	ss_text(" seq=");
	ss_number((long)notifier->invalidate_seq);
	for (i = 0; i < PAGES; i++) {
		unsigned long value = *entry(i);

		ss_text(" page=");
		ss_number(kind[i]);
		ss_text(":");
		if (value & _PAGE_PRESENT) {
			ss_number((long)(value >> PAGE_SHIFT & 0xffffffUL) - (long)FIRST_PFN);
			ss_text(value & _PAGE_RW ? "w" : "r");
		} else if (value && softleaf_is_device_private(softleaf_from_pte(__pte(value)))) {
			softleaf_t there = softleaf_from_pte(__pte(value));
			unsigned long frame = softleaf_to_pfn(there) - FIRST_PFN;

			ss_number((long)frame);
			ss_text(softleaf_is_device_private_write(there) ? "W" : "R");
			ss_text(pagemap_of(&pages[frame]) == &pagemap[0] ? "" : "other");
		}
	}
	if (rcu) {
		ss_text(" rcu=");
		ss_number(rcu);
	}
	for (i = 0; i < RANGES; i++) {
		ss_text(" range=");
		for (j = 0; j < PAGES; j++) {
			ss_text(j ? "," : "");
			look_pfn(pfns[i][j]);
		}
	}
	for (i = 0; i < SS_THREADS; i++)
		if (fault[i].asks) {
			ss_text(" fault=");
			ss_number(i);
			ss_text(":");
			ss_number(fault[i].page);
			ss_text(fault[i].write ? ":w" : ":r");
		}
}
