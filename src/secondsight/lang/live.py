"""Live locals in C: functions that tell where in a thread's region the wanted ones lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from secondsight.lang import ir
from secondsight.lang.cfg import CallTo
from secondsight.lang.program import Frame, Program

__all__ = ["Picked", "live_places", "table"]

Picked = Callable[[Frame, set[ir.Var]], list[str]]
"""Of a frame's live locals those that are wanted, as text."""


def table(kind: str, name: str, values: Sequence[int]) -> str:
    """An array of constants."""
    return f"static const {kind} {name}[] = {{ {', '.join(map(str, values or [0]))} }};"


def live_places(program: Program, name: str, kind: str, pick: Picked) -> list[str]:
    """A function that gives some of a thread's live locals, those of its callers too."""
    frames = list(program.frames.values())
    number = {id(f): i for i, f in enumerate(frames)}
    owner: dict[int, Frame] = {id(b.end): f for f in frames for b in f.flow.blocks if isinstance(b.end, CallTo)}

    def outs(texts: list[str]) -> str:
        return "".join(f" out[n++] = {text};" for text in texts)

    lines = [
        f"static int {name}(const u8 *s, i64 B, {kind} *out)",
        "{",
        "\tint n = 0, frame = -1;",
        "\tswitch (counter_of(s, B)) {",
    ]
    for counter in program.counters:
        slots = pick(counter.frame, counter.block.live_in)
        lines.append(f"\tcase {counter.number}:{outs(slots)} frame = {number[id(counter.frame)]}; break;")
    lines += ["\t}", "\tfor (;;)", "\t\tswitch (frame) {"]
    for frame in frames:
        if not frame.sites:
            continue
        lines += [f"\t\tcase {number[id(frame)]}:"]
        slot = frame.return_slot
        place = "1" if slot is None else slot.text(f"B + {slot.at}", str(slot.shift))
        lines += [f"\t\t\tswitch ({place}) {{"]
        for i, site in enumerate(frame.sites, 1):
            caller = owner[id(site)]
            slots = pick(caller, caller.flow.live_across(site))
            lines.append(f"\t\t\tcase {i}:{outs(slots)} frame = {number[id(caller)]}; break;")
        lines += ["\t\t\tdefault: return n;", "\t\t\t}", "\t\t\tbreak;"]
    return [*lines, "\t\tdefault: return n;", "\t\t}", "}"]
