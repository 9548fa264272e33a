/*
 * What a fault needs on an entry that is not present: the swap cache, folio locks that are waited for, entries that are being moved, and a driver that is asked for a page in
 * its device's memory. Stubs of functions of mm/swapfile.c, mm/swap_state.c, mm/filemap.c, mm/migrate.c.
 */
#pragma once

static int slot[PAGES]; /* how many entries stand for each place in swap */
static struct folio *swap_cached[PAGES];
static struct swap_info_struct *swap_device;
static long fault_flags[SS_THREADS]; /* of the fault that a thread is in, as `ss_operate` has them */

static int frame_of(const struct page *page);
static unsigned long *entry_of(int who, int page);
static struct page *new_page(void);

static pgoff_t place_of(swp_entry_t of) { return swp_offset(of) - 1; } /* the first page of a swap device is its header */
static int is_unlocked(void *folio) { return !folio_test_locked((struct folio *)folio); }

static void add_to_swap_cache_at(struct folio *folio, pgoff_t place)
{
	SET_SWAP(folio, swp_entry(0, place + 1));
	*(unsigned long *)&folio->flags |= BIT(PG_swapbacked) | BIT(PG_swapcache) | BIT(PG_uptodate);
	swap_cached[place] = folio;
}
bool folio_free_swap(struct folio *folio)
{
	pgoff_t place;

	if (!folio_test_swapcache(folio))
		return false;
	place = place_of(SWAP_OF(folio));
	if (slot[place])
		return false;
	*(unsigned long *)&folio->flags &= ~BIT(PG_swapcache);
	SET_SWAP(folio, (swp_entry_t){});
	swap_cached[place] = NULL;
	dirty[frame_of(&folio->page)] = 1;
	folio_put(folio);
	return true;
}
static void leave_swap_cache(struct folio *folio)
{
	if (folio_test_swapcache(folio) && !folio_test_locked(folio) && !folio_mapped(folio))
		folio_free_swap(folio);
}
static void free_slots(swp_entry_t of, int nr)
{
	pgoff_t i;

	for (i = place_of(of); nr--; i++) {
		if (!slot[i]--)
			ss_warned();
		if (swap_cached[i])
			leave_swap_cache(swap_cached[i]);
	}
}
#if OF_PAGES
void free_swap_cache(struct page *page) { leave_swap_cache(page_folio(page)); }
int free_swap_and_cache(swp_entry_t of)
{
	free_slots(of, 1);
	return 1;
}
#else
void free_swap_cache(struct folio *folio) { leave_swap_cache(folio); }
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
void free_swap_and_cache_nr(swp_entry_t of, int nr) { free_slots(of, nr); }
#else
void swap_put_entries_direct(swp_entry_t of, int nr) { free_slots(of, nr); }
#endif
#endif
int SWAP_DUPLICATE(swp_entry_t of)
{
	slot[place_of(of)]++;
	return 0;
}

static void put_slot(swp_entry_t of)
{
	if (!slot[place_of(of)]--)
		ss_warned();
}
#if OF_PAGES
void swap_free(swp_entry_t of) { put_slot(of); }
#elif LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
void swap_free_nr(swp_entry_t of, int nr) { put_slot(of); }
#else
void folio_put_swap(struct folio *folio, struct page *page) { put_slot(folio->swap); }
void swap_update_readahead(struct folio *folio, struct vm_area_struct *in, unsigned long address) { }
#endif
struct swap_info_struct *get_swap_device(swp_entry_t of) { return swap_device; }
bool mem_cgroup_swap_full(struct folio *folio) { return false; }
#if OF_PAGES
struct page *ksm_might_need_to_copy(struct page *page, struct vm_area_struct *of, unsigned long address) { return page; }
#else
struct folio *ksm_might_need_to_copy(struct folio *folio, struct vm_area_struct *of, unsigned long address) { return folio; }
#endif

/* The page of a slot, with a reference; whoever must have its lock and cannot give the mmap lock up waits here. */
static struct folio *found_by[SS_THREADS];
static int may_map(void *finder)
{
	struct folio **by = finder;

	return is_unlocked(*by) || fault_flags[by - found_by] & 4;
}
static struct folio *found(struct folio *folio, const void *from)
{
	folio_get(folio);
	found_by[ss_self()] = folio;
	ss_stop("found", from, may_map, &found_by[ss_self()]);
	return folio;
}
struct folio *FIND_IN_SWAP_CACHE(swp_entry_t of)
{
	struct folio *folio = swap_cached[place_of(of)];

