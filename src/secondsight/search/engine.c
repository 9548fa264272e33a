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
 * States are remembered by 64-bit fingerprints in an open table; the states themselves live only in the frontier. With
 * `exact` they are kept whole, and the table holds their numbers. For each state its parent and which of the parent's
 * successors it was are kept, so that a trace can be found by walking back and running forward.
 *
 * The frontier is made of chunks. Each worker fills chunks of its own for the next level and takes any worker's of the
 * present one, so that nothing is copied between levels; a chunk that is too much for memory goes to a file. Workers meet at
 * the ends of phases: a phase ends with the level, or when the table must grow, or when a limit is reached. The table is
 * in the order of the fingerprints, so that growing it reads and writes from front to back.
 *
 * An insertion is delayed by a few successors, its slot fetched ahead: the table is far larger than any cache, and this is
 * the largest single gain there is.
 */

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { DELAY = 16, MAX_WORKERS = 64, MAX_FOUND = 64, MAX_SUCCESSORS = 8192 };
enum { ALONE = 1 << 15 }; /* states up to which one worker goes on alone: a small search is over before the others wake */
enum { FIRST_SLOTS = 1 << 17, LOG_SIZE = 1 << 16, LOG_BLOCKS = 1 << 16 };
enum { BECAUSE_STATES = 1, BECAUSE_SECONDS, BECAUSE_MEMORY, BECAUSE_ASKED, BECAUSE_DISK, BECAUSE_DEPTH, BECAUSE_WALKS };
enum { A_STEP_FAILED = 1, NOBODY_CAN_GO_ON, NOTED, NO_WAY_TO_AN_END };
enum { EXPAND, REHASH, OVER };

#define WORDS ((STATE_SIZE + 7) / 8)
#define STRIDE (WORDS * 8)
#define CHUNK ((32768 / (STRIDE + 4)) < 32 ? 32 : 32768 / (STRIDE + 4)) /* states */
#define MAX_NUMBER 0xfffffff0u

typedef struct ss_chunk {
	struct ss_chunk *next; /* in a list of spare ones */
	u32 count;
	u32 numbers[CHUNK];
	u8 states[CHUNK * STRIDE] __attribute__((aligned(8)));
} ss_chunk;

typedef struct {
	ss_chunk *chunk; /* NULL: it lies in the file, */
	u64 at;          /* here */
} ss_place;

typedef struct {
	ss_place *places;
	size_t count, room;
} ss_list;

/* What is known of LOG_SIZE states, by number. The last three only when they are wanted. */
typedef struct {
	u32 *parents;
	u16 *ordinals;
	u8 *states;
	u64 *prints;
	u8 *ends;
} ss_log;

typedef struct ss_edges {
	struct ss_edges *next;
	u32 count;
	u32 from[LOG_SIZE];
	u64 to[LOG_SIZE];
} ss_edges;

typedef struct {
	u64 print;
	u32 parent;
	u16 ordinal;
	u8 state[STRIDE] __attribute__((aligned(8)));
} ss_pending;

/* Something to tell, and the way there. */
typedef struct {
	i32 how, thread, kind, site;
	i64 value, low, high;
	i32 made, choices[SS_CHOICES];
	u32 number;       /* the state it was found in */
	u32 trace_length;
	u16 *trace;       /* ordinals, from the initial state on */
} ss_found;

typedef struct ss_run ss_run;

typedef struct {
	ss_run *run;
	int me;
	ss_list next, level;
	ss_chunk *open, *current, *spare;
	u32 position; /* in current */
	ss_log *logs;  /* by place: number = place * workers + me */
	size_t found;
	u64 transitions, inserted, expanded, pushed;
	ss_edges *edges;
	int first, waiting;
	ss_pending *latest; /* its print is not made yet */
	ss_x x;
	u64 noted[256]; /* what the caller was lately asked to note */
	ss_pending pending[DELAY];
} ss_worker;

