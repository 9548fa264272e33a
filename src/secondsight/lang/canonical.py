"""`canonical(u8 *, int)` as C text: of all states that are the same up to renaming, one.

Where a thread is told apart, -1 if none is, the states count together with it: it becomes the first of those that are equal to it, which the
form is known by too (`engine_bounds.c`). The result is the thread's name then.

Equal threads are put in order first (`lang.canonical_equal`), sequence numbers are renamed last (`lang.canonical_sequences`). Interchangeable
records are renamed in the order of first use: the shared references from the start of the state on, the threads' locals, the numbers
in these, then the references within records already renamed; unused records go by their contents. Any renaming would be sound
(`lang.symmetry` says why): the order only decides how many states fall together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from secondsight.lang import ir
from secondsight.lang.canonical_equal import equal_threads
from secondsight.lang.canonical_sequences import rename_sequences
from secondsight.lang.live import Picked, live_places, table
from secondsight.lang.numbers import Kind
from secondsight.lang.program import Frame, Program
from secondsight.lang.slots import Slot
from secondsight.lang.symmetry import EQUAL, RECORDS, SEQUENCES, Interchangeable, Symmetry, numbers_of, references
from secondsight.lang.types import IntType

__all__ = ["canonical"]

MOST_SHORT = 128
"""Numbers that a reference of less than a byte can be."""
NOWHERE = "{ 0, 0, 0, 0 }"


class _Forms:
    """The forms that references to the records are stored in, and what each number in one of them stands for: a record's offset, or, of a
    form with a number, one of its own records.

    `same`: the numbers of the interchangeable records, through all arrays, by their offsets.
    """

    def __init__(self, arrays: Sequence[Interchangeable]) -> None:
        offsets = [a.base + i * a.stride for a in arrays for i in range(a.count)]
        self.same = {at: number for number, at in enumerate(offsets)}
        self.known: dict[tuple[int, ...], int] = {}

    def place(self, at: str, slot: Slot) -> str:
        """A place with what it needs to be read: its lowest bit, its mask, its form."""
        form = self.known.setdefault(tuple(slot.records or ()), len(self.known) + 1) if slot.short else 0
        return f"{{ (u16)({at}), {slot.shift}, {0 if form == 0 else (1 << slot.bits) - 1}, {form} }}"

    def tables(self) -> list[str]:
        """Which of the records each number stands for, and the number of each record, by form."""
        rows, numbers = [], []
        for records in self.known:
            rows.append(", ".join(str(self.same.get(at, -1)) for at in (*records, *[0] * (MOST_SHORT - len(records)))))
            numbers.append(", ".join(str(records.index(at) if at in records else 0) for at in self.same))
        each = [f"{{ {row} }}" for row in rows or ["-1"]], [f"{{ {row} }}" for row in numbers or ["0"]]
        return [
            f"static const short SAME_OF[][{MOST_SHORT}] = {{ {', '.join(each[0])} }};",
            f"static const u8 NUMBER_OF[][SAMES] = {{ {', '.join(each[1])} }};",
        ]


def _slots(symmetry: Symmetry, forms: _Forms) -> Picked:
    """Those that can refer to one of the records: where they lie."""

    def pick(frame: Frame, live: set[ir.Var]) -> list[str]:
        slots = sorted((frame.slots[v] for v in live if v in frame.slots and symmetry.names(v.type)), key=lambda slot: slot.end)
        return [f"(ss_reference){forms.place(f'B + {slot.at}', slot)}" for slot in slots if slot.bits]

    return pick


def _numbers(program: Program, symmetry: Symmetry) -> Picked:
    """Those that are numbers of the records: where they lie, their least value, their width, of which array, which bits."""
    known = [numbers_of(program, array) for array in symmetry.arrays]

    def pick(frame: Frame, live: set[ir.Var]) -> list[str]:
        places = []
        for var in sorted((v for v in live if v in frame.slots), key=lambda v: frame.slots[v].end):
            for array, numbers in enumerate(known):
                kind = numbers.kind(var)
                if isinstance(var.type, IntType) and kind in (Kind.FOUND, Kind.PLACE):
                    slot = frame.slots[var]
                    parts = slot.at, slot.low, slot.width, array, slot.shift, (1 << slot.bits) - 1
                    places.append("(ss_number){{ B + {}, {}, {}, {}, {}, {} }}".format(*parts))
        return places

    return pick


def canonical(program: Program, symmetry: Symmetry) -> list[str]:
    """The text of `canonical(u8 *, int)`."""
    lines, calls = ["#define SS_CANONICAL"], []
    equal = symmetry.threads
    if symmetry.arrays:
        lines += _rename_records(program, symmetry)
        calls.append(f"if (RENAMES({RECORDS})) rename_records(s);")
    if symmetry.sequences is not None:
        lines += rename_sequences(program, symmetry.sequences)
        calls.append(f"if (RENAMES({SEQUENCES})) rename_sequences(s);")
    lines.append("#define RENAMES(what) (by_form & (what))")
    lines += equal_threads(program, equal, _renamed_later(program, symmetry)) if equal is not None else []
    rest = ["static void form_of_rest(u8 *s)", "{", *(f"\t{call}" for call in calls), "\t(void)s;", "}"]
    form = [f"\tif (RENAMES({EQUAL}))", "\t\treturn form_in_order(s, apart);"] if equal is not None else []
    whole = ["static int canonical(u8 *s, int apart)", "{", *form, "\tform_of_rest(s);", "\treturn apart;", "}"]
    return [*lines, *rest, *whole, "int ss_canonical(u8 *s, int apart) { return canonical(s, apart); }"]


def _renamed_later(program: Program, symmetry: Symmetry) -> Callable[[ir.Var], bool]:
    """Whether a local holds a reference to one of the records, a number of one, or a sequence number."""
    numbers = [numbers_of(program, array) for array in symmetry.arrays]
    spots = symmetry.sequences.spots_of(program) if symmetry.sequences is not None else None

    def is_renamed(var: ir.Var) -> bool:
        return symmetry.names(var.type) or any(n.kind(var) in (Kind.FOUND, Kind.PLACE) for n in numbers) or (spots is not None and spots.has(var))

    return is_renamed


def _rename_records(program: Program, symmetry: Symmetry) -> list[str]:
    """The text of `rename_records(u8 *)`."""
    layout, arrays = program.layout, symmetry.arrays
    width = layout.ref_width
    forms = _Forms(arrays)
    places = list(references(layout, symmetry.names))
    outside = [forms.place(str(p), slot) for p, slot in places if not symmetry.inside(p)]
    within = [[forms.place(str(p - a.base), slot) for p, slot in places if a.base <= p < a.base + a.stride] for a in arrays]
    live = live_places(program, "live_references", "ss_reference", _slots(symmetry, forms))
    firsts = [0, *accumulate(a.count for a in arrays)]
    reference = "REF[s[at]]" if layout.numbered else "s[at]" if width == 1 else "l2(s + at)"
    store = "s[at] = NUM[to]" if layout.numbered else "s[at] = (u8)to" if width == 1 else "s2(s + at, to)"
    return [
        "#define ALWAYS_INLINE inline __attribute__((always_inline))",
        f"enum {{ ARRAYS = {len(arrays)}, SAMES = {sum(a.count for a in arrays)}, OUTSIDE = {len(outside)}, WITHIN = {sum(map(len, within))} }};",
        table("u16", "SAME_AT", [a.base for a in arrays]),
        table("u16", "SAME_SIZE", [a.stride for a in arrays]),
        table("u16", "SAME_COUNT", [a.count for a in arrays]),
        "/* Records are numbered through all arrays: array a has SAME_FIRST[a] to before SAME_FIRST[a + 1]. */",
        table("u16", "SAME_FIRST", firsts),
        table("u16", "PLACE_OF", [a.base + i * a.stride for a in arrays for i in range(a.count)]),
        table("u8", "ARRAY_OF", [n for n, a in enumerate(arrays) for _ in range(a.count)]),
        f"enum {{ LARGEST_ARRAY = {max(a.stride * a.count for a in arrays)} }};",
        "/* Where a reference lies: its byte, its lowest bit there, the mask of its bits, its form. Of form 0 it is in whole bytes. */",
        "typedef struct { u16 at; u8 shift, mask, form; } ss_reference;",
        *forms.tables(),
        f"static const ss_reference OUTSIDE_AT[] = {{ {', '.join(outside or [NOWHERE])} }};",
        f"static const ss_reference WITHIN_AT[] = {{ {', '.join([p for own in within for p in own] or [NOWHERE])} }};",
        table("u16", "WITHIN_FIRST", [0, *accumulate(len(own) for own in within)]),
        table("u8", "STAYS", [int(i in a.fixed) for a in arrays for i in range(a.count)]),
        f"static inline i64 reference_at(const u8 *s, i64 at) {{ return {reference}; }}",
        f"static inline void refer_to(u8 *s, i64 at, i64 to) {{ {store}; }}",
        "/* The record that a reference is to; -1: none of them. */",
        "static ALWAYS_INLINE int which(i64 reference)",
        "{",
        *(
            f"\tif (reference >= {a.base} && reference < {a.base + a.stride * a.count}) return {first} + (int)((reference - {a.base}) / {a.stride});"
            for a, first in zip(arrays, firsts, strict=False)
        ),
        "\treturn -1;",
        "}",
        "typedef struct { i64 at, low; i32 width, array, shift; i64 mask; } ss_number;",
        *live,
        *live_places(program, "live_numbers", "ss_number", _numbers(program, symmetry)),
        f"enum {{ MOST_REFERENCES = OUTSIDE + THREADS * {8 * program.region} + 1, MOST_NUMBERS = THREADS * {8 * program.region} + 1 }};",
        _MOVE,
        *_for_each("order_unused(const u8 *s, const u8 *known, u16 *name, const u16 *next)", "order(s, known, name, next[{n}], {at})", symmetry),
        *_for_each("move_all(u8 *s, const u16 *name)", "move(s, name, {at})", symmetry),
        _RENAME,
    ]


def _for_each(head: str, call: str, symmetry: Symmetry) -> list[str]:
    """A function that does something with each array, of which the compiler knows the numbers."""
    first = [0, *accumulate(a.count for a in symmetry.arrays)]
    places = [f"{a.base}, {a.stride}, {first[n]}, {a.count}" for n, a in enumerate(symmetry.arrays)]
    calls = [f"\t{call.format(n=n, at=at)};" for n, at in enumerate(places)]
    return [f"static inline void {head}", "{", *calls, "}"]


_MOVE = """\
/* The records from `first` on, of an array at `at`: those that nobody refers to are named by their contents. */
static ALWAYS_INLINE void order(const u8 *s, const u8 *known, u16 *name, u16 next, i64 at, int size, int first, int count)
{
	int rest[SAMES], left = 0;
	for (int i = 0; i < count; i++) {
		if (known[first + i])
			continue;
		int j = left++;
		while (j > 0 && memcmp(s + at + rest[j - 1] * size, s + at + i * size, (size_t)size) > 0) {
			rest[j] = rest[j - 1];
			j--;
		}
		rest[j] = i;
	}
	for (int j = 0; j < left; j++) {
		while (STAYS[next])
			next++;
		name[first + rest[j]] = next++;
	}
}

