/*
 * The course of a search breadth first: phases, between which the workers meet; its beginning and its end.
 */

/* Phases. */

/* How far it is, and whether to stop short; called by worker 0 between chunks and between phases. */
static void ss_look(ss_run *run)
{
	u64 states = 0, transitions = 0, pushed = 0, expanded = 0;
	for (int i = 0; i < run->workers; i++) {
		states += run->crew[i].inserted;
		transitions += run->crew[i].transitions;
		pushed += run->crew[i].pushed;
		expanded += run->crew[i].expanded;
	}
	run->states = states;
	run->transitions = transitions;
	run->frontier = run->level_states + pushed - expanded;
	run->seconds = ss_elapsed(&run->started);
	if (run->ask_stop)
		ss_stop(run, BECAUSE_ASKED);
	else if (run->max_seconds > 0 && run->seconds >= run->max_seconds)
		ss_stop(run, BECAUSE_SECONDS);
}

/* A part of a level: until it is used up, this worker has had its share of the table, or the search is over. */
static void ss_phase(ss_worker *w)
{
	ss_run *run = w->run;
	u64 begun = w->inserted;
	while (!run->stop && w->inserted - begun < run->share) {
		if (!w->current) {
			w->position = 0;
			w->current = ss_chunk_take(w);
			if (!w->current)
				break;
			if (w->me == 0)
				ss_look(run);
			if (run->log_dropped && w->edges)
				ss_forget_edges(w);
		}
		ss_chunk *chunk = w->current;
		while (w->position < chunk->count && !run->stop && w->inserted - begun < run->share) {
			u32 at = w->position++;
			w->expanded++;
			if (run->bounded)
				ss_expand_bounded(w, chunk, at);
			else
				ss_expand(w, chunk->states + at * STRIDE, chunk->numbers[at]);
		}
		if (w->position == chunk->count) {
			ss_chunk_spare(w, chunk);
			w->current = NULL;
		}
	}
	ss_print(w);
	w->latest = NULL;
	while (w->waiting)
		ss_take(w);
}

/* The states after which it stops short or is found to narrow: see `ss_most_states`. */
static u64 ss_milestone(const ss_run *run) { return run->narrows == 2 ? run->max_shrinking : run->narrows ? run->max_narrowing : run->max_states; }

static int ss_may_narrow(const ss_run *run) { return run->narrows == 0 ? run->max_narrowing != 0 : run->narrows == 1 && run->max_shrinking; }

/* The next level becomes the present one. */
static void ss_next_level(ss_run *run)
{
	run->level_states = run->level_chunks = 0;
	for (int i = 0; i < run->workers; i++) {
		ss_worker *w = &run->crew[i];
		ss_chunk_close(w);
		ss_list level = w->level;
		w->level = w->next;
		w->next = level;
		w->next.count = 0;
		run->level_states += w->pushed;
		run->level_chunks += w->level.count;
		w->pushed = w->expanded = 0;
	}
	if (run->file_end[run->file] && ftruncate(run->files[run->file], 0))
		ss_stop(run, BECAUSE_DISK);
	run->file_end[run->file] = 0;
	run->file = !run->file;
	run->taken = 0;
	if (run->level_states)
		run->depth++;
	if (!run->width_before && ss_may_narrow(run) && run->states >= ss_milestone(run) / 5 * 4)
		run->width_before = run->level_states;
}

static int ss_level_is_used_up(const ss_run *run)
{
	for (int i = 0; i < run->workers; i++)
		if (run->crew[i].current)
			return 0;
	return run->taken >= run->level_chunks;
}

static void *ss_work(void *argument);

/* The other workers join in once there is something for them to do. */
static void ss_call_others(ss_run *run)
{
	int made = 1;
	pthread_mutex_lock(&run->lock); /* they wait at it until it is known how many came */
	while (made < run->workers && !pthread_create(&run->threads[made], NULL, ss_work, &run->crew[made]))
		made++;
	if (made > 1)
		pthread_barrier_init(&run->barrier, NULL, made);
	run->crowd = made;
	pthread_mutex_unlock(&run->lock);
}

