/*
 * The engine's entry points: what the caller of the compiled library uses.
 */

/* 0: the search has only begun, and is to go on. */
static int ss_go_on(ss_run *run, int course)
{
	int begun = run->course != NOT_BEGUN;
	if (run->course == ENDED)
		return 1;
	run->course = course;
	if (begun || ss_begin(run)) {
		if (!begun) {
			ss_begin_trial(run);
			ss_first_state(run);
			run->depth = (u64)-1; /* the first level, of that state alone, is level 0 */
			ss_between(run);
		}
		ss_work(&run->crew[0]);
		if (run->phase != OVER)
			return 0;
		for (int i = 1; i < run->crowd; i++)
			pthread_join(run->threads[i], NULL);
		if (run->crowd > 1)
			pthread_barrier_destroy(&run->barrier);
		ss_look(run);
		for (int i = 0; i < run->found_count; i++)
			ss_find_trace(run, &run->found[i]);
		if (run->progress == LOG_EDGES && !run->stop)
			ss_look_for_cycles(run);
		if (run->progress == KEEP_ROUNDS && !run->stop) {
			ss_forget_states(run);
			ss_progress(run);
		}
		ss_look(run);
	}
	ss_clean_up(run);
	run->course = ENDED;
	return 1;
}

/* Search breadth first, on from where it is. Everything that is not handed out is freed; `ss_release` frees the rest. */
void ss_search(ss_run *run) { ss_go_on(run, AT_LENGTH); }

/*
 * The same, but for a moment and by one worker: 1 if that was all. Else `ss_search` goes on, in whatever thread. A small search is over before a thread
 * was made for it, and needs nothing of what its caller has to get ready for a large one.
 */
int ss_search_briefly(ss_run *run) { return ss_go_on(run, BRIEFLY); }

void ss_release(ss_run *run)
{
	for (int i = 0; i < run->found_count; i++)
		free(run->found[i].trace);
	free(run->found);
	free(run->outcomes);
	free(run->livelocked);
	free(run->cycling);
	run->outcomes = run->livelocked = NULL;
	run->cycling = NULL;
	run->found = NULL;
	run->found_count = 0;
}

/*
 * One step of one thread, with choices followed as in `x` (ss_advance goes to the next): for traces and comparisons.
 * -1 failed, 0 cannot be taken, 1 done: the new state is in `room`.
 */
int ss_one_step(const u8 *state, u8 *room, int thread, ss_x *x)
{
	u8 padded[ROOM] __attribute__((aligned(8))), after[ROOM] __attribute__((aligned(8)));
	memset(padded, 0, sizeof padded);
	memcpy(padded, state, STATE_SIZE);
	int counter = counter_of(padded, BASE[thread]);
	if (!counter)
		return 0;
	int done = ss_step(padded, after, thread, counter, x);
	memcpy(room, after, STATE_SIZE);
	return done;
}

int ss_next_choices(ss_x *x) { return next_choices(x); }
int ss_size_of_x(void) { return the_model.x_size; }
int ss_size_of_run(void) { return sizeof(ss_run); }
