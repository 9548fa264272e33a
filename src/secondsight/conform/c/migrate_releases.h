/* What Linux 6.1, 6.12 and 7.2 call differently, of what mm/migrate.c needs beyond mm/rmap.c. Included after the kernel's file, and after what it needs. */
#pragma once

static struct folio *new_folio(void)
{
	struct folio *dst = folio_of(taken[ss_self()]);

	set_page_count(&dst->page, 1);
	FOLIO_FLAGS(dst) = 1UL << PG_lru; /* the batch that it waits in before it is on a list is nobody's matter here */
	dst->mapping = NULL;
	contents[taken[ss_self()]] = 0;
	return dst;
}

#if SINCE(6, 3)
static struct folio *new_one(struct folio *src, unsigned long private) { return new_folio(); }
int folio_xchg_last_cpupid(struct folio *folio, int cpupid) { return -1; }
void folio_add_lru(struct folio *folio) { }
int folio_mc_copy(struct folio *dst, struct folio *src)
{
	contents[frame_of(dst)] = contents[frame_of(src)];
	ss_stop("copied", SS_FROM, 0, 0);
	return 0;
}
#else
static struct page *new_one(struct page *src, unsigned long private) { return &new_folio()->page; }
int page_cpupid_xchg_last(struct page *page, int cpupid) { return -1; }
void folio_copy(struct folio *dst, struct folio *src) { copied[ss_self()] = frame_of(dst) == taken[ss_self()] && frame_of(src) == copying[ss_self()]; }
void folio_add_lru(struct folio *folio)
{
	if (!copied[ss_self()])
		ss_warned();
}
void putback_lru_page(struct page *page) { folio_putback_lru(page_folio(page)); }
pgoff_t __page_file_index(struct page *page) { return page_private(page); }
#endif
#if SINCE(7, 0) || !SINCE(6, 2)
int cpu_number;
#endif

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
#if SINCE(6, 3)
pgoff_t __folio_swap_cache_index(struct folio *folio) { return folio->swap.val; }
#endif
#endif

/* migrate_pages() of one folio, one pass. */
static int one_pass(struct list_head *from, enum migrate_mode mode)
{
	LIST_HEAD(kept);
#if SINCE(6, 3)
	LIST_HEAD(split);
	struct migrate_pages_stats stats = {};
	int left = migrate_pages_batch(from, new_one, NULL, 0, mode, MR_SYSCALL, &kept, &split, &stats, 1);

#else
	struct folio *src = list_first_entry(from, struct folio, lru), *dst;
	int left;

	pass_begins(mode, from);
	left = migrate_folio_unmap(new_one, NULL, 0, src, &dst, 1, mode, MR_SYSCALL, &kept);
	if (left == MIGRATEPAGE_UNMAP)
		left = migrate_folio_move(NULL, 0, src, dst, mode, MR_SYSCALL, &kept);
	left = left != 0;
#endif
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
