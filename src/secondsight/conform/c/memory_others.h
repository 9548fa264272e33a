/*
 * What mm/memory.c and mm/mmu_gather.c call of other files' that does nothing here, and what they call on ways that lead nowhere here.
 */
#pragma once

/* Variables. What is 0 is off. */

#define ZEROES(name, size) asm(".pushsection ss_data,\"aw\"\n.balign 64\n.globl " #name "\n" #name ": .zero " #size "\n.popsection")

ZEROES(vm_event_states, 4096);
ZEROES(percpu_counter_batch, 64);
ZEROES(transparent_hugepage_flags, 64);
ZEROES(huge_anon_orders_always, 64);
ZEROES(huge_anon_orders_inherit, 64);
ZEROES(huge_anon_orders_madvise, 64);
ZEROES(memory_cgrp_subsys_enabled_key, 64);
ZEROES(__tracepoint_rss_stat, 128);
pteval_t __default_kernel_pte_mask = ~0UL, __supported_pte_mask = ~0UL;

/* Accounting, lists of pages in use, TLBs. */

int __mem_cgroup_charge(struct folio *folio, struct mm_struct *of, gfp_t gfp) { return 0; }
struct mem_cgroup *mem_cgroup_from_task(struct task_struct *of) { return NULL; }
void percpu_counter_add_batch(struct percpu_counter *counter, s64 amount, s32 batch) { }
void balance_dirty_pages_ratelimited(struct address_space *of) { }
void folio_add_lru_vma(struct folio *folio, struct vm_area_struct *of) { }
void folio_mark_accessed(struct folio *folio) { }
int folio_xchg_last_cpupid(struct folio *folio, int cpupid) { return 0; }
void __folio_throttle_swaprate(struct folio *folio, gfp_t gfp) { }
void lru_add_drain(void) { }
void uprobe_munmap(struct vm_area_struct *of, unsigned long start, unsigned long end) { }
int file_update_time(struct file *of) { return 0; }
void flush_tlb_batched_pending(struct mm_struct *of) { }
void flush_tlb_mm_range(struct mm_struct *of, unsigned long start, unsigned long end, unsigned int shift, bool tables) { }
void arch_check_zapped_pte(struct vm_area_struct *of, pte_t pte) { }
unsigned short lookup_swap_cgroup_id(swp_entry_t of) { return 0; }
bool shmem_mapping(CONST struct address_space *of) { return true; }
bool vma_is_anon_shmem(CONST struct vm_area_struct *of) { return false; }

/* Never. */

