/*
 * Merged steps: what a thread does between two places where others could tell is one step of the search.
 *
 * A step is a *right mover* if it may as well be taken later than another thread's step that follows it, a *left mover* if it
 * may as well be taken earlier than another thread's step before it. A merged step is
 *
 *     right movers, then at most one step that is neither, then left movers
 *
 * of one thread (Lipton). Which step is a mover is found out while searching. Every step notes the numbers of shared state that
 * it touches (two in one byte are two), those that it only tried included. For each, each thread and each way of touching it (`READ`,
 * `WRITE`) it is kept which locks the thread held every time: HELD. A step of t moves past every step of u if on each number that
 * they both touch, one of them writing, there is a lock that t holds now and u held each time, one of the two exclusively: while t
 * holds it u cannot be there. Taking a lock moves right and giving it back moves left, as long as nobody looks at the lock
 * in another way than by waiting for it (`LOCK` against `READ`, `WRITE`; a number of it that is only looked at while
 * waiting, such as the owner by a reader, does not change, so others may `LOOK` or `READ` there); that a thread holds a lock can only be changed by
 * itself (a lock where that is not so protects nothing: `unsure`).
 *
 * A count of references is taken like a lock and given back like one. Who counts a number up (`UP`) or down (`DOWN`), and it is 0
 * neither before nor after, commutes with others who do so, and with who only asks whether it is 0 (`ZERO`); one that is or becomes 0 is written (`WRITE`).
 * Up moves only right, and down only left. So in the state of the reduced graph that belongs to one of the whole graph (below) a number is never greater: of a merged step that is not
 * complete right movers are left out, and left movers added. What makes it 0 there, or finds it 0, was noted as a `WRITE` on the way; if nothing did, who makes it 0 in
 * the one state does so in the other, where it is noted. A merged step has one that counts at most, so a number is less by one for each other thread at most;
 * who counts it up so far that it could leave its range in the one state writes it in the other.
 *
 * HELD is a guess, refined by every access. A decision notes what it relied on; when that turns out to be wrong, the search is
 * begun again with what is known by then (`stale`). So a search that ends has made all its decisions by facts that hold for
 * every access that it made, and therefore for every access of the program: take the first step of the whole graph that
 * would contradict; all before it move as decided, so a path of merged steps leads to where that step is tried.
 *
 * What keeps verdicts and final states:
 *   - A step that waits for what others may change (a lock, an unprotected condition) is always the first of a merged
 *     step. So in a deadlock every thread is between two merged steps, and the deadlock is found.
 *   - A step that cannot be taken, or that moves the wrong way, is undone: the merged step ends before it.
 *   - With `while_alive`, accesses count against t only while t has not ended. Then the step that ends a thread is never merged
 *     with those before it: by this rule a thread is alive for the others in the search whenever it is so in the whole graph.
 *   - Daemons are not merged where final states are watched: a final state may catch them anywhere. (Without that nothing is
 *     asked of a final state but that it is no deadlock, and that it is final depends on the other threads alone.)
 *   - A writer's step into the queue of a lock that others read (`QU`) is a merged step of its own, but touches the lock as who
 *     waits for it does. It only keeps others back: take it later than all that follows, or not at all if its thread gets
 *     the lock, and the rest of the path is the same. So to a broken rule or a final state a path leads without such steps, and
 *     to a deadlock one that has them last, where all threads are between merged steps. (A `trylock`, which reads who has the lock, can tell, and
 *     so can the final states that may catch a daemon in a queue: `alone`.)
 *   - After MOST steps a merged step ends: none goes on for ever, and every state in which one ends is looked at by all threads.
 *   - A rule that is broken inside is broken: the thread ran there from a state that can be reached. But a step that fails
 *     ends the merged step before it, and is then taken alone: so what was done before it is seen by all, and a search that
 *     goes on after a broken rule finds the rules that this hides or uncovers.
 *
 * What keeps livelocks: of a fair cycle of the whole graph (search/progress.py) the reduced graph must show enough to look for
 * it without merged steps. Take such a cycle C, the threads that move in it, and those that rest, each kept from its step as it
 * must be. Follow C for ever, after a way to it, and put that path into the order of merged steps, by when the first step of each
 * was taken that is no right mover. In each state s of C some threads are in the middle of a merged step: those that have
 * only taken right movers in it take them later, those that lack only left movers have taken them. So to s belongs a state s'' of
 * the reduced graph, and as there are finitely many of these, a cycle C'' of them, in which the same threads move.
 *   - A thread that rests stands before a step that is blocked in some state of C. That step is the first of a merged step, or
 *     comes after local steps before which the thread is treated as blocked where it is (`some_way`).
 *   - What a resting thread touches when it tries its step in s is as it is in s'', or is protected by a lock that it waits for:
 *     what moved on the way from s to s'' are movers. So it is blocked in s'', or at a lock that a thread u has which is in the
 *     middle of a merged step in s: then u can take that merged step in s'', and in the middle of it the lock is u's. Therefore
 *     `look_after` tries a resting thread's step in the middle of all merged steps that begin in a state of C'': it counts as
 *     kept in that state if it is kept in one of these. That is more than is so in C, and so no cycle of the whole graph is
 *     passed over; what is found is looked for without merged steps.
 *   - A thread that waits for locks must be kept in every state of C. It is not if all that keeps it anywhere in C'', and only in
 *     the middle of merged steps, is one lock that a single thread has at a time (`obstacle_of`): when u is between two merged
 *     steps, either the lock is free, or another thread has it, and it was free before that took it. So threads that
 *     poll under a lock for what another sets under it are no reason to look.
 *   - Each merged step is one step at least and MOST at most, so C'' has steps of all threads that move in C, and those that
 *     begin rounds of `while` loops.
 */

