/*
 * Livelock: the states that lie on cycles which a fair scheduler allows. What these are, search/progress.py says.
 *
 * Few states lie on cycles. A thread that takes steps for ever begins rounds of `while` loops for ever, and from some time on
 * takes only steps from a place inside of such loops to another. So the search keeps every state in which a round has just
 * begun; on each cycle lies one of them. When it is over, and its table and its logs are given back, the states that
 * can be reached from these by steps inside of loops are all that is looked at, whole. Those that lie on no cycle are peeled
 * off, the rest is cut into its strongly connected parts.
 */

/* The part of the graph that is looked at: states by number, steps from state n those from starts[n] on. */
typedef struct {
	u8 *states;
	u32 *starts, *targets;
	u8 *movers;
	size_t count, room, start_room, steps, target_room, mover_room;
	u32 *table; /* of numbers plus one */
	u64 slots;
	u32 *label; /* which part a state belongs to */
	u32 labels;
	u8 *fair;
} ss_graph;

typedef struct {
	u32 *states;
	size_t count;
	u32 label;
} ss_part;

static inline int ss_place_of(const ss_run *run, const u8 *state, int thread)
{
	return run->loops[thread * run->loop_width + counter_of(state, BASE[thread])];
}

static int ss_wider(ss_run *run, ss_graph *g, u64 slots)
{
	u32 *table = ss_room(run, slots * sizeof(u32));
	if (!table)
		return 0;
	memset(table, 0, slots * sizeof(u32));
	for (size_t n = 0; n < g->count; n++) {
		u64 at = ss_fingerprint(g->states + n * STRIDE) & (slots - 1);
		while (table[at])
			at = (at + 1) & (slots - 1);
		table[at] = (u32)n + 1;
	}
	ss_give_back(run, g->table, g->slots * sizeof(u32));
	g->table = table;
	g->slots = slots;
	return 1;
}

/* The number of a state, which is new if it was not there; MAX_NUMBER: there is no room for it. */
static u32 ss_number_of(ss_run *run, ss_graph *g, const u8 *known, u64 print)
{
	if (g->count >= g->slots / 4 * 3 && !ss_wider(run, g, g->slots * 2))
		return MAX_NUMBER;
	u64 at = print & (g->slots - 1);
	for (; g->table[at]; at = (at + 1) & (g->slots - 1))
		if (!memcmp(g->states + (u64)(g->table[at] - 1) * STRIDE, known, STRIDE))
			return g->table[at] - 1;
	if (g->count >= MAX_NUMBER || !ss_more(run, (void **)&g->states, g->count, &g->room, STRIDE)) {
		ss_stop(run, BECAUSE_MEMORY);
		return MAX_NUMBER;
	}
	memcpy(g->states + g->count * STRIDE, known, STRIDE);
	g->table[at] = (u32)++g->count;
	return (u32)g->count - 1;
}

/* What is looked for is fetched ahead: first its slot in the table, then the state that the slot names. */
static inline void ss_fetch_slot(const ss_graph *g, u64 print)
{
	__builtin_prefetch(&g->table[print & (g->slots - 1)], 1);
}

static inline void ss_fetch_row(const ss_graph *g, u64 print)
{
	u32 number = g->table[print & (g->slots - 1)];
	if (number)
		__builtin_prefetch(g->states + (u64)(number - 1) * STRIDE);
}

/* The states that a worker kept become the first ones. */
static void ss_begin_graph(ss_run *run, ss_graph *g, ss_worker *w)
{
	u64 prints[2 * DELAY];
	for (size_t k = 0; k < w->round_count + 2 * DELAY && !run->stop; k++) {
		if (k >= 2 * DELAY)
			ss_number_of(run, g, w->rounds + (k - 2 * DELAY) * STRIDE, prints[k % (2 * DELAY)]);
		if (k < w->round_count) {
			prints[k % (2 * DELAY)] = ss_fingerprint(w->rounds + k * STRIDE);
			ss_fetch_slot(g, prints[k % (2 * DELAY)]);
		}
		if (k >= DELAY && k - DELAY < w->round_count)
			ss_fetch_row(g, prints[(k - DELAY) % (2 * DELAY)]);
	}
	ss_give_back(run, w->rounds, w->round_room * STRIDE);
	w->rounds = NULL;
	w->round_room = w->round_count = 0;
}

typedef struct {
	u64 print;
	u8 mover;
	u8 state[ROOM] __attribute__((aligned(8)));
} ss_target;

