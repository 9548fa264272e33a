/*
 * What the engine remembers: the frontier's chunks, what is known of each state by its number, and the table of fingerprints.
 */

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
	chunk->count = chunk->put_off = 0;
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
	if (!chunk)
		return;
	if (!ss_more(run, (void **)&w->next.places, w->next.count, &w->next.room, sizeof(ss_place))) {
		chunk->count = 0; /* it is over: what comes until then has room */
		return;
	}
	int file = run->files[!run->file];
	if (run->max_frontier && run->chunk_bytes > run->max_frontier && file >= 0) {
		place.chunk = NULL;
		place.at = __atomic_fetch_add(&run->file_end[!run->file], sizeof *chunk, __ATOMIC_RELAXED);
		if (!ss_file_io(1, file, chunk, sizeof *chunk, place.at)) {
			ss_stop(run, BECAUSE_DISK);
			chunk->count = 0;
			return;
		}
		__atomic_add_fetch(&run->on_disk, chunk->count, __ATOMIC_RELAXED);
		ss_chunk_spare(w, chunk);
	}
	w->next.places[w->next.count++] = place;
	w->open = NULL;
}

static inline void ss_push(ss_worker *w, const u8 *state, u32 number, u8 last)
{
	if (!w->open && !(w->open = ss_chunk_room(w)))
		return;
	ss_chunk *chunk = w->open;
	copy_state(chunk->states + chunk->count * STRIDE, state, STRIDE);
	chunk->last[chunk->count] = last;
	chunk->numbers[chunk->count++] = number;
	w->pushed++;
	if (chunk->count == CHUNK)
		ss_chunk_close(w);
}

