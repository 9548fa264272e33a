/*
 * Expanding a state: every step from it, and what is found on the way: outcomes, broken rules, states in which nobody can go on.
 */

/* What is found. */

static void ss_outcome(ss_run *run, const u8 *state)
{
	size_t width = run->watch_to - run->watch_from;
	const u8 *seen = state + run->watch_from;
	u64 i;
	pthread_mutex_lock(&run->lock);
	for (i = run->outcome_count; i > 0; i--)
		if (!memcmp(run->outcomes + (i - 1) * width, seen, width))
			break;
	if (!i && ss_more(run, (void **)&run->outcomes, run->outcome_count, &run->outcome_room, width))
		memcpy(run->outcomes + run->outcome_count++ * width, seen, width);
	pthread_mutex_unlock(&run->lock);
}

/*
 * Something to tell was found in the state of this number. 0: and the search is over. Breadth first it goes on to the end of the
 * level, for what is found there does not depend on the order in which states are come to: the caller says which counts.
 */
static int ss_tell(ss_worker *w, int how, int thread, u32 number)
{
	ss_run *run = w->run;
	const ss_x *x = w->x;
	if (run->wanted.table && how != A_GOAL)
		return 1;
	int rule = how == A_STEP_FAILED && x->kind == RULE;
	int goes_on = run->collect && (how != A_STEP_FAILED || x->kind == RULE || x->kind == NONE);
#ifdef SS_CLUSTER
	goes_on = 1; /* to the end of the level: all that it has is found, whatever the order in which members come to it */
#endif
	if (!goes_on && how != A_GOAL && !run->max_depth)
		goes_on = run->scanning = 1;
	pthread_mutex_lock(&run->lock);
	int i;
	for (i = 0; i < run->found_count; i++) {
		ss_found *f = &run->found[i];
		if (f->how == how && (how != A_STEP_FAILED || (f->kind == x->kind && (!rule || f->value == x->value))))
			break;
	}
	if (i == run->found_count && (run->collect || run->scanning || !i)
	    && ss_more(run, (void **)&run->found, i, &run->found_room, sizeof *run->found)) {
		ss_found *f = &run->found[run->found_count++];
		memset(f, 0, sizeof *f);
		f->how = how;
		f->thread = thread;
		f->number = number;
		if (how == A_STEP_FAILED || how == NOTED) {
			f->kind = x->kind;
			f->site = x->site;
			f->value = x->value;
			f->low = x->low;
			f->high = x->high;
			f->made = x->made;
			memcpy(f->choices, x->script, sizeof f->choices);
		}
	}
	pthread_mutex_unlock(&run->lock);
	if (!goes_on)
		ss_stop(run, 0);
	return goes_on;
}

/* A step that may have taken a lock: whether against the order, which is for the caller to say. */
static int ss_note(ss_worker *w, const u8 *before, const u8 *after, int thread, int counter)
{
	ss_run *run = w->run;
	u64 held = 0, key = thread + 1;
	for (int i = 0; i < run->lock_count; i++) {
		int owner = run->locks[2 * i], readers = run->locks[2 * i + 1];
		int had = before[owner] == thread + 1 || (readers >= 0 && before[readers] >> thread & 1);
		int has = after[owner] == thread + 1 || (readers >= 0 && after[readers] >> thread & 1);
		held |= had;
		key = ss_mixed(key * 4 + had * 2 + has);
	}
	if (!held || w->noted[key % 256] == key)
		return 0;
	pthread_mutex_lock(&run->lock);
	int against = run->note(before, after, thread + 1, counter);
	pthread_mutex_unlock(&run->lock);
	w->noted[key % 256] = key;
	return against;
}

/* To find one of given states again, the first in order of discovery: a table of their fingerprints. */

static int ss_prints_room(ss_run *run, ss_prints *prints, u64 count)
{
	prints->slots = 64;
	while (prints->slots < count * 2)
		prints->slots *= 2;
	prints->table = ss_room(run, prints->slots * 8);
	if (prints->table)
		memset(prints->table, 0, prints->slots * 8);
	return prints->table != NULL;
}

/* The slot that a fingerprint has, or would have. */
static inline u64 *ss_print_slot(const ss_prints *prints, u64 print)
{
	u64 at = print & (prints->slots - 1);
	while (prints->table[at] && prints->table[at] != print)
		at = (at + 1) & (prints->slots - 1);
	return &prints->table[at];
}

static void ss_want(ss_run *run)
{
	u8 state[ROOM] __attribute__((aligned(8)));
	if (!ss_prints_room(run, &run->wanted, run->goal_count))
		return;
	memset(state, 0, sizeof state);
	for (u64 i = 0; i < run->goal_count; i++) {
		memcpy(state, run->goals + i * STATE_SIZE, STATE_SIZE);
		u64 print = ss_known_by(state);
		*ss_print_slot(&run->wanted, print) = print;
	}
}

/* Only states with these fingerprints lie on cycles. */
static void ss_keep_within(ss_run *run)
{
	if (ss_prints_room(run, &run->cyclic, run->within_count))
		for (u64 i = 0; i < run->within_count; i++)
			*ss_print_slot(&run->cyclic, run->within[i]) = run->within[i];
}

