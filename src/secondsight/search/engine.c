/*
 * The native search engine: breadth first over a model rendered to C, on all cores.
 *
 * The rendered model comes before this text and provides
 *
 *     STATE_SIZE, THREADS, BASE[]           the flat state and the threads' regions in it
 *     step_at(counter, s, B, t, x)          one step of a thread, in place: 1 done, 0 cannot be taken now
 *     counter_of(s, B), finished(s)
 *     ss_x                                  what a step leaves behind: an error, the choices it made
 *
 * States are remembered by 64-bit fingerprints in an open table that grows; the states themselves live only in the
 * frontier, two flat arrays. For each state its parent and which of the parent's successors it was are kept, so that a
 * trace can be found by walking back and running forward. Levels are done by all threads together; within a level each
 * takes batches of the frontier. An insertion is delayed by a few successors, its slot fetched ahead: the table is far
 * larger than any cache, and this is the largest single gain there is.
 */

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { DELAY = 16, BATCH = 64, MAX_WORKERS = 64 };
enum { BECAUSE_STATES = 1, BECAUSE_SECONDS = 2, BECAUSE_MEMORY = 3, BECAUSE_ASKED = 4 };

#define WORDS ((STATE_SIZE + 7) / 8)
#define STRIDE (WORDS * 8)

typedef struct {
	u8 *states;   /* STRIDE bytes each */
	u32 *numbers; /* each state's number */
	size_t count, room;
} ss_queue;

typedef struct {
	u64 print;
	u32 parent;
	u16 ordinal;
	u8 state[STRIDE] __attribute__((aligned(8)));
} ss_pending;

typedef struct ss_run ss_run;

typedef struct {
	ss_run *run;
	int me;
	ss_queue next;
	u32 *parents; /* by place: number = place * workers + me */
	u16 *ordinals;
	size_t found, room;
	u64 transitions, inserted;
	ss_pending pending[DELAY];
	int first, waiting;
	ss_x x;
} ss_worker;

/* Shared with the caller, field by field: search/native.py has the same structure. */
struct ss_run {
	/* what is wanted */
	const u8 *initial;
	u64 max_states, max_memory;
	double max_seconds;
	i32 workers, watch_from, watch_to, deadlock;
	/* how far it is; written while it runs */
	volatile u64 states, transitions, frontier, depth;
	volatile double seconds;
	volatile i32 ask_stop;
	/* how it ended */
	i32 reason;        /* 0: all states seen or a violation found */
	i32 violated;      /* 1: a step broke a rule or failed; 2: deadlock */
	i32 thread;        /* whose step */
	i32 failed_kind, failed_site;
	i64 failed_value, failed_low, failed_high;
	i32 choices_made;
	i32 choices[SS_CHOICES];
	u32 trace_length;
	u16 *trace;        /* ordinals, from the initial state on */
	u8 *outcomes;      /* watch_to - watch_from bytes each */
	u64 outcome_count;
	u64 bytes;         /* memory in use at the end */
	/* inside */
	u64 *table;
	u64 mask, load;
	ss_queue level;
	volatile size_t taken;
	ss_worker *crew;
	pthread_barrier_t barrier;
	pthread_mutex_t lock;
	volatile i32 phase_over;
	volatile size_t violation_at;
	u32 violation_number;
	u64 outcome_room;
	struct timespec started;
};

static u64 ss_mix(u64 a, u64 b)
{
	unsigned __int128 product = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15ull) * (b ^ 0xd1b54a32d192ed03ull);
	return (u64)product ^ (u64)(product >> 64);
}

static u64 ss_fingerprint(const u8 *state)
{
	const u64 *word = (const u64 *)state;
	u64 hash = 0x2545f4914f6cdd1dull;
	for (int i = 0; i < WORDS; i++)
		hash = ss_mix(hash + i, word[i]);
	return hash ? hash : 1;
}