#include <pthread.h>
#include <stddef.h>

#define SS_MERGED 1

enum { MOST = 64 };
enum { RIGHT = 1, LEFT = 2 };
enum { WAITS_FOR_LOCKS = 2 }; /* in `waits_at` */
enum { FREE, BEFORE, AFTER }; /* nothing yet but steps that move both ways; right movers; the one step was taken */

typedef struct {
	u64 alone, at_all; /* the locks held exclusively; held in any way. All ones: never touched */
} ss_held;

#define ALWAYS (1ull << 63)

/* What is known, and what the search relied on. */
typedef struct {
	ss_held held[THREADS][THREADS][PLACES][WAYS]; /* of one thread while another is alive: HELD */
	u64 unsure;
	u64 taken_after[64]; /* for each lock those that were taken with it held */
	u32 never_merged;
	i32 while_alive; /* accesses count only against threads that have not ended */
	volatile i32 stale;
	volatile i32 news; /* something became known; only a search by several machines looks at it */
	i32 tried, renames; /* what of a state is renamed to know it by: RECORDS, SEQUENCES, EQUAL; whether that was tried: see ss_try_names */
	u64 era; /* decisions are kept that were made in the same one */
	u8 relied[THREADS][THREADS][PLACES][WAYS];
} ss_facts;

#ifdef SS_CLUSTER
static ss_facts *facts; /* those of the member that is at work: several may be in one process */
#else
static ss_facts the_facts;
#define facts (&the_facts)
#endif

#ifndef SS_RENAMES
#define SS_RENAMES 0
#endif
static i32 by_form; /* `renames` of the facts at work, where these are not at hand */