/* The oldest of the steps that were made gets the number of its target. */
static void ss_aim(ss_run *run, ss_graph *g, const ss_target *last)
{
	u32 to = ss_number_of(run, g, last->state, last->print);
	if (to == MAX_NUMBER || g->steps >= MAX_NUMBER
	    || !ss_more(run, (void **)&g->targets, g->steps, &g->target_room, sizeof(u32))
	    || !ss_more(run, (void **)&g->movers, g->steps, &g->mover_room, 1)) {
		ss_stop(run, BECAUSE_MEMORY);
		return;
	}
	g->targets[g->steps] = to;
	g->movers[g->steps++] = last->mover;
}

/* Every state that can be reached from those kept, by steps inside of loops. */
static void ss_find_graph(ss_run *run, ss_graph *g)
{
	ss_x *x = run->crew[0].x;
	u8 state[ROOM] __attribute__((aligned(8))), after[ROOM] __attribute__((aligned(8)));
	u8 room[ROOM] __attribute__((aligned(8)));
	ss_target made[2 * DELAY];
	size_t taken = 0, kept = 0;
	u64 slots = 1 << 10;
	for (int i = 0; i < run->workers; i++)
		kept += run->crew[i].round_count;
	while (kept && slots < 2 * kept)
		slots *= 2;
	if (!kept || !ss_wider(run, g, slots))
		return;
	for (int i = 0; i < run->workers && !run->stop; i++)
		ss_begin_graph(run, g, &run->crew[i]);
	for (size_t n = 0; !run->stop; n++) {
		while (n == g->count && g->steps < taken && !run->stop)
			ss_aim(run, g, &made[g->steps % (2 * DELAY)]);
		if (run->stop || !ss_more(run, (void **)&g->starts, n, &g->start_room, sizeof(u32)))
			return;
		g->starts[n] = (u32)taken;
		if (n == g->count)
			return;
		if (n % 1024 == 0)
			ss_look(run);
		memcpy(state, g->states + n * STRIDE, STRIDE);
		for (int thread = 0; thread < THREADS; thread++) {
			if (!(ss_place_of(run, state, thread) & INSIDE))
				continue;
			x->made = x->at = 0;
			do {
				int done = ss_step(state, after, thread, counter_of(state, BASE[thread]), x);
				if (done <= 0 || !(ss_place_of(run, after, thread) & INSIDE))
					continue;
				if (taken - g->steps == 2 * DELAY)
					ss_aim(run, g, &made[g->steps % (2 * DELAY)]);
				if (run->stop)
					return;
				ss_target *target = &made[taken % (2 * DELAY)];
				memcpy(target->state, ss_known_as(after, room), STRIDE);
				target->print = ss_fingerprint(target->state);
				if (!ss_may_cycle(run, target->print))
					continue;
				taken++;
				target->mover = (u8)thread;
				ss_fetch_slot(g, target->print);
				if (taken - g->steps > DELAY)
					ss_fetch_row(g, made[(taken - 1 - DELAY) % (2 * DELAY)].print);
			} while (x->made && next_choices(x));
		}
	}
}

/* Label with 1 all states to which no cycle leads; how many are left. */
static size_t ss_peel(ss_run *run, ss_graph *g)
{
	size_t bytes = (g->count + 1) * sizeof(u32), done = 0, found = 0;
	u32 *ways_in = ss_room(run, bytes), *bare = ss_room(run, bytes);
	if (ways_in && bare) {
		memset(ways_in, 0, bytes);
		for (size_t k = 0; k < g->steps; k++)
			ways_in[g->targets[k]]++;
		for (size_t n = 0; n < g->count; n++)
			if (!ways_in[n])
				bare[found++] = (u32)n;
		for (; done < found; done++) {
			u32 n = bare[done];
			g->label[n] = 1;
			for (u32 k = g->starts[n]; k < g->starts[n + 1]; k++)
				if (!--ways_in[g->targets[k]])
					bare[found++] = g->targets[k];
			if (done % (1 << 20) == 0)
				ss_look(run);
			if (run->stop)
				break;
		}
	}
	ss_give_back(run, ways_in, bytes);
	ss_give_back(run, bare, bytes);
	return g->count - found;
}

static int ss_able(ss_run *run, const u8 *state, int thread)
{
	u8 after[ROOM] __attribute__((aligned(8)));
	ss_x *x = run->crew[0].x;
	int done;
	x->made = x->at = 0;
	do
		done = ss_step(state, after, thread, counter_of(state, BASE[thread]), x);
	while (!done && x->made && next_choices(x));
	return done != 0;
}

/* What keeps a thread from a step in the middle of others' merged steps that begin in a state; see movers.c. */
static int ss_kept_inside(ss_run *run, const u8 *state, int thread, u32 moving)
{
	const u8 *waits_at = run->loops + thread * run->loop_width;
	return the_model.merged ? the_model.kept_inside(state, thread, moving, waits_at, run->crew[0].x, run->aside) : 0;
}