/* What a state is known by: with SS_CANONICAL the model's own `canonical(u8 *)` first makes equal what is interchangeable.
 * The state that is kept, expanded and shown is the one that was found. */
static u64 ss_known_by(const u8 *state)
{
#ifdef SS_CANONICAL
	u8 other[STRIDE] __attribute__((aligned(8)));
	memcpy(other, state, STRIDE);
	canonical(other);
	return ss_fingerprint(other);
#else
	return ss_fingerprint(state);
#endif
}

static double ss_elapsed(const struct timespec *since)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - since->tv_sec) + (now.tv_nsec - since->tv_nsec) * 1e-9;
}

static void *ss_grown(void *old, size_t bytes)
{
	void *new = realloc(old, bytes);
	if (!new) {
		static const char text[] = "secondsight: out of memory\n";
		if (write(2, text, sizeof text - 1) < 0)
			_exit(71);
		_exit(71);
	}
	return new;
}

static void ss_push(ss_queue *queue, const u8 *state, u32 number)
{
	if (queue->count == queue->room) {
		queue->room = queue->room ? queue->room * 2 : 1024;
		queue->states = ss_grown(queue->states, queue->room * STRIDE);
		queue->numbers = ss_grown(queue->numbers, queue->room * sizeof(u32));
	}
	memcpy(queue->states + queue->count * STRIDE, state, STRIDE);
	queue->numbers[queue->count++] = number;
}