static inline int ss_may_cycle(const ss_run *run, u64 print)
{
	return !run->cyclic.table || *ss_print_slot(&run->cyclic, print);
}

/* Expanding. */

static ALWAYS_INLINED int ss_is_inside(const ss_run *run, const u8 *after, int thread, int counter)
{
	const u8 *loops = run->loops + thread * run->loop_width;
	return loops[counter] & loops[counter_of(after, BASE[thread])] & INSIDE;
}

/* A step that began a round of a `while` loop, from one place inside of loops to another: keep the state after it. */
static void ss_keep_round(ss_worker *w, const u8 *state, int thread, int counter)
{
	ss_run *run = w->run;
	u8 room[ROOM] __attribute__((aligned(8)));
	if (!ss_is_inside(run, state, thread, counter))
		return;
	const u8 *known = ss_known_as(state, room);
	if (ss_may_cycle(run, ss_fingerprint(known)) && ss_more(run, (void **)&w->rounds, w->round_count, &w->round_room, STRIDE))
		memcpy(w->rounds + w->round_count++ * STRIDE, known, STRIDE);
}

static inline void ss_take(ss_worker *w)
{
	ss_run *run = w->run;
	const ss_pending *p = &w->pending[w->first];
	w->first = (w->first + 1) % DELAY;
	w->waiting--;
#ifdef SS_CLUSTER
	if (ss_is_anothers(w, p))
		return;
#endif
	u32 number = ss_next_number(w);
	if (number == MAX_NUMBER || (w->inserted >= run->full && !ss_grow_at_once(w)))
		return;
	u32 *target = p->logged ? ss_log_source(w, !p->ordinal, p->parent, number) : NULL;
	if (run->exact ? ss_insert_exact(w, p, &number) : ss_insert(run, p->print, &number)) {
		w->inserted++;
		ss_log_state(w, p);
		ss_push(w, p->state, number, p->thread);
		if (run->wanted.table && *ss_print_slot(&run->wanted, p->print))
			ss_tell(w, A_GOAL, 0, number);
	} else if (target) {
		ss_log_target(w, target, number, p->logged & INSIDE);
	}
}

/*
 * In a bounded search a state is another when another thread led there, NOBODY to the first. A renaming renames that thread too, and changes
 * neither who can go on nor how many preemptions a way has.
 */
static inline u64 ss_known_with(const u8 *state, int last)
{
	u8 room[ROOM] __attribute__((aligned(8)));
	if (*the_model.by_form) {
		copy_state(room, state, STRIDE);
		int renamed = the_model.canonical(room, last == NOBODY ? -1 : last);
		last = last == NOBODY ? NOBODY : renamed;
		state = room;
	}
	u64 print = ss_mixed(ss_fingerprint(state) + (u64)last);
	return print ? print : 1;
}

/*
 * To give records their names takes longer than a step, and where no two states become equal by it, it is for nothing. So it is tried: of the first
 * states, which one worker finds, it is seen how many become equal to another by the records' names and not without. If these are
 * too few, the search begins again without, as soon as that is clear. It is sound either way. All forms are looked at until so many are seen again that it is, and none
 * is forgotten for another: what is found does not depend on prints, and so not on where a state's numbers lie.
 */
enum { TRIAL = 5000, FORMS = 1 << 13, WORTH = 50, NONE_OF = 1000, SURE = 64 };

typedef struct ss_trial {
	u64 again, other; /* states with a form that was seen before; those of them that differ without the records' names */
	u64 count;
	struct { u64 form, without; } seen[FORMS];
} ss_trial;

static int ss_is_clear(const ss_trial *trial)
{
	return trial->count > FORMS / 4 * 3 || trial->other >= SURE || (!trial->other && trial->again >= NONE_OF);
}

/* What a state is known by where records have no names. */
static u64 ss_known_nameless(const u8 *state)
{
	*the_model.by_form &= ~RECORDS;
	u64 print = ss_known_by(state);
	*the_model.by_form |= RECORDS;
	return print;
}

static void ss_try_names(ss_trial *trial, u64 form, u64 without)
{
	u64 at = form % FORMS;
	while (trial->seen[at].form && trial->seen[at].form != form)
		at = (at + 1) % FORMS;
	if (trial->seen[at].form) {
		trial->again++;
		trial->other += trial->seen[at].without != without;
	} else {
		trial->count++;
	}
	trial->seen[at].form = form;
	trial->seen[at].without = without;
}

static void ss_begin_trial(ss_run *run)
{
	if (the_model.merged && the_model.names_untried() && (run->trial = ss_room(run, sizeof *run->trial)))
		memset(run->trial, 0, sizeof *run->trial);
}

static void ss_end_trial(ss_run *run, int enough)
{
	ss_trial *trial = run->trial;
	run->trial = NULL;
	if (trial && enough) {
		int worth = trial->other * WORTH > trial->again;
		the_model.names_tried(worth);
		if (!worth)
			ss_stop(run, BECAUSE_ASKED);
	}
	ss_give_back(run, trial, trial ? sizeof *trial : 0);
}

