"""Equal threads as C text: which there are, `swap_threads`, and `form_in_order`, which puts them into one order. See `lang.equal`.

Equal threads are put in order by what is theirs: place, locals, what they hold, their elements of arrays. References and sequence numbers
do not count, for they have their names only when the order is known. Where that leaves several orders, all are tried, and the least of the states
that come of it is the form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources

from secondsight.lang import ir
from secondsight.lang.equal import EqualThreads
from secondsight.lang.live import Picked, live_places, table
from secondsight.lang.program import Frame, Program
from secondsight.lang.slots import Slot
from secondsight.lang.thread_numbers import HeldNumber, Kind, Moved, Names, cells
from secondsight.lang.types import IntType

__all__ = ["equal_threads", "equal_threads_in_facts"]

_HOLDS = {Kind.ME: 0, Kind.THREAD: 0, Kind.SET: 1, Kind.ROW: 2, Kind.WITHIN: 2}
"""What a renaming does with a number, as `_RENAME` says it: NUMBER, A_SET, A_ROW."""


def _bits(slot: Slot, low: int) -> str:
    """Of a slot: its width, lowest bit, least value, mask."""
    return f"{slot.width}, {slot.shift}, {low}, {(1 << slot.bits) - 1}"


def _named(names: Names) -> Picked:
    """The locals that hold numbers of threads or rows."""

    def pick(frame: Frame, live: set[ir.Var]) -> list[str]:
        texts = []
        for var in sorted((v for v in live if v in frame.slots and names.holds(v)), key=lambda v: frame.slots[v].end):
            kind, slot = names.holds(var), frame.slots[var]
            assert kind is not None and isinstance(var.type, IntType)
            if slot.bits:
                texts.append(f"(ss_named){{ B + {slot.at}, {_bits(slot, slot.low)}, {_HOLDS[kind]} }}")
        return texts

    return pick


def _masked(is_renamed: Callable[[ir.Var], bool]) -> Picked:
    """The locals that do not count for the order: what is renamed when that is known."""

    def pick(frame: Frame, live: set[ir.Var]) -> list[str]:
        found = sorted((frame.slots[v] for v in live if v in frame.slots and is_renamed(v)), key=lambda slot: slot.end)
        return [f"(ss_named){{ B + {slot.at}, {_bits(slot, 0)}, 0 }}" for slot in found if slot.bits]

    return pick


def equal_threads(program: Program, equal: EqualThreads, is_renamed: Callable[[ir.Var], bool]) -> list[str]:
    """The text of `swap_threads(u8 *, int, int)` and `form_in_order(u8 *, int)`. `is_renamed`: whether a local holds what is renamed after that."""
    names = equal.names_of(program)
    found, moved = cells(program.layout, names)
    return [
        f"enum {{ CELLS = {len(found)}, MOVED = {len(moved)}, REGION = {program.region} }};",
        *_cells(found),
        *_moved(moved),
        "typedef struct { i64 at; i32 width, shift; i64 low, mask; i32 holds; } ss_named;",
        *live_places(program, "live_named", "ss_named", _named(names)),
        *live_places(program, "live_masked", "ss_named", _masked(is_renamed)),
        _RENAME,
    ]


def _cells(found: Sequence[HeldNumber]) -> list[str]:
    rows = ", ".join(f"{{ {c.at + c.slot.at}, {_bits(c.slot, c.slot.low)}, {_HOLDS[c.kind]} }}" for c in found)
    return [f"static const struct {{ u16 at; u8 width, shift; i32 low; i64 mask; u8 holds; }} CELL[] = {{ {rows or '{ 0, 0, 0, 0, 0, 0 }'} }};"]


def _moved(moved: Sequence[Moved]) -> list[str]:
    """The arrays of which elements are moved: for each the first of its elements' places, how many these are, their bits, whether it is by row."""
    places = [place for array in moved for place in array.places]
    rows, first = [], 0
    for array in moved:
        rows.append(f"{{ {first}, {len(array.places)}, {array.bits}, {int(array.rows)} }}")
        first += len(array.places)
    return [
        table("u16", "ELEMENT_AT", [at for at, _ in places]),
        table("u8", "ELEMENT_SHIFT", [shift for _, shift in places]),
        f"static const struct {{ u16 first, count, bits; u8 rows; }} ARRAY[] = {{ {', '.join(rows) or '{ 0, 0, 0, 0 }'} }};",
    ]