/* Put a fingerprint into the table: 1 if it was not there. */
static int ss_insert(ss_run *run, u64 print)
{
	u64 at = (print >> 20) & run->mask;
	for (;;) {
		u64 there = __atomic_load_n(&run->table[at], __ATOMIC_RELAXED);
		if (there == print)
			return 0;
		if (!there) {
			if (run->workers == 1) {
				run->table[at] = print;
				return 1;
			}
			if (__atomic_compare_exchange_n(&run->table[at], &there, print, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
				return 1;
			if (there == print)
				return 0;
		}
		at = (at + 1) & run->mask;
	}
}

static u32 ss_number(ss_worker *w, u32 parent, u16 ordinal)
{
	if (w->found == w->room) {
		w->room = w->room ? w->room * 2 : 4096;
		w->parents = ss_grown(w->parents, w->room * sizeof(u32));
		w->ordinals = ss_grown(w->ordinals, w->room * sizeof(u16));
	}
	w->parents[w->found] = parent;
	w->ordinals[w->found] = ordinal;
	return (u32)(w->found++ * w->run->workers + w->me);
}

static void ss_take(ss_worker *w, const ss_pending *p)
{
	if (ss_insert(w->run, p->print)) {
		w->inserted++;
		ss_push(&w->next, p->state, ss_number(w, p->parent, p->ordinal));
	}
}

static void ss_flush(ss_worker *w)
{
	while (w->waiting) {
		ss_take(w, &w->pending[w->first]);
		w->first = (w->first + 1) % DELAY;
		w->waiting--;
	}
}

static void ss_outcome(ss_run *run, const u8 *state)
{
	size_t width = run->watch_to - run->watch_from;
	const u8 *seen = state + run->watch_from;
	pthread_mutex_lock(&run->lock);
	u64 i;
	for (i = 0; i < run->outcome_count; i++)
		if (!memcmp(run->outcomes + i * width, seen, width))
			break;
	if (i == run->outcome_count) {
		if (run->outcome_count == run->outcome_room) {
			run->outcome_room = run->outcome_room ? run->outcome_room * 2 : 64;
			run->outcomes = ss_grown(run->outcomes, run->outcome_room * width);
		}
		memcpy(run->outcomes + run->outcome_count++ * width, seen, width);
	}
	pthread_mutex_unlock(&run->lock);
}

/* A rule is broken at the frontier's place `at`: the first place wins. */
static void ss_violation(ss_worker *w, size_t at, int kind, int thread)
{
	ss_run *run = w->run;
	pthread_mutex_lock(&run->lock);
	if (!run->violated || at < run->violation_at) {
		run->violated = kind;
		run->violation_at = at;
		run->violation_number = run->level.numbers[at];
		run->thread = thread;
		run->failed_kind = w->x.kind;
		run->failed_site = w->x.site;
		run->failed_value = w->x.value;
		run->failed_low = w->x.low;
		run->failed_high = w->x.high;
		run->choices_made = w->x.made;
		memcpy(run->choices, w->x.script, sizeof run->choices);
	}
	pthread_mutex_unlock(&run->lock);
}

/* The next script of choices: 0 when all have been followed. */
static int ss_advance(ss_x *x)
{
	x->at = 0;
	while (x->made) {
		if (x->script[x->made - 1] + 1 < x->sizes[x->made - 1]) {
			x->script[x->made - 1]++;
			return 1;
		}
		x->made--;
	}
	return 0;
}

static int ss_step(const u8 *state, u8 *room, int thread, ss_x *x)
{
	memcpy(room, state, STRIDE);
	x->stop = 0;
	int done = step_at(counter_of(state, BASE[thread]), room, BASE[thread], thread + 1, x);
	return x->stop == SS_FAILED ? -1 : x->stop == SS_BLOCKED ? 0 : done;
}

/* Every step from one state of the frontier. 0: stop. */
static int ss_expand(ss_worker *w, size_t at)
{
	ss_run *run = w->run;
	const u8 *state = run->level.states + at * STRIDE;
	u32 number = run->level.numbers[at];
	u32 ordinal = 0;
	for (int thread = 0; thread < THREADS; thread++) {
		if (!counter_of(state, BASE[thread]))
			continue;
		w->x.made = w->x.at = 0;
		do {
			if (w->waiting == DELAY) {
				ss_take(w, &w->pending[w->first]);
				w->first = (w->first + 1) % DELAY;
				w->waiting--;
			}
			ss_pending *p = &w->pending[(w->first + w->waiting) % DELAY];
			int done = ss_step(state, p->state, thread, &w->x);
			if (done < 0) {
				ss_violation(w, at, 1, thread);
				return 0;
			}
			if (done) {
				p->print = ss_known_by(p->state);
				p->parent = number;
				p->ordinal = (u16)ordinal++;
				__builtin_prefetch(&run->table[(p->print >> 20) & run->mask], 1);
				w->waiting++;
			}
		} while (w->x.made && ss_advance(&w->x));
	}
	w->transitions += ordinal;
	if (finished(state)) {
		if (run->watch_to > run->watch_from)
			ss_outcome(run, state);
	} else if (!ordinal && run->deadlock) {
		memset(&w->x, 0, sizeof w->x);
		ss_violation(w, at, 2, 0);
		return 0;
	}
	return 1;
}

static u64 ss_bytes(const ss_run *run)
{
	u64 bytes = (run->mask + 1) * 8 + run->level.room * (STRIDE + 4);
	for (int i = 0; i < run->workers; i++)
		bytes += run->crew[i].room * 6 + run->crew[i].next.room * (STRIDE + 4);
	return bytes;
}

/* Whether to stop short; called by worker 0 between batches and at the ends of levels. */
static void ss_look(ss_run *run)
{
	u64 states = 0, transitions = 0, next = 0;
	for (int i = 0; i < run->workers; i++) {
		states += run->crew[i].inserted;
		transitions += run->crew[i].transitions;
		next += run->crew[i].next.count;
	}
	run->states = states + 1;
	run->transitions = transitions;
	size_t taken = run->taken < run->level.count ? run->taken : run->level.count;
	run->frontier = run->level.count - taken + next;
	run->seconds = ss_elapsed(&run->started);
	run->bytes = ss_bytes(run);
	int reason = run->ask_stop ? BECAUSE_ASKED
	    : run->max_states && run->states >= run->max_states ? BECAUSE_STATES
	    : run->max_seconds > 0 && run->seconds >= run->max_seconds ? BECAUSE_SECONDS
	    : run->max_memory && run->bytes >= run->max_memory ? BECAUSE_MEMORY
	    : 0;
	if (reason && !run->reason) {
		run->reason = reason;
		run->phase_over = 1;
	}
}

/* A part of a level: until the frontier is used up, the table is too full, or the search is over. */
static void ss_phase(ss_worker *w)
{
	ss_run *run = w->run;
	u64 begun = w->inserted, share = run->load / run->workers;
	int rounds = 0;
	while (!run->phase_over && w->inserted - begun < share) {
		size_t at = __atomic_fetch_add(&run->taken, BATCH, __ATOMIC_RELAXED), end = at + BATCH;
		if (at >= run->level.count)
			break;
		if (end > run->level.count)
			end = run->level.count;
		for (; at < end; at++) {
			if (run->violated && at > run->violation_at)
				break;
			if (!ss_expand(w, at))
				break;
		}
		if (w->me == 0 && (rounds++ & 15) == 0)
			ss_look(run);
	}
	ss_flush(w);
}

static u64 *ss_table(u64 slots)
{
	u64 *table = NULL;
	if (posix_memalign((void **)&table, 4096, slots * 8))
		return NULL;
	memset(table, 0, slots * 8);
	return table;
}

static int ss_grow(ss_run *run)
{
	u64 old_slots = run->mask + 1, slots = old_slots * 4;
	u64 *old = run->table, *new = ss_table(slots);
	if (!new)
		return 0;
	run->table = new;
	run->mask = slots - 1;
	for (u64 i = 0; i < old_slots; i++)
		if (old[i]) {
			u64 at = (old[i] >> 20) & run->mask;
			while (new[at])
				at = (at + 1) & run->mask;
			new[at] = old[i];
		}
	free(old);
	return 1;
}

/* Between phases, worker 0 alone: the next level, a larger table, the end. 0: over. */
static int ss_between(ss_run *run)
{
	ss_look(run);
	if (run->violated || run->reason)
		return 0;
	if (run->taken >= run->level.count) {
		size_t total = 0;
		for (int i = 0; i < run->workers; i++)
			total += run->crew[i].next.count;
		if (!total)
			return 0;
		if (run->workers == 1) {
			ss_queue spare = run->level;
			run->level = run->crew[0].next;
			run->crew[0].next = spare;
			run->crew[0].next.count = 0;
		} else {
			if (run->level.room < total) {
				run->level.room = total + total / 4;
				run->level.states = ss_grown(run->level.states, run->level.room * STRIDE);
				run->level.numbers = ss_grown(run->level.numbers, run->level.room * sizeof(u32));
			}
			size_t at = 0;
			for (int i = 0; i < run->workers; i++) {
				ss_queue *next = &run->crew[i].next;
				memcpy(run->level.states + at * STRIDE, next->states, next->count * STRIDE);
				memcpy(run->level.numbers + at, next->numbers, next->count * sizeof(u32));
				at += next->count;
				next->count = 0;
			}
			run->level.count = total;
		}
		run->taken = 0;
		run->depth++;
	}
	/* room for this phase: each worker may insert load / workers and one batch's successors more */
	while (run->states + BATCH * 64 * (u64)run->workers > (run->mask + 1) / 2)
		if (!ss_grow(run)) {
			run->reason = BECAUSE_MEMORY;
			return 0;
		}
	run->load = (run->mask + 1) / 8 * 5 - run->states;
	return 1;
}

static void *ss_work(void *argument)
{
	ss_worker *w = argument;
	ss_run *run = w->run;
	for (;;) {
		pthread_barrier_wait(&run->barrier);
		if (run->phase_over == 2)
			return NULL;
		ss_phase(w);
		pthread_barrier_wait(&run->barrier);
		if (w->me == 0 && !ss_between(run))
			run->phase_over = 2;
	}
}

static void ss_find_trace(ss_run *run)
{
	u32 length = 0;
	for (u32 n = run->violation_number; n; length++)
		n = run->crew[n % run->workers].parents[n / run->workers];
	run->trace = ss_grown(NULL, (length + 1) * sizeof(u16));
	run->trace_length = length;
	for (u32 n = run->violation_number; n;) {
		ss_worker *w = &run->crew[n % run->workers];
		run->trace[--length] = w->ordinals[n / run->workers];
		n = w->parents[n / run->workers];
	}
}

/* Search. Everything that is not handed out is freed; `ss_release` frees the rest. */
void ss_search(ss_run *run)
{
	u8 first[STRIDE] __attribute__((aligned(8)));
	if (run->workers > MAX_WORKERS)
		run->workers = MAX_WORKERS;
	clock_gettime(CLOCK_MONOTONIC, &run->started);
	pthread_mutex_init(&run->lock, NULL);
	pthread_barrier_init(&run->barrier, NULL, run->workers);
	run->crew = ss_grown(NULL, run->workers * sizeof(ss_worker));
	memset(run->crew, 0, run->workers * sizeof(ss_worker));
	for (int i = 0; i < run->workers; i++) {
		run->crew[i].run = run;
		run->crew[i].me = i;
	}
	memset(first, 0, sizeof first);
	memcpy(first, run->initial, STATE_SIZE);
	run->mask = (1u << 16) - 1;
	run->table = ss_table(run->mask + 1);
	ss_insert(run, ss_known_by(first));
	ss_push(&run->level, first, ss_number(&run->crew[0], 0, 0));
	for (int i = 1; i < run->workers; i++)
		ss_number(&run->crew[i], 0, 0); /* nobody has numbers 1 to workers - 1: 0 stays the initial state's alone */
	run->states = 1;
	run->load = (run->mask + 1) / 2;
	pthread_t others[MAX_WORKERS];
	for (int i = 1; i < run->workers; i++)
		pthread_create(&others[i], NULL, ss_work, &run->crew[i]);
	ss_work(&run->crew[0]);
	for (int i = 1; i < run->workers; i++)
		pthread_join(others[i], NULL);
	ss_look(run);
	if (run->violated)
		ss_find_trace(run);
	free(run->table);
	free(run->level.states);
	free(run->level.numbers);
	for (int i = 0; i < run->workers; i++) {
		free(run->crew[i].next.states);
		free(run->crew[i].next.numbers);
		free(run->crew[i].parents);
		free(run->crew[i].ordinals);
	}
	free(run->crew);
	pthread_barrier_destroy(&run->barrier);
	pthread_mutex_destroy(&run->lock);
}

void ss_release(ss_run *run)
{
	free(run->trace);
	free(run->outcomes);
	run->trace = NULL;
	run->outcomes = NULL;
}

/*
 * One step of one thread, with choices followed as in `x` (ss_advance goes to the next): for traces and comparisons.
 * -1 failed, 0 cannot be taken, 1 done: the new state is in `room`.
 */
int ss_one_step(const u8 *state, u8 *room, int thread, ss_x *x)
{
	u8 padded[STRIDE] __attribute__((aligned(8))), after[STRIDE] __attribute__((aligned(8)));
	memset(padded, 0, sizeof padded);
	memcpy(padded, state, STATE_SIZE);
	if (!counter_of(padded, BASE[thread]))
		return 0;
	int done = ss_step(padded, after, thread, x);
	memcpy(room, after, STATE_SIZE);
	return done;
}

int ss_next_choices(ss_x *x) { return ss_advance(x); }
int ss_size_of_x(void) { return sizeof(ss_x); }
int ss_size_of_run(void) { return sizeof(ss_run); }
