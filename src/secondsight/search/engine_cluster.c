/*
 * One member of a search by several machines.
 *
 * Every state has an owner, which its fingerprint names: the member that remembers it and expands it. What a member finds
 * that is another's goes into a box for that member; a full box ends the turn, so that what is under way is bounded. The
 * caller carries the boxes over (search/cluster_levels.py), and a level is over when all of them have been delivered: the
 * search stays breadth first, its traces shortest ones.
 *
 * A record in a box is the state, its parent's number and which successor of the parent it is; the box says whose the parent
 * is. A state that was sent lately is not sent again: its owner has it, or will have it before the level is over. (With
 * `exact` it is, for here only fingerprints are compared.)
 *
 * A turn is a number of threads that begin and end with it. What a level has left over when a turn ends stays with the
 * worker that took it, so the crew is the same for a whole level.
 */

enum { STAGE = 32 }; /* records that a worker gathers before it takes a box's lock */
enum { SENT = 1 << 18 };
#define RECORD (STATE_SIZE + 6)
enum { SLICE = 2048 }; /* records of a batch that a worker takes at once */

typedef struct {
	u8 *bytes;
	size_t used, room;
	pthread_mutex_t lock;
} ss_box;

typedef struct {
	u32 count;
	u8 bytes[STAGE * (STRIDE + 6)];
} ss_stage;

typedef struct ss_member {
	i32 me, members, crew;
	u64 batch; /* bytes in a box that end a turn */
	ss_box *boxes;
	ss_stage *stages; /* by worker and member */
	u64 *sent;
	u64 given, taken; /* records, to others and from others */
	/* of this turn */
	volatile i32 full;
	u64 most;
	double until;
	/* of a batch that comes in */
	const u8 *records; /* NULL: there is none */
	volatile i32 strays; /* some of it belongs to others */
	u64 count;
	volatile u64 absorbed;
	i32 from;
	void *shared; /* see engine_cluster_facts.c */
} ss_member;

void **ss_shared_of(ss_run *run) { return &run->member->shared; }
void *ss_counted(ss_run *run, u64 bytes) { return ss_room(run, bytes); }
void ss_out_of_memory(ss_run *run) { ss_stop(run, BECAUSE_MEMORY); }

/* Whose states are. */

static inline u16 ss_me(const ss_run *run)
{
	return (u16)run->member->me;
}

/* By the low half: the high bits say where in the owner's table. */
static inline int ss_owner(const ss_member *m, u64 print)
{
	return (int)((print & 0xffffffffu) * (u64)m->members >> 32);
}

static inline u64 *ss_sent_slot(const ss_member *m, u64 print)
{
	return &m->sent[(print >> 32) % SENT];
}

/* Have what tells whether it was sent at hand soon; 0: it is ours. */
static inline int ss_fetch_sent(const ss_run *run, u64 print)
{
	if (ss_owner(run->member, print) == run->member->me)
		return 0;
	if (run->member->sent)
		__builtin_prefetch(ss_sent_slot(run->member, print), 1);
	return 1;
}

/* Sending. */

static void ss_flush(ss_run *run, ss_stage *stage, int to)
{
	ss_member *m = run->member;
	ss_box *box = &m->boxes[to];
	size_t size = stage->count * (size_t)RECORD;
	pthread_mutex_lock(&box->lock);
	if (box->used + size > box->room) {
		size_t room = box->room ? box->room * 2 : 1 << 16;
		u8 *bytes = ss_count(run, room - box->room) ? realloc(box->bytes, room) : NULL;
		if (bytes) {
			box->bytes = bytes;
			box->room = room;
		} else {
			ss_stop(run, BECAUSE_MEMORY);
		}
	}
	if (box->used + size <= box->room) {
		memcpy(box->bytes + box->used, stage->bytes, size);
		box->used += size;
	}
	__atomic_add_fetch(&m->given, stage->count, __ATOMIC_RELAXED);
	if (box->used >= m->batch)
		m->full = 1;
	pthread_mutex_unlock(&box->lock);
	stage->count = 0;
}

