/*
 * mm/rmap.c as it is, with mm/page_vma_mapped.c, mm/interval_tree.c and mm/migrate.c, on the real page tables of two processes. See
 * conform/targets/rmap.py, and rmap_world.h, which has the world.
 */
#include <linux/version.h>

#define SINCE(major, minor) (LINUX_VERSION_CODE >= KERNEL_VERSION(major, minor, 0))

#include SS_KERNEL_FILE

#include "rmap_world.h"

static struct address_space *mapping_of(const struct folio *folio)
{
	return (unsigned long)folio->mapping & ANONYMOUS ? NULL : folio->mapping;
}
void folio_unlock(struct folio *folio) { clear_bit(PG_locked, &FOLIO_FLAGS(folio)); }

static long unmap(struct folio *folio)
{
	long ret;

	ss_stop("start", 0, 0, 0);
	ss_stop("begin", 0, 0, 0);
	if (folio_test_anon(folio) && folio_test_swapbacked(folio) && !folio_test_swapcache(folio))
		return -1; /* reclaim gives it a slot first */
	if (!folio_ref_count(folio) || !folio_trylock(folio))
		return -1;
	folio_get(folio);
	ss_stop("walk", 0, 0, 0);
	try_to_unmap(folio, 0);
	ss_stop("end", 0, 0, 0);
	ret = folio_mapped(folio);
	folio_unlock(folio);
	folio_put(folio);
	return ret;
}

/* Lock a folio, and hold it; false: it is free, or somebody else has locked it. */
static bool begins(struct folio *folio)
{
	ss_stop("start", 0, 0, 0);
	ss_stop("begin", 0, 0, 0);
	if (!folio_ref_count(folio) || !folio_trylock(folio))
		return false;
	folio_get(folio);
	ss_stop("walk", 0, 0, 0);
	return true;
}

static long migrate(struct folio *folio, struct folio *dst)
{
	long ret = 0;

	if (!begins(folio))
		return -1;
	try_to_migrate(folio, 0);
	ss_stop("become", 0, 0, 0);
	if (dst != folio && !folio_mapped(folio) && !dst->mapping) {
		dst->mapping = folio->mapping;
		dst->index = folio->index;
		folio_set_swapbacked(dst);
		if (folio_test_dirty(folio) && folio != folio_of(DEVICE))
			dirtied(dst);
		ret = 1;
	}
	ss_stop("walk", 0, 0, 0);
	remove_migration_ptes(folio, ret ? dst : folio, 0);
	ss_stop("end", 0, 0, 0);
	ret += 2 * folio_mapped(ret ? dst : folio);
	folio_unlock(folio);
	folio_put(folio);
	return ret;
}

static long mkclean(struct folio *folio)
{
	long ret;

	if (!begins(folio))
		return -1;
	ret = folio_mkclean(folio) ? 10 : 0;
	ss_stop("end", 0, 0, 0);
	ret += folio_mapped(folio);
	folio_unlock(folio);
	folio_put(folio);
	return ret;
}

void ss_setup(const long *at) { make_world(at); }
void ss_look(void) { look(); }

static long operate(int operation, const long *at)
{
	switch (operation) {
	case OP_UNMAP:
		return unmap(folio_of(at[0]));
	case OP_MIGRATE:
		return migrate(folio_of(at[0]), folio_of(at[1]));
	case OP_MKCLEAN:
		return mkclean(folio_of(at[0]));
	case OP_TREE:
		return tree(at[0]);
	}
	return one(operation, at);
}