/* Shared with the caller, field by field: search/native.py has the same structure. */
struct ss_run {
	/* what is wanted */
	const u8 *initial;
	u64 max_states, max_memory, max_frontier;
	double max_seconds;
	i32 workers, watch_from, watch_to, deadlock, exact, collect, progress, files[2];
	/* locks whose order the caller looks at: for each its owner's byte and its readers' byte or -1 */
	i32 lock_count;
	const i32 *locks;
	const u8 *taking; /* by counter: whether the step may take a lock */
	i32 (*note)(const u8 *before, const u8 *after, i32 thread, i32 counter); /* 1: against the order */
	/* of depth first and random walks */
	u64 max_depth, walks, seed;
	/* how far it is; written while it runs */
	volatile u64 states, transitions, frontier, depth;
	volatile double seconds;
	volatile i32 ask_stop;
	/* how it ended */
	i32 reason; /* 0: all states seen or something found */
	i32 found_count;
	i32 crowd; /* workers that took part */
	u8 *outcomes; /* watch_to - watch_from bytes each */
	u64 outcome_count, bytes, peak, on_disk;
	ss_found found[MAX_FOUND];
	/* inside */
	u64 *table, *old_table;
	u64 slots, old_slots;
	i32 phase;
	volatile i32 stop;
	u64 share;
	volatile u64 taken, rehashed, chunk_bytes;
	u64 level_states, level_chunks, file_end[2];
	i32 file;
	ss_worker *crew;
	pthread_t threads[MAX_WORKERS];
	pthread_barrier_t barrier;
	pthread_mutex_t lock;
	u64 outcome_room;
	struct timespec started;
};

/* Fingerprints: sums of products of pairs of words, the keys fixed odd numbers. */

static u64 KEYS[WORDS + 1];

static u64 ss_mixed(u64 n)
{
	n += 0x9e3779b97f4a7c15ull;
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9ull;
	n = (n ^ n >> 27) * 0x94d049bb133111ebull;
	return n ^ n >> 31;
}

__attribute__((constructor)) static void ss_make_keys(void)
{
	for (int i = 0; i <= WORDS; i++)
		KEYS[i] = ss_mixed(i) | 1;
}

static inline u64 ss_fingerprint(const u8 *state)
{
	const u64 *word = (const u64 *)state;
	unsigned __int128 sum = 0;
	for (int i = 0; i + 1 < WORDS; i += 2)
		sum += (unsigned __int128)(word[i] + KEYS[i]) * (word[i + 1] + KEYS[i + 1]);
	if (WORDS & 1)
		sum += (unsigned __int128)(word[WORDS - 1] + KEYS[WORDS - 1]) * KEYS[WORDS];
	u64 hash = (u64)sum + (u64)(sum >> 64) * 0x9fb21c651e98df25ull;
	hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93ull;
	hash ^= hash >> 32;
	return hash ? hash : 1;
}

/*
 * What a state is known by: with SS_CANONICAL the model's own `canonical(u8 *)` first makes equal what is interchangeable.
 * The state that is kept, expanded and shown is the one that was found. `room` is for STRIDE bytes.
 */
static inline const u8 *ss_known_as(const u8 *state, u8 *room)
{
#ifdef SS_CANONICAL
	memcpy(room, state, STRIDE);
	canonical(room);
	return room;
#else
	(void)room;
	return state;
#endif
}

static inline u64 ss_known_by(const u8 *state)
{
	u8 room[STRIDE] __attribute__((aligned(8)));
	return ss_fingerprint(ss_known_as(state, room));
}

static double ss_elapsed(const struct timespec *since)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - since->tv_sec) + (now.tv_nsec - since->tv_nsec) * 1e-9;
}

/* Memory: counted, and refused beyond the limit before it is taken. */

static void ss_stop(ss_run *run, int reason)
{
	if (reason && !run->reason)
		run->reason = reason;
	run->stop = 1;
}

static int ss_count(ss_run *run, u64 bytes)
{
	u64 now = __atomic_add_fetch(&run->bytes, bytes, __ATOMIC_RELAXED);
	if (run->max_memory && now > run->max_memory) {
		__atomic_sub_fetch(&run->bytes, bytes, __ATOMIC_RELAXED);
		ss_stop(run, BECAUSE_MEMORY);
		return 0;
	}
	if (now > run->peak)
		run->peak = now;
	return 1;
}

static void *ss_room(ss_run *run, u64 bytes)
{
	void *room = ss_count(run, bytes) ? malloc(bytes) : NULL;
	if (!room)
		ss_stop(run, BECAUSE_MEMORY);
	return room;
}

/* An array that grows by doubling; 0: it cannot. */
static int ss_more(ss_run *run, void **items, size_t count, size_t *room, size_t width)
{
	if (count < *room)
		return 1;
	size_t more = *room ? *room : 64;
	void *new = ss_count(run, more * width) ? realloc(*items, (*room + more) * width) : NULL;
	if (!new) {
		ss_stop(run, BECAUSE_MEMORY);
		return 0;
	}
	*items = new;
	*room += more;
	return 1;
}