def equal_threads_in_facts(program: Program, equal: EqualThreads, numbers: dict[tuple[int, int], int]) -> list[str]:
    """Which threads are equal, as the caller says it; and for each two threads the places that stand for others in what is known of them.

    `numbers`: of the places that steps note, by byte and lowest bit.
    """
    _, moved = cells(program.layout, equal.names_of(program))
    of_array, of_element, sub = [0] * (len(numbers) + 1), [0] * (len(numbers) + 1), [0] * (len(numbers) + 1)
    flat: list[int] = []
    rows = []
    for number, array in enumerate(moved, 1):
        inside = [_noted_in(place, array.bits, numbers) for place in array.places]
        subs = len(inside[0]) if inside else 0
        rows.append(f"{{ {len(flat)}, {subs}, {int(array.rows)} }}")
        for i, places in enumerate(inside):
            assert len(places) == subs
            for k, place in enumerate(places):
                of_array[place], of_element[place], sub[place] = number, i, k
            flat += places
    return [
        table("u8", "PLACE_ARRAY", of_array), table("u16", "PLACE_ELEMENT", of_element), table("u16", "PLACE_SUB", sub),
        table("u16", "ELEMENT_PLACE", flat),
        f"static const struct {{ u32 first, subs; u8 rows; }} NOTED_ARRAY[] = {{ {', '.join(rows) or '{ 0, 0, 0 }'} }};",
        resources.files("secondsight.search").joinpath("equal_facts.c").read_text(),
    ]  # fmt: skip