/* Whether a state is another's; then it is on its way. */
static inline int ss_is_anothers(ss_worker *w, const ss_pending *p)
{
	ss_member *m = w->run->member;
	int to = ss_owner(m, p->print);
	if (to == m->me)
		return 0;
	if (m->records)
		m->strays = 1;
	if (m->sent) {
		u64 *slot = ss_sent_slot(m, p->print);
		if (__atomic_load_n(slot, __ATOMIC_RELAXED) == p->print)
			return 1;
		__atomic_store_n(slot, p->print, __ATOMIC_RELAXED);
	}
	ss_stage *stage = &m->stages[w->me * m->members + to];
	u8 *record = stage->bytes + stage->count * (size_t)RECORD;
	memcpy(record, p->state, STATE_SIZE);
	memcpy(record + STATE_SIZE, &p->parent, 4);
	memcpy(record + STATE_SIZE + 4, &p->ordinal, 2);
	if (++stage->count == STAGE)
		ss_flush(w->run, stage, to);
	return 1;
}

/* Working together. */

static void ss_drain(ss_worker *w)
{
	ss_member *m = w->run->member;
	ss_print(w);
	w->latest = NULL;
	while (w->waiting)
		ss_take(w);
	for (int to = 0; to < m->members; to++)
		if (m->stages[w->me * m->members + to].count)
			ss_flush(w->run, &m->stages[w->me * m->members + to], to);
}

static void ss_together(ss_run *run, void *(*work)(void *), int crew)
{
	int made = 1;
	run->crowd = crew;
	while (made < crew && !pthread_create(&run->threads[made], NULL, work, &run->crew[made]))
		made++;
	work(&run->crew[0]);
	for (int i = made; i < crew; i++) /* no thread was to be had */
		work(&run->crew[i]);
	for (int i = 1; i < made; i++)
		pthread_join(run->threads[i], NULL);
	ss_look(run);
}

static void *ss_rehash_some(void *argument)
{
	ss_rehash(argument);
	return NULL;
}

/* Have room for so many more states; 0: there is not enough memory. */
static int ss_make_room(ss_run *run, u64 more)
{
	while (run->states + more > run->slots / 4 * 3) {
		if (!ss_grow(run))
			return 0;
		ss_together(run, ss_rehash_some, run->slots > 1 << 20 ? run->member->crew : 1);
		ss_rehashed(run);
	}
	return 1;
}

/* Expand what the level has, until it is used up or the turn is over. */
static void *ss_expand_some(void *argument)
{
	ss_worker *w = argument;
	ss_run *run = w->run;
	ss_member *m = run->member;
	u64 begun = w->inserted, from = w->expanded;
#define GOES_ON (!run->stop && !m->full && w->inserted - begun < run->share && w->expanded - from < m->most)
	while (GOES_ON) {
		if (!w->current) {
			w->position = 0;
			w->current = ss_chunk_take(w);
			if (!w->current)
				break;
			if (ss_elapsed(&run->started) >= m->until)
				m->full = 1;
		}
		ss_chunk *chunk = w->current;
		while (w->position < chunk->count && GOES_ON) {
			u32 at = w->position++;
			w->expanded++;
			ss_expand(w, chunk->states + at * STRIDE, chunk->numbers[at]);
		}
		if (w->position == chunk->count) {
			ss_chunk_spare(w, chunk);
			w->current = NULL;
		}
	}
#undef GOES_ON
	ss_drain(w);
	return NULL;
}

