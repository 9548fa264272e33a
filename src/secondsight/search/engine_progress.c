/*
 * Progress: a state from which no schedule leads to an end.
 *
 * With `progress` the search keeps every transition: the number of the state it comes from, and the fingerprint of the one
 * it leads to. When all states have been seen, the numbers of the latter are looked up, the transitions turned round, and
 * whatever leads to a final state is marked, from the final states backwards.
 */

typedef struct {
	u32 *numbers; /* by slot of the table */
	u64 *starts;  /* by number: where its predecessors begin */
	u32 *from;    /* the predecessors */
	u32 *todo;
	u8 *reached;
} ss_back;

static u32 ss_number_of(const ss_run *run, const ss_back *b, u64 print)
{
	for (u64 at = ss_slot(run, print);; at = ss_after(run, at)) {
		u32 place, number = run->exact ? (u32)run->table[at] - 1 : b->numbers[at];
		if (run->table[at] && ss_log_of(run, number, &place)->prints[place] == print)
			return number;
	}
}

static void ss_note_numbers(const ss_run *run, const ss_back *b)
{
	for (int i = 0; i < run->workers; i++) {
		const ss_worker *w = &run->crew[i];
		for (size_t k = 0; k < w->found; k++) {
			u64 print = w->logs[k / LOG_SIZE].prints[k % LOG_SIZE], at = ss_slot(run, print);
			if (!print)
				continue;
			while (run->table[at] != print)
				at = ss_after(run, at);
			b->numbers[at] = (u32)(k * run->workers + i);
		}
	}
}

static void ss_turn_round(const ss_run *run, const ss_back *b, u64 count)
{
	for (int i = 0; i < run->workers; i++)
		for (ss_edges *e = run->crew[i].edges; e; e = e->next)
			for (u32 k = 0; k < e->count; k++) {
				e->to[k] = ss_number_of(run, b, e->to[k]);
				b->starts[e->to[k] + 1]++;
			}
	for (u64 n = 0; n < count; n++)
		b->starts[n + 1] += b->starts[n];
	for (int i = 0; i < run->workers; i++)
		for (ss_edges *e = run->crew[i].edges; e; e = e->next)
			for (u32 k = 0; k < e->count; k++)
				b->from[--b->starts[e->to[k] + 1]] = e->from[k];
	/* now starts[n + 1] is where n's begin */
}

static void ss_go_back(const ss_run *run, const ss_back *b, u64 count, u64 edges)
{
	u64 waiting = 0;
	for (int i = 0; i < run->workers; i++)
		for (size_t k = 0; k < run->crew[i].found; k++)
			if (run->crew[i].logs[k / LOG_SIZE].ends[k % LOG_SIZE]) {
				u32 number = (u32)(k * run->workers + i);
				b->reached[number] = 1;
				b->todo[waiting++] = number;
			}
	while (waiting) {
		u32 number = b->todo[--waiting];
		u64 end = number + 2 <= count ? b->starts[number + 2] : edges;
		for (u64 k = b->starts[number + 1]; k < end; k++)
			if (!b->reached[b->from[k]]) {
				b->reached[b->from[k]] = 1;
				b->todo[waiting++] = b->from[k];
			}
	}
}

/* The first state, in order of discovery, from which there is no way to an end. */
static void ss_progress(ss_run *run)
{
	ss_back b = { 0 };
	u64 most = 0, edges = 0;
	for (int i = 0; i < run->workers; i++) {
		if (run->crew[i].found > most)
			most = run->crew[i].found;
		for (ss_edges *e = run->crew[i].edges; e; e = e->next)
			edges += e->count;
	}
	u64 count = most * run->workers;
	b.numbers = ss_room(run, run->exact ? 8 : run->slots * sizeof(u32));
	b.starts = ss_room(run, (count + 2) * sizeof(u64));
	b.from = ss_room(run, (edges + 1) * sizeof(u32));
	b.todo = ss_room(run, count * sizeof(u32));
	b.reached = ss_room(run, count);
	if (!run->stop) {
		memset(b.starts, 0, (count + 2) * sizeof(u64));
		memset(b.reached, 0, count);
		if (!run->exact)
			ss_note_numbers(run, &b);
		ss_turn_round(run, &b, count);
		ss_go_back(run, &b, count, edges);
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
	free(b.starts);
	free(b.from);
	free(b.todo);
	free(b.reached);
}
