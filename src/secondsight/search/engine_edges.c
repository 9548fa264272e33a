/*
 * The log of edges: a search that holds proves by it, in most programs, that no thread goes on for ever.
 *
 * An infinite run takes, from some time on, only steps from a place inside of `while` loops to another (engine_progress.c).
 * With a log each such step that the search takes is written down: its source's number and its target's. When all states were
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
 * Each worker logs by itself: a source (SOURCE | its number), then its targets' numbers. The number of a state
 * that is known already is found beside its fingerprint: `numbers` has one for each slot of the table. Where memory runs out
 * the log is dropped: the search goes on without it, and a second one looks at everything (ss_run's `log_dropped`).
 */

#define SOURCE 0x80000000u
#define MOST_WORDS 0xf0000000u

static void ss_forget_edges(ss_worker *w)
{
	if (w->edges)
		munmap(w->edges, w->edge_mapped * sizeof(u32));
	__atomic_sub_fetch(&w->run->bytes, w->edge_room * sizeof(u32), __ATOMIC_RELAXED);
	__atomic_sub_fetch(&w->run->edge_words, w->edge_room, __ATOMIC_RELAXED);
	w->edges = NULL;
	w->edge_count = w->edge_room = w->edge_mapped = 0;
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
		memcpy(edges, w->edges, w->edge_count * sizeof(u32));
		munmap(w->edges, w->edge_mapped * sizeof(u32));
	}
	w->edges = edges;
	w->edge_mapped = words;
	return 1;
}

/* Room for more words: twice as many, later an eighth more. All logs together have MOST_WORDS at most, so that 32 bits name one. */
static int ss_edge_room(ss_worker *w)
{
	ss_run *run = w->run;
	size_t more = !w->edge_room ? 1 << 12 : w->edge_room < 1 << 18 ? w->edge_room : w->edge_room / 8;
	if (run->edge_words + more * MAX_WORKERS >= MOST_WORDS || !ss_log_may_have(run, more * sizeof(u32))
	    || (w->edge_room + more > w->edge_mapped && !ss_map_edges(w))) {
		ss_drop_log(run);
		return 0;
	}
	__atomic_add_fetch(&run->bytes, more * sizeof(u32), __ATOMIC_RELAXED);
	__atomic_add_fetch(&run->edge_words, more, __ATOMIC_RELAXED);
	w->edge_room += more;
	return 1;
}

static ALWAYS_INLINED void ss_edge_word(ss_worker *w, u32 word)
{
	if (w->edge_count < w->edge_room || ss_edge_room(w))
		w->edges[w->edge_count++] = word;
}

/* A step from a place inside of loops to another. A worker logs those from one source one after the other. */
static ALWAYS_INLINED void ss_log_edge(ss_worker *w, u32 source, u32 target)
{
	ss_run *run = w->run;
	if (!run->logging || (source | target) & SOURCE) {
		ss_drop_log(run);
		ss_forget_edges(w);
		return;
	}
	if (!w->edge_count || w->edge_source != source)
		ss_edge_word(w, SOURCE | (w->edge_source = source));
	ss_edge_word(w, target);
}
