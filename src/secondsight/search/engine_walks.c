/*
 * Other ways through the states, by one worker: depth first with a bounded stack, and random walks. What they find comes with
 * the way there; it need not be a shortest one.
 */

typedef struct {
	u8 *states;    /* STRIDE bytes each */
	u32 *depths;
	u16 *ordinals; /* which of its parent's successors it is */
	u32 *numbers;  /* while edges are logged */
	size_t count, room;
} ss_stack;

/* Where the walker is: the ordinals from the initial state on. */
typedef struct {
	u16 *ordinals;
	u32 length;
} ss_path;

static void ss_keep_path(ss_run *run, const ss_path *path)
{
	for (int i = 0; i < run->found_count; i++) {
		ss_found *f = &run->found[i];
		if (f->trace)
			continue;
		f->trace = malloc((path->length + 1) * sizeof(u16));
		if (!f->trace) {
			f->how = 0;
			ss_stop(run, BECAUSE_MEMORY);
			return;
		}
		memcpy(f->trace, path->ordinals, path->length * sizeof(u16));
		f->trace_length = path->length;
	}
}

static int ss_stack_room(ss_run *run, ss_stack *stack)
{
	size_t room = stack->room, same = room, also = room, last = room;
	return ss_more(run, (void **)&stack->states, stack->count, &room, STRIDE)
	    && ss_more(run, (void **)&stack->depths, stack->count, &same, sizeof(u32))
	    && ss_more(run, (void **)&stack->ordinals, stack->count, &also, sizeof(u16))
	    && ss_more(run, (void **)&stack->numbers, stack->count, &last, sizeof(u32))
	    && (stack->room = room);
}

/* The steps from one state, each given to the stack; 0: the search is over. */
static int ss_spread(ss_worker *w, const u8 *state, u32 source, ss_stack *stack, u32 depth, const ss_path *path, int marking)
{
	ss_run *run = w->run;
	u8 after[ROOM] __attribute__((aligned(8)));
	u32 ordinal = 0;
	int goes_on = 1, failed = 0;
	for (int thread = 0; thread < THREADS && goes_on; thread++) {
		int counter = counter_of(state, BASE[thread]);
		if (!counter)
			continue;
		w->x->made = w->x->at = 0;
		do {
			int done = ss_step(state, after, thread, counter, w->x);
			if (done > 0 && ordinal == MAX_SUCCESSORS) {
				fail(w->x, CHOICES, -1, 1, 0, 0);
				done = -1;
			}
			if (done < 0) {
				failed = 1;
				goes_on = ss_tell(w, A_STEP_FAILED, thread, 0);
			} else if (done) {
				ordinal++;
				u32 number = (u32)w->found;
				u32 *target = run->logging ? ss_log_source(w, ordinal == 1, source, number) : NULL;
				if (!marking || ss_insert(run, ss_known_by(after), &number)) {
					if (!ss_stack_room(run, stack))
						return 0;
					memcpy(stack->states + stack->count * STRIDE, after, STRIDE);
					stack->depths[stack->count] = depth + 1;
					stack->numbers[stack->count] = number;
					stack->ordinals[stack->count++] = (u16)(ordinal - 1);
					w->inserted += marking;
					w->found = w->inserted;
				} else if (target) {
					ss_log_target(w, target, number, run->loops[thread * run->loop_width + counter] & INSIDE);
				}
				if (run->note && run->taking[counter] && ss_note(w, state, after, thread, counter))
					goes_on = ss_tell(w, NOTED, thread, 0);
			}
		} while (goes_on && w->x->made && next_choices(w->x));
	}
	w->transitions += ordinal;
	if (goes_on && finished(state)) {
		if (run->watch_to > run->watch_from)
			ss_outcome(run, state);
	} else if (goes_on && !ordinal && !failed && run->deadlock) {
		goes_on = ss_tell(w, NOBODY_CAN_GO_ON, 0, 0);
	}
	ss_keep_path(run, path);
	return goes_on && !run->stop;
}

