/*
 * Merged steps taken: how far a thread goes in one, and what others see in the middle. movers.c says what may be merged, and why.
 */

static int some_way(int counter, const u8 *start, i64 B, i64 t, ss_x *x, int chosen);
static int step_at(int counter, u8 *s, i64 B, i64 t, ss_x *x);

/*
 * The lock that a step which was blocked waits for, and for nothing else: the number of one that a single thread has, or whose
 * queue the thread stands in, plus one. -1: something else, or nobody knows.
 */
static int obstacle_of(const ss_x *x, const u8 *s, i64 t)
{
	int lock = 0;
	for (int i = 0; i < x->noted; i++) {
		int other = x->ways[x->places[i]] & (1 << LOCK | 1 << LOOK) ? LOCK_AT[x->places[i]] : 0;
		if (other && lock && other != lock)
			return -1;
		lock = other ? other : lock;
	}
	if (!lock || x->waits || x->acquires != 1 || facts->unsure >> (lock - 1) & 1)
		return -1;
	int readers = LOCK_READERS[lock - 1];
	return s[LOCK_OWNER[lock - 1]] || (readers && s[readers] && s[readers + TO_QUEUE] >> (t - 1) & 1) ? lock : -1;
}

/* In the middle of a merged step: whether the thread that `x` looks after cannot take a step, and what keeps it. */
static void look_after(ss_x *x, const u8 *s)
{
	u8 room[STATE_SIZE];
	ss_x *y = x->aside;
	int t = x->ward, counter = counter_of(s, BASE[t - 1]);
	y->made = y->at = 0;
	do {
		copy_state(room, s, STATE_SIZE);
		y->stop = 0;
		if (step_at(counter, room, BASE[t - 1], t, y) || y->stop == SS_FAILED)
			return;
	} while (y->made && next_choices(y));
	x->kept = kept_by(x->kept, x->waits_at[y->stands] & WAITS_FOR_LOCKS ? y->obstacle : -2);
}

/*
 * A search that relied on what is not so still takes so many merged steps: what they find out on the way would else be found out one by
 * one, each time by a search that begins again.
 */
enum { LATE = 2000 };
static __thread int late;

/* `look`: only to see whether it leads further than local steps. */
static int merged_step(int counter, u8 *s, i64 B, i64 t, ss_x *x, int look)
{
	u8 before[STATE_SIZE], start[STATE_SIZE];
	int number = 0, phase = FREE, first = counter, counted = 0;
	ss_held held = held_by(s, t);
	x->merged = 0;
	x->alone = facts->never_merged >> (t - 1) & 1;
	if (!facts->stale)
		late = 0;
	else if (!x->dice && ++late > LATE) {
		fail(x, STALE, -1, 0, 0, 0);
		return 0;
	}
	for (;;) {
		int chosen = x->at, waits, acquires;
		x->rounds = 0;
		if (x->ward && number)
			look_after(x, s);
		copy_state(before, s, STATE_SIZE);
		int done = STEPS[counter](s, B, t, x);
		waits = x->waits || x->queues;
		acquires = x->acquires;
		if (!done || x->stop) {
			x->obstacle = obstacle_of(x, before, t);
			x->stands = counter;
			moves(x, before, NULL, t, held, held);
			if (!number)
				return 0;
			if (phase == FREE && x->stop != SS_FAILED && (look || !some_way(first, start, B, t, x, chosen)))
				return 0; /* as good as blocked where it began */
			goto undo;
		}
		ss_held then = touches_lock(x) ? held_by(s, t) : held;
		int way = moves(x, before, s, t, held, then);
		counter = counter_of(s, B);
		if (number) {
			if (!counter && facts->while_alive)
				goto undo;
			if (phase == BEFORE && way != (RIGHT | LEFT) && (waits || acquires))
				goto undo;
			if (phase == AFTER && (!(way & LEFT) || (x->at != chosen && !held.at_all)))
				goto undo;
			if (counted && x->counted)
				goto undo;
		}
		counted |= x->counted;
		phase = phase == AFTER || !(way & RIGHT) ? AFTER : phase == BEFORE || way != (RIGHT | LEFT) ? BEFORE : FREE;
		if (!number++ && phase == FREE)
			copy_state(start, before, STATE_SIZE); /* `some_way` may look for others from here */
		x->merged = number;
		if (look && phase != FREE)
			return 1;
		if (!counter || number == MOST || x->at > SS_CHOICES / 2 || facts->never_merged >> (t - 1) & 1 || x->dice)
			return 1;
		held = then;
		continue;
	undo:
		copy_state(s, before, STATE_SIZE);
		x->stop = 0;
		x->made = x->at = chosen;
		return 1;
	}
}

