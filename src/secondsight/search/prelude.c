#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;
typedef int64_t i64;
typedef __int128 i128;

/*
 * A large text is compiled in two parts at once (lang/compiler.py): each has all of this head, its own part of the model's
 * functions, and the first the rest.
 */
#ifdef SS_PART
#define PART(number) (SS_PART == number)
#define MODEL __attribute__((visibility("hidden")))
#define LATER extern MODEL
#define DATA __attribute__((common, visibility("hidden")))
#else
#define PART(number) 1
#define MODEL static
#define LATER static
#define DATA static
#endif

#ifndef SS_RESULTS
#define SS_RESULTS
#endif

#ifndef SS_NOTED
#define SS_NOTED
#define RD(place) (place)
#define WR(place) (place)
#define WRITES_ALL(place) (void)(place)
#define FIRST_CHOICE(count) 0
#endif

enum { SS_CHOICES = 64, SS_ROUNDS = 1000 };
enum { SS_BLOCKED = 1, SS_FAILED = 2 };
enum { RULE = 1, RANGE, INDEX, NONE, CLASS, DIVISION, SHIFT, NOT_IN_ARRAY, FULL, FREED, NO_CHOICE, ROUNDS, CHOICES, STALE, TOO_LARGE, AFTER_FREE, NOT_ALLOCATED };
enum { USED = 1, WAS_FREED = 2 }; /* what the byte of a record of a pool says */

/* What a step leaves behind: how it stopped, and the choices it made. */
typedef struct {
	i32 stop, kind, site;
	i64 value, low, high;
	i32 made, at;
	i32 script[SS_CHOICES], sizes[SS_CHOICES];
	i32 round; /* it began another round of a `while` loop */
	i32 rounds; /* of loops that are cut into pieces; each piece calls the next, so that there is room for so many only */
	SS_RESULTS /* of a function that returns several: its caller takes them at once */
	SS_NOTED
} ss_x;

/* What the engine has to know of a model, which defines one (lang/render_c.py). Where steps are not merged the last four are NULL. */
typedef struct {
	i32 state_size, threads, x_size, wide_counters;
	const i64 *base; /* by thread: where its region begins in a state */
	int (*const *steps)(u8 *s, i64 B, i64 t, ss_x *x); /* by counter */
	int (*canonical)(u8 *s, int apart); /* NULL: nothing is renamed */
	i32 *by_form; /* what is renamed to know a state by, at present */
	int (*merged)(int counter, u8 *s, i64 B, i64 t, ss_x *x);
	int (*kept_inside)(const u8 *s, int thread, u32 moving, const u8 *waits_at, ss_x *x, ss_x *aside);
	int (*names_untried)(void);
	void (*names_tried)(int worth);
} ss_model;

extern const ss_model the_model __attribute__((visibility("hidden")));
enum { RECORDS = 1, SEQUENCES = 2, EQUAL = 4 }; /* what is renamed: `by_form` */

#ifdef SS_CLUSTER
/*
 * In a search by several machines: what a member shares of the facts that merged steps rest on is the model's business
 * (engine_cluster_facts.c, compiled with it), who the member is and its memory the engine's (engine_cluster.c).
 */
#define BETWEEN __attribute__((visibility("hidden")))
struct ss_run;
BETWEEN void ss_at_work(void *shared);
BETWEEN void ss_forget_shared(void *shared);
BETWEEN void **ss_shared_of(struct ss_run *run);
BETWEEN void *ss_counted(struct ss_run *run, u64 bytes); /* memory that counts; NULL: there is none, and that is the search's end */
BETWEEN void ss_out_of_memory(struct ss_run *run);
#endif

/* What keeps a thread, by two of its waits: the same lock; several things (-1); not only locks (-2). */
static inline int kept_by(int one, int other) { return !one || one == other ? other : one == -2 || other == -2 ? -2 : other ? -1 : one; }

/* What the compiler would not do of itself where it is told to take little time (lang/compiler.py). */
#define ALWAYS_INLINED inline __attribute__((always_inline))

/*
 * Copy a state, in large pieces; `size` is known to the compiler. (It would make one instruction of `memcpy` that takes its time to
 * begin, and copying is a large part of a search.)
 */
typedef u64 ss_piece __attribute__((vector_size(16), aligned(1), may_alias));

static ALWAYS_INLINED void copy_state(u8 *to, const u8 *from, i64 size)
{
	i64 at = 0;
	for (; at + 64 <= size; at += 64) {
		const ss_piece *p = (const ss_piece *)(from + at);
		ss_piece a = p[0], b = p[1], c = p[2], d = p[3], *q = (ss_piece *)(to + at);
		q[0] = a;
		q[1] = b;
		q[2] = c;
		q[3] = d;
	}
	for (; at + 16 <= size; at += 16)
		*(ss_piece *)(to + at) = *(const ss_piece *)(from + at);
	if (at < size && size >= 16)
		*(ss_piece *)(to + size - 16) = *(const ss_piece *)(from + size - 16);
	else
		for (; at < size; at++)
			to[at] = from[at];
}

