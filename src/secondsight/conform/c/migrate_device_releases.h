/*
 * What Linux 6.1, 6.12 and 7.2 call differently, of what mm/migrate_device.c needs: names of fields, and functions of other files. Included after the
 * kernel's file.
 */
#pragma once

#if SINCE(7, 0)
#define FOLIO_FLAGS(folio) ((folio)->flags.f)
#define PGMAP(page) (((struct folio *)(page))->pgmap)
#define ANONYMOUS FOLIO_MAPPING_ANON
#define SAME_FOLIO const struct folio
#define to_leaf softleaf_from_pte
#define leaf_is_migration softleaf_is_migration
#define leaf_is_migration_write softleaf_is_migration_write
#define leaf_is_migration_read softleaf_is_migration_read
#define leaf_is_migration_exclusive softleaf_is_migration_read_exclusive
#define leaf_is_device softleaf_is_device_private
#define leaf_is_device_write softleaf_is_device_private_write
#define leaf_pfn softleaf_to_pfn
#else
#define FOLIO_FLAGS(folio) ((folio)->flags)
#define PGMAP(page) ((page)->pgmap)
#define ANONYMOUS PAGE_MAPPING_ANON
#define SAME_FOLIO struct folio
#define to_leaf pte_to_swp_entry
#define leaf_is_migration is_migration_entry
#define leaf_is_migration_write is_writable_migration_entry
#define leaf_is_migration_read is_readable_migration_entry
#define leaf_is_migration_exclusive is_readable_exclusive_migration_entry
#define leaf_is_device is_device_private_entry
#define leaf_is_device_write is_writable_device_private_entry
#define leaf_pfn swp_offset_pfn
#endif

/* What is the same in all of them, and in migrate_device.c. */
static void notify(const struct mmu_notifier_range *range, const void *from);
static pte_t *map_and_lock(pmd_t *pmd, unsigned long address, spinlock_t **ptl);
static bool isolate(struct folio *folio);
static void put_back(struct folio *folio);
static void map_anon(struct folio *folio, int exclusive);
static void map_again(struct folio *src, struct folio *dst, const void *from);

/* What the files call on ways that lead nowhere here, in one release and not in another. */
#if SINCE(7, 0)
SS_NEVER(__free_pages);
SS_NEVER(__vma_start_write);
SS_NEVER(count_memcg_events);
SS_NEVER(folio_split_unmapped);
SS_NEVER(lruvec_stat_mod_folio);
SS_NEVER(mem_cgroup_from_task);
SS_NEVER(pagetable_free_kernel);
SS_NEVER(pgtable_trans_huge_deposit);
SS_NEVER(pmd_mkwrite);
SS_NEVER(pmdp_invalidate);
SS_NEVER(pte_alloc_one);
SS_NEVER(set_pmd_migration_entry);
SS_NEVER(split_huge_pmd_address);
SS_NEVER(vm_normal_page_pud);
SS_NEVER(vma_thp_gfp_mask);
SS_NEVER_DATA(mthp_stats);
SS_NEVER_DATA(vm_event_states);
#endif
#if !SINCE(6, 3)
SS_NEVER(__put_devmap_managed_page_refs);
SS_NEVER(alloc_pages);
SS_NEVER(copy_page);
SS_NEVER_DATA(devmap_managed_key);
SS_NEVER_DATA(huge_zero_page);
SS_NEVER(pmd_clear_bad);
SS_NEVER(split_huge_page_to_list);
SS_NEVER(unlock_page);
#endif

/* mm/mmu_notifier.c */
#if SINCE(6, 6)
void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range) { notify(range, SS_FROM); }
#else
void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range, bool only_end) { notify(range, SS_FROM); }
void __mmu_notifier_invalidate_range(struct mm_struct *of, unsigned long start, unsigned long end) { }
void __mmu_notifier_change_pte(struct mm_struct *of, unsigned long address, pte_t pte) { }
#endif

