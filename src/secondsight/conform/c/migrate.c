/*
 * mm/migrate.c as it is, with mm/rmap.c and what that walks by, on the real page tables of two processes. See conform/targets/migrate.py, and rmap_world.h,
 * which has the world.
 *
 * Which frame is a new folio the model says. The page cache has one page of the file, the swap cache one for each slot: which they are is this side's own.
 */
#include <linux/version.h>

#define SINCE(major, minor) (LINUX_VERSION_CODE >= KERNEL_VERSION(major, minor, 0))

#include "conform.h"
#include "migrate_places.h"

#include SS_KERNEL_FILE

#define SS_MIGRATES
#undef cond_resched
#undef try_to_migrate
#undef rmap_walk
#undef folio_mapping
#include "rmap_world.h"

static struct address_space slots_tree;
static const struct address_space_operations movable = { .migrate_folio = migrate_folio };
static int moving;
static bool all_passes; /* of migrate_pages(), or one */
static struct folio *in_file, *in_swap[SLOTS];

static struct address_space *mapping_of(const struct folio *folio)
{
	if (folio_test_swapcache(folio))
		return &slots_tree;
	return (unsigned long)folio->mapping & ANONYMOUS ? NULL : folio->mapping;
}

/* Other files' functions. */

void folio_unlock(struct folio *folio)
{
	const void *from = SS_FROM;

	ss_stop("unlock", from, 0, 0);
	clear_bit(PG_locked, &FOLIO_FLAGS(folio));
	ss_stop("unlocked", from, 0, 0);
}
void folio_putback_lru(struct folio *folio)
{
	set_bit(PG_lru, &FOLIO_FLAGS(folio));
	folio_put(folio);
}
void lru_add_drain(void) { }
void mem_cgroup_migrate(struct folio *old, struct folio *new) { }
void folio_migrate_ksm(struct folio *new, struct folio *old) { }
void mod_node_page_state(struct pglist_data *node, enum node_stat_item item, long delta) { }

/* One node, of one zone. */
struct pglist_data *node_data[MAX_NUMNODES];
int sysctl_numa_balancing_mode;
struct vm_event_state vm_event_states;

/* One CPU: flushes of others' are not put off. */
unsigned int nr_cpu_ids = 1;
unsigned long _find_next_bit(const unsigned long *at, unsigned long size, unsigned long start) { return size; }
unsigned long _find_first_bit(const unsigned long *at, unsigned long size) { return size; }

#include "migrate_releases.h"

/* The world: as mm/rmap.c's, and what is in the caches: see `How` in conform/targets/rmap_world.py. */

enum { HOW_CACHED = 32, CACHE = 3 };

void ss_setup(const long *at)
{
	int i;

	make_world(at);
	make_swap();
	all_passes = at[4 * MMS + MMS * LENGTH + FRAMES];
	file->a_ops = slots_tree.a_ops = &movable;
	in_file = folio_of(CACHE);
	for (i = 0; i < 2; i++)
		if (at[4 * MMS + MMS * LENGTH + i] & HOW_CACHED)
			in_swap[i] = folio_of(i + 1);
}

/* Operations. */

/* A frame that somebody has taken for a new folio is on no list, and nobody comes to it. */
static bool is_new(struct folio *folio)
{
	int i;

	for (i = 0; i < SS_THREADS; i++)
		if (taken[i] == frame_of(folio))
			return true;
	return false;
}

static long move(struct folio *folio, enum migrate_mode mode)
{
	LIST_HEAD(from);
	long left;

	ss_stop("start", 0, 0, 0);
	ss_stop("isolate", 0, 0, 0);
	if (!folio_ref_count(folio) || !folio_test_lru(folio) || is_new(folio))
		return -1;
	folio_get(folio);
	clear_bit(PG_lru, &FOLIO_FLAGS(folio));
	list_add(&folio->lru, &from);
	moving++;
	if (all_passes && mode == MIGRATE_SYNC)
		left = migrate_pages(&from, new_one, NULL, 0, mode, MR_SYSCALL, NULL);
	else
		left = one_pass(&from, mode);
	if ((left > 0) == list_empty(&from))
		ss_warned(); /* as many are left on the list as it says */
	if (left && all_passes && mode == MIGRATE_SYNC)
		ss_stop("putback", 0, 0, 0);
	putback_movable_pages(&from);
	taken[ss_self()] = 0;
	if (!--moving && atomic_read(&anon->refcount) != ANON_VMA_USERS)
		ss_warned(); /* a reference was not given back, or once too often */
	return left;
}

static long lock(struct folio *folio)
{
	ss_stop("start", 0, 0, 0);
	ss_stop("begin", 0, 0, 0);
	if (!folio_ref_count(folio) || !folio_trylock(folio))
		return 0;
	folio_get(folio);
	ss_stop("release", 0, 0, 0);
	clear_bit(PG_locked, &FOLIO_FLAGS(folio));
	folio_put(folio);
	return 1;
}

static long write_back(struct folio *folio)
{
	ss_stop("start", 0, 0, 0);
	ss_stop("begin", 0, 0, 0);
	if (!folio_ref_count(folio) || folio_test_locked(folio) || folio_test_writeback(folio))
		return 0;
	folio_get(folio);
	set_bit(PG_writeback, &FOLIO_FLAGS(folio));
	ss_stop("release", 0, 0, 0);
	clear_bit(PG_writeback, &FOLIO_FLAGS(folio));
	folio_put(folio);
	return 1;
}

static long operate(int operation, const long *at)
{
	switch (operation) {
	case OP_MOVE:
		return move(folio_of(at[0]), MIGRATE_SYNC);
	case OP_MISPLACED:
		return move(folio_of(at[0]), MIGRATE_ASYNC);
	case OP_LOCK:
		return lock(folio_of(at[0]));
	case OP_WRITEBACK:
		return write_back(folio_of(at[0]));
	case OP_TREE:
		return tree(at[0]);
	}
	return one(operation, at);
}

void ss_look(void)
{
	int i;

	look();
	ss_text(" page=");
	ss_number(frame_of(in_file));
	for (i = 0; i < SLOTS; i++) {
		ss_text(" cached=");
		ss_number(in_swap[i] ? frame_of(in_swap[i]) : 0);
	}
}
