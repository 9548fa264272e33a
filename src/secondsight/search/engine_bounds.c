/*
 * A search bounded by preemptions: every schedule with so many of them at most, for what has too many states for a whole search.
 *
 * A *preemption* takes the processor from a thread that could take a step: the next step is another thread's. Leaving a thread
 * that has ended, or cannot take a step now, is none. What is visited are pairs of a state and the thread that took the
 * last step, in the order of preemptions: all that can be reached with none, then with one, and so on (Musuvathi and Qadeer,
 * "Iterative context bounding for systematic testing of multithreaded programs", 2007). So a pair is come to with the
 * fewest preemptions that lead there, and no pair needs to be visited again.
 *
 * From a pair whose thread can go on, only that thread goes on, and the pair is put off: with one preemption more the other threads
 * take their steps from it. When nothing is put off any more, every pair was visited with every step from it, and so every state
 * of the program: then the search was a whole one.
 *
 * Nothing is merged here: a merged step hides switches. What may be renamed is: a renaming maps each way to one with as many preemptions, as it
 * maps the thread that took the last step too (`ss_known_with`). A livelock is no matter of preemptions: to go on for ever as a fair scheduler
 * has it takes infinitely many of them, or threads that wait for each other; it is not looked for.
 */

enum { THREAD_SHIFT = 13, MOST_BOUNDED = 8 }; /* an ordinal is the thread, and which of that thread's steps it is: search/native.py has the same */
_Static_assert(MAX_SUCCESSORS <= 1 << THREAD_SHIFT, "a thread's steps are told apart by THREAD_SHIFT bits");
_Static_assert(MOST_BOUNDED << THREAD_SHIFT <= UINT16_MAX + 1, "an ordinal has 16 bits");

/* Whether a thread can take a step, or fails when it tries. */
static int ss_can_go_on(ss_worker *w, const u8 *state, int thread)
{
	u8 after[ROOM] __attribute__((aligned(8)));
	int counter = counter_of(state, BASE[thread]), done = 0;
	w->x->made = w->x->at = 0;
	if (counter)
		do
			done = ss_step(state, after, thread, counter, w->x);
		while (!done && w->x->made && next_choices(w->x));
	return done != 0;
}

/* The other threads take their steps from here with one preemption more. With the last bound it is only known that there is more. */
static void ss_put_off(ss_worker *w, const u8 *state, u32 number, int last)
{
	if (w->run->preemptions >= w->run->max_preemptions) {
		w->count_off++;
		return;
	}
	if (!w->off && !(w->off = ss_chunk_room(w)))
		return;
	ss_chunk *chunk = w->off;
	copy_state(chunk->states + chunk->count * STRIDE, state, STRIDE);
	chunk->last[chunk->count] = (u8)last;
	chunk->numbers[chunk->count++] = number;
	chunk->put_off = 1;
	w->count_off++;
	if (chunk->count == CHUNK)
		ss_off_close(w);
}

static void ss_expand_bounded(ss_worker *w, const ss_chunk *chunk, u32 at)
{
	ss_run *run = w->run;
	const u8 *state = chunk->states + at * STRIDE;
	u32 number = chunk->numbers[at], steps = 0;
	int last = chunk->last[at], running = 0, failed = 0, alone = NOBODY;
	if (!chunk->put_off && last != NOBODY && ss_can_go_on(w, state, last)) {
		alone = last;
		if (!run->scanning)
			ss_put_off(w, state, number, last);
	}
	for (int thread = 0; thread < THREADS; thread++) {
		if (!counter_of(state, BASE[thread]))
			continue;
		running |= !(daemons >> thread & 1);
		if (alone == NOBODY ? chunk->put_off && thread == last : thread != alone)
			continue;
		u32 before = w->ordinal = (u32)thread << THREAD_SHIFT;
		if (!ss_expand_thread(w, state, number, thread, &failed))
			return;
		steps += w->ordinal - before;
	}
	if (!run->scanning)
		w->transitions += steps;
	if (!chunk->put_off && (!running || !steps))
		ss_end(w, state, number, steps + failed);
}

/* All with so many preemptions was seen: what was put off comes next. 0: that was nothing, or has a preemption too many. */
static int ss_one_more(ss_run *run)
{
	u64 put_off = 0;
	for (int i = 0; i < run->workers; i++)
		put_off += run->crew[i].count_off;
	run->preempted = run->preemptions;
	if (!put_off)
		return 0;
	if (run->preemptions >= run->max_preemptions) {
		ss_stop(run, BECAUSE_PREEMPTIONS);
		return 0;
	}
	run->preemptions++;
	for (int i = 0; i < run->workers; i++) {
		ss_worker *w = &run->crew[i];
		ss_off_close(w);
		ss_list level = w->level;
		w->level = w->later;
		w->later = level;
		w->later.count = 0;
		run->level_states += w->count_off;
		run->level_chunks += w->level.count;
		w->count_off = 0;
	}
	run->taken = 0;
	return 1;
}