/*
 * The states after which it stops short; 0: none. Levels grow and then shrink. Where the frontier has hardly grown in the last fifth of `max_states`, half of all
 * states were seen or will be soon: such a search may go on to `max_narrowing`. Where it has shrunk by a twentieth then, most were seen, and it may go on to `max_shrinking`.
 */
static u64 ss_most_states(ss_run *run)
{
	while (ss_may_narrow(run) && run->states >= ss_milestone(run)
	       && run->frontier * 20 < run->width_before * (run->narrows ? 19 : 23)) {
		run->narrows++;
		run->width_before = 0;
	}
	return ss_milestone(run);
}

/* Between phases, worker 0 alone: the next level, a larger table, the end. */
static void ss_between(ss_run *run)
{
	if (run->phase == REHASH)
		ss_rehashed(run);
	if (run->log_dropped && (run->numbers || run->edge_words))
		ss_forget_log(run);
	ss_look(run);
	run->phase = OVER;
	if (run->stop)
		return;
	if (ss_level_is_used_up(run)) {
		if (run->scanning) {
			ss_stop(run, 0);
			return;
		}
		ss_next_level(run);
		if (!run->level_states && !(run->bounded && ss_one_more(run)))
			return;
	}
	u64 most = ss_most_states(run);
	if (most && run->states >= most) {
		ss_stop(run, BECAUSE_STATES);
		return;
	}
	if (run->trial && (run->states >= TRIAL || ss_is_clear(run->trial))) {
		ss_end_trial(run, 1);
		if (run->stop)
			return;
	}
	if (run->course != BRIEFLY && run->crowd == 1 && run->workers > 1 && run->states > ALONE)
		ss_call_others(run);
	/* up to three quarters are filled; the last quarter is for what a phase may insert beyond its share */
	u64 slots = run->slots < SHARED_SLOTS ? SHARED_SLOTS : run->slots, full = slots / 4 * 3;
	if (run->states + 4096 > full || slots / 4 < (u64)run->crowd * (MAX_SUCCESSORS + DELAY)) {
		if (ss_grow(run))
			run->phase = REHASH;
		return;
	}
	u64 room = full - run->states;
	if (most && room > most - run->states)
		room = most - run->states;
	run->share = room / run->crowd ? room / run->crowd : 1;
	run->phase = EXPAND;
}

static void ss_meet(ss_run *run)
{
	if (run->crowd > 1)
		pthread_barrier_wait(&run->barrier);
}

static void *ss_work(void *argument)
{
	ss_worker *w = argument;
	ss_run *run = w->run;
	if (w->me) {
		pthread_mutex_lock(&run->lock);
		pthread_mutex_unlock(&run->lock);
	}
	for (;;) {
		ss_meet(run);
		if (run->phase == OVER || (run->course == BRIEFLY && (run->states > BRIEF || run->seconds > A_MOMENT)))
			return NULL;
		if (run->phase == REHASH)
			ss_rehash(w);
		else
			ss_phase(w);
		ss_meet(run);
		if (w->me == 0)
			ss_between(run);
	}
}

/* The beginning and the end. */

static void ss_find_trace(ss_run *run, ss_found *found)
{
	u32 length = 0, at;
	for (u32 n = found->number; n; length++)
		n = ss_log_of(run, n, &at)->parents[at];
	found->trace = malloc((length + 1) * sizeof(u16));
	if (!found->trace) {
		found->how = 0;
		ss_stop(run, BECAUSE_MEMORY);
		return;
	}
	found->trace_length = length;
	for (u32 n = found->number; n;) {
		ss_log *log = ss_log_of(run, n, &at);
		found->trace[--length] = log->ordinals[at];
		n = log->parents[at];
	}
}