def _noted_in(place: tuple[int, int], bits: int, numbers: dict[tuple[int, int], int]) -> list[int]:
    """The places that steps note in an element."""
    at, shift = place
    if bits < 8:
        return [numbers[at, shift]] if (at, shift) in numbers else []
    return [number for (byte, _), number in sorted(numbers.items()) if at <= byte < at + bits // 8]


WHICH = """\
#define SS_EQUAL
/* By thread, the class of equal ones that it is of, and its rows: as the caller says it (`ss_set_equal`). */
static i32 class_of[THREADS], row_first[THREADS], row_end[THREADS], there_are_equal;
#define THERE_ARE_EQUAL there_are_equal
static void equal_in_facts(void);

void ss_set_equal(const i32 *classes, const i32 *first, const i32 *end, int count)
{
	there_are_equal = 0;
	for (int t = 0; t < THREADS; t++) {
		there_are_equal |= t < count && classes[t] != t;
		class_of[t] = t < count ? classes[t] : t;
		row_first[t] = t < count ? first[t] : 0;
		row_end[t] = t < count ? end[t] : 0;
	}
	equal_in_facts();
}
"""

NO_FACTS = "static void equal_in_facts(void) { by_form = there_are_equal ? by_form | EQUAL : by_form & ~EQUAL; }"

_RENAME = """\
enum { NUMBER, A_SET, A_ROW }; /* what is held: see `_HOLDS` */
enum { MOST_NAMED = 8 * REGION + 1, MOST_ORDERS = 24 };

static inline i64 swapped(i64 value, int holds, int a, int b)
{
	if (holds == NUMBER)
		return value == a + 1 ? b + 1 : value == b + 1 ? a + 1 : value;
	i64 other = (value >> a ^ value >> b) & 1;
	return value ^ (other << a | other << b);
}

static inline i64 bits_at(const u8 *s, i64 at, int width, int shift, i64 mask) { return ldn(s + at, width) >> shift & mask; }

static inline void put_bits(u8 *s, i64 at, int width, int shift, i64 mask, i64 bits)
{
	stn(s + at, (ldn(s + at, width) & ~(mask << shift)) | bits << shift, width);
}

static inline void swap_bytes(u8 *a, u8 *b, i64 size)
{
	for (i64 i = 0; i < size; i++) {
		u8 byte = a[i];
		a[i] = b[i];
		b[i] = byte;
	}
}

static void swap_elements(u8 *s, int array, int i, int j)
{
	int one = ARRAY[array].first + i, other = ARRAY[array].first + j, bits = ARRAY[array].bits;
	if (bits >= 8) {
		swap_bytes(s + ELEMENT_AT[one], s + ELEMENT_AT[other], bits / 8);
		return;
	}
	i64 mask = (1 << bits) - 1, a = bits_at(s, ELEMENT_AT[one], 1, ELEMENT_SHIFT[one], mask), b = bits_at(s, ELEMENT_AT[other], 1, ELEMENT_SHIFT[other], mask);
	put_bits(s, ELEMENT_AT[one], 1, ELEMENT_SHIFT[one], mask, b);
	put_bits(s, ELEMENT_AT[other], 1, ELEMENT_SHIFT[other], mask, a);
}

/* Exchange two threads of one class: each has the other's name from now on. */
static void swap_threads(u8 *s, int a, int b)
{
	ss_named named[MOST_NAMED];
	for (int t = 0; t < THREADS; t++) {
		int count = counter_of(s, BASE[t]) ? live_named(s, BASE[t], named) : 0;
		for (int i = 0; i < count; i++) {
			const ss_named *n = &named[i];
			i64 old = bits_at(s, n->at, n->width, n->shift, n->mask) + n->low, new = old;
			if (n->holds != A_ROW)
				new = swapped(old, n->holds, a, b);
			else if (t == a || t == b)
				new += t == a ? row_first[b] - row_first[a] : row_first[a] - row_first[b];
			if (new != old)
				put_bits(s, n->at, n->width, n->shift, n->mask, new - n->low);
		}
	}
	swap_bytes(s + BASE[a], s + BASE[b], REGION);
	for (int i = 0; i < CELLS; i++) {
		i64 old = bits_at(s, CELL[i].at, CELL[i].width, CELL[i].shift, CELL[i].mask) + CELL[i].low;
		i64 new = old ? swapped(old, CELL[i].holds, a, b) : 0;
		if (new != old)
			put_bits(s, CELL[i].at, CELL[i].width, CELL[i].shift, CELL[i].mask, new - CELL[i].low);
	}
	for (int i = 0; i < MOVED; i++) {
		if (!ARRAY[i].rows)
			swap_elements(s, i, a + 1, b + 1);
		else
			for (int k = 0; k < row_end[a] - row_first[a]; k++)
				swap_elements(s, i, row_first[a] + k, row_first[b] + k);
	}
}

void ss_swap_threads(u8 *s, int a, int b) { swap_threads(s, a, b); }

/* A thread's place and locals, as they count for the order: without what has a name only when the order is known. */
static void key_of(const u8 *s, int t, u8 *key)
{
	ss_named named[MOST_NAMED];
	memcpy(key, s + BASE[t], REGION);
	int count = live_masked(s, BASE[t], named);
	for (int i = 0; i < count; i++)
		put_bits(key, named[i].at - BASE[t], named[i].width, named[i].shift, named[i].mask, 0);
	count = live_named(s, BASE[t], named);
	for (int i = 0; i < count; i++) {
		const ss_named *n = &named[i];
		i64 value = bits_at(s, n->at, n->width, n->shift, n->mask) + n->low, bits = 0;
		if (n->holds == A_ROW)
			bits = value - row_first[t];
		else if (n->holds == NUMBER && value)
			bits = value == t + 1 ? 1 : 2;
		put_bits(key, n->at - BASE[t], n->width, n->shift, n->mask, bits & n->mask);
	}
}

static i64 element_compared(const u8 *s, int array, int i, int j)
{
	int one = ARRAY[array].first + i, other = ARRAY[array].first + j, bits = ARRAY[array].bits;
	if (bits >= 8)
		return memcmp(s + ELEMENT_AT[one], s + ELEMENT_AT[other], (size_t)bits / 8);
	i64 mask = (1 << bits) - 1;
	return bits_at(s, ELEMENT_AT[one], 1, ELEMENT_SHIFT[one], mask) - bits_at(s, ELEMENT_AT[other], 1, ELEMENT_SHIFT[other], mask);
}

/* Which of two threads of a class comes first: below 0, the one; 0: it is not known. */
static i64 compared(const u8 *s, int a, int b)
{
	i64 by = counter_of(s, BASE[a]) - counter_of(s, BASE[b]);
	if (by)
		return by;
	if (counter_of(s, BASE[a])) {
		u8 one[REGION], other[REGION];
		key_of(s, a, one);
		key_of(s, b, other);
		by = memcmp(one, other, REGION);
	}
	for (int i = 0; i < CELLS && !by; i++) {
		i64 value = bits_at(s, CELL[i].at, CELL[i].width, CELL[i].shift, CELL[i].mask) + CELL[i].low;
		if (value)
			by = CELL[i].holds == NUMBER ? (value == a + 1) - (value == b + 1) : (value >> a & 1) - (value >> b & 1);
	}
	for (int i = 0; i < MOVED && !by; i++) {
		if (!ARRAY[i].rows)
			by = element_compared(s, i, a + 1, b + 1);
		else
			for (int k = 0; k < row_end[a] - row_first[a] && !by; k++)
				by = element_compared(s, i, row_first[a] + k, row_first[b] + k);
	}
	return by;
}

static void form_of_rest(u8 *s);

typedef struct {
	u8 best[STATE_SIZE];
	int is_there, orders;
	int run[THREADS], count; /* threads, the runs of those that nothing tells apart one after the other */
	int ends[THREADS]; /* by place in `run`: where its run ends */
} ss_orders;

/* All orders of what `run` has from a place on, of which the least form is kept. */
static void try_orders(ss_orders *o, const u8 *s, int from)
{
	u8 other[STATE_SIZE];
	if (from == o->count || o->orders == MOST_ORDERS) {
		o->orders++;
		memcpy(other, s, STATE_SIZE);
		form_of_rest(other);
		if (!o->is_there || memcmp(other, o->best, STATE_SIZE) < 0)
			memcpy(o->best, other, STATE_SIZE);
		o->is_there = 1;
		return;
	}
	try_orders(o, s, from + 1);
	for (int i = from + 1; i < o->ends[from]; i++) {
		memcpy(other, s, STATE_SIZE);
		swap_threads(other, o->run[from], o->run[i]);
		if (memcmp(other, s, STATE_SIZE))
			try_orders(o, other, from + 1);
	}
}

/*
 * Put equal threads in order, and give the rest its names. One that is told apart (-1: none is) becomes the first of its class, and
 * the others are put in order behind it. The result is what it is called then.
 */
static int form_in_order(u8 *s, int apart)
{
	ss_orders o;
	o.count = 0;
	o.is_there = o.orders = 0;
	if (apart >= 0 && class_of[apart] != apart) {
		swap_threads(s, apart, class_of[apart]);
		apart = class_of[apart];
	}
	for (int t = 0; t < THREADS; t++) {
		int mine[THREADS], count = 0;
		if (class_of[t] != t) /* a class has the number of its first thread */
			continue;
		for (int u = t; u < THREADS; u++)
			if (class_of[u] == t && u != apart)
				mine[count++] = u;
		for (int i = 1; i < count; i++)
			for (int j = i; j > 0 && compared(s, mine[j - 1], mine[j]) > 0; j--)
				swap_threads(s, mine[j - 1], mine[j]);
		for (int i = 0, end; i < count; i = end) {
			for (end = i + 1; end < count && !compared(s, mine[end - 1], mine[end]);)
				end++;
			int last = o.count + end - i;
			for (int k = i; end - i > 1 && k < end; k++) {
				o.run[o.count] = mine[k];
				o.ends[o.count++] = last;
			}
		}
	}
	if (!o.count) {
		form_of_rest(s);
		return apart;
	}
	try_orders(&o, s, 0);
	memcpy(s, o.best, STATE_SIZE);
	return apart;
}
"""