static u64 *ss_map(u64 slots)
{
	void *room = mmap(NULL, slots * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED)
		return NULL;
#ifdef MADV_HUGEPAGE
	if (slots * 8 >= 1 << 23)
		madvise(room, slots * 8, MADV_HUGEPAGE);
#endif
	return room;
}

/* Chunks. */

static ss_chunk *ss_chunk_room(ss_worker *w)
{
	ss_chunk *chunk = w->spare;
	if (chunk) {
		w->spare = chunk->next;
	} else {
		chunk = ss_room(w->run, sizeof *chunk);
		if (!chunk)
			return NULL;
		__atomic_add_fetch(&w->run->chunk_bytes, sizeof *chunk, __ATOMIC_RELAXED);
	}
	chunk->count = 0;
	return chunk;
}

static void ss_chunk_spare(ss_worker *w, ss_chunk *chunk)
{
	chunk->next = w->spare;
	w->spare = chunk;
}

static int ss_file_io(int writing, int file, void *bytes, size_t size, u64 at)
{
	while (size) {
		ssize_t done = writing ? pwrite(file, bytes, size, (off_t)at) : pread(file, bytes, size, (off_t)at);
		if (done <= 0)
			return 0;
		bytes = (u8 *)bytes + done;
		size -= done;
		at += done;
	}
	return 1;
}

/* The chunk that is being filled goes to the next level: to memory, or to the file if memory has its share. */
static void ss_chunk_close(ss_worker *w)
{
	ss_run *run = w->run;
	ss_chunk *chunk = w->open;
	ss_place place = { chunk, 0 };
	if (!chunk || !ss_more(run, (void **)&w->next.places, w->next.count, &w->next.room, sizeof(ss_place)))
		return;
	int file = run->files[!run->file];
	if (run->max_frontier && run->chunk_bytes > run->max_frontier && file >= 0) {
		place.chunk = NULL;
		place.at = __atomic_fetch_add(&run->file_end[!run->file], sizeof *chunk, __ATOMIC_RELAXED);
		if (!ss_file_io(1, file, chunk, sizeof *chunk, place.at)) {
			ss_stop(run, BECAUSE_DISK);
			return;
		}
		__atomic_add_fetch(&run->on_disk, chunk->count, __ATOMIC_RELAXED);
		ss_chunk_spare(w, chunk);
	}
	w->next.places[w->next.count++] = place;
	w->open = NULL;
}

static inline void ss_push(ss_worker *w, const u8 *state, u32 number)
{
	if (!w->open && !(w->open = ss_chunk_room(w)))
		return;
	ss_chunk *chunk = w->open;
	memcpy(chunk->states + chunk->count * STRIDE, state, STRIDE);
	chunk->numbers[chunk->count++] = number;
	w->pushed++;
	if (chunk->count == CHUNK)
		ss_chunk_close(w);
}

/* The next chunk of the level, whoever made it; NULL: there is none, or it could not be read. */
static ss_chunk *ss_chunk_take(ss_worker *w)
{
	ss_run *run = w->run;
	size_t at = __atomic_fetch_add(&run->taken, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < run->workers; i++) {
		ss_list *list = &run->crew[i].level;
		if (at >= list->count) {
			at -= list->count;
			continue;
		}
		ss_place *place = &list->places[at];
		ss_chunk *chunk = place->chunk;
		if (chunk) {
			place->chunk = NULL;
			return chunk;
		}
		chunk = ss_chunk_room(w);
		if (chunk && !ss_file_io(0, run->files[run->file], chunk, sizeof *chunk, place->at)) {
			ss_stop(run, BECAUSE_DISK);
			ss_chunk_spare(w, chunk);
			return NULL;
		}
		return chunk;
	}
	return NULL;
}

/* Numbers. */

static inline ss_log *ss_log_of(const ss_run *run, u32 number, u32 *at)
{
	u32 place = number / run->workers;
	*at = place % LOG_SIZE;
	return &run->crew[number % run->workers].logs[place / LOG_SIZE];
}

