/*
 * The log of edges: a search that holds proves by it, in most programs, that no thread goes on for ever.
 *
 * An infinite run takes, from some time on, only steps from a place inside of `while` loops to another (engine_progress.c).
 * With a log each such step that the search takes is known: its source's number and its target's. When all states were
 * seen, states to which no edge of the log leads are peeled off, with their edges, again and again. If nothing is left, the
 * logged edges have no cycle, and the program has no infinite run at all, fair or not: it has no livelock. If something is
 * left, it holds all cycles, and is what a second search looks at (`within` in ss_run), whole states then.
 *
 * Why that holds of a search with reductions too: let the reduced graph be finite, and its logged edges without a cycle. Then a
 * path in it has boundedly many such edges. Take an infinite run of the whole graph. Only finitely many of its steps are not
 * inside of loops; drop the threads' steps up to the last of these from what follows.
 *   - Merged steps (movers.c): each prefix of the run can be put into the order of merged steps. Of each thread that is in the
 *     middle of a merged step at the prefix's end, only right movers were taken, which are left out, or only left movers are
 *     lacking, which are added. So a prefix of n steps belongs to a path of merged steps in the reduced graph. A merged
 *     step has MOST steps at most, so that path has at least n / MOST - THREADS merged steps, which has no bound. (Steps into
 *     the queue of a lock may be left out of it too; each of these is followed by the step that takes the lock, or is its
 *     thread's last. Local steps before a blocked one, which are not taken, are fewer than MOST a thread.) A step of a thread
 *     that stays within itself for ever, and so within merged steps, makes edges as well: a merged step ends after MOST steps.
 *   - A merged step begins and ends at places of its thread's own way. From some time on the thread is inside of loops only, so
 *     the merged step's edge is logged.
 *   - Renaming: the search goes on from one state of each class of equal ones. Renamings map paths to paths and leave places as
 *     they are, so a path of the whole graph belongs to one of equal length between classes; numbers are those of classes.
 *
 * Each worker logs by itself: a source (SOURCE | its number), the number that it gives out next, then the targets that were known already.
 * A worker takes the steps from a source one after the other, so the states that it found from it have the numbers from there up to the one that the next
 * source begins with, and need no words of their own. Each state but the first was found by one step, so these are as many as there are states: 31 to 38 % of
 * all logged steps in the driver programs measured.
 *
 * So more is logged than steps from a place inside of loops to another: the step by which a state was found, wherever it leads, and each from a place inside of
 * loops out of them. That does no harm. A cycle can be gone round for ever, so by what is said above it has no such step; and one that is on no cycle
 * makes none. If it did, more states would be left for the second search, and no cycle be missed.
 *
 * The number of a state that is known already is found beside its fingerprint: `numbers` has one for each slot of the table. Where memory runs out
 * the log is dropped: the search goes on without it, and a second one looks at everything (ss_run's `log_dropped`).
 */

#define SOURCE 0x80000000u
#define MOST_WORDS 0xf0000000u
enum { MOST_AT_ONCE = 3 }; /* words of one step */

static void ss_forget_edges(ss_worker *w)
{
	if (w->edges)
		munmap(w->edges, w->edge_mapped * sizeof(u32));
	__atomic_sub_fetch(&w->run->bytes, w->edge_room * sizeof(u32), __ATOMIC_RELAXED);
	__atomic_sub_fetch(&w->run->edge_words, w->edge_room, __ATOMIC_RELAXED);
	w->edges = w->edge_next = w->edge_last = NULL;
	w->edge_room = w->edge_mapped = 0;
}

/* Between phases: what a log that was dropped still has, and the numbers of states. */
static void ss_forget_log(ss_run *run)
{
	for (int i = 0; run->crew && i < run->workers; i++)
		ss_forget_edges(&run->crew[i]);
	if (run->numbers) {
		munmap(run->numbers, run->slots * sizeof(u32));
		__atomic_sub_fetch(&run->bytes, run->slots * sizeof(u32), __ATOMIC_RELAXED);
	}
	run->numbers = NULL;
}

