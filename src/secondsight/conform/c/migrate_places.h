/*
 * Places in mm/migrate.c: where a pass over the folios begins, where a folio's contents are about to move, and where a walk over its entries begins. Included
 * before the kernel's file, whose calls they stand in.
 */
#pragma once

#include <linux/mm.h>
#include <linux/migrate.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/rmap.h>
#include <linux/sched.h>

static long taken[SS_THREADS]; /* the frame that the model takes for a new folio */

/* A folio that is locked, or written, is waited for where that is allowed. */
static int can_be_had(void *of)
{
	struct folio *folio = of;

	return !folio_test_locked(folio) && !folio_test_writeback(folio);
}

static void pass_begins(enum migrate_mode mode, struct list_head *from)
{
	struct folio *folio = list_first_entry(from, struct folio, lru);

	taken[ss_self()] = 0; /* the last pass has given it back */
	taken[ss_self()] = ss_stop("pass", SS_FROM, mode == MIGRATE_ASYNC ? 0 : can_be_had, folio);
}

static void move_begins(void) { ss_stop("move", SS_FROM, 0, 0); }

static void walk_to_migrate(struct folio *folio, enum ttu_flags flags)
{
	ss_stop("walk", SS_FROM, 0, 0);
	try_to_migrate(folio, flags);
}

static void walk_from_migration(struct folio *folio, struct rmap_walk_control *rwc)
{
	ss_stop("walk", SS_FROM, 0, 0);
	rmap_walk(folio, rwc);
}

#undef cond_resched_tasks_rcu_qs
#undef cond_resched
#define cond_resched() move_begins()
#if SINCE(6, 3)
#define cond_resched_tasks_rcu_qs() pass_begins(mode, from)
#else
/* The first three passes wait for nothing. There is one look at the folio's references, and what it holds is copied after it: the model's first look and its copy come before that. */
#define cond_resched_tasks_rcu_qs() pass_begins(pass > 2 ? mode : MIGRATE_ASYNC, from)
#define folio_mapping(folio) moves(folio)

static bool copied[SS_THREADS];
static long copying[SS_THREADS]; /* the frame whose contents are to be copied */
static long contents[];
static struct address_space *mapping_of(const struct folio *folio);
static int folio_expected_refs(struct address_space *mapping, struct folio *folio);
static long frame_of(const struct folio *folio);

static struct address_space *moves(struct folio *folio)
{
	struct address_space *mapping = mapping_of(folio);

	move_begins();
	copied[ss_self()] = false;
	copying[ss_self()] = frame_of(folio);
	if (folio_ref_count(folio) == folio_expected_refs(mapping, folio)) {
		contents[taken[ss_self()]] = contents[frame_of(folio)];
		ss_stop("copied", SS_FROM, 0, 0);
	}
	return mapping;
}
#endif
#define try_to_migrate(folio, flags) walk_to_migrate(folio, flags)
#define rmap_walk(folio, rwc) walk_from_migration(folio, rwc)
