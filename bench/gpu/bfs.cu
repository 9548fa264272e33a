/*
 * A search breadth first on a CUDA card, of a model rendered to C as it is (lang/render_c.py).
 *
 * `python -m bench.gpu PROGRAM --emit FOLDER` writes model.c, the rendered text, and facts.h, what else is known of the program; this
 * file is compiled with both, by nvcc, or by g++ with -DSS_SHIM (shim.h), where a block is one thread.
 *
 * A level is arrays of 64-bit words, one array for each word of a state, so that neighbouring threads read and write neighbouring
 * words. A block takes a tile of TILE states into its shared memory. Each thread of the model that has not ended in one of them is an
 * item; the items are sorted by place, so that the threads of a warp take the same step. What a step leads to is put into an open
 * table of fingerprints in the card's memory, and, if it was not there, into the next level.
 *
 * What is left out: traces (there is no log of parents), livelocks, the order of locks, outcomes, and a table that grows.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef SS_SHIM
#include "shim.h"
#else
#include <cooperative_groups.h>
#include <cuda_runtime.h>
#define SS_WHERE __device__
#ifdef SS_APART /* a large model: nvcc would put each function into each of its callers, and take minutes for it */
#define MODEL static __device__ __noinline__
#endif
#define LAUNCH(kernel, grid, block, shared, ...) kernel<<<grid, block, shared>>>(__VA_ARGS__)
#define ALL_BLOCKS_ARRIVE() cooperative_groups::this_grid().sync()
#ifndef BLOCK
#define BLOCK 256
#endif
#endif

#include "model.c"
#include "facts.h"

#ifndef BLOCKS_AT_ONCE
#define BLOCKS_AT_ONCE 2 /* that a multiprocessor has to have registers for */
#endif
#ifndef TILE_LEAST
#define TILE_LEAST 32
#endif
#ifndef LEVELS_AT_ONCE
#define LEVELS_AT_ONCE 64 /* that one launch goes through: small levels take less time than a launch and the way to the host */
#endif

enum { WORDS = (STATE_SIZE + 7) / 8 };
enum { HALVES = WORDS * 2 + 1 }; /* of a state in shared memory; odd, so that neighbouring threads find theirs in different banks */
enum { KINDS = 32, MOST_TRIES = 1 << 14 };
enum { TABLE_FULL = 1, LEVEL_FULL = 2 };

typedef unsigned long long u64_atomic; /* as the card's atomic functions have it */

/* What a level leaves behind. */
typedef struct {
	u64 next, transitions, ended, stuck, tile, wrong; /* `wrong`: stuck, failed or broken */
	u64 failed[KINDS], broken[RULE_COUNT + 1];
	u32 full;
	i32 site; /* of something that failed */
} ss_left;

typedef struct {
	u64 *levels[2], *table;
	u64 count, room, slots; /* states of the first level, that there is room for in a level, fingerprints that there is room for */
	ss_left *left;          /* of each level */
	int turn;               /* which of the two has the first level */
	u64 keys[WORDS + 2];
} ss_given;

#ifdef ROOM_SHARED /* a step works on a copy in shared memory, in place of the thread's own, which is for the most part in the cache */
enum { ROOMS = BLOCK };
#else
enum { ROOMS = 0 };
#endif

#ifdef UNSORTED /* to see what sorting is worth */
#define SORTED_BY(counter) ((counter) != 0)
#else
#define SORTED_BY(counter) (counter)
#endif

static constexpr int ss_shared_bytes(int tile) { return 8 + (tile + ROOMS) * HALVES * 4 + 2 * (PLACES + 1) * 4 + tile * THREADS * 2 + tile; }

#ifndef TILE
/* As many states as a tile can have for two blocks to be on a multiprocessor at once: the larger it is, the longer a warp stays with one step's code. */
static constexpr int ss_tile()
{
	int tile = 512, all = 228 * 1024, own = 1024; /* of a multiprocessor; of it what a block takes beside what it asks for (compute capability 9.0) */
	while (tile > TILE_LEAST && 2 * (ss_shared_bytes(tile) + own) > all)
		tile /= 2;
	return tile;
}
enum { TILE = ss_tile() };
#endif

enum { SHARED_BYTES = ss_shared_bytes(TILE) };
static_assert(TILE * THREADS <= 1 << 16, "the number of an item has 16 bits");

#ifndef SS_SHIM
extern __shared__ u32 shared[];
#endif

static __device__ inline u64 ss_word(const u32 *state, int word) { return (u64)state[2 * word + 1] << 32 | state[2 * word]; }