SS_NEVER(BUG_func);
SS_NEVER(__SCT__preempt_schedule);
SS_NEVER(__SCT__preempt_schedule_notrace);
SS_NEVER(__SCT__tp_func_rss_stat);
SS_NEVER(___p4d_free_tlb);
SS_NEVER(___pmd_free_tlb);
SS_NEVER(___pte_free_tlb);
SS_NEVER(___pud_free_tlb);
SS_NEVER(__count_memcg_events);
SS_NEVER_DATA(__cpu_online_mask);
SS_NEVER(__delayacct_wpcopy_end);
SS_NEVER(__delayacct_wpcopy_start);
SS_NEVER(__free_pages);
SS_NEVER(__hugetlb_zap_begin);
SS_NEVER(__hugetlb_zap_end);
SS_NEVER(__list_add_valid_or_report);
SS_NEVER(__list_del_entry_valid_or_report);
SS_NEVER(__lruvec_stat_mod_folio);
SS_NEVER(__perf_sw_event);
SS_NEVER(__put_devmap_managed_folio_refs);
SS_NEVER(__split_huge_pmd);
SS_NEVER(__split_huge_pud);
SS_NEVER(__swap_count);
SS_NEVER(__thp_vma_allowable_orders);
SS_NEVER(__unmap_hugepage_range);
SS_NEVER(__warn_printk);
SS_NEVER(_copy_from_user);
SS_NEVER(_find_next_bit);
SS_NEVER(_find_next_zero_bit);
SS_NEVER_DATA(_page_poisoning_enabled);
SS_NEVER(add_swap_count_continuation);
SS_NEVER(add_taint);
SS_NEVER(add_wait_queue);
SS_NEVER(alloc_pages_noprof);
SS_NEVER(arch_sync_kernel_mappings);
SS_NEVER(call_rcu);
SS_NEVER_DATA(cc_mask);
SS_NEVER(cc_mkdec);
SS_NEVER(clear_page_erms);
SS_NEVER(clear_page_orig);
SS_NEVER(clear_page_rep);
SS_NEVER(copy_huge_pmd);
SS_NEVER(copy_huge_pud);
SS_NEVER(copy_hugetlb_page_range);
SS_NEVER(debugfs_attr_read);
SS_NEVER(debugfs_attr_write);
SS_NEVER(debugfs_create_file_unsafe);
SS_NEVER(default_wake_function);
SS_NEVER_DATA(delayacct_key);
SS_NEVER_DATA(devmap_managed_key);
SS_NEVER(do_huge_pmd_anonymous_page);
SS_NEVER(do_huge_pmd_numa_page);
SS_NEVER(do_huge_pmd_wp_page);
SS_NEVER(dump_page);
SS_NEVER(dump_stack);
SS_NEVER_DATA(empty_zero_page);
SS_NEVER(expand_stack);
SS_NEVER(expand_stack_locked);
SS_NEVER(folio_add_file_rmap_pmd);
SS_NEVER(folio_add_lru);
SS_NEVER(folio_use_access_time);
SS_NEVER(free_page_and_swap_cache);
SS_NEVER(free_pages);
SS_NEVER(get_free_pages_noprof);
SS_NEVER(get_shadow_from_swap_cache);
SS_NEVER(get_task_mm);
SS_NEVER(get_user_pages_remote);
SS_NEVER(get_zeroed_page_noprof);
SS_NEVER(handle_userfault);
SS_NEVER(huge_pmd_set_accessed);
SS_NEVER(huge_pud_set_accessed);
SS_NEVER_DATA(huge_zero_pfn);
SS_NEVER(hugetlb_fault);
SS_NEVER_DATA(hugetlb_optimize_vmemmap_key);
SS_NEVER(hugetlb_vma_lock_read);
SS_NEVER(hugetlb_vma_unlock_read);
SS_NEVER_DATA(init_mm);
SS_NEVER_DATA(init_on_free);
SS_NEVER(ioremap_prot);
SS_NEVER(iounmap);
SS_NEVER_DATA(jiffies);
SS_NEVER_DATA(ksm_zero_pages);
SS_NEVER(mapping_evict_folio);
SS_NEVER(mas_walk);
SS_NEVER(maybe_pmd_mkwrite);
SS_NEVER(mem_cgroup_swapin_charge_folio);
SS_NEVER(mem_cgroup_swapin_uncharge_swap);
SS_NEVER_DATA(mem_section);
SS_NEVER(memcpy_fromio);
SS_NEVER(memcpy_toio);
SS_NEVER(memory_failure_queue);
SS_NEVER(migrate_misplaced_folio);
SS_NEVER(migrate_misplaced_folio_prepare);
SS_NEVER_DATA(mmlist_lock);
SS_NEVER(mmput);
SS_NEVER(mpol_misplaced);
SS_NEVER_DATA(mthp_stats);
SS_NEVER(mtree_load);
SS_NEVER(nop_func);
SS_NEVER_DATA(numa_node);
SS_NEVER_DATA(perf_swevent_enabled);
SS_NEVER(pfn_modify_allowed);
SS_NEVER(pmd_migration_entry_wait);
SS_NEVER(preempt_model_full);
SS_NEVER(pte_alloc_one);
SS_NEVER(remove_wait_queue);
SS_NEVER(rep_movs_alternative);
SS_NEVER(schedule_timeout_uninterruptible);
SS_NEVER(search_exception_tables);
SS_NEVER(set_page_dirty_lock);
SS_NEVER(simple_attr_open);
SS_NEVER(simple_attr_release);
SS_NEVER(smp_call_function);
SS_NEVER(swap_read_folio);
SS_NEVER(swapcache_clear);
SS_NEVER(swapcache_prepare);
SS_NEVER(swp_swap_info);
SS_NEVER(task_numa_fault);
SS_NEVER(track_pfn_copy);
SS_NEVER(track_pfn_insert);
SS_NEVER(track_pfn_remap);
SS_NEVER(unlink_anon_vmas);
SS_NEVER(unlink_file_vma);
SS_NEVER(unlink_file_vma_batch_add);
SS_NEVER(unlink_file_vma_batch_final);
SS_NEVER(unlink_file_vma_batch_init);
SS_NEVER(untrack_pfn);
SS_NEVER(untrack_pfn_copy);
SS_NEVER(userfaultfd_wp_async);
SS_NEVER(vma_thp_gfp_mask);
SS_NEVER(vma_wants_writenotify);
SS_NEVER(workingset_refault);
SS_NEVER(zap_huge_pmd);
SS_NEVER(zap_huge_pud);
SS_NEVER(zswap_never_enabled);

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
SS_NEVER(__clear_pages_unrolled);
SS_NEVER(__register_sysctl_init);
SS_NEVER(__trace_set_current_state);
SS_NEVER_DATA(__tracepoint_sched_set_state_tp);
SS_NEVER(__vma_start_write);
SS_NEVER(_raw_spin_trylock);
SS_NEVER(count_memcg_events);
SS_NEVER_DATA(cpu_number);
SS_NEVER(do_huge_pmd_device_private);
SS_NEVER(folio_mark_dirty_lock);
SS_NEVER(folio_memcg_alloc_deferred);
SS_NEVER(folio_pte_batch);
SS_NEVER_DATA(init_on_alloc);
SS_NEVER(iommu_sva_invalidate_kva_range);
SS_NEVER(lruvec_stat_mod_folio);
SS_NEVER(pfnmap_setup_cachemode);
SS_NEVER(pfnmap_track);
SS_NEVER(pfnmap_untrack);
SS_NEVER(preempt_model_lazy);
SS_NEVER(proc_dointvec);
SS_NEVER(queue_work_on);
SS_NEVER(rcuwait_wake_up);
SS_NEVER(refcount_warn_saturate);
SS_NEVER(sized_strscpy);
SS_NEVER(swap_cache_del_folio);
SS_NEVER(swap_retry_table_alloc);
SS_NEVER(swapin_sync);
SS_NEVER_DATA(system_percpu_wq);
SS_NEVER_DATA(system_state);
SS_NEVER_DATA(tracepoint_srcu);
#endif