/* For each way of touching a number, the ways of another thread that it does not commute with. */
enum { COUNTS = 1 << UP | 1 << DOWN };
static const u8 AGAINST[WAYS] = {
	[READ] = 1 << WRITE | 1 << LOCK | COUNTS,
	[WRITE] = 1 << READ | 1 << WRITE | 1 << LOCK | 1 << QUERY | 1 << LOOK | 1 << ZERO | COUNTS,
	[LOCK] = 1 << READ | 1 << WRITE | 1 << ZERO | COUNTS,
	[QUERY] = 1 << WRITE | COUNTS,
	[LOOK] = 1 << WRITE | COUNTS,
	[ZERO] = 1 << WRITE | 1 << LOCK,
	[UP] = 1 << READ | 1 << WRITE | 1 << LOCK | 1 << QUERY | 1 << LOOK,
	[DOWN] = 1 << READ | 1 << WRITE | 1 << LOCK | 1 << QUERY | 1 << LOOK,
};

/* The ways of another thread that one does not move past to the right, or left. */
static inline int against_ways(int ways, int to)
{
	int against = ways >> (to == RIGHT ? DOWN : UP) & 1 ? COUNTS | 1 << ZERO : 0;
	for (int w = 0; w < WAYS; w++)
		against |= ways >> w & 1 ? AGAINST[w] : 0;
	return against;
}

/* The same by the ways in which a number was touched; by RIGHT, LEFT, or both: those that keep from the one or the other. */
static u8 WAYS_AGAINST[4][256];

__attribute__((constructor)) static void ss_find_ways_against(void)
{
	for (int ways = 0; ways < 256; ways++)
		for (int to = 0; to < 4; to++)
			WAYS_AGAINST[to][ways] = (u8)((to & RIGHT ? against_ways(ways, RIGHT) : 0) | (to & LEFT ? against_ways(ways, LEFT) : 0));
}

static ALWAYS_INLINED void one_held(const u8 *s, int i, i64 t, ss_held *held)
{
	u8 owner = s[LOCK_OWNER[i]], readers = LOCK_READERS[i] ? s[LOCK_READERS[i]] : 0;
	if (owner == t) {
		held->at_all |= 1ull << i;
		if (!readers)
			held->alone |= 1ull << i;
	} else if (readers >> (t - 1) & 1) {
		held->at_all |= 1ull << i;
	}
}

static ALWAYS_INLINED ss_held held_by(const u8 *s, i64 t)
{
	ss_held held = { 0, 0 };
	for (int i = 0; i < LOCKS; i++)
		one_held(s, i, t, &held);
	return held;
}

static ALWAYS_INLINED int touches_lock(const ss_x *x)
{
	for (int i = 0; i < x->noted; i++)
		if (LOCK_AT[x->places[i]])
			return 1;
	return 0;
}

/* Somebody wrote into a lock by hand: if that changed what another thread holds, the lock protects nothing. */
static void written_lock(const u8 *before, const u8 *after, int lock, i64 t)
{
	for (i64 u = 1; u <= THREADS; u++) {
		ss_held b = { 0, 0 }, a = { 0, 0 };
		if (u == t)
			continue;
		one_held(before, lock, u, &b);
		one_held(after, lock, u, &a);
		if ((a.alone != b.alone || a.at_all != b.at_all)
		    && !(__atomic_load_n(&facts->unsure, __ATOMIC_SEQ_CST) >> lock & 1)) {
			__atomic_or_fetch(&facts->unsure, 1ull << lock, __ATOMIC_SEQ_CST);
			facts->stale = facts->news = 1;
		}
	}
}

static inline void narrow(ss_held *entry, const ss_held *held, const u8 *relied)
{
	if (!((entry->alone & ~held->alone) | (entry->at_all & ~held->at_all)))
		return;
	__atomic_and_fetch(&entry->alone, held->alone, __ATOMIC_SEQ_CST);
	__atomic_and_fetch(&entry->at_all, held->at_all, __ATOMIC_SEQ_CST);
	facts->news = 1;
	if (__atomic_load_n(relied, __ATOMIC_SEQ_CST))
		facts->stale = 1;
}