static int ss_log_room(ss_worker *w, size_t block)
{
	ss_run *run = w->run;
	ss_log *log = &w->logs[block];
	if (block >= LOG_BLOCKS || (u64)(block + 1) * LOG_SIZE * run->workers > MAX_NUMBER) {
		ss_stop(run, BECAUSE_MEMORY);
		return 0;
	}
	log->parents = ss_room(run, LOG_SIZE * sizeof(u32));
	log->ordinals = ss_room(run, LOG_SIZE * sizeof(u16));
	if (run->exact)
		log->states = ss_room(run, (u64)LOG_SIZE * STRIDE);
	if (run->progress) {
		log->prints = ss_room(run, LOG_SIZE * sizeof(u64));
		log->ends = ss_room(run, LOG_SIZE);
		if (log->ends)
			memset(log->ends, 0, LOG_SIZE);
	}
	if (log->parents && log->ordinals && (log->states || !run->exact) && ((log->prints && log->ends) || !run->progress))
		return 1;
	free(log->parents);
	free(log->ordinals);
	free(log->states);
	free(log->prints);
	free(log->ends);
	memset(log, 0, sizeof *log);
	return 0;
}

/* The number that this worker gives out next; MAX_NUMBER: there is no room for it. */
static inline u32 ss_next_number(ss_worker *w)
{
	if (w->found % LOG_SIZE == 0 && !w->logs[w->found / LOG_SIZE].parents && !ss_log_room(w, w->found / LOG_SIZE))
		return MAX_NUMBER;
	return (u32)(w->found * w->run->workers + w->me);
}

static inline void ss_log_state(ss_worker *w, const ss_pending *p)
{
	ss_log *log = &w->logs[w->found / LOG_SIZE];
	size_t at = w->found++ % LOG_SIZE;
	log->parents[at] = p->parent;
	log->ordinals[at] = p->ordinal;
	if (log->prints)
		log->prints[at] = p->print;
}

/* The table. */

static inline u64 ss_slot(const ss_run *run, u64 print)
{
	return (u64)((unsigned __int128)print * run->slots >> 64);
}

static inline u64 ss_after(const ss_run *run, u64 slot)
{
	return slot + 1 == run->slots ? 0 : slot + 1;
}