/*
 * Whether any other choice in the local steps that `x` took (the first `chosen` of its choices) leads further. If none does, the
 * thread is as good as blocked before them; if one does, the state after them is one in which it may be blocked for ever.
 */
static int some_way(int counter, const u8 *start, i64 B, i64 t, ss_x *x, int chosen)
{
	u8 s[STATE_SIZE];
	i32 script[SS_CHOICES], ways = 1, found = 0;
	i32 stop = x->stop, made = x->made, at = x->at;
	for (int i = 0; i < chosen && ways <= 8; i++)
		ways = x->sizes[i] > 8 ? 9 : ways * x->sizes[i];
	if (ways == 1)
		return 0;
	if (ways > 8)
		return 1;
	i32 sizes[SS_CHOICES];
	memcpy(script, x->script, sizeof script);
	memcpy(sizes, x->sizes, sizeof sizes);
	x->made = 0;
	do {
		copy_state(s, start, STATE_SIZE);
		x->at = x->stop = 0;
		found = merged_step(counter, s, B, t, x, 1) || x->stop == SS_FAILED;
	} while (!found && x->made && next_choices(x));
	memcpy(x->script, script, sizeof script);
	memcpy(x->sizes, sizes, sizeof sizes);
	x->stop = stop;
	x->made = made;
	x->at = at;
	return found;
}

static int step_at(int counter, u8 *s, i64 B, i64 t, ss_x *x) { return merged_step(counter, s, B, t, x, 0); }

/* Whether a thread cannot take its first step now, whatever it chooses. */
int ss_waits(const u8 *state, int thread)
{
	u8 s[STATE_SIZE];
	int counter = counter_of(state, BASE[thread]), waits = counter != 0;
	ss_x *x = calloc(1, sizeof *x);
	while (waits) {
		memcpy(s, state, STATE_SIZE);
		x->at = x->stop = x->rounds = 0;
		waits = (!STEPS[counter](s, BASE[thread], thread + 1, x) || x->stop) && x->stop != SS_FAILED;
		if (!x->made || !next_choices(x))
			break;
	}
	free(x);
	return waits;
}

enum { QUIET = 30 };

/* Learn from `walks` random schedules of single steps, or fewer when QUIET of them brought nothing new. */
void ss_learn(const u8 *initial, int walks, u64 seed)
{
	u8 s[STATE_SIZE], kept[STATE_SIZE];
	ss_x *x = calloc(1, sizeof *x);
	x->dice = seed * 2 + 1;
	for (int walk = 0, last = 0; walk < walks && walk - last <= QUIET; walk++) {
		memcpy(s, initial, STATE_SIZE);
		facts->news = 0;
		for (int length = 0; length < 2000; length++) {
			int first = (int)(ss_roll(x) % THREADS), tried = 0, failed = 0;
			for (; tried < THREADS; tried++) {
				int u = (first + tried) % THREADS, counter = counter_of(s, BASE[u]);
				if (!counter)
					continue;
				copy_state(kept, s, STATE_SIZE);
				x->made = x->at = x->stop = 0;
				int done = step_at(counter, s, BASE[u], u + 1, x);
				if (done && !x->stop)
					break;
				failed = x->stop == SS_FAILED;
				copy_state(s, kept, STATE_SIZE);
				if (failed)
					break;
			}
			if (failed || tried == THREADS)
				break;
		}
		last = facts->news ? walk : last;
	}
	free(x);
	facts->news = 1;
}

/*
 * What keeps a thread from a step in the middle of others' merged steps that begin in a state: 0 if nothing does, a lock
 * (`obstacle_of`), or what `kept_by` gives. The states in the middle are states of the whole graph, in which cycles go through them.
 */
static int kept_inside(const u8 *s, int thread, u32 moving, const u8 *waits_at, ss_x *x, ss_x *aside)
{
	u8 after[STATE_SIZE];
	int kept = 0;
	x->aside = aside;
	for (int u = 0; u < THREADS; u++) {
		if (!(moving >> u & 1))
			continue;
		x->made = x->at = 0;
		x->ward = thread + 1;
		x->waits_at = waits_at;
		do {
			x->kept = 0;
			copy_state(after, s, STATE_SIZE);
			x->stop = x->round = x->rounds = 0;
			step_at(counter_of(s, BASE[u]), after, BASE[u], u + 1, x);
			kept = kept_by(kept, x->kept);
		} while (x->made && next_choices(x));
		x->ward = 0;
	}
	return kept;
}