/* Nothing more is noted of the step. */
static ALWAYS_INLINED int noted_no_more(ss_x *x, int way)
{
	x->counted = 0;
	for (int i = 0; i < x->noted; i++) {
		x->counted |= (x->ways[x->places[i]] & COUNTS) != 0;
		x->ways[x->places[i]] = 0;
	}
	x->noted = x->waits = x->acquires = x->queues = x->inside = 0;
	return way;
}

static int decide(ss_x *x, const u8 *before, const u8 *after, i64 t, ss_held held, ss_held then);

/*
 * A decision is kept, with all that it rests on: what was touched and how, in order; the locks before and after; who is alive. A step
 * of which all this is the same moves the same way, and is no news: what a decision looked at is relied on until the search begins
 * again, which is another era, and one that found no way to move stays right when more becomes known. (Only a lock that
 * is written by hand is looked at in the states themselves.)
 */
enum { DECISIONS = 1 << 12, FOOTPRINT = 40 };

typedef struct {
	u64 era;
	ss_held held, then;
	u32 alive;
	u16 noted, acquires, inside;
	u8 thread, done, queues;
	u8 nothing[5]; /* no byte of it is left to chance */
	u32 touched[FOOTPRINT];
} ss_basis;

typedef struct {
	ss_basis basis;
	int way;
} ss_decision;

static __thread ss_decision decisions[DECISIONS];

/*
 * Take what a step has touched into account, and say which way it moves. `held` before and `then` after it; `after` is NULL
 * for one that was only tried.
 */
static int moves(ss_x *x, const u8 *before, const u8 *after, i64 t, ss_held held, ss_held then)
{
	ss_basis basis;
	if (x->noted > FOOTPRINT)
		return noted_no_more(x, decide(x, before, after, t, held, then));
	memset(&basis, 0, offsetof(ss_basis, touched));
	basis.era = facts->era;
	basis.held = held;
	basis.then = then;
	if (facts->while_alive)
		for (int u = 0; u < THREADS; u++)
			basis.alive |= (u32)(counter_of(before, BASE[u]) != 0) << u;
	basis.noted = (u16)x->noted;
	basis.acquires = (u16)x->acquires;
	basis.inside = (u16)x->inside;
	basis.thread = (u8)t;
	basis.done = after != NULL;
	basis.queues = (u8)x->queues;
	u64 hash = ss_mixed(held.at_all * 31 + then.at_all * 17 + held.alone + (u64)t) ^ (u64)basis.alive << 32 ^ (u64)(basis.acquires << 16 | basis.inside << 2 | basis.done);
	hash *= 0x9e3779b97f4a7c15ull;
	int by_hand = 0;
	for (int i = 0; i < x->noted; i++) {
		int at = x->places[i], ways = x->ways[at];
		basis.touched[i] = (u32)at << 8 | ways;
		hash = (hash ^ basis.touched[i]) * 0x9e3779b97f4a7c15ull;
		by_hand |= ways & 1 << WRITE && LOCK_AT[at];
	}
	ss_decision *known = &decisions[hash >> 52];
	size_t size = offsetof(ss_basis, touched) + x->noted * sizeof basis.touched[0];
	if (by_hand || memcmp(&known->basis, &basis, size)) {
		int way = decide(x, before, after, t, held, then);
		if (!by_hand) {
			memcpy(&known->basis, &basis, size);
			known->way = way;
		}
		return noted_no_more(x, way);
	}
	return noted_no_more(x, known->way);
}

