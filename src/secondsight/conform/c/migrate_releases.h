/* What Linux 6.1, 6.12 and 7.2 call differently, of what mm/migrate.c needs beyond mm/rmap.c. Included after the kernel's file, and after what it needs. */
#pragma once

static struct folio *new_one(struct folio *src, unsigned long private)
{
	struct folio *dst = folio_of(taken[ss_self()]);

	set_page_count(&dst->page, 1);
	FOLIO_FLAGS(dst) = 1UL << PG_lru; /* the batch that it waits in before it is on a list is nobody's matter here */
	dst->mapping = NULL;
	contents[taken[ss_self()]] = 0;
	return dst;
}

int folio_xchg_last_cpupid(struct folio *folio, int cpupid) { return -1; }

/* The caches' trees have one place for each page: which one is known by the tree, and in swap by the number of the slot. */
static void stored(struct xarray *tree, unsigned long index, struct folio *folio)
{
	if (tree == &file->i_pages)
		in_file = folio;
	else
		in_swap[index] = folio;
}
void *xas_store(struct xa_state *xas, void *of)
{
	stored(xas->xa, xas->xa_index, of);
	return NULL;
}
void *__xas_next(struct xa_state *xas) { return NULL; }
#if SINCE(7, 0)
int cpu_number;
SS_NEVER(count_memcg_events);
SS_NEVER(mod_lruvec_state);

/* The swap cache is by clusters of slots there. */
struct swap_info_struct *swap_info[MAX_SWAPFILES];
static void make_swap(void)
{
	swap_info[0] = ss_alloc(sizeof(*swap_info[0]));
	swap_info[0]->cluster_info = ss_alloc(sizeof(struct swap_cluster_info));
}
void __swap_cache_replace_folio(struct swap_cluster_info *ci, struct folio *old, struct folio *new) { in_swap[old->swap.val] = new; }
#else
static void make_swap(void) { }
pgoff_t __folio_swap_cache_index(struct folio *folio) { return folio->swap.val; }
#endif

/* migrate_pages() of one folio, one pass. */
static int one_pass(struct list_head *from, enum migrate_mode mode)
{
	LIST_HEAD(kept);
	LIST_HEAD(split);
	struct migrate_pages_stats stats = {};
	int left = migrate_pages_batch(from, new_one, NULL, 0, mode, MR_SYSCALL, &kept, &split, &stats, 1);

	list_splice(&kept, from);
	return left;
}

/* Lists are not looked through for what is wrong with them. */
#if SINCE(6, 6)
bool __list_add_valid_or_report(struct list_head *new, struct list_head *prev, struct list_head *next) { return true; }
bool __list_del_entry_valid_or_report(struct list_head *of) { return true; }
#else
bool __list_add_valid(struct list_head *new, struct list_head *prev, struct list_head *next) { return true; }
bool __list_del_entry_valid(struct list_head *of) { return true; }
#endif
