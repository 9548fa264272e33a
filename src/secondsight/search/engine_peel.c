/*
 * Peeling the log of edges (engine_edges.c) when all states were seen: what is left may lie on cycles.
 */

/* A word of the log is named by its place in all logs, one worker's after the other's. */
typedef struct {
	u32 *starts;  /* by state: the word of its first target, plus one; or 0 */
	u16 *ways_in; /* by state: edges that lead there and were not peeled off, MANY or more; GONE. Small, for it is what is come to at random */
	u32 *todo;
	u64 states;
	const u32 *logs[MAX_WORKERS];
	u64 ends[MAX_WORKERS]; /* the word after a worker's last one */
} ss_edges;

enum { AHEAD = 64, MANY = 0xfffe, GONE = 0xffff }; /* a state with so many ways in is never peeled off: the second search looks at it */

/* Of every worker: its log ends with a source, so that the last targets end there. 0: no room for that. */
static int ss_end_logs(ss_run *run)
{
	for (int i = 0; i < run->workers; i++)
		if (run->crew[i].edge_count)
			ss_edge_word(&run->crew[i], SOURCE);
	return run->logging;
}

static void ss_read_edges(ss_run *run, ss_edges *e)
{
	u64 first = 0;
	for (int i = 0; i < run->workers; i++) {
		const u32 *log = e->logs[i] = run->crew[i].edges;
		size_t count = run->crew[i].edge_count;
		for (size_t at = 0; at + 1 < count; at++) {
			u32 word = log[at];
			if (at + AHEAD < count)
				__builtin_prefetch(&e->ways_in[log[at + AHEAD] & ~SOURCE], 1);
			if (word & SOURCE)
				e->starts[word & ~SOURCE] = (u32)(first + at + 2);
			else
				e->ways_in[word] += e->ways_in[word] < MANY;
		}
		e->ends[i] = first += count;
	}
}

/* The targets of a state, up to a word that is none; NULL: it has none. */
static ALWAYS_INLINED const u32 *ss_targets_of(const ss_edges *e, u64 n)
{
	u64 at = e->starts[n];
	int i = 0;
	if (!at--)
		return NULL;
	while (e->ends[i] <= at)
		i++;
	return e->logs[i] + (i ? at - e->ends[i - 1] : at);
}

/* Peel off what no cycle leads to; how many states are left. */
static u64 ss_peel_log(ss_run *run, ss_edges *e)
{
	u64 found = 0;
	for (u64 n = 0; n < e->states; n++)
		if (!e->ways_in[n])
			e->todo[found++] = (u32)n;
	for (u64 done = 0; done < found; done++) {
		u32 n = e->todo[done];
		const u32 *to = ss_targets_of(e, n);
		if (done + AHEAD < found) { /* where its targets are, what they are, and what is known of them */
			__builtin_prefetch(&e->starts[e->todo[done + AHEAD]]);
			__builtin_prefetch(ss_targets_of(e, e->todo[done + AHEAD / 2]));
			const u32 *soon = ss_targets_of(e, e->todo[done + AHEAD / 4]);
			for (int i = 0; soon && i < 3 && !(soon[i] & SOURCE); i++)
				__builtin_prefetch(&e->ways_in[soon[i]], 1);
		}
		e->ways_in[n] = GONE;
		for (; to && !(*to & SOURCE); to++)
			if (e->ways_in[*to] < MANY && !--e->ways_in[*to])
				e->todo[found++] = *to;
		if (done % (1 << 20) == 0)
			ss_look(run);
		if (run->stop)
			break;
	}
	return e->states - found;
}

/* Peel off what leads to no cycle, too: states all of whose targets are gone; till a round changes nothing, or 100 are over. */
static u64 ss_peel_back(ss_run *run, ss_edges *e, u64 left)
{
	for (u64 before = left + 1, round = 0; left < before && round < 100 && !run->stop; round++) {
		before = left;
		for (u64 n = e->states; n-- > 0;) {
			const u32 *to = ss_targets_of(e, n);
			if (e->ways_in[n] == GONE)
				continue;
			while (to && !(*to & SOURCE) && e->ways_in[*to] == GONE)
				to++;
			if (!to || *to & SOURCE) {
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
	u64 each = 2 * sizeof(u32) + sizeof(u16), bytes = ss_in_large_pages(e.states * each);
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
	e.ways_in = (u16 *)(e.todo + e.states);
	ss_read_edges(run, &e);
	u64 left = ss_peel_log(run, &e);
	if (left && !run->stop)
		left = ss_peel_back(run, &e, left);
	if (left && !run->stop)
		ss_hand_prints_over(run, &e, left);
	munmap(room, bytes);
	__atomic_sub_fetch(&run->bytes, e.states * each, __ATOMIC_RELAXED);
}