static int decide(ss_x *x, const u8 *before, const u8 *after, i64 t, ss_held held, ss_held then)
{
	u64 sure = ~facts->unsure;
	ss_held known = { held.alone & sure, held.at_all & sure }, within = known;
	ss_held right = { (then.alone & sure) | ALWAYS, (then.at_all & sure) | ALWAYS };
	ss_held left = { (held.alone & sure) | ALWAYS, (held.at_all & sure) | ALWAYS };
	u64 risen = then.at_all & ~held.at_all;
	int way = RIGHT | LEFT;
	if (risen)
		way &= ~LEFT;
	if ((held.at_all & ~then.at_all) | (held.alone & ~then.alone))
		way &= ~RIGHT;
	if (x->queues || (x->acquires && x->acquires != __builtin_popcountll(risen)))
		way = 0;
	if (after && risen)
		for (int i = 0; i < LOCKS; i++)
			if (held.at_all >> i & 1 && risen & ~facts->taken_after[i]) {
				__atomic_or_fetch(&facts->taken_after[i], risen, __ATOMIC_RELAXED);
				facts->news = 1;
			}
	if (x->acquires) { /* what is touched once the last lock was waited for counts as touched with it held */
		u64 waited = sure;
		for (int i = 0; i < x->noted; i++)
			if (LOCK_AT[x->places[i]] && x->ways[x->places[i]] & (1 << READ | 1 << WRITE | 1 << ZERO))
				waited &= ~(1ull << (LOCK_AT[x->places[i]] - 1));
		within.alone |= then.alone & waited;
		within.at_all |= then.at_all & waited;
	}
	u32 others = 0, alive = 0;
	for (int u = 0; u < THREADS; u++) {
		others |= (u32)(u != t - 1) << u;
		alive |= (u32)(u != t - 1 && (!facts->while_alive || counter_of(before, BASE[u]))) << u;
	}
	for (int i = 0; i < x->noted; i++) {
		int at = x->places[i], ways = x->ways[at], rightwards = WAYS_AGAINST[RIGHT][ways], leftwards = WAYS_AGAINST[LEFT][ways];
		const ss_held *mine = x->acquires && i >= x->inside ? &within : &known;
		if (after && ways & 1 << WRITE && LOCK_AT[at])
			written_lock(before, after, LOCK_AT[at] - 1, t);
		for (u32 rest = alive; rest; rest &= rest - 1) {
			int u = __builtin_ctz(rest), here = SAME_AS(STANDS(t - 1, u, at));
			ss_held *entry = facts->held PAIR(t - 1, u)[here];
			for (u32 each = (u32)ways; each; each &= each - 1)
				narrow(&entry[__builtin_ctz(each)], mine, &facts->relied PAIR(t - 1, u)[here][__builtin_ctz(each)]);
		}
		for (u32 rest = others; rest && way; rest &= rest - 1) {
			int u = __builtin_ctz(rest);
			const ss_held *entry = facts->held PAIR(u, t - 1)[SAME_AS(STANDS(u, t - 1, at))];
			for (u32 each = (u32)(rightwards | leftwards); each && way; each &= each - 1) {
				int w = __builtin_ctz(each);
				u64 alone = entry[w].alone, at_all = entry[w].at_all;
				if (rightwards >> w & 1 && !((right.alone & at_all) | (right.at_all & alone)))
					way &= ~RIGHT;
				if (leftwards >> w & 1 && !((left.alone & at_all) | (left.at_all & alone)))
					way &= ~LEFT;
			}
		}
	}
	int again = 0;
	for (int i = 0; i < x->noted && way; i++) {
		int place = x->places[i];
		u32 against = WAYS_AGAINST[way][x->ways[place]];
		for (u32 rest = others; rest && against; rest &= rest - 1) {
			int u = __builtin_ctz(rest);
			u8 *relied = facts->relied PAIR(u, t - 1)[SAME_AS(STANDS(u, t - 1, place))];
			for (u32 each = against; each; each &= each - 1)
				if (!relied[__builtin_ctz(each)]) {
					__atomic_store_n(&relied[__builtin_ctz(each)], 1, __ATOMIC_SEQ_CST);
					again = 1;
				}
		}
	}
	if (again) /* somebody may have narrowed what was looked at before it said that it is relied on */
		return decide(x, before, after, t, held, then);
	return way;
}