/* As the engine's (search/engine.c). */
static __device__ inline u64 ss_fingerprint(const u32 *state, const u64 *keys)
{
	u64 low = 0, high = 0;
#pragma unroll
	for (int i = 0; i < WORDS; i += 2) {
		u64 a = ss_word(state, i) + keys[i], b = (i + 1 < WORDS ? ss_word(state, i + 1) : 0) + keys[i + 1], product = a * b;
		low += product;
		high += __umul64hi(a, b) + (low < product);
	}
	u64 hash = low + high * 0x9fb21c651e98df25ull;
	hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93ull;
	hash ^= hash >> 32;
	return hash ? hash : 1;
}

/* Put a fingerprint into the table: whether it was not there. */
static __device__ inline int ss_insert(const ss_given *given, ss_left *left, u64 print)
{
	u64 at = __umul64hi(print, given->slots);
	for (int tries = 0; tries < MOST_TRIES; tries++) {
		u64 there = __ldcg((const u64_atomic *)&given->table[at]);
		if (!there) {
			there = atomicCAS((u64_atomic *)&given->table[at], 0, print);
			if (!there)
				return 1;
		}
		if (there == print)
			return 0;
		at = at + 1 == given->slots ? 0 : at + 1;
	}
	atomicOr(&left->full, TABLE_FULL);
	return 0;
}

/* Put a state into the next level. The threads of a warp that come here together ask for their places at once. */
static __device__ inline void ss_push(const ss_given *given, u64 *to, ss_left *left, const u32 *state)
{
	u32 together = __activemask(), lane = threadIdx.x % 32, leader = __ffs(together) - 1;
	u64 at = 0;
	if (lane == leader)
		at = atomicAdd((u64_atomic *)&left->next, __popc(together));
	at = __shfl_sync(together, at, leader) + __popc(together & ((1u << lane) - 1));
	if (at >= given->room) {
		atomicOr(&left->full, LEVEL_FULL);
		return;
	}
#pragma unroll
	for (int i = 0; i < WORDS; i++)
		to[i * given->room + at] = ss_word(state, i);
}

static __device__ inline int ss_step(int counter, u8 *s, i64 B, i64 t, ss_x *x)
{
#ifdef SS_POINTERS
	return STEPS[counter](s, B, t, x);
#else
	switch (counter) {
#define STEP(place) case place: return p##place(s, B, t, x);
	EACH_PLACE(STEP)
	}
	return 0;
#endif
}

/* A step in this thread's `room`, with a copy of the state: every choice. Returns how many can be taken; -1: and at least one failed. */
static __device__ inline int ss_expand(const ss_given *given, u64 *to, ss_left *left, const u32 *state, u32 *room, int thread)
{
	i64 B = BASE[thread];
	int counter = counter_of((const u8 *)state, B), taken = 0, failed = 0;
	ss_x x;
#ifndef ROOM_SHARED
	u32 own[HALVES];
	room = own;
#endif
	x.made = x.at = 0;
	do {
#pragma unroll
		for (int i = 0; i < 2 * WORDS; i++)
			room[i] = state[i];
		x.stop = x.round = x.rounds = 0;
		int done = ss_step(counter, (u8 *)room, B, thread + 1, &x);
		if (x.stop == SS_FAILED) {
			failed = 1;
			left->site = x.site;
			atomicAdd((u64_atomic *)&left->wrong, 1);
			if (x.kind == RULE)
				atomicAdd((u64_atomic *)&left->broken[x.value], 1);
			else
				atomicAdd((u64_atomic *)&left->failed[x.kind], 1);
		} else if (done && x.stop != SS_BLOCKED) {
			taken++;
			if (ss_insert(given, left, ss_fingerprint(room, given->keys)))
				ss_push(given, to, left, room);
		}
	} while (x.made && next_choices(&x));
	return failed ? -1 - taken : taken;
}

static __device__ inline int ss_finished(const u8 *s)
{
	for (int i = 0; i < THREADS; i++)
		if (!(DAEMONS >> i & 1) && counter_of(s, BASE[i]))
			return 0;
	return 1;
}