static void *ss_absorb_some(void *argument)
{
	ss_worker *w = argument;
	ss_run *run = w->run;
	ss_member *m = run->member;
	for (;;) {
		u64 at = __atomic_fetch_add(&m->absorbed, SLICE, __ATOMIC_RELAXED), end = at + SLICE;
		if (at >= m->count || run->stop)
			break;
		if (end > m->count)
			end = m->count;
		for (const u8 *record = m->records + at * RECORD; at < end; at++, record += RECORD) {
			if (w->waiting == DELAY)
				ss_take(w);
			ss_pending *p = &w->pending[(w->first + w->waiting) % DELAY];
			memcpy(p->state, record, STATE_SIZE);
			memset(p->state + STATE_SIZE, 0, STRIDE - STATE_SIZE);
			memcpy(&p->parent, record + STATE_SIZE, 4);
			memcpy(&p->ordinal, record + STATE_SIZE + 4, 2);
			p->from = (u16)m->from;
			ss_print(w);
			w->latest = p;
			w->waiting++;
		}
	}
	ss_drain(w);
	return NULL;
}

/* What the caller uses. */

static void *ss_zeroed(ss_run *run, u64 bytes)
{
	void *room = ss_room(run, bytes);
	return room ? memset(room, 0, bytes) : NULL;
}

/* Begin as member `me` of `members`; a box of `batch` bytes ends a turn. 0: there is not enough memory. */
int ss_cluster_begin(ss_run *run, int me, int members, u64 batch)
{
	ss_member *m = run->member = calloc(1, sizeof *m);
	if (!m)
		return 0;
	m->me = me;
	m->members = members;
	m->batch = batch;
	if (!ss_begin(run))
		return 0;
	m->crew = run->workers;
	m->boxes = ss_zeroed(run, members * sizeof(ss_box));
	m->stages = ss_zeroed(run, (u64)run->workers * members * sizeof(ss_stage));
	m->sent = run->exact || members == 1 ? NULL : ss_zeroed(run, SENT * 8);
	if (run->stop)
		return 0;
	for (int i = 0; i < members; i++)
		pthread_mutex_init(&m->boxes[i].lock, NULL);
	run->depth = (u64)-1; /* the first level, of the initial state alone, is level 0 */
	ss_worker *w = &run->crew[0];
	ss_pending *p = &w->pending[0];
	memcpy(p->state, run->initial, STATE_SIZE);
	p->print = ss_known_by(p->state);
	p->parent = MAX_NUMBER;
	p->from = (u16)me;
	if (ss_owner(m, p->print) == me && ss_next_number(w) != MAX_NUMBER) {
		w->waiting = 1;
		ss_take(w);
		w->first = 0;
	}
	ss_look(run);
	return !run->stop;
}

/* The next level becomes the present one: how many states it has here. */
u64 ss_cluster_next(ss_run *run)
{
	ss_next_level(run);
	run->member->crew = run->level_states > ALONE ? run->workers : 1;
	return run->level_states;
}

/* Take in what member `from` sent; 0: it does not belong here. */
int ss_cluster_absorb(ss_run *run, int from, const u8 *records, u64 count)
{
	ss_member *m = run->member;
	if (from < 0 || from >= m->members)
		return 0;
	ss_make_room(run, count + 4096);
	m->from = from;
	m->records = records;
	m->count = count;
	m->absorbed = 0;
	if (!run->stop)
		ss_together(run, ss_absorb_some, count > 4 * SLICE ? run->workers : 1);
	m->records = NULL;
	m->taken += count;
	return !m->strays;
}

/* Expand until the level is used up, a box is full, each worker has expanded `most`, or `seconds` are over. */
void ss_cluster_turn(ss_run *run, u64 most, double seconds)
{
	ss_member *m = run->member;
	m->full = 0;
	m->most = most;
	m->until = ss_elapsed(&run->started) + seconds;
	u64 begun = 0;
	for (int i = 0; i < run->workers; i++)
		begun += run->crew[i].expanded;
	ss_at_work(m->shared);
	while (!run->stop && !m->full && !ss_level_is_used_up(run)) {
		/* the last quarter of the table is for what a part of a turn may insert beyond its share */
		u64 slack = 4096 + 3 * (u64)m->crew * (MAX_SUCCESSORS + DELAY);
		if (!ss_make_room(run, slack))
			break;
		run->share = (run->slots / 4 * 3 - run->states) / m->crew;
		ss_together(run, ss_expand_some, m->crew);
		u64 expanded = 0;
		for (int i = 0; i < run->workers; i++)
			expanded += run->crew[i].expanded;
		if (expanded - begun >= most * m->crew)
			break;
	}
	m->most = 0;
}