/* The records of an array go where their names say. */
static ALWAYS_INLINE void move(u8 *s, const u16 *name, i64 at, int size, int first, int count)
{
	u8 moved[LARGEST_ARRAY];
	for (int i = 0; i < count; i++)
		memcpy(moved + (name[first + i] - first) * size, s + at + i * size, (size_t)size);
	memcpy(s + at, moved, (size_t)(size * count));
}
"""

_RENAME = """\
/* The record that a reference is to, `from` bytes further on than it says; -1: none of them. */
static ALWAYS_INLINE int same_at(const u8 *s, i64 from, const ss_reference *r)
{
	return r->form ? SAME_OF[r->form - 1][s[from + r->at] >> r->shift & r->mask] : which(reference_at(s, from + r->at));
}

static ALWAYS_INLINE void renamed(u8 *s, i64 from, const ss_reference *r, const u16 *name)
{
	int i = same_at(s, from, r);
	i64 at = from + r->at;
	if (i >= 0 && r->form)
		s[at] = (u8)((s[at] & ~(r->mask << r->shift)) | NUMBER_OF[r->form - 1][name[i]] << r->shift);
	else if (i >= 0)
		refer_to(s, at, PLACE_OF[name[i]]);
}

static inline i64 number_at(const u8 *s, const ss_number *n) { return (ldn(s + n->at, n->width) >> n->shift & n->mask) + n->low; }