/* A chunk of what is put off stays in memory. */
static void ss_off_close(ss_worker *w)
{
	if (w->off && ss_more(w->run, (void **)&w->later.places, w->later.count, &w->later.room, sizeof(ss_place)))
		w->later.places[w->later.count++] = (ss_place){ w->off, 0 };
	else if (w->off)
		w->off->count = 0; /* it is over: what comes until then has room */
	if (!w->run->stop)
		w->off = NULL;
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
	if ((u64)(block + 1) * LOG_SIZE * run->workers > SOURCE) /* of which no number may have the bit */
		ss_drop_log(run);
	log->parents = ss_room(run, LOG_SIZE * sizeof(u32));
	log->ordinals = ss_room(run, LOG_SIZE * sizeof(u16));
	if (run->exact)
		log->states = ss_room(run, (u64)LOG_SIZE * STRIDE);
#ifdef SS_CLUSTER
	log->owners = ss_room(run, LOG_SIZE * sizeof(u16));
	int has_owners = log->owners != NULL;
#else
	int has_owners = 1;
#endif
	if (log->parents && log->ordinals && (log->states || !run->exact) && has_owners)
		return 1;
	ss_give_back(run, log->parents, LOG_SIZE * sizeof(u32));
	ss_give_back(run, log->ordinals, LOG_SIZE * sizeof(u16));
	ss_give_back(run, log->states, (u64)LOG_SIZE * STRIDE);
#ifdef SS_CLUSTER
	ss_give_back(run, log->owners, LOG_SIZE * sizeof(u16));
#endif
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
#ifdef SS_CLUSTER
	log->owners[at] = p->from;
#endif
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

/* The number of the state in a slot that was taken, which whoever took it is about to write there. */
static ALWAYS_INLINED u32 ss_number_at(const ss_run *run, u64 slot)
{
	u32 there = __atomic_load_n(&run->numbers[slot], __ATOMIC_ACQUIRE);
	for (int tries = 0; !there; tries++) {
		if (tries > 100)
			sched_yield();
		there = __atomic_load_n(&run->numbers[slot], __ATOMIC_ACQUIRE);
	}
	return there - 1;
}

/* Put a fingerprint into the table: 1 if it was not there; if it was, and edges are logged, `number` becomes that of its state. */
static inline int ss_insert(ss_run *run, u64 print, u32 *number)
{
	u64 at = ss_slot(run, print);
	for (;;) {
		u64 there = __atomic_load_n(&run->table[at], __ATOMIC_RELAXED);
		if (!there) {
			if (run->crowd == 1)
				run->table[at] = print;
			if (run->crowd == 1
			    || __atomic_compare_exchange_n(&run->table[at], &there, print, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
				if (run->numbers)
					__atomic_store_n(&run->numbers[at], *number + 1, __ATOMIC_RELEASE);
				return 1;
			}
		}
		if (there == print) {
			if (run->numbers)
				*number = ss_number_at(run, at);
			return 0;
		}
		at = ss_after(run, at);
	}
}

/* The same with whole states: an entry is the low half of the fingerprint and the state's number plus one. */
static int ss_insert_exact(ss_worker *w, const ss_pending *p, u32 *number)
{
	ss_run *run = w->run;
	u8 room[ROOM] __attribute__((aligned(8)));
	const u8 *known = ss_known_as(p->state, room);
	ss_log *log = &w->logs[w->found / LOG_SIZE];
	memcpy(log->states + w->found % LOG_SIZE * STRIDE, known, STRIDE);
	u64 entry = p->print << 32 | (*number + 1), at = ss_slot(run, p->print);
	for (;;) {
		u64 there = __atomic_load_n(&run->table[at], __ATOMIC_ACQUIRE);
		if (!there && __atomic_compare_exchange_n(&run->table[at], &there, entry, 0, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE))
			return 1;
		if (there >> 32 == entry >> 32) {
			u32 place;
			ss_log *other = ss_log_of(run, (u32)there - 1, &place);
			if (!memcmp(other->states + (u64)place * STRIDE, known, STRIDE)) {
				*number = (u32)there - 1;
				return 0;
			}
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

/* Up to three quarters of a table are filled. A small one has no room for all that a phase may insert beyond that: it grows as soon as it is full. */
static void ss_has_slots(ss_run *run, u64 slots)
{
	run->slots = slots;
	run->full = slots < SHARED_SLOTS ? slots / 4 * 3 : ~0ull;
}

/*
 * A larger table: by half, a very large one by a quarter, and by less where the memory that is left would not have room for
 * what is to be known of the new states too. Old pages go as new ones come, so only the difference counts.
 */
static int ss_grow(ss_run *run)
{
	u64 slots = run->slots, more = slots < 1 << 22 ? slots * 3 : slots < 1 << 28 ? slots / 2 : slots / 4;
	u64 state = sizeof(u32) + sizeof(u16) + (run->exact ? STRIDE : 0), each = 8 + state * 3 / 4; /* three in four slots are used */
	if (run->logging && !ss_log_may_have(run, more * 12))
		ss_forget_log(run);
	if (run->max_memory) {
		u64 left = run->max_memory > run->bytes ? (run->max_memory - run->bytes) / each : 0;
		if (more > left)
			more = left >= slots / 32 ? left : more;
	}
	if (!ss_count(run, more * 8))
		return 0;
	more += slots;
	u64 *new = ss_map(more * 8);
	if (!new) {
		ss_stop(run, BECAUSE_MEMORY);
		return 0;
	}
	if (run->numbers) {
		u32 *numbers = ss_map(more * sizeof(u32));
		if (numbers) {
			__atomic_add_fetch(&run->bytes, (more - slots) * sizeof(u32), __ATOMIC_RELAXED);
			run->old_numbers = run->numbers;
			run->numbers = numbers;
		} else {
			ss_drop_log(run);
			ss_forget_log(run);
		}
	}
	run->old_table = run->table;
	run->old_slots = slots;
	run->table = new;
	ss_has_slots(run, more);
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
			if (run->old_numbers)
				run->numbers[to] = run->old_numbers[i];
		}
		madvise(old + at, (end - at) * 8, MADV_DONTNEED);
		if (run->old_numbers)
			madvise(run->old_numbers + at, (end - at) * sizeof(u32), MADV_DONTNEED);
	}
}

/* A larger table is filled: the old one goes. */
static void ss_rehashed(ss_run *run)
{
	munmap(run->old_table, run->old_slots * 8);
	if (run->old_numbers)
		munmap(run->old_numbers, run->old_slots * sizeof(u32));
	run->old_table = NULL;
	run->old_numbers = NULL;
}

/* Of one worker, in the midst of a phase: a small table grows. 0: it cannot, and the search is over. */
static int ss_grow_at_once(ss_worker *w)
{
	if (!ss_grow(w->run)) {
		ss_stop(w->run, BECAUSE_MEMORY);
		return 0;
	}
	ss_rehash(w);
	ss_rehashed(w->run);
	return 1;
}
