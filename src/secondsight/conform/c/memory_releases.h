/* What memory.c calls by other names, or with other arguments, from release to release. */
#pragma once

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)

#define CONST
#define EXCLUSIVE_IS_MAPPED 0 /* whether a device-exclusive entry counts in how often its page is mapped */
#define SWAP_DUPLICATE swap_duplicate
#define FIND_IN_SWAP_CACHE(of) swap_cache_get_folio(of, struct vm_area_struct *in, unsigned long address)
#define PGMAP(page) ((page)->pgmap)
#define ZERO_PFN_VARIABLE zero_pfn
#define LAZY_MODE(function) (pv_ops.mmu.lazy_mode.enter = pv_ops.mmu.lazy_mode.leave = pv_ops.mmu.lazy_mode.flush = function)

#define HAS_PINNED(of) set_bit(MMF_HAS_PINNED, &(of)->flags)
#define is_writable(entry) (is_writable_migration_entry(entry) || is_writable_device_private_entry(entry) || is_writable_device_exclusive_entry(entry))

static void zap(struct vm_area_struct *of, unsigned long address, unsigned long size) { zap_page_range_single(of, address, size, NULL); }

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)

#define OF_PAGES 1 /* functions take pages where later ones take folios */
#define VMA_ALLOC_FOLIO(gfp, order, of, address) vma_alloc_folio(gfp, order, of, address, bool hugepage)
#define PFN_OF swp_offset
#define SWAP_OF folio_swap_entry
#define SET_SWAP folio_set_swap_entry

static struct page *new_page(void) { return &vma_alloc_folio(0, 0, NULL, 0, false)->page; }
static void unmap_all(struct mmu_gather *tlb, struct ma_state *mas, struct vm_area_struct *from, unsigned long start, unsigned long end)
{
	unmap_vmas(tlb, mas->tree, from, start, end);
}

#else

#define VMA_ALLOC_FOLIO(gfp, order, of, address) vma_alloc_folio_noprof(gfp, order, of, address, bool hugepage)
#define PFN_OF swp_offset_pfn

static struct page *new_page(void) { return &vma_alloc_folio_noprof(0, 0, NULL, 0, false)->page; }
static void unmap_all(struct mmu_gather *tlb, struct ma_state *mas, struct vm_area_struct *from, unsigned long start, unsigned long end)
{
	unmap_vmas(tlb, mas, from, start, end, end, false);
}

#endif
#else

#define CONST const
#define EXCLUSIVE_IS_MAPPED 1
#define VMA_ALLOC_FOLIO(gfp, order, of, address) vma_alloc_folio_noprof(gfp, order, of, address)
#define SWAP_DUPLICATE swap_dup_entry_direct
#define ZERO_PFN_VARIABLE zero_page_pfn
#define LAZY_MODE(function) (pv_ops.mmu.lazy_mode_flush = function)
#define PAGE_MAPPING_ANON FOLIO_MAPPING_ANON
#define make_writable_device_exclusive_entry make_device_exclusive_entry
#define pte_to_swp_entry softleaf_from_pte
#define is_migration_entry softleaf_is_migration
#define is_device_private_entry softleaf_is_device_private
#define is_device_exclusive_entry softleaf_is_device_exclusive
#define non_swap_entry(entry) (!softleaf_is_swap(entry))
#define PFN_OF softleaf_to_pfn
#define FIND_IN_SWAP_CACHE swap_cache_get_folio
#define PGMAP(page) (page_folio(page)->pgmap)

#define HAS_PINNED(of) mm_flags_set(MMF_HAS_PINNED, of)
#define is_writable(entry) (softleaf_is_migration_write(entry) || softleaf_is_device_private_write(entry) || softleaf_is_device_exclusive(entry))
#define is_readable_exclusive_migration_entry softleaf_is_migration_read_exclusive
#define make_readable_device_exclusive_entry make_device_exclusive_entry /* there is one kind */

static struct page *new_page(void) { return &vma_alloc_folio_noprof(0, 0, NULL, 0)->page; }
static void zap(struct vm_area_struct *of, unsigned long address, unsigned long size) { zap_vma_range(of, address, size); }
static void unmap_all(struct mmu_gather *tlb, struct ma_state *mas, struct vm_area_struct *from, unsigned long start, unsigned long end)
{
	struct unmap_desc unmap = { .mas = mas, .first = from, .vma_start = start, .vma_end = end, .tree_end = end };

	unmap_vmas(tlb, &unmap);
}

#endif

#ifndef OF_PAGES
#define OF_PAGES 0
#define SWAP_OF(folio) ((folio)->swap)
#define SET_SWAP(folio, to) ((folio)->swap = (to))
#endif
