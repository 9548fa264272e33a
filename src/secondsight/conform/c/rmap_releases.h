/* What Linux 6.1, 6.12 and 7.2 call differently, of what mm/rmap.c and mm/migrate.c need. Included after the kernel's file. */
#pragma once

pteval_t __default_kernel_pte_mask = ~0UL, __supported_pte_mask = ~0UL;
bool swap_migration_ad_supported;
static const struct vm_operations_struct of_file;

static void set_one(pte_t *at, pte_t to) { *at = to; }
static void nothing_to_leave(void) { }
static bool dirtied(struct folio *folio);
static struct address_space *mapping_of(const struct folio *folio);
static void bracket_ends(struct mmu_notifier_range *range, const void *from);

#if SINCE(7, 0)
#define FOLIO_FLAGS(folio) ((folio)->flags.f)
#define PGMAP(page) (((struct folio *)(page))->pgmap)
#define ANONYMOUS FOLIO_MAPPING_ANON
#else
#define FOLIO_FLAGS(folio) ((folio)->flags)
#define PGMAP(page) ((page)->pgmap)
#define ANONYMOUS PAGE_MAPPING_ANON
#endif

/* Device-exclusive entries. */
#if SINCE(6, 15)
#define EXCLUSIVE_COUNTS 1
static swp_entry_t exclusive_leaf(unsigned long pfn, long write) { return make_device_exclusive_entry(pfn); }
static bool is_exclusive_type(unsigned int type) { return type == SWP_DEVICE_EXCLUSIVE; }
static bool exclusive_write(swp_entry_t entry) { return false; } /* it does not say */
#else
#define EXCLUSIVE_COUNTS 0
static swp_entry_t exclusive_leaf(unsigned long pfn, long write) { return write ? make_writable_device_exclusive_entry(pfn) : make_readable_device_exclusive_entry(pfn); }
static bool is_exclusive_type(unsigned int type) { return type == SWP_DEVICE_EXCLUSIVE_READ || type == SWP_DEVICE_EXCLUSIVE_WRITE; }
static bool exclusive_write(swp_entry_t entry) { return swp_type(entry) == SWP_DEVICE_EXCLUSIVE_WRITE; }
#endif

static void no_lazy_mode(void)
{
#if SINCE(7, 0)
	pv_ops.mmu.lazy_mode_flush = nothing_to_leave;
#else
	pv_ops.mmu.lazy_mode.enter = pv_ops.mmu.lazy_mode.leave = nothing_to_leave;
#endif
}

/* mm/mmu_notifier.c */
#if SINCE(6, 6)
void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range) { bracket_ends(range, SS_FROM); }
#else
void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range, bool only_end) { bracket_ends(range, SS_FROM); }
void __mmu_notifier_invalidate_range(struct mm_struct *of, unsigned long start, unsigned long end) { }
#endif

/* mm/swapfile.c, mm/util.c, mm/memory.c */
#if SINCE(7, 0)
struct address_space *folio_mapping(const struct folio *folio) { return mapping_of(folio); }
int folio_dup_swap(struct folio *folio, struct page *page) { swap_count[folio->swap.val]++; return 0; }
void folio_put_swap(struct folio *folio, struct page *page) { swap_count[folio->swap.val]--; }
static void set_slot(struct folio *folio, unsigned long slot) { folio->swap.val = slot; }
#elif SINCE(6, 7)
struct address_space *folio_mapping(struct folio *folio) { return mapping_of(folio); }
int swap_duplicate(swp_entry_t entry) { swap_count[entry.val]++; return 0; }
void swap_free_nr(swp_entry_t entry, int nr) { swap_count[entry.val]--; }
static void set_slot(struct folio *folio, unsigned long slot) { folio->swap.val = slot; }
#else
struct address_space *folio_mapping(struct folio *folio) { return mapping_of(folio); }
int swap_duplicate(swp_entry_t entry) { swap_count[entry.val]++; return 0; }
void swap_free(swp_entry_t entry) { swap_count[entry.val]--; }
static void set_slot(struct folio *folio, unsigned long slot) { set_page_private(&folio->page, slot); }
#endif
#if SINCE(6, 6)
pte_t pte_mkwrite(pte_t pte, struct vm_area_struct *of) { return pte_mkwrite_novma(pte); }
#endif
#if SINCE(6, 4)
void mm_trace_rss_stat(struct mm_struct *of, int member) { }
#else
void mm_trace_rss_stat(struct mm_struct *of, int member, long count) { }
#endif

/* mm/util.c, mm/memcontrol.c */
#if SINCE(7, 0)
struct anon_vma *folio_anon_vma(const struct folio *folio) { return (void *)((unsigned long)folio->mapping & ~3UL); }
void lruvec_stat_mod_folio(struct folio *folio, enum node_stat_item item, int amount) { }
#else
struct anon_vma *folio_anon_vma(struct folio *folio) { return (void *)((unsigned long)folio->mapping & ~3UL); }
#endif
#if SINCE(6, 7) && !SINCE(7, 0)
void __lruvec_stat_mod_folio(struct folio *folio, enum node_stat_item item, int amount) { }
#elif !SINCE(6, 7)
void __mod_lruvec_page_state(struct page *page, enum node_stat_item item, int amount) { }
#endif

#if !SINCE(6, 2)
int PageHuge(struct page *page) { return 0; }
int PageHeadHuge(struct page *page) { return 0; }
int __page_mapcount(struct page *page) { return atomic_read(&page->_mapcount) + 1; }
int folio_mapcount(struct folio *folio) { return atomic_read(&folio->_mapcount) + 1; }
bool folio_mapped(struct folio *folio) { return atomic_read(&folio->_mapcount) >= 0; }
struct address_space *page_mapping(struct page *page) { return mapping_of(page_folio(page)); }
void lock_page_memcg(struct page *page) { }
void unlock_page_memcg(struct page *page) { }
void mlock_page_drain_local(void) { }
void munlock_page(struct page *page) { }
#endif