/* Put a fingerprint into the table: 1 if it was not there. */
static inline int ss_insert(ss_run *run, u64 print)
{
	u64 at = ss_slot(run, print);
	for (;;) {
		u64 there = __atomic_load_n(&run->table[at], __ATOMIC_RELAXED);
		if (there == print)
			return 0;
		if (!there) {
			if (run->crowd == 1) {
				run->table[at] = print;
				return 1;
			}
			if (__atomic_compare_exchange_n(&run->table[at], &there, print, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
				return 1;
			if (there == print)
				return 0;
		}
		at = ss_after(run, at);
	}
}

/* The same with whole states: an entry is the low half of the fingerprint and the state's number plus one. */
static int ss_insert_exact(ss_worker *w, const ss_pending *p, u32 number)
{
	ss_run *run = w->run;
	u8 room[STRIDE] __attribute__((aligned(8)));
	const u8 *known = ss_known_as(p->state, room);
	ss_log *log = &w->logs[w->found / LOG_SIZE];
	memcpy(log->states + w->found % LOG_SIZE * STRIDE, known, STRIDE);
	u64 entry = p->print << 32 | (number + 1), at = ss_slot(run, p->print);
	for (;;) {
		u64 there = __atomic_load_n(&run->table[at], __ATOMIC_ACQUIRE);
		if (!there && __atomic_compare_exchange_n(&run->table[at], &there, entry, 0, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE))
			return 1;
		if (there >> 32 == entry >> 32) {
			u32 place;
			ss_log *other = ss_log_of(run, (u32)there - 1, &place);
			if (!memcmp(other->states + (u64)place * STRIDE, known, STRIDE))
				return 0;
		}
		at = ss_after(run, at);
	}
}

static u64 ss_print_of(const ss_run *run, u64 entry)
{
	if (!run->exact)
		return entry;
	u32 place;
	ss_log *log = ss_log_of(run, (u32)entry - 1, &place);
	return ss_fingerprint(log->states + (u64)place * STRIDE);
}

static int ss_grow(ss_run *run)
{
	u64 slots = run->slots, more = slots < 1 << 22 ? slots * 4 : slots / 2 * 3;
	/* old pages go as new ones come, so only the difference counts */
	if (!ss_count(run, (more - slots) * 8))
		return 0;
	u64 *new = ss_map(more);
	if (!new) {
		ss_stop(run, BECAUSE_MEMORY);
		return 0;
	}
	run->old_table = run->table;
	run->old_slots = slots;
	run->table = new;
	run->slots = more;
	run->rehashed = 0;
	return 1;
}

static void ss_rehash(ss_worker *w)
{
	ss_run *run = w->run;
	u64 *old = run->old_table, part = run->old_slots <= 1 << 22 ? 1 << 15 : 1 << 18;
	for (;;) {
		u64 at = __atomic_fetch_add(&run->rehashed, part, __ATOMIC_RELAXED), end = at + part;
		if (at >= run->old_slots)
			return;
		if (end > run->old_slots)
			end = run->old_slots;
		for (u64 i = at; i < end; i++) {
			u64 entry = old[i];
			if (!entry)
				continue;
			u64 to = ss_slot(run, ss_print_of(run, entry)), none = 0;
			while (!__atomic_compare_exchange_n(&run->table[to], &none, entry, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
				to = ss_after(run, to);
				none = 0;
			}
		}
		madvise(old + at, (end - at) * 8, MADV_DONTNEED);
	}
}

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

/* Something to tell was found in the state of this number. 0: and the search is over. */
static int ss_tell(ss_worker *w, int how, int thread, u32 number)
{
	ss_run *run = w->run;
	const ss_x *x = &w->x;
	int rule = how == A_STEP_FAILED && x->kind == RULE;
	int goes_on = run->collect && (how != A_STEP_FAILED || x->kind == RULE || x->kind == NONE);
	pthread_mutex_lock(&run->lock);
	int i;
	for (i = 0; i < run->found_count; i++) {
		ss_found *f = &run->found[i];
		if (f->how == how && (how != A_STEP_FAILED || (f->kind == x->kind && (!rule || f->value == x->value))))
			break;
	}
	if (i == run->found_count && i < MAX_FOUND && (run->collect || !i)) {
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

/* Expanding. */

static inline void ss_take(ss_worker *w)
{
	ss_run *run = w->run;
	const ss_pending *p = &w->pending[w->first];
	w->first = (w->first + 1) % DELAY;
	w->waiting--;
	u32 number = ss_next_number(w);
	if (number == MAX_NUMBER)
		return;
	if (run->exact ? ss_insert_exact(w, p, number) : ss_insert(run, p->print)) {
		w->inserted++;
		ss_log_state(w, p);
		ss_push(w, p->state, number);
	} else if (run->progress) {
		ss_edges *edges = w->edges;
		if (!edges || edges->count == LOG_SIZE) {
			edges = ss_room(run, sizeof *edges);
			if (!edges)
				return;
			edges->next = w->edges;
			edges->count = 0;
			w->edges = edges;
		}
		edges->from[edges->count] = p->parent;
		edges->to[edges->count++] = p->print;
	}
}

/*
 * The print of a state is made when the next one is there: its bytes have only just been written one by one, and to read
 * them back as words at once would have to wait for that.
 */
static inline void ss_print(ss_worker *w)
{
	ss_pending *p = w->latest;
	if (p) {
		p->print = ss_known_by(p->state);
		__builtin_prefetch(&w->run->table[ss_slot(w->run, p->print)], 1);
	}
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

static inline int ss_step(const u8 *state, u8 *room, int thread, int counter, ss_x *x)
{
	memcpy(room, state, STRIDE);
	x->stop = 0;
	int done = step_at(counter, room, BASE[thread], thread + 1, x);
	return x->stop == SS_FAILED ? -1 : x->stop == SS_BLOCKED ? 0 : done;
}

/* A state from which `steps` can be taken, or can be tried: an outcome, a deadlock. */
static void ss_end(ss_worker *w, const u8 *state, u32 number, u32 steps)
{
	ss_run *run = w->run;
	if (finished(state)) {
		if (run->watch_to > run->watch_from)
			ss_outcome(run, state);
		if (run->progress) {
			u32 at;
			ss_log *log = ss_log_of(run, number, &at);
			log->ends[at] = 1;
		}
	} else if (!steps && run->deadlock) {
		ss_tell(w, NOBODY_CAN_GO_ON, 0, number);
	}
}

/* Every step from one state of the frontier. */
static inline void ss_expand(ss_worker *w, const u8 *state, u32 number)
{
	ss_run *run = w->run;
	u32 ordinal = 0;
	int running = 0, failed = 0;
	for (int thread = 0; thread < THREADS; thread++) {
		int counter = counter_of(state, BASE[thread]);
		if (!counter)
			continue;
		running |= !(daemons >> thread & 1);
		w->x.made = w->x.at = 0;
		do {
			if (w->waiting == DELAY)
				ss_take(w);
			ss_pending *p = &w->pending[(w->first + w->waiting) % DELAY];
			int done = ss_step(state, p->state, thread, counter, &w->x);
			if (done < 0) {
				failed = 1;
				if (!ss_tell(w, A_STEP_FAILED, thread, number))
					return;
			} else if (done) {
				ss_print(w);
				w->latest = p;
				p->parent = number;
				p->ordinal = (u16)ordinal++;
				w->waiting++;
				if (ordinal == MAX_SUCCESSORS) {
					fail(&w->x, CHOICES, -1, 1, 0, 0);
					ss_tell(w, A_STEP_FAILED, thread, number);
					return;
				}
				if (run->note && run->taking[counter] && ss_note(w, state, p->state, thread, counter)
				    && !ss_tell(w, NOTED, thread, number))
					return;
			}
		} while (w->x.made && ss_advance(&w->x));
	}
	w->transitions += ordinal;
	if (!running || !ordinal)
		ss_end(w, state, number, ordinal + failed);
}

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
		}
		ss_chunk *chunk = w->current;
		while (w->position < chunk->count && !run->stop && w->inserted - begun < run->share) {
			u32 at = w->position++;
			w->expanded++;
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

/* Between phases, worker 0 alone: the next level, a larger table, the end. */
static void ss_between(ss_run *run)
{
	if (run->phase == REHASH) {
		munmap(run->old_table, run->old_slots * 8);
		run->old_table = NULL;
	}
	ss_look(run);
	run->phase = OVER;
	if (run->stop)
		return;
	if (ss_level_is_used_up(run)) {
		ss_next_level(run);
		if (!run->level_states)
			return;
	}
	if (run->max_states && run->states >= run->max_states) {
		ss_stop(run, BECAUSE_STATES);
		return;
	}
	if (run->crowd == 1 && run->workers > 1 && run->states > ALONE)
		ss_call_others(run);
	/* up to three quarters are filled; the last quarter is for what a phase may insert beyond its share */
	u64 slots = run->slots, full = slots / 4 * 3;
	if (run->states + 4096 > full || slots / 4 < (u64)run->crowd * (MAX_SUCCESSORS + DELAY)) {
		if (ss_grow(run))
			run->phase = REHASH;
		return;
	}
	u64 room = full - run->states;
	if (run->max_states && room > run->max_states - run->states)
		room = run->max_states - run->states;
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
		if (run->phase == OVER)
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
		run->crew[i].logs = calloc(LOG_BLOCKS, sizeof(ss_log));
		if (!run->crew[i].logs)
			ss_stop(run, BECAUSE_MEMORY);
	}
	run->slots = FIRST_SLOTS;
	run->table = ss_count(run, FIRST_SLOTS * 8) ? ss_map(FIRST_SLOTS) : NULL;
	if (!run->crew || !run->table)
		ss_stop(run, BECAUSE_MEMORY);
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
	p->print = ss_known_by(p->state);
	p->parent = MAX_NUMBER;
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

static void ss_clean_up(ss_run *run)
{
	if (run->table)
		munmap(run->table, run->slots * 8);
	if (run->old_table)
		munmap(run->old_table, run->old_slots * 8);
	for (int i = 0; run->crew && i < run->workers; i++) {
		ss_worker *w = &run->crew[i];
		for (size_t k = 0; k < w->level.count; k++)
			free(w->level.places[k].chunk);
		for (size_t k = 0; k < w->next.count; k++)
			free(w->next.places[k].chunk);
		free(w->level.places);
		free(w->next.places);
		free(w->open);
		free(w->current);
		ss_free_chunks(w->spare);
		for (int k = 0; w->logs && k < LOG_BLOCKS && w->logs[k].parents; k++) {
			free(w->logs[k].parents);
			free(w->logs[k].ordinals);
			free(w->logs[k].states);
			free(w->logs[k].prints);
			free(w->logs[k].ends);
		}
		free(w->logs);
		while (w->edges) {
			ss_edges *next = w->edges->next;
			free(w->edges);
			w->edges = next;
		}
	}
	free(run->crew);
	pthread_mutex_destroy(&run->lock);
}