	return folio ? found(folio, SS_FROM) : NULL;
}
static struct folio *read_in(swp_entry_t of, const void *from)
{
	struct page *page = new_page();

	if (!fresh)
		ss_warned();
	number_of[frame_of(page)] = fresh;
	contents[frame_of(page)] = 1 + (int)place_of(of);
	add_to_swap_cache_at(page_folio(page), place_of(of));
	return found(page_folio(page), from);
}
static void wait_for_lock(struct folio *folio, const void *from)
{
	ss_stop("folio_wait", from, is_unlocked, folio);
	ss_stop("folio_waited", from, 0, 0);
}
static void lock_folio(struct folio *folio, const void *from)
{
	ss_stop("folio_lock", from, is_unlocked, folio);
	__set_bit(PG_locked, (unsigned long *)&folio->flags);
}
#if OF_PAGES
struct page *swapin_readahead(swp_entry_t of, gfp_t gfp, struct vm_fault *vmf) { return &read_in(of, SS_FROM)->page; }
bool __folio_lock_or_retry(struct folio *folio, struct mm_struct *of, unsigned int flags)
{
	if (flags & FAULT_FLAG_ALLOW_RETRY) {
		mmap_read_unlock(of);
		wait_for_lock(folio, SS_FROM);
		return false;
	}
	lock_folio(folio, SS_FROM);
	return true;
}
#else
struct folio *swapin_readahead(swp_entry_t of, gfp_t gfp, struct vm_fault *vmf) { return read_in(of, SS_FROM); }
vm_fault_t __folio_lock_or_retry(struct folio *folio, struct vm_fault *vmf)
{
	if (vmf->flags & FAULT_FLAG_ALLOW_RETRY) {
		release_fault_lock(vmf);
		wait_for_lock(folio, SS_FROM);
		return VM_FAULT_RETRY;
	}
	lock_folio(folio, SS_FROM);
	return 0;
}
#endif
static int has_moved(void *entry)
{
	pte_t value = { *(unsigned long *)entry };

	return pte_none(value) || pte_present(value) || !is_migration_entry(pte_to_swp_entry(value)) || !PageLocked(pfn_to_page(PFN_OF(pte_to_swp_entry(value))));
}
void migration_entry_wait(struct mm_struct *of, pmd_t *pmd, unsigned long address)
{
	ss_stop("migration_wait", SS_FROM, has_moved, pte_offset_kernel(pmd, address));
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
/* Who has not got the lock of a page in a device's memory waits for it, as long as the entry is there. */
static int is_back(void *of)
{
	struct page *page = of;
	int i;

	for (i = 0; PageLocked(page) && i < PAGES; i++) {
		pte_t value = { *entry_of(0, i) };

		if (!pte_none(value) && !pte_present(value) && is_device_private_entry(pte_to_swp_entry(value)) && pfn_to_page(PFN_OF(pte_to_swp_entry(value))) == page)
			return 0;
	}
	return 1;
}
void softleaf_entry_wait_on_locked(softleaf_t entry, spinlock_t *ptl)
{
	spin_unlock(ptl);
	ss_stop("device_wait", SS_FROM, is_back, pfn_to_page(PFN_OF(entry)));
}
#endif

/* What its driver does is not this file's: of every second page it says that it has no memory, of the others that the access may be tried again. */
static vm_fault_t migrate_to_ram(struct vm_fault *vmf)
{
	ss_stop("migrate_to_ram", SS_FROM, 0, 0);
	ss_stop("has_migrated", SS_FROM, 0, 0);
	return (vmf->address - base) >> PAGE_SHIFT & 1 ? VM_FAULT_SIGBUS : 0;
}
static struct dev_pagemap *pagemap;
static const struct dev_pagemap_ops pagemap_ops = { .migrate_to_ram = migrate_to_ram };

static void give_to_device(struct page *page) { PGMAP(page) = pagemap; }
static void make_devices(void)
{
	swap_device = ss_alloc(sizeof(*swap_device));
	swap_device->users.percpu_count_ptr = (unsigned long)ss_alloc(sizeof(unsigned long));
	pagemap = ss_alloc(sizeof(*pagemap));
	pagemap->ops = &pagemap_ops;
}