/* States of the level that are still to expand, and of the next one that were found so far. */
u64 ss_cluster_left(ss_run *run)
{
	u64 expanded = 0;
	for (int i = 0; i < run->workers; i++)
		expanded += run->crew[i].expanded;
	return run->level_states - expanded;
}

u64 ss_cluster_pushed(ss_run *run)
{
	u64 pushed = 0;
	for (int i = 0; i < run->workers; i++)
		pushed += run->crew[i].pushed;
	return pushed;
}

u64 ss_cluster_given(ss_run *run) { return run->member->given; }
u64 ss_cluster_taken(ss_run *run) { return run->member->taken; }

/* What is in the box for a member; it counts as taken out. */
u64 ss_cluster_box(ss_run *run, int to, const u8 **bytes)
{
	ss_box *box = &run->member->boxes[to];
	u64 used = box->used;
	*bytes = box->bytes;
	box->used = 0;
	return used;
}

/*
 * The way back from a state of this number, as long as it stays here: the ordinals, last one first. `from`: whose the state is
 * at which it goes on, with number `next`; -1 at the initial state.
 */
u64 ss_cluster_back(ss_run *run, u32 number, u16 *ordinals, u64 room, i32 *from, u32 *next)
{
	u64 count = 0;
	for (;;) {
		u32 at;
		ss_log *log = ss_log_of(run, number, &at);
		*next = number = log->parents[at];
		*from = number == MAX_NUMBER ? -1 : log->owners[at];
		if (*from < 0)
			return count;
		ordinals[count++] = log->ordinals[at];
		if (*from != run->member->me || count == room)
			return count;
	}
}

/* The states that a worker kept because a round of a loop begins there, STRIDE bytes each. */
u64 ss_cluster_rounds(ss_run *run, int worker, const u8 **states)
{
	*states = run->crew[worker].rounds;
	return run->crew[worker].round_count * STRIDE;
}

/* Keep such states that others sent: bytes as `ss_cluster_rounds` gave them. 0: there is not enough memory. */
int ss_cluster_keep_rounds(ss_run *run, const u8 *states, u64 bytes)
{
	ss_worker *w = &run->crew[0];
	for (; bytes; bytes -= STRIDE, states += STRIDE) {
		if (!ss_more(run, (void **)&w->rounds, w->round_count, &w->round_room, STRIDE))
			return 0;
		memcpy(w->rounds + w->round_count++ * STRIDE, states, STRIDE);
	}
	return 1;
}

/* Of all states kept, those on fair cycles: to `run->livelocked`. What else was remembered is given back first. */
void ss_cluster_progress(ss_run *run)
{
	ss_at_work(run->member->shared);
	run->max_seconds = run->max_seconds ? run->max_seconds + ss_elapsed(&run->started) : 0;
	ss_forget_states(run);
	ss_progress(run);
	ss_look(run);
}

u32 ss_cluster_expanding(void) { return ss_expanding; }
int ss_cluster_record(void) { return RECORD; }

/* The end: everything is freed. */
void ss_cluster_end(ss_run *run)
{
	ss_member *m = run->member;
	for (int i = 0; m && m->boxes && i < m->members; i++) {
		free(m->boxes[i].bytes);
		pthread_mutex_destroy(&m->boxes[i].lock);
	}
	if (m) {
		free(m->boxes);
		free(m->stages);
		free(m->sent);
		ss_forget_shared(m->shared);
	}
	free(m);
	run->member = NULL;
	free(run->found);
	free(run->outcomes);
	free(run->livelocked);
	run->outcomes = run->livelocked = NULL;
	ss_clean_up(run);
}
