/*
 * Peeling the log of edges (engine_edges.c) when all states were seen: what is left may lie on cycles.
 */

/* A word of the log is named by its place in all logs, one worker's after the other's. */
typedef struct {
	u32 *starts;  /* by state: the word behind that which names it as a source, plus one; or 0 */
	u16 *ways_in; /* by state: edges that lead there and were not peeled off, besides the one by which it was found, MANY or more; GONE. Small, for it is what is come to at random */
	u32 *todo;    /* with one to spare: see ss_one_way_less */
	u64 states;
	const u32 *logs[MAX_WORKERS];
	u64 ends[MAX_WORKERS]; /* the word after a worker's last one */
} ss_edges;

enum { AHEAD = 64, MANY = 0xfffe, GONE = 0xffff }; /* a state with so many ways in is never peeled off: the second search looks at it */

/* Of every worker: its log ends with a source, so that the last targets end there, and what was found last. 0: no room for that. */
static int ss_end_logs(ss_run *run)
{
	for (int i = 0; i < run->workers; i++)
		if (run->crew[i].edges)
			ss_log_source(&run->crew[i], 1, 0, (u32)(run->crew[i].found * run->workers + i));
	return run->logging;
}

static void ss_read_edges(ss_run *run, ss_edges *e)
{
	u64 first = 0;
	for (int i = 0; i < run->workers; i++) {
		const u32 *log = e->logs[i] = run->crew[i].edges;
		size_t count = run->crew[i].edge_next - log;
		for (size_t at = 0; at + 2 < count;) {
			e->starts[log[at] & ~SOURCE] = (u32)(first + at + 2);
			for (at += 2; !(log[at] & SOURCE); at++) {
				if (at + AHEAD < count)
					__builtin_prefetch(&e->ways_in[log[at + AHEAD] & ~SOURCE], 1);
				e->ways_in[log[at]] += e->ways_in[log[at]] < MANY;
			}
		}
		e->ends[i] = first += count;
	}
}

/* What was logged of a state: the first number that was given out for it, then its targets, up to the next source. */
static ALWAYS_INLINED const u32 *ss_logged_of(const ss_edges *e, u32 n)
{
	static const u32 nothing[3] = { 0, SOURCE, 0 };
	u64 at = e->starts[n];
	if (!at--)
		return nothing;
	if (at < e->ends[0])
		return e->logs[0] + at;
	int i = 1;
	while (e->ends[i] <= at)
		i++;
	return e->logs[i] + (at - e->ends[i - 1]);
}

/* One way into a state is peeled off: with the last one it is GONE, and to be peeled off itself. Whether it is the last cannot be foreseen, so there is no branch for it. */
static ALWAYS_INLINED void ss_one_way_less(ss_edges *e, u32 n, u64 *found)
{
	u16 ways = e->ways_in[n];
	e->todo[*found] = n;
	*found += !ways;
	e->ways_in[n] = (u16)(ways - (ways != MANY));
}

/* Peel off what no cycle leads to; how many states are left. */
static u64 ss_peel_log(ss_run *run, ss_edges *e)
{
	u64 found = 0, all = 0;
	for (int i = 0; i < run->workers; i++) { /* the first state, and the others' first numbers: nobody found these */
		all += run->crew[i].found;
		ss_one_way_less(e, (u32)i, &found);
	}
	for (u64 done = 0; done < found; done++) {
		const u32 *to = ss_logged_of(e, e->todo[done]);
		if (done + AHEAD < found) { /* where its targets are, what they are, and what is known of them */
			__builtin_prefetch(&e->starts[e->todo[done + AHEAD]]);
			__builtin_prefetch(ss_logged_of(e, e->todo[done + AHEAD / 2]));
			const u32 *soon = ss_logged_of(e, e->todo[done + AHEAD / 4]);
			__builtin_prefetch(&e->ways_in[soon[0]], 1);
			__builtin_prefetch(&e->ways_in[soon[1] & ~SOURCE], 1);
			__builtin_prefetch(&e->ways_in[soon[2] & ~SOURCE], 1);
		}
		u32 new = *to++;
		for (; !(*to & SOURCE); to++)
			ss_one_way_less(e, *to, &found);
		for (u32 end = to[1]; new < end; new += run->workers)
			ss_one_way_less(e, new, &found);
		if (done % (1 << 20) == 0)
			ss_look(run);
		if (run->stop)
			break;
	}
	return all - found;
}

/* Whether all that a state's steps lead to is. */
static int ss_are_gone(const ss_run *run, const ss_edges *e, const u32 *to)
{
	u32 new = *to++;
	for (; !(*to & SOURCE); to++)
		if (e->ways_in[*to] != GONE)
			return 0;
	for (u32 end = to[1]; new < end; new += run->workers)
		if (e->ways_in[new] != GONE)
			return 0;
	return 1;
}

/* Peel off what leads to no cycle, too: states all of whose targets are gone; till a round changes nothing, or 100 are over. */
static u64 ss_peel_back(ss_run *run, ss_edges *e, u64 left)
{
	for (u64 before = left + 1, round = 0; left < before && round < 100 && !run->stop; round++) {
		before = left;
		for (u32 n = (u32)e->states; n-- > 0;) {
			if (e->ways_in[n] == GONE || n / run->workers >= run->crew[n % run->workers].found) /* or is no state's number */
				continue;
			if (ss_are_gone(run, e, ss_logged_of(e, n))) {
				e->ways_in[n] = GONE;
				left--;
			}
		}
		ss_look(run);
	}
	return left;
}

/* The fingerprints of the states that are left, to `run->cycling`. */
static void ss_hand_prints_over(ss_run *run, const ss_edges *e, u64 left)
{
	if (!(run->cycling = ss_room(run, left * sizeof(u64))))
		return;
	for (u64 at = 0; at < run->slots; at++) {
		u64 entry = run->table[at];
		if (entry && e->ways_in[run->exact ? (u32)entry - 1 : run->numbers[at] - 1] != GONE)
			run->cycling[run->cycling_count++] = ss_print_of(run, entry);
	}
}

/* After a search that saw everything: what is left of its log goes to `run->cycling`. */
static void ss_look_for_cycles(ss_run *run)
{
	ss_edges e = { 0 };
	u64 most = 0;
	for (int i = 0; i < run->workers; i++)
		if (run->crew[i].found > most)
			most = run->crew[i].found;
	e.states = most * run->workers;
	u64 each = 2 * sizeof(u32) + sizeof(u16), bytes = ss_in_large_pages(e.states * each + sizeof(u32));
	if (!run->logging || !run->edge_words || !ss_end_logs(run))
		return;
	if (run->max_memory && run->bytes + e.states * each > run->max_memory) {
		ss_drop_log(run);
		return;
	}
	void *room = ss_count(run, e.states * each) ? ss_map(bytes) : NULL;
	if (!room) {
		ss_stop(run, BECAUSE_MEMORY);
		return;
	}
	e.starts = room;
	e.todo = e.starts + e.states;
	e.ways_in = (u16 *)(e.todo + e.states + 1);
	ss_read_edges(run, &e);
	u64 left = ss_peel_log(run, &e);
	if (left && !run->stop)
		left = ss_peel_back(run, &e, left);
	if (left && !run->stop)
		ss_hand_prints_over(run, &e, left);
	munmap(room, bytes);
	__atomic_sub_fetch(&run->bytes, e.states * each, __ATOMIC_RELAXED);
}