static int ss_begin(ss_run *run)
{
	clock_gettime(CLOCK_MONOTONIC, &run->started);
	pthread_mutex_init(&run->lock, NULL);
	if (run->workers > MAX_WORKERS)
		run->workers = MAX_WORKERS;
	run->crowd = 1;
	run->crew = calloc(run->workers, sizeof(ss_worker));
	for (int i = 0; run->crew && i < run->workers; i++) {
		run->crew[i].run = run;
		run->crew[i].me = i;
		run->crew[i].logs = ss_map(LOG_BLOCKS * sizeof(ss_log)); /* of which most pages stay untouched */
		run->crew[i].x = calloc(1, the_model.x_size);
		if (*the_model.by_form && !run->bounded)
			run->crew[i].recent = calloc(RECENT, sizeof(ss_recent));
		if (!run->crew[i].logs || !run->crew[i].x || (*the_model.by_form && !run->bounded && !run->crew[i].recent))
			ss_stop(run, BECAUSE_MEMORY);
	}
	ss_has_slots(run, FIRST_SLOTS);
	run->table = ss_count(run, FIRST_SLOTS * 8) ? ss_map(FIRST_SLOTS * 8) : NULL;
	if (!run->crew || !run->table)
		ss_stop(run, BECAUSE_MEMORY);
	else if (run->goal_count)
		ss_want(run);
	if (!run->stop && run->within_count)
		ss_keep_within(run);
	if (!run->stop && run->progress == LOG_EDGES)
		ss_begin_log(run);
	return !run->stop;
}

/* The initial state, number 0: nobody else has 0, and the others' first numbers stay unused. */
static void ss_first_state(ss_run *run)
{
	ss_worker *w = &run->crew[0];
	ss_pending *p = &w->pending[0];
	for (int i = 1; i < run->workers; i++)
		if (ss_next_number(&run->crew[i]) != MAX_NUMBER)
			ss_log_state(&run->crew[i], p);
	memcpy(p->state, run->initial, STATE_SIZE);
	p->thread = NOBODY;
	p->print = run->bounded ? ss_known_with(p->state, NOBODY) : ss_known_by(p->state);
	p->parent = MAX_NUMBER;
	run->preempted = -1;
	w->waiting = 1;
	if (ss_next_number(w) != MAX_NUMBER)
		ss_take(w);
	w->first = 0;
}

static void ss_free_chunks(ss_chunk *chunk)
{
	while (chunk) {
		ss_chunk *next = chunk->next;
		free(chunk);
		chunk = next;
	}
}

/* Give back all that a search breadth first needs but the workers, and what they kept for `ss_progress`. */
static void ss_forget_states(ss_run *run)
{
	u64 kept = run->outcome_room * (u64)(run->watch_to - run->watch_from) + run->found_room * sizeof *run->found;
	ss_forget_log(run);
	if (run->old_table)
		ss_rehashed(run);
	if (run->table)
		munmap(run->table, run->slots * 8);
	run->table = NULL;
	for (int i = 0; run->crew && i < run->workers; i++) {
		ss_worker *w = &run->crew[i];
		for (size_t k = 0; k < w->level.count; k++)
			free(w->level.places[k].chunk);
		for (size_t k = 0; k < w->next.count; k++)
			free(w->next.places[k].chunk);
		for (size_t k = 0; k < w->later.count; k++)
			free(w->later.places[k].chunk);
		free(w->level.places);
		free(w->next.places);
		free(w->later.places);
		memset(&w->level, 0, sizeof w->level);
		memset(&w->next, 0, sizeof w->next);
		memset(&w->later, 0, sizeof w->later);
		free(w->open);
		free(w->off);
		free(w->current);
		ss_free_chunks(w->spare);
		w->open = w->off = w->current = w->spare = NULL;
		for (int k = 0; w->logs && k < LOG_BLOCKS && w->logs[k].parents; k++) {
			free(w->logs[k].parents);
			free(w->logs[k].ordinals);
			free(w->logs[k].states);
#ifdef SS_CLUSTER
			free(w->logs[k].owners);
#endif
		}
		if (w->logs)
			munmap(w->logs, LOG_BLOCKS * sizeof(ss_log));
		w->logs = NULL;
		kept += w->round_room * STRIDE;
	}
	run->bytes = kept;
}

static void ss_clean_up(ss_run *run)
{
	ss_end_trial(run, 0);
	ss_forget_states(run);
	for (int i = 0; run->crew && i < run->workers; i++) {
		free(run->crew[i].rounds);
		free(run->crew[i].recent);
		free(run->crew[i].x);
	}
	free(run->crew);
	free(run->wanted.table);
	free(run->cyclic.table);
	run->wanted.table = run->cyclic.table = NULL;
	pthread_mutex_destroy(&run->lock);
}