/* mm/memory.c and page tables */
#if SINCE(7, 0)
pte_t *pte_offset_map_lock(struct mm_struct *of, pmd_t *pmd, unsigned long address, spinlock_t **ptl) { return map_and_lock(pmd, address, ptl); }
#elif SINCE(6, 5)
pte_t *__pte_offset_map_lock(struct mm_struct *of, pmd_t *pmd, unsigned long address, spinlock_t **ptl) { return map_and_lock(pmd, address, ptl); }
#endif
#if SINCE(6, 6)
pte_t pte_mkwrite(pte_t pte, struct vm_area_struct *of) { return pte_mkwrite_novma(pte); }
#endif
#if SINCE(6, 4)
void mm_trace_rss_stat(struct mm_struct *of, int member) { }
#else
void mm_trace_rss_stat(struct mm_struct *of, int member, long count) { }
#endif
static void nothing(void) { }
static void no_lazy_mode(void)
{
#if SINCE(7, 0)
	pv_ops.mmu.lazy_mode_flush = nothing;
#else
	pv_ops.mmu.lazy_mode.enter = pv_ops.mmu.lazy_mode.leave = nothing;
#endif
}

/* mm/vmscan.c, mm/swap.c, mm/util.c */
#if SINCE(6, 4)
bool folio_isolate_lru(struct folio *folio) { return isolate(folio); }
void folio_add_lru_vma(struct folio *folio, struct vm_area_struct *of) { folio_set_lru(folio); }
void folio_putback_lru(struct folio *folio) { put_back(folio); }
#else
int isolate_lru_page(struct page *page) { return isolate(page_folio(page)) ? 0 : -EBUSY; }
void lru_cache_add_inactive_or_unevictable(struct page *page, struct vm_area_struct *of) { folio_set_lru(page_folio(page)); }
void putback_lru_page(struct page *page) { put_back(page_folio(page)); }
#endif
#if !SINCE(6, 3)
struct address_space *page_mapping(struct page *page)
{
	ss_stop("folio_mapping", SS_FROM, 0, 0);
	return NULL;
}
int __page_mapcount(struct page *page) { return atomic_read(&page->_mapcount) + 1; }
bool page_mapped(struct page *page) { return page_mapcount(page) > 0; }
bool folio_mapped(struct folio *folio) { return page_mapped(&folio->page); }
#endif

/* mm/rmap.c, mm/migrate.c */
#if SINCE(6, 7)
void folio_add_new_anon_rmap(struct folio *folio, struct vm_area_struct *of, unsigned long address, rmap_t flags) { map_anon(folio, !!(flags & RMAP_EXCLUSIVE)); }
void folio_remove_rmap_ptes(struct folio *folio, struct page *page, int count, struct vm_area_struct *of) { atomic_dec(&folio->_mapcount); }
#else
void page_add_new_anon_rmap(struct page *page, struct vm_area_struct *of, unsigned long address) { map_anon(page_folio(page), 1); }
void page_remove_rmap(struct page *page, struct vm_area_struct *of, bool compound) { atomic_dec(&page->_mapcount); }
#endif
#if SINCE(7, 0)
void remove_migration_ptes(struct folio *src, struct folio *dst, enum ttu_flags flags) { map_again(src, dst, SS_FROM); }
#elif SINCE(6, 12)
void remove_migration_ptes(struct folio *src, struct folio *dst, int flags) { map_again(src, dst, SS_FROM); }
#else
void remove_migration_ptes(struct folio *src, struct folio *dst, bool locked) { map_again(src, dst, SS_FROM); }
#endif
#if !SINCE(6, 12)
int migrate_folio_extra(struct address_space *mapping, struct folio *new, struct folio *folio, enum migrate_mode mode, int extra)
{
	return folio_migrate_mapping(mapping, new, folio, extra);
}
int migrate_folio(struct address_space *mapping, struct folio *new, struct folio *folio, enum migrate_mode mode)
{
	return folio_migrate_mapping(mapping, new, folio, 0);
}
#endif
