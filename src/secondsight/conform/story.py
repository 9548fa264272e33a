"""A disagreement for people: the configuration, the schedule with the places of the C, both states side by side."""

from __future__ import annotations

from collections import Counter

from secondsight.conform.place import stops_of
from secondsight.conform.target import Target
from secondsight.conform.walk import Divergence
from secondsight.lang.reference import Reference

__all__ = ["tell"]


def tell(target: Target, release: str, found: Divergence) -> str:
    """The text."""
    lines = [f"{target.file} of {release} and linux/{target.model} differ: {found.what}", str(found.configuration)]
    lines += ["  schedule:", *_schedule(target, found)] if found.schedule else ["  before the first step"]
    before, model, c = (_fields(look) for look in (found.before, found.model, found.c))
    if model.keys() == c.keys() and len(model) > 1:
        rows = [(name, before.get(name, ""), model[name], c[name]) for name in model if model[name] != c[name]]
        widths = [max(len(row[i]) for row in [("", "before", "model", "the kernel's C"), *rows]) for i in range(4)]
        for row in [("", "before", "model", "the kernel's C"), *rows]:
            lines.append("  " + "  ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)).rstrip())
    else:
        lines += [f"  model:          {found.model or 'nothing'}", f"  the kernel's C: {found.c}"]
    return "\n".join(lines)


def _schedule(target: Target, found: Divergence) -> list[str]:
    """A line a step: the thread, where it was, where it came to."""
    reference = Reference(target.scene(found.configuration).program)
    boundaries = stops_of(reference.program, target.boundaries, target.file)
    state, lines = reference.initial, []
    for number, (thread, choices) in enumerate(found.schedule, 1):
        begun = boundaries[reference.counter(state, thread)]
        step = next(s for s in reference.successors(state) if (s.thread, s.choices) == (thread, choices))
        to = f"breaks {getattr(step.error, 'rule', step.error)}"
        if step.state is not None:
            state = step.state
            counter = reference.counter(state, thread)
            stop = boundaries[counter].stops[0] if counter else None
            to = f"{stop}" if counter and stop else "the same place" if counter else "its end"
        lines.append(f"  {number:4}  thread {thread}  {begun.function}: {begun.stop or 'the same place'} -> {to}")
    return lines


def _fields(look: str) -> dict[str, str]:
    """The parts of a look by name; of several of one name each has a number."""
    words = [word.partition("=") if "=" in word else ("result", "=", word) for word in look.split()]
    times = Counter(name for name, _, _ in words)
    found: dict[str, str] = {}
    count: dict[str, int] = {}
    for name, _, value in words:
        number = count[name] = count.get(name, -1) + 1
        found[f"{name}{number}" if times[name] > 1 else name] = value
    return found
