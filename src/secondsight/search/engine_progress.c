/*
 * Progress: a state from which no schedule leads to an end.
 *
 * With `progress` the search keeps the transitions to states that were there already: the number of the state where each
 * begins, and the fingerprint of the one where it ends; that every state is reached from its parent is known anyway. When all
 * states have been seen, whatever leads to a final state is marked. Most transitions lead to states that were found later,
 * so few rounds from the last to the first are enough; a transition from a marked state is not looked at, and then dropped.
 */

typedef struct {
	u32 *numbers; /* by slot of the table */
	u8 *reached;  /* by number: from here there is a way to an end */
} ss_back;

static u32 ss_number_of(const ss_run *run, const ss_back *b, u64 print)
{
	for (u64 at = ss_slot(run, print);; at = ss_after(run, at)) {
		u32 place;
		if (!run->exact && run->table[at] == print)
			return b->numbers[at];
		if (run->exact && ss_log_of(run, (u32)run->table[at] - 1, &place)->prints[place] == print)
			return (u32)run->table[at] - 1;
	}
}

static void ss_note_numbers(const ss_run *run, const ss_back *b)
{
	for (int i = 0; i < run->workers; i++) {
		const ss_worker *w = &run->crew[i];
		for (size_t k = 0; k < w->found; k++) {
			u64 print = w->logs[k / LOG_SIZE].prints[k % LOG_SIZE], at = ss_slot(run, print);
			if (k % LOG_SIZE + DELAY < LOG_SIZE) { /* what lies behind the last is read, but only to fetch a slot */
				u64 later = ss_slot(run, w->logs[k / LOG_SIZE].prints[k % LOG_SIZE + DELAY]);
				__builtin_prefetch(&run->table[later]);
				__builtin_prefetch(&b->numbers[later], 1);
			}
			if (!print)
				continue;
			while (run->table[at] != print)
				at = ss_after(run, at);
			b->numbers[at] = (u32)(k * run->workers + i);
		}
	}
}

/* Mark a state and those that it was found from. */
static void ss_mark(const ss_run *run, const ss_back *b, u32 number)
{
	u32 place;
	while (number != MAX_NUMBER && !b->reached[number]) {
		b->reached[number] = 1;
		number = ss_log_of(run, number, &place)->parents[place];
	}
}

/* A round over all transitions; how many are left. In the first their ends are looked up. */
static u64 ss_round(const ss_run *run, const ss_back *b, int first)
{
	u64 left = 0;
	for (int i = 0; i < run->workers; i++)
		for (ss_edges *e = run->crew[i].edges; e; e = e->next) {
			for (u32 k = e->count; k-- > 0;) {
				if (first && k >= DELAY) {
					u64 later = ss_slot(run, e->to[k - DELAY]);
					__builtin_prefetch(&run->table[later]);
					__builtin_prefetch(run->exact ? (void *)&run->table[later] : (void *)&b->numbers[later]);
				}
				if (b->reached[e->from[k]])
					continue;
				if (first)
					e->to[k] = ss_number_of(run, b, e->to[k]);
				if (b->reached[e->to[k]])
					ss_mark(run, b, e->from[k]);
			}
			u32 kept = 0;
			for (u32 k = 0; k < e->count; k++)
				if (!b->reached[e->from[k]]) {
					e->from[kept] = e->from[k];
					e->to[kept++] = e->to[k];
				}
			e->count = kept;
			left += kept;
		}
	return left;
}

/* The first state, in order of discovery, from which there is no way to an end. */
static void ss_progress(ss_run *run)
{
	ss_back b = { 0 };
	u64 count = 0, left, before = ~0ull;
	for (int i = 0; i < run->workers; i++)
		if (run->crew[i].found * run->workers > count)
			count = run->crew[i].found * run->workers;
	b.numbers = ss_room(run, run->exact ? 8 : run->slots * sizeof(u32));
	b.reached = ss_room(run, count);
	if (b.numbers && b.reached) {
		memset(b.reached, 0, count);
		if (!run->exact)
			ss_note_numbers(run, &b);
		for (int i = 0; i < run->workers; i++)
			for (size_t k = 0; k < run->crew[i].found; k++)
				if (run->crew[i].logs[k / LOG_SIZE].ends[k % LOG_SIZE])
					ss_mark(run, &b, (u32)(k * run->workers + i));
		for (left = ss_round(run, &b, 1); left && left < before;) {
			before = left;
			left = ss_round(run, &b, 0);
		}
		for (u64 n = 0; n < count; n++) {
			u32 place;
			if (n / run->workers >= run->crew[n % run->workers].found || b.reached[n])
				continue;
			if (!ss_log_of(run, (u32)n, &place)->prints[place])
				continue;
			ss_tell(&run->crew[0], NO_WAY_TO_AN_END, 0, (u32)n);
			break;
		}
	}
	free(b.numbers);
	free(b.reached);
}