/* A level. Its tiles are smaller if there are not enough for all blocks. */
static __device__ inline void ss_expand_level(const ss_given *given, const u64 *from, u64 *to, ss_left *left, u64 states)
{
	u64 each = (states / gridDim.x + 32) / 32 * 32;
	u32 size = each < TILE_LEAST ? TILE_LEAST : each < TILE ? (u32)each : TILE;
	u64 *taken_tile = (u64 *)shared;
	u32 *tile = shared + 2, *rooms = tile + TILE * HALVES, *starts = rooms + ROOMS * HALVES, *sums = starts + PLACES + 1;
	u16 *items = (u16 *)(sums + PLACES + 1);
	u8 *moved = (u8 *)(items + TILE * THREADS);
	u32 me = threadIdx.x;
	u64 transitions = 0, ended = 0, stuck = 0;
	for (;;) {
		if (!me)
			*taken_tile = atomicAdd((u64_atomic *)&left->tile, 1);
		__syncthreads();
		u64 first = *taken_tile * size;
		if (first >= states)
			break;
		u32 count = states - first < size ? (u32)(states - first) : size;
		for (int i = 0; i < WORDS; i++)
			for (u32 k = me; k < count; k += BLOCK) {
				u64 word = __ldcg((const u64_atomic *)&from[i * given->room + first + k]);
				tile[k * HALVES + 2 * i] = (u32)word;
				tile[k * HALVES + 2 * i + 1] = (u32)(word >> 32);
			}
		for (u32 i = me; i <= PLACES; i += BLOCK)
			starts[i] = 0;
		for (u32 k = me; k < count; k += BLOCK)
			moved[k] = 0;
		__syncthreads();

		/* how many items there are at each place; where those of each place begin; the items, in this order */
		for (int thread = 0; thread < THREADS; thread++)
			for (u32 k = me; k < count; k += BLOCK)
				atomicAdd(&starts[SORTED_BY(counter_of((const u8 *)(tile + k * HALVES), BASE[thread]))], 1);
		__syncthreads();
		if (!me)
			starts[0] = 0; /* threads that have ended */
		for (u32 step = 1; step <= PLACES; step *= 2) {
			__syncthreads();
			for (u32 i = me; i <= PLACES; i += BLOCK)
				sums[i] = starts[i] + (i >= step ? starts[i - step] : 0);
			u32 *other = starts;
			starts = sums;
			sums = other;
		}
		__syncthreads();
		u32 item_count = starts[PLACES];
		for (u32 i = me; i < PLACES; i += BLOCK)
			sums[i + 1] = starts[i];
		__syncthreads();
		for (int thread = 0; thread < THREADS; thread++)
			for (u32 k = me; k < count; k += BLOCK) {
				int counter = counter_of((const u8 *)(tile + k * HALVES), BASE[thread]);
				if (counter)
					items[atomicAdd(&sums[SORTED_BY(counter)], 1)] = (u16)(thread * TILE + k);
			}
		__syncthreads();

		for (u32 i = me; i < item_count; i += BLOCK) {
			u32 k = items[i] % TILE;
			int taken = ss_expand(given, to, left, tile + k * HALVES, rooms + me * HALVES, items[i] / TILE);
			transitions += taken < 0 ? -1 - taken : taken;
			if (taken)
				moved[k] = 1;
		}
		__syncthreads();
		for (u32 k = me; k < count; k += BLOCK)
			if (ss_finished((const u8 *)(tile + k * HALVES)))
				ended++;
			else
				stuck += !moved[k];
	}
	atomicAdd((u64_atomic *)&left->transitions, transitions);
	if (ended)
		atomicAdd((u64_atomic *)&left->ended, ended);
	if (stuck) {
		atomicAdd((u64_atomic *)&left->stuck, stuck);
		atomicAdd((u64_atomic *)&left->wrong, stuck);
	}
}

/* Levels, until one of them is the last, or something is wrong or full. */
static __global__ void __launch_bounds__(BLOCK, BLOCKS_AT_ONCE) ss_expand_levels(const __grid_constant__ ss_given given)
{
	u64 states = given.count;
	int turn = given.turn;
	for (ss_left *left = given.left; left < given.left + LEVELS_AT_ONCE; left++, turn = !turn) {
		u64 *from = turn ? given.levels[1] : given.levels[0], *to = turn ? given.levels[0] : given.levels[1];
		ss_expand_level(&given, from, to, left, states);
#if LEVELS_AT_ONCE > 1
		ALL_BLOCKS_ARRIVE();
		states = __ldcg((const u64_atomic *)&left->next);
		if (!states || __ldcg((const u64_atomic *)&left->wrong) || __ldcg(&left->full))
			break;
#endif
	}
}

/* The first state is put into the table and the first level; the model's tables are where `items` is. */
static __global__ void ss_first(const __grid_constant__ ss_given given, const i64 *items)
{
	u32 state[2 * WORDS];
	for (int i = 0; i < WORDS; i++) {
		u64 word = given.levels[1][i];
		state[2 * i] = (u32)word;
		state[2 * i + 1] = (u32)(word >> 32);
		given.levels[0][i * given.room] = word;
	}
	ss_insert(&given, given.left, ss_fingerprint(state, given.keys));
	for (int i = 0; i < TABLE_COUNT; i++)
		ss_set_table(i, items + TABLE_FROM[i], TABLE_FROM[i + 1] - TABLE_FROM[i]);
}

#include "host.h"