/* Of the threads that take no step in a part: those that cannot take one in some state, and what else keeps them. */
typedef struct {
	u32 kept;
	int obstacle[MOST_THREADS]; /* in the middle of merged steps: see ss_kept_inside */
} ss_resting;

/*
 * In which states of a part a thread cannot take a step, and in which it could, but not in the middle of a merged step that begins
 * there: a byte of bits each for every state.
 */
static ss_resting ss_look_at_part(ss_run *run, const ss_graph *g, const u32 *part, size_t count, u32 moving, u8 (*held)[2])
{
	ss_resting all = { 0 };
	for (size_t i = 0; i < count && !run->stop; i++) {
		const u8 *state = g->states + (u64)part[i] * STRIDE;
		held[i][0] = held[i][1] = 0;
		for (int t = 0; t < THREADS; t++) {
			if (moving >> t & 1 || !counter_of(state, BASE[t]))
				continue;
			int inside;
			if (!ss_able(run, state, t)) {
				held[i][0] |= 1u << t;
			} else if ((inside = ss_kept_inside(run, state, t, moving))) {
				held[i][1] |= 1u << t;
				all.obstacle[t] = kept_by(all.obstacle[t], inside);
			}
		}
		all.kept |= held[i][0];
		if (i % 1024 == 0)
			ss_look(run);
	}
	return all;
}

/*
 * The states of a part, all of one label, in which its fair cycles lie come to the front; how many they are: all if the part is
 * fair.
 *
 * Where steps are merged, these are the states that may lie on cycles of the whole graph which are fair there: see movers.c.
 */
static size_t ss_fair_states(ss_run *run, const ss_graph *g, u32 *part, size_t count)
{
	const u8 *first = g->states + (u64)part[0] * STRIDE; /* who has ended, and where those stand that take no step: the same in all */
	u32 moving = 0, at_lock = 0, strict = 0;
	size_t left = 0;
	int fair = 1;
	u8 (*held)[2];
	if (finished(first))
		return 0;
	for (size_t i = 0; i < count; i++)
		for (u32 k = g->starts[part[i]]; k < g->starts[part[i] + 1]; k++)
			if (g->label[g->targets[k]] == g->label[part[i]])
				moving |= 1u << g->movers[k];
	if (!(held = ss_room(run, count * sizeof *held)))
		return 0;
	ss_resting all = ss_look_at_part(run, g, part, count, moving, held);
	for (int t = 0; t < THREADS; t++) {
		if (moving >> t & 1 || !counter_of(first, BASE[t]))
			continue;
		if (ss_place_of(run, first, t) & AT_LOCK) {
			at_lock |= 1u << t;
			if (!(all.kept >> t & 1) && all.obstacle[t] >= 0) /* one lock alone keeps it, which is free in between */
				strict |= 1u << t;
		} else if (!(all.kept >> t & 1) && all.obstacle[t] >= 0) { /* before local steps and a lock, or never kept */
			fair = 0;
		}
	}
	for (size_t i = 0; i < count && fair && !run->stop; i++)
		if (!(at_lock & ~held[i][0] & ~(held[i][1] & ~strict))) {
			u32 n = part[left];
			part[left++] = part[i];
			part[i] = n;
		}
	ss_give_back(run, held, count * sizeof *held);
	return run->stop ? 0 : left;
}

/* The strongly connected parts of the states of one label (Gabow's way), and which of them are fair; further parts go to `todo`. */
static void ss_cut(ss_run *run, ss_graph *g, const ss_part *whole, u32 *order, u32 *rooms[3], ss_part **todo, size_t *waiting, size_t *room)
{
	u32 *open = rooms[0], *roots = rooms[1], *path = rooms[2], came = 0;
	size_t opened = 0, rooted = 0;
	for (size_t i = 0; i < whole->count; i++)
		order[whole->states ? whole->states[i] : i] = 0;
	for (size_t i = 0; i < whole->count && !run->stop; i++) {
		size_t depth = 0;
		u32 root = whole->states ? whole->states[i] : (u32)i;
		if (order[root] || g->label[root] != whole->label)
			continue;
		path[0] = root;
		path[1] = g->starts[root];
		depth = 1;
		order[root] = ++came;
		open[opened++] = roots[rooted++] = root;
		while (depth && !run->stop) {
			u32 n = path[2 * depth - 2], *step = &path[2 * depth - 1];
			if (*step < g->starts[n + 1]) {
				u32 to = g->targets[(*step)++];
				if (g->label[to] != whole->label)
					continue;
				if (!order[to]) {
					path[2 * depth] = to;
					path[2 * depth + 1] = g->starts[to];
					depth++;
					order[to] = ++came;
					open[opened++] = roots[rooted++] = to;
					if (came % (1 << 16) == 0)
						ss_look(run);
				} else {
					while (order[roots[rooted - 1]] > order[to])
						rooted--;
				}
				continue;
			}
			depth--;
			if (roots[rooted - 1] != n)
				continue;
			rooted--;
			size_t end = opened;
			g->labels++;
			do
				g->label[open[--opened]] = g->labels;
			while (open[opened] != n);
			size_t count = end - opened, left;
			int cycle = count > 1;
			for (u32 k = g->starts[n]; k < g->starts[n + 1] && !cycle; k++)
				cycle = g->targets[k] == n;
			if (!cycle || !(left = ss_fair_states(run, g, open + opened, count)))
				continue;
			if (left == count) {
				for (size_t k = 0; k < count; k++)
					g->fair[open[opened + k]] = 1;
				continue;
			}
			ss_part part = { ss_room(run, left * sizeof(u32)), left, ++g->labels };
			if (!part.states || !ss_more(run, (void **)todo, *waiting, room, sizeof part)) {
				ss_give_back(run, part.states, left * sizeof(u32));
				return;
			}
			memcpy(part.states, open + opened, left * sizeof(u32));
			for (size_t k = 0; k < left; k++)
				g->label[part.states[k]] = part.label;
			(*todo)[(*waiting)++] = part;
		}
	}
}