/* The log may have three quarters of the memory with all else: what else there is has the rest in any case. */
static int ss_log_may_have(ss_run *run, u64 bytes)
{
	if (!run->max_memory || run->bytes + bytes <= run->max_memory / 4 * 3)
		return 1;
	ss_drop_log(run);
	return 0;
}

static void ss_begin_log(ss_run *run)
{
	if (run->exact) { /* the table has numbers */
		run->logging = 1;
		return;
	}
	if (!ss_log_may_have(run, run->slots * sizeof(u32)) || !(run->numbers = ss_map(run->slots * sizeof(u32))))
		run->log_dropped = 1;
	else
		__atomic_add_fetch(&run->bytes, run->slots * sizeof(u32), __ATOMIC_RELAXED);
	run->logging = !run->log_dropped;
}

/* A worker's log has addresses for so many words at first, of which only those that are written to become memory; the first in small pages. */
enum { FIRST_MAPPED = 1 << 22, IN_SMALL_PAGES = 1 << 17 };

/* More addresses for a log: twice as many. 0: there are none. */
static int ss_map_edges(ss_worker *w)
{
	size_t words = w->edges ? w->edge_mapped * 2 : FIRST_MAPPED;
	u32 *edges = ss_map_from(words * sizeof(u32), IN_SMALL_PAGES * sizeof(u32));
	if (!edges)
		return 0;
	if (w->edges) {
		memcpy(edges, w->edges, (w->edge_next - w->edges) * sizeof(u32));
		munmap(w->edges, w->edge_mapped * sizeof(u32));
	}
	w->edge_next = edges + (w->edge_next - w->edges);
	w->edges = edges;
	w->edge_mapped = words;
	return 1;
}

/* Room for more words: twice as many, later an eighth more; NULL: no more is logged. All logs together have MOST_WORDS at most, so that 32 bits name one. */
static u32 *ss_edge_room(ss_worker *w)
{
	ss_run *run = w->run;
	if (!run->logging) {
		ss_forget_edges(w);
		return NULL;
	}
	size_t more = !w->edge_room ? 1 << 12 : w->edge_room < 1 << 18 ? w->edge_room : w->edge_room / 8;
	if (run->edge_words + more * MAX_WORKERS >= MOST_WORDS || !ss_log_may_have(run, more * sizeof(u32))
	    || (w->edge_room + more > w->edge_mapped && !ss_map_edges(w))) {
		ss_drop_log(run);
		return NULL;
	}
	__atomic_add_fetch(&run->bytes, more * sizeof(u32), __ATOMIC_RELAXED);
	__atomic_add_fetch(&run->edge_words, more, __ATOMIC_RELAXED);
	w->edge_room += more;
	w->edge_last = w->edges + w->edge_room - MOST_AT_ONCE;
	return w->edge_next;
}

/*
 * A step from this source is about to be looked up; a state that it finds will have the number `next`. The first of a source's steps begins what is logged of it. These
 * two do without branches, for which of the steps are first, or known, cannot be foreseen: with them a search of 285,207 states guessed wrong a million times more.
 * NULL: nothing is logged any more; else where a target would go.
 */
static ALWAYS_INLINED u32 *ss_log_source(ss_worker *w, int is_first, u32 source, u32 next)
{
	u32 *to = w->edge_next;
	if (to >= w->edge_last && !(to = ss_edge_room(w)))
		return NULL;
	to[0] = SOURCE | source;
	to[1] = next;
	return w->edge_next = to + 2 * is_first;
}

/* It came to a state that was known; `is_logged`: from a place inside of loops. */
static ALWAYS_INLINED void ss_log_target(ss_worker *w, u32 *to, u32 target, int is_logged)
{
	*to = target;
	w->edge_next = to + is_logged;
}
