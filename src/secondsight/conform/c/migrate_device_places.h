/*
 * Places in loops of mm/migrate_device.c over pages, which are where the model can be left, in each release. Included before the kernel's file,
 * whose calls they stand in.
 */
#pragma once

#define SINCE(major, minor) (LINUX_VERSION_CODE >= KERNEL_VERSION(major, minor, 0))

#if SINCE(7, 0)
/* The function with the loop stands for itself in older releases: places are named by it. */
struct page;
void migrate_device_finalize(unsigned long *src, unsigned long *dst, unsigned long npages) asm("migrate_device_finalize_range");
static void __migrate_device_finalize(unsigned long *src, unsigned long *dst, unsigned long npages, struct page *fault_page) asm("migrate_device_finalize");
#endif

#if !SINCE(6, 5)
/* A macro there, which takes the lock without a call. */
static pte_t *map_and_lock(pmd_t *pmd, unsigned long address, spinlock_t **ptl);
#undef pte_offset_map_lock
#define pte_offset_map_lock(mm, pmd, address, ptlp) map_and_lock(pmd, address, ptlp)
#endif

/* A place in every turn of a loop over pages: where a page is looked for. Of two such in one turn the destination's is the first. */
static struct page *page_of(unsigned long mpfn) { return migrate_pfn_to_page(mpfn); }
static struct page *looked_for(unsigned long mpfn, int first)
{
	if (first)
		ss_stop("page", __builtin_return_address(0), 0, 0);
	return page_of(mpfn);
}
#define migrate_pfn_to_page(of) looked_for(of, !__builtin_strcmp(#of, "dst_pfns[i]") || !__builtin_strcmp(__func__, "migrate_device_unmap"))

#if SINCE(7, 0)
/* And where a page is given back: one that a fault has locked is not unlocked first. */
static void put_one(struct folio *folio, int is_place)
{
	if (is_place)
		ss_stop("folio_put", __builtin_return_address(0), 0, 0);
	folio_put(folio);
}
#define folio_put(of) put_one(of, !__builtin_strcmp(__func__, "migrate_device_unmap") || !__builtin_strcmp(__func__, "__migrate_device_finalize"))
#endif
