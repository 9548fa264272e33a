/*
 * The native search engine: breadth first over a model rendered to C, on all cores.
 *
 * What it knows of the rendered model is `the_model` (prelude.c), so it is compiled once for all models whose states have room in STRIDE
 * bytes (lang/native.py), which every copy and every fingerprint is made for; or, where a compiler shall not take long, once for all whose
 * states have room in ROOM bytes: then STRIDE is found out when it is loaded. The model's steps:
 *
 *     steps[counter](s, B, t, x)            one step of a thread, in place: 1 done, 0 cannot be taken now
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
 *
 * With SS_CLUSTER defined this is one member of a search by several machines: see engine_cluster.c.
 */

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

extern const ss_model the_model __attribute__((visibility("hidden")));

enum { DELAY = 16, MAX_WORKERS = 64, MAX_SUCCESSORS = 8192 };
enum { ALONE = 1 << 15 }; /* states up to which one worker goes on alone: a small search is over before the others wake */
enum { LOG_SIZE = 1 << 16, LOG_BLOCKS = 1 << 16 };
/* A table begins small, for most searches are, and the system clears each page that is touched; one that workers share has SHARED_SLOTS at least. */
#ifdef SS_CLUSTER
enum { SHARED_SLOTS = 1 << 16, FIRST_SLOTS = SHARED_SLOTS };
#else
enum { SHARED_SLOTS = 1 << 16, FIRST_SLOTS = 1 << 12 };
#endif
static const double A_MOMENT = 0.03; /* seconds, and */
enum { BRIEF = 1 << 14 }; /* states after which a search is no small one: see `ss_search_briefly` */
enum { BECAUSE_STATES = 1, BECAUSE_SECONDS, BECAUSE_MEMORY, BECAUSE_ASKED, BECAUSE_DISK, BECAUSE_DEPTH, BECAUSE_WALKS, BECAUSE_PREEMPTIONS };
enum { A_STEP_FAILED = 1, NOBODY_CAN_GO_ON, NOTED, A_GOAL };
enum { EXPAND, REHASH, OVER };
enum { NOT_BEGUN, BRIEFLY, AT_LENGTH, ENDED }; /* `course` */
enum { LOG_EDGES = 1, KEEP_ROUNDS }; /* `progress` */
enum { NOBODY = 0xff };               /* in place of a thread */
enum { MOST_THREADS = 32 };
enum { INSIDE = 1, AT_LOCK = 2 };    /* in `loops` */
enum { LOGGED = 4 };                 /* beside INSIDE, in a step's `logged` */
_Static_assert(MAX_SUCCESSORS <= UINT16_MAX, "an ordinal has 16 bits");
_Static_assert(MOST_THREADS <= 32, "a set of threads has 32 bits");
_Static_assert(MOST_THREADS < NOBODY && NOBODY <= UINT8_MAX, "a thread's number has 8 bits, and is not NOBODY's");

#define STATE_SIZE the_model.state_size
#define THREADS the_model.threads
#define BASE the_model.base
static inline int counter_of(const u8 *s, i64 B) { return the_model.wide_counters ? (int)l2(s + B) : s[B]; }

#ifdef STRIDE
#define ROOM STRIDE
#define CHUNK ((32768 / (STRIDE + 4)) < 32 ? 32 : 32768 / (STRIDE + 4)) /* states */
#define CHUNK_BYTES (CHUNK * STRIDE)
#define MOST_IN_CHUNK CHUNK
#else
static i64 the_stride;
static u32 the_chunk;
#define STRIDE the_stride
#define CHUNK the_chunk
#define CHUNK_BYTES (32 * ROOM < 32768 ? 32768 : 32 * ROOM)
#define MOST_IN_CHUNK 1024
__attribute__((constructor)) static void ss_find_stride(void)
{
	the_stride = (STATE_SIZE + 15) / 16 * 16;
	the_chunk = CHUNK_BYTES / the_stride < MOST_IN_CHUNK ? CHUNK_BYTES / the_stride : MOST_IN_CHUNK;
}
#endif
#define WORDS (STRIDE / 8)
#define MAX_NUMBER 0xfffffff0u
_Static_assert(ROOM % sizeof(u64) == 0, "a state is whole words");
_Static_assert(MAX_NUMBER <= (u64)LOG_SIZE * LOG_BLOCKS, "logs have room for every number, of one worker or of many");

typedef struct ss_chunk {
	struct ss_chunk *next; /* in a list of spare ones */
	u32 count;
	u32 numbers[MOST_IN_CHUNK];
	u8 put_off, last[MOST_IN_CHUNK]; /* in a bounded search: whose step led here; see engine_bounds.c */
	u8 states[CHUNK_BYTES] __attribute__((aligned(8)));
} ss_chunk;