static void ss_find_fair(ss_run *run, ss_graph *g)
{
	size_t words = g->count * sizeof(u32), waiting = 0, room = 0;
	u32 *order = ss_room(run, words), *rooms[3] = { ss_room(run, words), ss_room(run, words), ss_room(run, 2 * words) };
	ss_part *todo = NULL, part = { NULL, g->count, 0 };
	g->fair = ss_room(run, g->count);
	if (order && rooms[0] && rooms[1] && rooms[2] && g->fair) {
		memset(g->fair, 0, g->count);
		for (;;) {
			ss_cut(run, g, &part, order, rooms, &todo, &waiting, &room);
			ss_give_back(run, part.states, part.count * sizeof(u32));
			if (!waiting || run->stop)
				break;
			part = todo[--waiting];
		}
	}
	while (waiting--)
		ss_give_back(run, todo[waiting].states, todo[waiting].count * sizeof(u32));
	ss_give_back(run, todo, room * sizeof *todo);
	ss_give_back(run, order, words);
	for (int i = 0; i < 3; i++)
		ss_give_back(run, rooms[i], i < 2 ? words : 2 * words);
}

/* All states on cycles, or between two: where equal threads are renamed, which of these are fair cannot be seen. */
static void ss_take_all(ss_run *run, ss_graph *g)
{
	g->fair = ss_room(run, g->count);
	for (size_t n = 0; g->fair && n < g->count; n++)
		g->fair[n] = !g->label[n];
}

/* Hand the states over for which g->fair is set. */
static void ss_hand_over(ss_run *run, const ss_graph *g)
{
	u64 count = 0;
	for (size_t n = 0; n < g->count; n++)
		count += g->fair[n];
	run->livelocked = count ? ss_room(run, count * STATE_SIZE) : NULL;
	for (size_t n = 0; n < g->count && run->livelocked; n++)
		if (g->fair[n])
			memcpy(run->livelocked + run->livelocked_count++ * STATE_SIZE, g->states + n * STRIDE, STATE_SIZE);
}

/* After a search that saw everything: the states on fair cycles, to `run->livelocked`. */
static void ss_progress(ss_run *run)
{
	ss_graph g = { .labels = 1 };
	if (the_model.merged && !(run->aside = calloc(1, the_model.x_size))) {
		ss_stop(run, BECAUSE_MEMORY);
		return;
	}
	ss_find_graph(run, &g);
	if (g.count && !run->stop && (g.label = ss_room(run, g.count * sizeof(u32)))) {
		memset(g.label, 0, g.count * sizeof(u32));
		if (ss_peel(run, &g) && !run->stop) {
			if (*the_model.by_form & EQUAL)
				ss_take_all(run, &g);
			else
				ss_find_fair(run, &g);
		}
		if (g.fair && !run->stop)
			ss_hand_over(run, &g);
	}
	ss_give_back(run, g.states, g.room * STRIDE);
	ss_give_back(run, g.starts, g.start_room * sizeof(u32));
	ss_give_back(run, g.targets, g.target_room * sizeof(u32));
	ss_give_back(run, g.movers, g.mover_room);
	ss_give_back(run, g.table, g.slots * sizeof(u32));
	ss_give_back(run, g.label, g.count * sizeof(u32));
	ss_give_back(run, g.fair, g.count);
	free(run->aside);
	run->aside = NULL;
}