static int ss_larger_table(ss_worker *w)
{
	ss_run *run = w->run;
	u64 slots = run->slots;
	if (w->found + MAX_SUCCESSORS > SOURCE)
		ss_drop_log(run);
	if (run->log_dropped && (run->numbers || run->edge_words))
		ss_forget_log(run);
	if (w->inserted + MAX_SUCCESSORS < slots / 4 * 3)
		return 1;
	if (!ss_grow(run))
		return 0;
	ss_rehash(w);
	ss_rehashed(run);
	return 1;
}

static void ss_depth_first(ss_worker *w, ss_stack *stack, ss_path *path)
{
	ss_run *run = w->run;
	u8 state[ROOM] __attribute__((aligned(8)));
	u64 rounds = 0;
	int cut = 0;
	memset(state, 0, sizeof state);
	memcpy(state, run->initial, STATE_SIZE);
	u32 depth = 0, number = 0;
	ss_insert(run, ss_known_by(state), &number);
	w->inserted = w->found = 1;
	for (;;) {
		if (depth < run->max_depth) {
			path->length = depth;
			if (depth > run->depth)
				run->depth = depth;
			if (!ss_larger_table(w) || !ss_spread(w, state, number, stack, depth, path, 1))
				break;
		} else {
			cut = 1;
		}
		if ((rounds++ & 1023) == 0)
			ss_look(run);
		if (run->max_states && w->inserted >= run->max_states && stack->count)
			ss_stop(run, BECAUSE_STATES);
		if (run->stop || !stack->count)
			break;
		stack->count--;
		run->frontier = stack->count;
		memcpy(state, stack->states + stack->count * STRIDE, STRIDE);
		depth = stack->depths[stack->count];
		number = stack->numbers[stack->count];
		path->ordinals[depth - 1] = stack->ordinals[stack->count];
	}
	if (cut && !run->stop)
		ss_stop(run, BECAUSE_DEPTH);
}

static void ss_walk(ss_worker *w, ss_stack *stack, ss_path *path)
{
	ss_run *run = w->run;
	u8 state[ROOM] __attribute__((aligned(8)));
	u64 chance = run->seed;
	for (u64 walk = 0; walk < run->walks; walk++) {
		memset(state, 0, sizeof state);
		memcpy(state, run->initial, STATE_SIZE);
		for (u32 depth = 0; depth < run->max_depth; depth++) {
			path->length = depth;
			if (depth > run->depth)
				run->depth = depth;
			stack->count = 0;
			w->inserted++;
			if (!ss_spread(w, state, 0, stack, depth, path, 0))
				return;
			if (!stack->count)
				break;
			chance = ss_mixed(chance);
			size_t taken = chance % stack->count;
			memcpy(state, stack->states + taken * STRIDE, STRIDE);
			path->ordinals[depth] = stack->ordinals[taken];
		}
		ss_look(run);
		if (run->max_states && w->inserted >= run->max_states)
			ss_stop(run, BECAUSE_STATES);
		if (run->stop)
			return;
	}
	ss_stop(run, BECAUSE_WALKS);
}

/* Depth first (walks == 0), or so many random walks, none longer than max_depth steps. */
void ss_search_deep(ss_run *run)
{
	ss_stack stack = { 0 };
	ss_path path = { 0 };
	run->workers = 1;
	run->exact = 0;
	if (run->walks || run->progress != LOG_EDGES)
		run->progress = 0;
	if (ss_begin(run)) {
		path.ordinals = ss_room(run, (run->max_depth + 1) * sizeof(u16));
		if (path.ordinals && run->walks)
			ss_walk(&run->crew[0], &stack, &path);
		else if (path.ordinals)
			ss_depth_first(&run->crew[0], &stack, &path);
		if (run->progress && !run->stop)
			ss_look_for_cycles(run);
		ss_look(run);
	}
	ss_give_back(run, path.ordinals, (run->max_depth + 1) * sizeof(u16));
	ss_give_back(run, stack.states, stack.room * STRIDE);
	ss_give_back(run, stack.depths, stack.room * sizeof(u32));
	ss_give_back(run, stack.ordinals, stack.room * sizeof(u16));
	ss_give_back(run, stack.numbers, stack.room * sizeof(u32));
	ss_clean_up(run);
}