/*
 * The same as `ss_known_by`, where something is renamed: to find a form takes longer than a step, and most states are come to several times,
 * soon one after the other, by steps of two threads in either order. So it is kept by the print of the state as it is.
 */
static u64 ss_known_again(ss_worker *w, const u8 *state)
{
	ss_trial *trial = w->run->trial;
	u64 print = ss_fingerprint(state);
	ss_recent *known = &w->recent[print % RECENT];
	if (known->print != print || w->run->exact)
		*known = (ss_recent){ print, ss_known_by(state), 0 };
	if (trial && !ss_is_clear(trial)) {
		if (!known->nameless)
			known->nameless = ss_known_nameless(state);
		ss_try_names(trial, known->form, known->nameless);
	}
	return known->form;
}

/*
 * The print of a state is made when the next one is there: its bytes have only just been written one by one, and to read
 * them back as words at once would have to wait for that.
 */
static inline void ss_print(ss_worker *w)
{
	ss_pending *p = w->latest;
	if (p) {
		p->print = w->run->bounded ? ss_known_with(p->state, p->thread) : w->recent ? ss_known_again(w, p->state) : ss_known_by(p->state);
#ifdef SS_CLUSTER
		if (ss_fetch_sent(w->run, p->print))
			return;
#endif
		u64 slot = ss_slot(w->run, p->print);
		__builtin_prefetch(&w->run->table[slot], 1);
		if (w->run->numbers)
			__builtin_prefetch(&w->run->numbers[slot], 1);
	}
}

static inline int ss_step(const u8 *state, u8 *room, int thread, int counter, ss_x *x)
{
	copy_state(room, state, STRIDE);
	x->stop = x->round = x->rounds = 0;
	int done = the_model.merged ? the_model.merged(counter, room, BASE[thread], thread + 1, x)
	                            : the_model.steps[counter](room, BASE[thread], thread + 1, x);
	return x->stop == SS_FAILED ? -1 : x->stop == SS_BLOCKED ? 0 : done;
}

/* A state from which `steps` can be taken, or can be tried: an outcome, a deadlock. */
static void ss_end(ss_worker *w, const u8 *state, u32 number, u32 steps)
{
	ss_run *run = w->run;
	if (finished(state)) {
		if (run->watch_to > run->watch_from && !run->scanning)
			ss_outcome(run, state);
	} else if (!steps && run->deadlock) {
		ss_tell(w, NOBODY_CAN_GO_ON, 0, number);
	}
}

/* A thread's steps from a state, numbered from `w->ordinal` on. 0: no more is to be looked at. */
static ALWAYS_INLINED int ss_expand_thread(ss_worker *w, const u8 *state, u32 number, int thread, int *failed)
{
	ss_run *run = w->run;
	int counter = counter_of(state, BASE[thread]);
	u8 logged = run->logging ? LOGGED | (run->loops[thread * run->loop_width + counter] & INSIDE) : 0;
	w->x->made = w->x->at = 0;
	do {
		if (w->waiting == DELAY)
			ss_take(w);
		ss_pending *p = &w->pending[(w->first + w->waiting) % DELAY];
		int done = ss_step(state, p->state, thread, counter, w->x);
		if (done < 0) {
			*failed = 1;
			if (!ss_tell(w, A_STEP_FAILED, thread, number))
				return 0;
		} else if (done) {
			w->ordinal++;
			if (!run->scanning) {
				ss_print(w);
				w->latest = p;
				p->parent = number;
				p->ordinal = (u16)(w->ordinal - 1);
				p->thread = (u8)thread;
				p->logged = logged;
#ifdef SS_CLUSTER
				p->from = ss_me(run);
#endif
				w->waiting++;
			}
			if (w->ordinal % MAX_SUCCESSORS == 0) {
				fail(w->x, CHOICES, -1, 1, 0, 0);
				ss_tell(w, A_STEP_FAILED, thread, number);
				return 0;
			}
			if (w->x->round && run->progress == KEEP_ROUNDS && !run->scanning)
				ss_keep_round(w, p->state, thread, counter);
			if (run->note && run->taking[counter] && ss_note(w, state, p->state, thread, counter)
			    && !ss_tell(w, NOTED, thread, number))
				return 0;
		}
	} while (w->x->made && next_choices(w->x));
	return 1;
}

/* Every step from one state of the frontier. */
static inline void ss_expand(ss_worker *w, const u8 *state, u32 number)
{
	ss_run *run = w->run;
	int running = 0, failed = 0;
#ifdef SS_CLUSTER
	ss_expanding = number;
#endif
	w->ordinal = 0;
	for (int thread = 0; thread < THREADS; thread++) {
		if (!counter_of(state, BASE[thread]))
			continue;
		running |= !(daemons >> thread & 1);
		if (!ss_expand_thread(w, state, number, thread, &failed))
			return;
	}
	if (!run->scanning)
		w->transitions += w->ordinal;
	if (!running || !w->ordinal)
		ss_end(w, state, number, w->ordinal + failed);
}