typedef struct {
	ss_chunk *chunk; /* NULL: it lies in the file, */
	u64 at;          /* here */
} ss_place;

typedef struct {
	ss_place *places;
	size_t count, room;
} ss_list;

/* What is known of LOG_SIZE states, by number. The states only when they are wanted. */
typedef struct {
	u32 *parents;
	u16 *ordinals;
	u8 *states;
#ifdef SS_CLUSTER
	u16 *owners; /* whose the parent is */
#endif
} ss_log;

typedef struct {
	u64 print;
	u32 parent;
	u16 ordinal;
	u8 thread;
	u8 logged; /* LOGGED where edges are, and INSIDE where the step began inside of a loop */
#ifdef SS_CLUSTER
	u16 from; /* whose the parent is */
#endif
	u8 state[ROOM] __attribute__((aligned(8)));
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

/* Fingerprints to look for, by their low bits. */
typedef struct {
	u64 *table;
	u64 slots;
} ss_prints;

/* What a state was known by, by its own print; without names of records, while these are tried. */
typedef struct {
	u64 print, form, nameless;
} ss_recent;

enum { RECENT = 1 << 12 };

typedef struct {
	ss_run *run;
	int me;
	ss_recent *recent; /* where something is renamed; else NULL */
	ss_list next, level, later;
	ss_chunk *open, *off, *current, *spare;
	u64 count_off;
	u32 ordinal; /* of the next step from the state that is expanded */
	u32 position; /* in current */
	ss_log *logs;  /* by place: number = place * workers + me */
	size_t found;
	u64 transitions, inserted, expanded, pushed;
	u8 *rounds; /* states in which a round of a loop was begun; see engine_progress.c */
	size_t round_count, round_room;
	u32 *edges, *edge_next, *edge_last; /* see engine_edges.c: the log, where its next words go, and from where on there is no room for all of one step's */
	size_t edge_room, edge_mapped; /* words; those that there is room for are counted, and the rest untouched */
	int first, waiting;
	ss_pending *latest; /* its print is not made yet */
	ss_x *x;
	u64 noted[256]; /* what the caller was lately asked to note */
	ss_pending pending[DELAY];
} ss_worker;

/* Shared with the caller, field by field: search/native.py has the same structure. */
struct ss_run {
	/* what is wanted */
	const u8 *initial;
	u64 max_states, max_narrowing, max_shrinking, max_memory, max_frontier;
	double max_seconds;
	i32 workers, watch_from, watch_to, deadlock, exact, collect, progress, files[2];
	/* locks whose order the caller looks at: for each its owner's byte and its readers' byte or -1 */
	i32 lock_count;
	const i32 *locks;
	const u8 *taking; /* by counter: whether the step may take a lock */
	i32 (*note)(const u8 *before, const u8 *after, i32 thread, i32 counter); /* 1: against the order */
	/* with `progress` (LOG_EDGES, KEEP_ROUNDS): by thread and counter, whether it is inside of a loop, and at a lock */
	const u8 *loops;
	u64 loop_width;
	/* with KEEP_ROUNDS: the fingerprints of the states that may lie on cycles; NULL: any may */
	const u64 *within;
	u64 within_count;
	/* states of which the first that is found ends the search; nothing else does, then */
	const u8 *goals;
	u64 goal_count;
	/* of depth first and random walks */
	u64 max_depth, walks, seed;
	i32 bounded, max_preemptions;
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
	u8 *livelocked; /* with KEEP_ROUNDS: the states that lie on fair cycles, STATE_SIZE bytes each */
	u64 livelocked_count;
	u64 *cycling; /* with LOG_EDGES: the fingerprints of the states that may lie on cycles */
	u64 cycling_count;
	i32 preempted; /* with `bounded`: the preemptions of the last bound that was searched whole, or -1 */
	i32 log_dropped; /* they are not known: there was not enough memory for it */
	ss_found *found; /* one of each kind, found_count of them */
	/* inside */
	size_t found_room;
	u64 *table, *old_table;
	u32 *numbers, *old_numbers; /* by slot: the state's number plus one, while edges are logged */
	volatile i32 logging;
	ss_x *aside; /* for `kept_inside` */
	struct ss_trial *trial; /* while it is tried whether records are worth renaming */
	volatile u64 edge_words; /* that there is room for, in all logs */
	u64 slots, old_slots;
	u64 full; /* states that a table has room for which grows as soon as it is full; all ones: it grows between phases */
	i32 phase, course, narrows; /* how often it was found to: see `ss_most_states` */
	u64 width_before;
	volatile i32 stop, scanning; /* something was found: the rest of the level is looked through, and that is the end */
	u64 share;
	volatile u64 taken, rehashed, chunk_bytes;
	u64 level_states, level_chunks, file_end[2];
	i32 file;
	i32 preemptions; /* that led to what is looked at */
	ss_worker *crew;
	pthread_t threads[MAX_WORKERS];
	pthread_barrier_t barrier;
	pthread_mutex_t lock;
	u64 outcome_room;
	ss_prints wanted, cyclic; /* the goals'; `within` */
	struct timespec started;
#ifdef SS_CLUSTER
	struct ss_member *member;
#endif
};

#ifdef SS_CLUSTER
static inline int ss_is_anothers(ss_worker *w, const ss_pending *p);
static inline int ss_fetch_sent(const ss_run *run, u64 print);
static inline u16 ss_me(const ss_run *run);
static __thread u32 ss_expanding; /* the number of the state that this thread expands */
#endif

/* Fingerprints: sums of products of pairs of words, the keys fixed odd numbers. */

static u64 KEYS[ROOM / 8 + 1];

__attribute__((constructor)) static void ss_make_keys(void)
{
	for (int i = 0; i <= ROOM / 8; i++)
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
 * What a state is known by: where something is renamed the model's own `canonical` first makes equal what is interchangeable.
 * The state that is kept, expanded and shown is the one that was found. `room` is for STRIDE bytes.
 */
static inline const u8 *ss_known_as(const u8 *state, u8 *room)
{
	if (!*the_model.by_form)
		return state;
	copy_state(room, state, STRIDE);
	the_model.canonical(room, -1);
	return room;
}

static inline u64 ss_known_by(const u8 *state)
{
	u8 room[ROOM] __attribute__((aligned(8)));
	return ss_fingerprint(ss_known_as(state, room));
}

/* Threads that may be waiting for ever when all others have ended. */
static u32 daemons;

void ss_set_daemons(u32 mask) { daemons = mask; }

static inline int finished(const u8 *state)
{
	for (int i = 0; i < THREADS; i++)
		if (!(daemons >> i & 1) && counter_of(state, BASE[i]))
			return 0;
	return 1;
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

/* No more edges are logged; their room is given back soon, by each worker its own. */
static void ss_drop_log(ss_run *run)
{
	if (run->logging) {
		run->log_dropped = 1;
		run->logging = 0;
	}
}

static int ss_count(ss_run *run, u64 bytes)
{
	u64 now = __atomic_add_fetch(&run->bytes, bytes, __ATOMIC_RELAXED);
	if (run->max_memory && now > run->max_memory)
		ss_drop_log(run);
	if (run->max_memory && now > run->max_memory + run->edge_words * sizeof(u32)) {
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

/* What `ss_room` or `ss_more` gave, with so many bytes; nothing, if that was refused. */
static void ss_give_back(ss_run *run, void *room, u64 bytes)
{
	if (room)
		__atomic_sub_fetch(&run->bytes, bytes, __ATOMIC_RELAXED);
	free(room);
}

/* An array that grows by doubling, a large one by an eighth: then only pages move. 0: it cannot. */
static int ss_more(ss_run *run, void **items, size_t count, size_t *room, size_t width)
{
	if (count < *room)
		return 1;
	size_t more = !*room ? 64 : *room < 1 << 16 ? *room : *room / 8;
	void *new = ss_count(run, more * width) ? realloc(*items, (*room + more) * width) : NULL;
	if (!new) {
		ss_stop(run, BECAUSE_MEMORY);
		return 0;
	}
	*items = new;
	*room += more;
	return 1;
}

/*
 * Zeroed memory of its own. The system clears pages when they are touched first, which takes a large part of a search; in large pages a third of that
 * or less. What lies in the first `small` bytes does so in small ones, for what may stay small.
 */
enum { LARGE_PAGE = 1 << 21 };

static void *ss_map_from(u64 bytes, u64 small)
{
	void *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return NULL;
#ifdef MADV_HUGEPAGE
	if (bytes >= small + LARGE_PAGE)
		madvise((u8 *)room + small, bytes - small, MADV_HUGEPAGE);
#endif
	return room;
}

static void *ss_map(u64 bytes) { return ss_map_from(bytes, 0); }

/* So many bytes, in whole large pages where most of the last would be used. */
static u64 ss_in_large_pages(u64 bytes)
{
	u64 whole = (bytes + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
	return bytes >= LARGE_PAGE / 2 ? whole : bytes;
}
