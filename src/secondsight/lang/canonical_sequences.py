"""`rename_sequences(u8 *)` as C text: of all states that are alike but for their sequence numbers, one. See `lang.sequences`.

Old numbers are named in the order of first use, the shared state first, then the threads' locals: 1, 3, 5 and so on the odd ones,
2, 4, 6 the even ones; stale ones of one group and parity have one name. The least counter comes right behind. No number is named
by a greater one, so there is room for all wherever they lie.

A counter that *rests* never goes on: so a search may take it (`ss_rest`), and is void if one does (`ss_moved`). The least counter is one of the
others then. What a resting one holds keeps its name, and is nobody else's: it may be read at any time, as may the number before it.
"""

from __future__ import annotations

from secondsight.lang import ir
from secondsight.lang.live import Picked, live_places, table
from secondsight.lang.program import Frame, Program
from secondsight.lang.sequences import Sequences, Spots, places
from secondsight.lang.types import IntType

__all__ = ["rename_sequences"]

NO_GROUP = -1


def rename_sequences(program: Program, sequences: Sequences) -> list[str]:
    """The text of `rename_sequences(u8 *)`."""
    spots = sequences.spots_of(program)
    known = list(places(program.layout))
    counters = [(at, kind) for at, field, kind in known if field in spots.counters]
    copies = [(at, kind, spots.groups.get(field, NO_GROUP)) for at, field, kind in known if field not in spots.counters]
    width = known[0][2].width
    groups = max(spots.groups.values(), default=NO_GROUP) + 1
    return [
        f"enum {{ COUNTERS = {len(counters)}, COPIES = {len(copies)}, GROUPS = {groups}, SEQUENCE_WIDTH = {width}, BEFORE_IT = {int(spots.before)} }};",
        table("u16", "COUNTER_AT", [at for at, _ in counters]),
        table("u16", "COPY_AT", [at for at, _, _ in copies]),
        table("signed char", "COPY_GROUP", [group for _, _, group in copies]),
        "typedef struct { i64 at, low; i32 width, group, shift; i64 mask; } ss_copy;",
        *live_places(program, "live_copies", "ss_copy", _copies(spots)),
        f"enum {{ MOST_COPIES = COPIES + THREADS * {8 * program.region} + 1 }};",
        _RENAME,
    ]


def _copies(spots: Spots) -> Picked:
    """The locals that hold numbers: where they lie, their least value, their width, their group, which bits."""

    def pick(frame: Frame, live: set[ir.Var]) -> list[str]:
        texts = []
        for var in sorted((v for v in live if v in frame.slots and spots.has(v)), key=lambda v: frame.slots[v].end):
            assert isinstance(var.type, IntType)
            slot = frame.slots[var]
            parts = slot.at, slot.low, slot.width, spots.groups.get(var, NO_GROUP), slot.shift, (1 << slot.bits) - 1
            texts.append("(ss_copy){{ B + {}, {}, {}, {}, {}, {} }}".format(*parts))
        return texts

    return pick


_RENAME = """\
/* An old number, the group of the spots that hold it (-1: not of one group), and its name. */
typedef struct { i64 value, name; int group; } ss_old;

enum { MAY_REST = COUNTERS < 31 ? COUNTERS : 31 };

/* The counters that rest, what each holds, the greatest of these, and those that were seen to go on after all. */
static struct { u32 which, moved; i64 most, at[COUNTERS]; } rests;

static inline int is_resting(int counter) { return COUNTERS > 1 && counter < MAY_REST && rests.which >> counter & 1; }

/* Whether an old number keeps its name: it is what a counter holds that rests, or the one before. */
static inline int stays(i64 value)
{
	for (int i = 0; COUNTERS > 1 && rests.which && i < MAY_REST; i++)
		if (is_resting(i) && (value == rests.at[i] || (BEFORE_IT && value == rests.at[i] - 1)))
			return 1;
	return 0;
}

/* Take it that these counters rest, with what they hold in a state: a bit for each. */
void ss_rest(const u8 *s, u32 which)
{
	rests.which = which;
	rests.moved = 0;
	rests.most = 0;
	for (int i = 0; i < COUNTERS; i++) {
		rests.at[i] = ldn(s + COUNTER_AT[i], SEQUENCE_WIDTH);
		if (is_resting(i) && rests.at[i] > rests.most)
			rests.most = rests.at[i];
	}
}

int ss_moved(void) { return (int)__atomic_load_n(&rests.moved, __ATOMIC_RELAXED); }

/* Those that may rest. */
int ss_may_rest(void) { return COUNTERS < 2 ? 0 : (int)((1u << MAY_REST) - 1); }

static void rename_sequences(u8 *s)
{
	ss_copy copies[MOST_COPIES];
	ss_old old[MOST_COPIES];
	i64 values[MOST_COPIES], stale[GROUPS + 1][2], next[2] = { 2, 1 }, least = -1, top = rests.most;
	u16 which[MOST_COPIES];
	int count = 0, olds = 0;
	for (int i = 0; i < COUNTERS; i++) {
		i64 value = ldn(s + COUNTER_AT[i], SEQUENCE_WIDTH);
		if (is_resting(i)) {
			if (value != rests.at[i])
				__atomic_or_fetch(&rests.moved, 1u << i, __ATOMIC_RELAXED);
		} else if (least < 0 || value < least)
			least = value;
	}
	i64 present = least - BEFORE_IT;
	if (present <= 1 || present <= rests.most) /* there are no old numbers, nor can one be less; or not all that rest are old */
		return;
	for (int i = 0; i < COPIES; i++)
		copies[count++] = (ss_copy){ COPY_AT[i], 0, SEQUENCE_WIDTH, COPY_GROUP[i], 0, -1 };
	for (int t = 0; t < THREADS; t++)
		count += live_copies(s, BASE[t], copies + count);
	for (int i = 0; i < count; i++) {
		i64 value = values[i] = (ldn(s + copies[i].at, copies[i].width) >> copies[i].shift & copies[i].mask) + copies[i].low;
		if (!value || value >= present || stays(value))
			continue;
		int k = 0;
		while (k < olds && old[k].value != value)
			k++;
		if (k == olds)
			old[olds++] = (ss_old){ value, 0, copies[i].group };
		else if (old[k].group != copies[i].group)
			old[k].group = -1;
		which[i] = (u16)k;
	}
	memset(stale, 0, sizeof stale);
	for (int k = 0; k < olds; k++) {
		int odd = old[k].value & 1;
		i64 *name = old[k].group < 0 ? &old[k].name : &stale[old[k].group][odd];
		if (!*name) {
			while (stays(next[odd]))
				next[odd] += 2;
			*name = next[odd];
			next[odd] += 2;
			top = *name > top ? *name : top;
		}
		old[k].name = *name;
	}
	i64 shift = (present - top - 1) / 2 * 2; /* even, and what is present stays greater than any name */
	for (int i = 0; i < count; i++) {
		const ss_copy *c = &copies[i];
		i64 value = values[i];
		if (value >= present)
			value -= shift;
		else if (value && !stays(value))
			value = old[which[i]].name;
		stn(s + c->at, (ldn(s + c->at, c->width) & ~(c->mask << c->shift)) | (value - c->low) << c->shift, c->width);
	}
	for (int i = 0; i < COUNTERS; i++)
		if (!is_resting(i))
			stn(s + COUNTER_AT[i], ldn(s + COUNTER_AT[i], SEQUENCE_WIDTH) - shift, SEQUENCE_WIDTH);
}
"""
