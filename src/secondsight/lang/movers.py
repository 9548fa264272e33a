"""Merged steps in the rendered text: what is noted of a step, and where the locks lie. See `search/movers.c`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from secondsight.lang.canonical_equal import equal_threads_in_facts
from secondsight.lang.layout import Layout
from secondsight.lang.locks import Lock, RwLock
from secondsight.lang.program import Program
from secondsight.lang.symmetry import EQUAL, Symmetry

__all__ = ["MOST_LOCKS", "Reductions", "merged_steps", "notes_before"]

MOST_LOCKS = 63

NOTES = """\
#include <stdint.h>
#include <stdlib.h>
#define SS_NOTED \\
	int noted, waits, acquires, queues, alone, inside, merged, ward, kept, obstacle, stands, counts, counted; \\
	const uint8_t *waits_at; \\
	void *aside; \\
	uint64_t dice; \\
	uint16_t places[PLACES]; \\
	uint8_t ways[PLACES];
#define RD(place) ss_touch(x, place, READ)
#define WR(place) ss_touch(x, place, WRITE)
#define WRITES_ALL(place) writing_all(&(x)->noted, (x)->places, (x)->ways, place)
#define LK(place) ss_touch(x, place, LOCK)
#define RZ(place) ss_touch(x, place, ZERO)
#define CT(place) counting(&(x)->noted, (x)->places, (x)->ways, place, x->counts)
#define NO(place) (place)
#define LW(place) ss_touch(x, place, LOOK)
#define LO(place) ss_touch(x, place, x->alone ? READ : LOCK)
#define QU(place) (x->queues = 1, ss_touch(x, place, x->alone ? WRITE : LOCK))
#define FIRST_CHOICE(count) (x->dice ? (i32)(ss_roll(x) % (u64)(count)) : 0)
#define ss_touch(x, place, way) noting(&(x)->noted, (x)->places, (x)->ways, place, way)
#define ss_roll(x) rolled(&(x)->dice)
enum { READ, WRITE, LOCK, QUERY, LOOK, ZERO, UP, DOWN, WAYS };

/*
 * Keep in mind that a step touches a number of the shared state, and how; the place itself, which is that of its byte, and as many
 * times the size of the shared state as its lowest bit says. PLACE_AT counts the places that there are.
 */
static inline int64_t noting(int *noted, uint16_t *places, uint8_t *ways, int64_t place, int way)
{
	uint16_t at = (uint64_t)place < 8 * SHARED_SIZE ? PLACE_AT[place] : 0;
	if (at && !(ways[at] >> way & 1)) {
		if (!ways[at])
			places[(*noted)++] = at;
		ways[at] |= (uint8_t)(1 << way);
	}
	return place;
}
/* The same of one that is counted; twice in one step it is as good as written. */
static inline int64_t counting(int *noted, uint16_t *places, uint8_t *ways, int64_t place, int way)
{
	uint16_t at = (uint64_t)place < 8 * SHARED_SIZE ? PLACE_AT[place] : 0;
	return noting(noted, places, ways, place, at && ways[at] & (1 << UP | 1 << DOWN) ? WRITE : way);
}
/* The same of a write to every number that lies in a byte. */
static inline void writing_all(int *noted, uint16_t *places, uint8_t *ways, int64_t place)
{
	for (int shift = 0; shift < 8; shift++)
		noting(noted, places, ways, place + shift * SHARED_SIZE, WRITE);
}
static inline uint64_t rolled(uint64_t *dice)
{
	*dice ^= *dice << 13;
	*dice ^= *dice >> 7;
	*dice ^= *dice << 17;
	return *dice >> 11;
}
"""


@dataclass(frozen=True, slots=True)
class Reductions:
    """Which reductions a search makes: `merge` of steps that others cannot tell apart, `symmetry`: states that are the same up to
    renaming interchangeable records, sequence numbers and equal threads are one."""

    merge: bool = True
    symmetry: bool = True

    @classmethod
    def none(cls) -> Reductions:
        """No reduction at all."""
        return cls(merge=False, symmetry=False)


def notes_before(layout: Layout) -> list[str]:
    """What comes before the rendered model: how a step notes what it touches."""
    numbers = _numbered(layout)
    table = ", ".join(str(numbers.get((at, shift), 0)) for shift in range(8) for at in range(layout.shared_size))
    sizes = f"enum {{ SHARED_SIZE = {layout.shared_size}, PLACES = {len(numbers) + 1} }};"
    return ["#include <stdint.h>", sizes, f"static const uint16_t PLACE_AT[] = {{ {table} }};", NOTES]


def _numbered(layout: Layout) -> dict[tuple[int, int], int]:
    """The places that steps note, by byte and lowest bit, numbered from 1 on."""
    return {place: number for number, place in enumerate(sorted(layout.places()), 1)}


def lock_places(layout: Layout) -> list[tuple[int, int]]:
    """Each lock's bytes: its owner's, its readers' (0 if it has none). Those beyond the most that are looked at protect nothing."""
    found = [(at + layout.offset(Lock, "owner"), 0) for at in layout.instances_below(Lock)]
    found += [
        (at + layout.offset(RwLock, "owner"), at + layout.offset(RwLock, "readers")) for at in layout.instances_below(RwLock)
    ]
    return sorted(found)[:MOST_LOCKS]


def merged_steps(program: Program, symmetry: Symmetry | None = None) -> list[str]:
    """What comes after the rendered model: the locks, and `step_at` that merges."""
    layout = program.layout
    places = lock_places(layout)
    numbers = _numbered(layout)
    at = [0] * (len(numbers) + 1)
    for number, (owner, readers) in enumerate(places, 1):
        at[numbers[owner, 0]] = number
        if readers:
            at[numbers[readers, 0]] = number
    owners, readers_ = ", ".join(str(o) for o, _ in places), ", ".join(str(r) for _, r in places)
    to_queue = layout.offset(RwLock, "waiting") - layout.offset(RwLock, "readers")
    same = ["#define SAME_AS(place) (place)"]
    renames = 0
    equal = ["#define STANDS(t, u, place) (place)", "#define PAIR(t, u) [t][u]", "#define THERE_ARE_EQUAL 0"]
    if symmetry is not None:
        renames = symmetry.renames
        if symmetry.threads is not None:
            renames |= EQUAL
            equal = equal_threads_in_facts(program, symmetry.threads, numbers)
    if symmetry is not None and symmetry.arrays:  # what is learned of one record holds for all that it may be renamed to
        same_as = symmetry.same_as(layout.shared_size)
        stands_for = ", ".join(str(numbers[same_as[byte], shift]) for byte, shift in numbers)
        same = [f"static const u16 STANDS_FOR[] = {{ 0, {stands_for} }};", "#define SAME_AS(place) STANDS_FOR[place]"]
    return [
        f"enum {{ LOCKS = {len(places)}, TO_QUEUE = {to_queue} }};",
        f"static const u16 LOCK_OWNER[] = {{ {owners or 0} }}, LOCK_READERS[] = {{ {readers_ or 0} }};",
        f"static const u8 LOCK_AT[] = {{ {', '.join(map(str, at))} }};",
        *same,
        *equal,
        f"#define SS_RENAMES {renames}",
        *(resources.files("secondsight.search").joinpath(name).read_text() for name in ("movers.c", "mover_facts.c", "merged_steps.c")),
    ]