#if OF_PAGES
int cpu_number;
int PageHeadHuge(struct page *page) { return 0; }
int pmd_huge(pmd_t pmd) { return 0; }
int pud_huge(pud_t pud) { return 0; }
void __mod_lruvec_page_state(struct page *page, enum node_stat_item item, int amount) { }
int page_cpupid_xchg_last(struct page *page, int cpupid) { return 0; }
bool folio_mapped(struct folio *folio) { return atomic_read(&folio->_mapcount) >= 0; }
bool page_mapped(struct page *page) { return folio_mapped(page_folio(page)); }
void *page_rmapping(struct page *page) { return page->mapping; }
struct address_space *page_mapping(struct page *page) { return page->mapping; }
SS_NEVER(__get_free_pages);
SS_NEVER(__list_add_valid);
SS_NEVER(__list_del_entry_valid);
SS_NEVER(__page_mapcount);
SS_NEVER(__put_devmap_managed_page_refs);
SS_NEVER(__unmap_hugepage_range_final);
SS_NEVER(adjust_range_if_pmd_sharing_possible);
SS_NEVER(alloc_pages);
SS_NEVER(copy_user_enhanced_fast_string);
SS_NEVER(copy_user_generic_string);
SS_NEVER(copy_user_generic_unrolled);
SS_NEVER(file_path);
SS_NEVER(get_zeroed_page);
SS_NEVER(hugepage_vma_check);
SS_NEVER(invalidate_inode_page);
SS_NEVER(linear_hugepage_index);
SS_NEVER(mem_cgroup_oom_synchronize);
SS_NEVER(migrate_misplaced_page);
SS_NEVER(node_is_toptier);
SS_NEVER(swap_readpage);
SS_NEVER_DATA(sysctl_numa_balancing_mode);
#endif