/* Rename the interchangeable records in the order of their first use. */
static void rename_records(u8 *s)
{
	ss_reference places[MOST_REFERENCES];
	ss_number numbers[MOST_NUMBERS];
	u16 name[SAMES], next[ARRAYS];
	u8 known[SAMES];
	int count = 0, counted = 0, looked = 0, within = 0, last = 0, changed = 0;
	for (int i = 0; i < OUTSIDE; i++)
		places[count++] = OUTSIDE_AT[i];
	for (int t = 0; t < THREADS; t++) {
		count += live_references(s, BASE[t], places + count);
		counted += live_numbers(s, BASE[t], numbers + counted);
	}
	int queue[SAMES], queued = 0;
	for (int i = 0; i < SAMES; i++) {
		known[i] = STAYS[i];
		name[i] = (u16)i;
		if (STAYS[i])
			queue[queued++] = i;
	}
	for (int a = 0; a < ARRAYS; a++)
		next[a] = SAME_FIRST[a];
	int k = 0, number = 0;
	i64 from = 0;
	for (;;) {
		int i, a;
		if (k < count) {
			i = same_at(s, 0, &places[k++]);
		} else if (number < counted) {
			const ss_number *n = &numbers[number++];
			i64 place = number_at(s, n);
			i = place >= 0 && place < SAME_COUNT[n->array] ? SAME_FIRST[n->array] + (int)place : -1;
		} else if (within < last) {
			i = same_at(s, from, &WITHIN_AT[within++]);
		} else if (WITHIN && looked < queued) {
			a = ARRAYS == 1 ? 0 : ARRAY_OF[queue[looked]];
			from = PLACE_OF[queue[looked++]];
			within = WITHIN_FIRST[a];
			last = WITHIN_FIRST[a + 1];
			continue;
		} else
			break;
		if (i < 0 || known[i])
			continue;
		a = ARRAYS == 1 ? 0 : ARRAY_OF[i];
		while (STAYS[next[a]]) /* ends: i has no name yet, so a place is free */
			next[a]++;
		known[i] = 1;
		name[i] = next[a]++;
		queue[queued++] = i;
	}
	order_unused(s, known, name, next);
	for (int i = 0; i < SAMES; i++)
		changed |= name[i] != i;
	if (!changed)
		return;
	move_all(s, name);
	for (int a = 0; a < ARRAYS; a++)
		for (int i = SAME_FIRST[a]; i < SAME_FIRST[a + 1]; i++)
			for (int j = WITHIN_FIRST[a]; j < WITHIN_FIRST[a + 1]; j++)
				renamed(s, PLACE_OF[i], &WITHIN_AT[j], name);
	for (int i = 0; i < count; i++)
		renamed(s, 0, &places[i], name);
	for (int i = 0; i < counted; i++) {
		const ss_number *n = &numbers[i];
		int first = SAME_FIRST[n->array];
		i64 old = number_at(s, n), new = old;
		if (old >= 0 && old < SAME_COUNT[n->array])
			new = name[first + old] - first;
		stn(s + n->at, (ldn(s + n->at, n->width) & ~(n->mask << n->shift)) | (new - n->low) << n->shift, n->width);
	}
}
"""
