/*
 * Peeling the log of edges (engine_edges.c) when all states were seen: what is left may lie on cycles.
 */

/* All of the log, words from one worker after the other's; those of a worker begin with a block. */
typedef struct {
	u32 **blocks;
	u32 *starts;  /* by state: the word after its own, or 0 */
	u32 *ways_in; /* by state: edges that lead there and were not peeled off; GONE */
	u32 *todo;
	u64 states, words;
	u64 ends[MAX_WORKERS]; /* the word after a worker's last one */
} ss_edges;

enum { AHEAD = 16 };
#define GONE 0xffffffffu

static inline u32 ss_word(const ss_edges *e, u64 at) { return e->blocks[at / EDGE_BLOCK][at % EDGE_BLOCK]; }

static void ss_read_edges(ss_run *run, ss_edges *e)
{
	u64 at = 0;
	for (int i = 0; i < run->workers; i++) {
		at = (at + EDGE_BLOCK - 1) / EDGE_BLOCK * EDGE_BLOCK;
		if (run->crew[i].edges)
			memcpy(e->blocks + at / EDGE_BLOCK, run->crew[i].edges, run->crew[i].edge_room / EDGE_BLOCK * sizeof *e->blocks);
		for (e->ends[i] = at + run->crew[i].edge_count; at < e->ends[i]; at++) {
			u32 word = ss_word(e, at);
			if (at + AHEAD < e->ends[i])
				__builtin_prefetch(&e->ways_in[ss_word(e, at + AHEAD) & ~SOURCE], 1);
			if (word & SOURCE)
				e->starts[word & ~SOURCE] = (u32)at + 1;
			else
				e->ways_in[word]++;
		}
	}
}

/* The word after the last target of a state whose targets begin at `at`. */
static u64 ss_last_edge(const ss_run *run, const ss_edges *e, u64 at)
{
	int i = 0;
	while (e->ends[i] <= at)
		i++;
	while (at < e->ends[i] && !(ss_word(e, at) & SOURCE))
		at++;
	return at;
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
		u64 at = e->starts[n];
		if (done + AHEAD < found)
			__builtin_prefetch(&e->starts[e->todo[done + AHEAD]]);
		e->ways_in[n] = GONE;
		for (u64 end = at ? ss_last_edge(run, e, at) : 0; at < end; at++) {
			u32 to = ss_word(e, at);
			if (!--e->ways_in[to])
				e->todo[found++] = to;
		}
		if (done % (1 << 20) == 0)
			ss_look(run);
		if (run->stop)
			break;
	}
	return e->states - found;
}

/* Peel off what leads to no cycle, too: states from which all edges go to such as are gone, till a round changes nothing or 100 are over. */
static u64 ss_peel_back(ss_run *run, ss_edges *e, u64 left)
{
	for (u64 before = left + 1, round = 0; left < before && round < 100 && !run->stop; round++) {
		before = left;
		for (u64 n = e->states; n-- > 0;) {
			if (e->ways_in[n] == GONE)
				continue;
			int stays = 0;
			u64 at = e->starts[n];
			for (u64 end = at ? ss_last_edge(run, e, at) : 0; at < end && !stays; at++)
				stays = e->ways_in[ss_word(e, at)] != GONE;
			if (!stays) {
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
	u64 blocks = 0, most = 0;
	for (int i = 0; i < run->workers; i++) {
		blocks += run->crew[i].edge_room / EDGE_BLOCK;
		if (run->crew[i].found > most)
			most = run->crew[i].found;
	}
	if (!run->logging || !blocks)
		return;
	e.states = most * run->workers;
	u64 bytes = e.states * sizeof(u32), all = 3 * bytes + blocks * sizeof *e.blocks;
	if (run->max_memory && run->bytes + all > run->max_memory) {
		ss_drop_log(run);
		return;
	}
	e.starts = ss_room(run, bytes);
	e.ways_in = ss_room(run, bytes);
	e.todo = ss_room(run, bytes);
	e.blocks = ss_room(run, blocks * sizeof *e.blocks);
	if (e.starts && e.ways_in && e.todo && e.blocks) {
		memset(e.starts, 0, bytes);
		memset(e.ways_in, 0, bytes);
		ss_read_edges(run, &e);
		u64 left = ss_peel_log(run, &e);
		if (left && !run->stop)
			left = ss_peel_back(run, &e, left);
		if (left && !run->stop)
			ss_hand_prints_over(run, &e, left);
	}
	ss_give_back(run, e.starts, bytes);
	ss_give_back(run, e.ways_in, bytes);
	ss_give_back(run, e.todo, bytes);
	ss_give_back(run, e.blocks, blocks * sizeof *e.blocks);
}