static void fail(ss_x *x, i32 kind, i32 site, i64 value, i64 low, i64 high)
{
	if (!x->stop) {
		x->stop = SS_FAILED;
		x->kind = kind;
		x->site = site;
		x->value = value;
		x->low = low;
		x->high = high;
	}
}
static inline int block(ss_x *x) { if (!x->stop) x->stop = SS_BLOCKED; return 0; }
static inline i64 rg(ss_x *x, i64 v, i64 low, i64 high, i32 site)
{ if (v >= low && v <= high) return v; fail(x, RANGE, site, v, low, high); return low; }
static inline i64 ix(ss_x *x, i64 i, i64 count, i32 site)
{ if ((u64)i < (u64)count) return i; fail(x, INDEX, site, i, 0, count); return 0; }
static inline i64 nn(ss_x *x, i64 ref, i32 site)
{ if (ref) return ref; fail(x, NONE, site, 0, 0, 0); return 0; }
static inline i64 nz(ss_x *x, i64 v, i32 site)
{ if (v) return v; fail(x, DIVISION, site, 0, 0, 0); return 1; }
static inline i64 sh(ss_x *x, i64 v, i64 most, i32 site)
{ if (v >= 0 && v <= 64) return v < most ? v : most; fail(x, SHIFT, site, v, 0, 0); return 0; }
static inline i64 wd(ss_x *x, i128 v, i32 site)
{ if (v > -(1LL << 62) && v < 1LL << 62) return (i64)v; fail(x, TOO_LARGE, site, 0, 0, 0); return 0; }
static inline i64 floor_div(i64 a, i64 b) { i64 q = a / b; return q - ((a % b != 0) & ((a < 0) != (b < 0))); }
static inline i64 floor_mod(i64 a, i64 b) { i64 r = a % b; return r + (((r != 0) & ((r < 0) != (b < 0))) ? b : 0); }
static inline i64 min64(i64 a, i64 b) { return b < a ? b : a; }
static inline i64 max64(i64 a, i64 b) { return b > a ? b : a; }
static inline i64 l2(const u8 *p) { return p[0] << 8 | p[1]; }
static inline void s2(u8 *p, i64 v) { p[0] = (u8)(v >> 8); p[1] = (u8)v; }
static inline i64 ldn(const u8 *p, int width) { i64 v = 0; for (int i = 0; i < width; i++) v = v << 8 | p[i]; return v; }
static inline void stn(u8 *p, i64 v, int width) { for (int i = width - 1; i >= 0; i--, v >>= 8) p[i] = (u8)v; }
static i64 io(ss_x *x, i64 base, i64 ref, i64 stride, i64 count, i32 site)
{
	i64 at = ref - base;
	if (at >= 0 && at % stride == 0 && at / stride < count)
		return at / stride;
	fail(x, NOT_IN_ARRAY, site, 0, 0, 0);
	return 0;
}
static i64 al(ss_x *x, u8 *s, i64 base, i64 stride, i64 count, i32 site)
{
	for (i64 i = 0; i < count; i++)
		if (s[RD(base + stride * count + i)] != USED) {
			s[WR(base + stride * count + i)] = USED;
			return base + i * stride;
		}
	fail(x, FULL, site, count, 0, 0);
	return base;
}
static void fr(ss_x *x, u8 *s, i64 base, i64 ref, i64 stride, i64 count, const u8 *fresh, i32 site)
{
	i64 i = io(x, base, ref, stride, count, site);
	if (x->stop)
		return;
	if (s[RD(base + stride * count + i)] != USED) {
		fail(x, s[base + stride * count + i] == WAS_FREED ? FREED : NOT_ALLOCATED, site, 0, 0, 0);
		return;
	}
	s[WR(base + stride * count + i)] = WAS_FREED;
	for (i64 j = 0; j < stride; j++) {
		WRITES_ALL(ref + j);
		s[ref + j] = fresh[j];
	}
}
static i64 ch(ss_x *x, i64 count, i32 site)
{
	if (x->stop)
		return 0;
	if (count <= 0) {
		fail(x, NO_CHOICE, site, 0, 0, 0);
		return 0;
	}
	if (count > INT32_MAX) {
		fail(x, CHOICES, site, 2, 0, 0);
		return 0;
	}
	if (x->at == x->made) {
		if (x->made == SS_CHOICES) {
			fail(x, CHOICES, site, 0, 0, 0);
			return 0;
		}
		x->script[x->made] = FIRST_CHOICE(count);
		x->sizes[x->made++] = (i32)count;
	}
	return x->script[x->at++];
}

static inline u64 ss_mixed(u64 n)
{
	n += 0x9e3779b97f4a7c15ull;
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9ull;
	n = (n ^ n >> 27) * 0x94d049bb133111ebull;
	return n ^ n >> 31;
}

/* The next script of choices: 0 when all have been followed. */
static inline int next_choices(ss_x *x)
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
