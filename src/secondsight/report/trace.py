"""A broken rule as something one can paste into a mail, and as JSON that can be replayed.

    MyGpu (munmap: reads): stale access: the device used a frame that the CPU no longer has there
    rule: as-if-cpu (contract/coherence.py)   shortest of 219 states, 18 steps

    cpu                                   gpu
    ---                                   ---
                                          read(va=0)
                                            fault(va=0)
    ...
"""

from __future__ import annotations

import inspect
import linecache
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.text import Text

import secondsight
from secondsight.lang import Char, LangError, Record, SpinLock
from secondsight.lang.errors import FreedTwice, UseAfterFree
from secondsight.lang.plain import PlainEvent, PlainStep
from secondsight.lang.program import Counter, Program
from secondsight.lang.reference import Reference
from secondsight.lang.types import resolve
from secondsight.linux.mmu_notifier_hlist import NonBlock
from secondsight.report.columns import rows
from secondsight.report.fold import folded
from secondsight.report.form import MAIL, Form
from secondsight.report.panels import panels, words_of
from secondsight.report.story import Besides, Look, StoryLine, tell
from secondsight.report.token import token_of
from secondsight.report.words import is_harness, page_or_error, short, statement
from secondsight.search import Result, Step, Trace, Violation
from secondsight.search.lock_order import told_lock
from secondsight.world.cpu_view import address_space_of, cpu_view

__all__ = [
    "SCHEMA", "Telling", "busy", "letter", "mail", "mail_of", "result_to_json", "short_path", "tell_result", "tell_run", "tell_saved", "tell_way",
    "trace_from_json", "trace_to_json",
]  # fmt: skip

SCHEMA = 1
"""The version of the JSON forms (docs/json.md)."""

_HOUSE = Path(secondsight.__file__).parent
_STYLES = {"broken": "bold red", "at": "bold", "freed": "bold", "round": "bold", "folded": "dim"}
"""How a line looks on a terminal, by its mark."""


@dataclass(frozen=True, slots=True)
class Telling:
    """A trace with all that is said of it, whatever form it is then given: what went wrong, the rule and its file, how it came about,
    the command that replays it (`again`, or nothing), the lines of its story, and its steps as they ran."""

    title: str
    program: Program
    violation: Violation
    message: str
    rule_file: str
    origin: str
    again: str
    entries: list[StoryLine]
    steps: list[PlainStep]


def mail(title: str, program: Program, result: Result, again: Callable[[str], str] | None = None) -> str:
    """The result's trace in the two-column form, at most 80 columns wide; see `tell_result`."""
    return letter(tell_result(title, program, result, again)).plain


def mail_of(title: str, program: Program, violation: Violation) -> str:
    """A saved trace in the same form; its steps are told in the order they have, each with its number."""
    return letter(tell_saved(title, program, violation), numbered=True).plain


def tell_result(
    title: str, program: Program, result: Result, again: Callable[[str], str] | None = None, look: Look | None = None
) -> Telling:
    """The result's trace. `title` says what breaks: a driver, and against what. `again` makes of the trace's token (see `report.token`) the command that
    replays it. `look`: see `story.tell`.

    The trace is replayed in plain execution on the way. Raises `Disagreement` if that does not take it.
    """
    if result.violation is None:
        raise ValueError("this result has no broken rule to tell")
    violation = result.violation.untangle(Reference(program))
    origin = f"shortest of {result.states:,} states, " if result.shortest else f"found in {result.states:,} states, "
    token = token_of(program, violation) if again is not None else None
    return _tell(title, program, violation, origin, "" if again is None or token is None else again(token), look)


def tell_saved(title: str, program: Program, violation: Violation, look: Look | None = None) -> Telling:
    """A saved trace, its steps in the order they have. Raises `Disagreement` as `tell_result` does."""
    steps = violation.trace.replay(program)
    where = getattr(steps[-1].error, "where", None) if steps else None
    return _tell(title, program, replace(violation, where=where), "", "", look)


def tell_way(title: str, program: Program, way: Trace, look: Look | None = None) -> Telling:
    """A shortest way to an end that a run can have; nothing is broken in it."""
    violation = Violation("", "a run can end so", None, way).untangle(Reference(program))
    return _tell(title, program, violation, "a shortest way, ", "", look)


def tell_run(title: str, program: Program, violation: Violation, besides: Besides) -> Telling:
    """A run with some lines that a trace would not have; `violation` without a rule: it breaks none. Raises `Disagreement` as
    `tell_result` does."""
    return _tell(title, program, violation, "", "", None, besides)


def _tell(
    title: str, program: Program, violation: Violation, origin: str, again: str, look: Look | None, besides: Besides | None = None
) -> Telling:
    entries, steps = tell(program, violation.trace, look, besides)
    if violation.rule:
        entries += _end(program, violation, steps, entries)
    _tell_free(entries, steps)
    if violation.loop:
        start = len(violation.trace) - violation.loop
        place = next((i for i, entry in enumerate(entries) if entry.step >= start), len(entries))
        entries.insert(place, StoryLine(violation.trace.steps[start].thread, 0, "(from here round for ever:)", step=start, mark="round"))
    message, file = _message(program, violation, steps), _rule_file(program, violation)
    return Telling(title, program, violation, message, file, f"{origin}{len(violation.trace)} steps", again, entries, steps)


def letter(told: Telling, numbered: bool = False, form: Form = MAIL) -> Text:
    """A trace as a mail has it, or in another form, with colours for a terminal. `numbered`: each line with the number of its step."""
    text = Text()
    for line in textwrap.wrap(f"{told.title}: {told.message}" if told.message else told.title, form.width):
        text.append(f"{line}\n", "bold")
    for line in _rule_line(told, form.width) if told.violation.rule else ():
        text.append(f"{line}\n")
    text.append("\n")
    names = [thread.name for thread in told.program.threads]
    for line, entry in rows(*busy(names, folded(told.entries) if form.folded else told.entries), numbered, form.width):
        text.append(f"{line.rstrip()}\n", _STYLES.get(entry.mark) if entry is not None else None)
    return text.append(f"\n{told.again}\n") if told.again else text


def busy(names: list[str], entries: list[StoryLine]) -> tuple[list[str], list[StoryLine]]:
    """Without the threads that have no line."""
    busy = sorted({entry.thread for entry in entries})
    return [names[i] for i in busy], [replace(entry, thread=busy.index(entry.thread)) for entry in entries]


def _rule_line(told: Telling, width: int) -> list[str]:
    """The rule, the file it is written in, and how the trace was found; of a way that breaks none the last alone."""
    if not told.violation.rule:
        return [told.origin]
    rule = f"rule: {told.violation.rule}"
    if told.rule_file:
        rule += f" ({told.rule_file})"
    if len(rule) + 3 + len(told.origin) > width:
        return [rule, told.origin]
    return [rule.ljust(width - len(told.origin)) + told.origin]


def _rule_file(program: Program, violation: Violation) -> str:
    of_rule = [probe for probe in program.rules if getattr(probe, "__rule__", None) == violation.rule]
    files = [inspect.getsourcefile(inspect.unwrap(probe)) or "" for probe in of_rule]
    if files and not (violation.where and violation.where.file in files):
        return short_path(files[0])
    return short_path(violation.where.file) if violation.where else ""


def short_path(file: str) -> str:
    """A path as a reader of this project would write it: from the package on, else the file's name."""
    path = Path(file)
    return str(path.relative_to(_HOUSE)) if path.is_relative_to(_HOUSE) else path.name


# The end of a trace.


def _end(program: Program, violation: Violation, steps: list[PlainStep], told: list[StoryLine]) -> list[StoryLine]:
    """The last lines: what was broken, in the column of the thread that broke it; or where everybody waits."""
    if violation.rule == "deadlock":
        return _standing(program, violation, "waits")
    if violation.rule == "livelock" and not violation.loop:
        return _standing(program, violation, "never ends")
    if violation.rule == "livelock":
        going = {step.thread for step in violation.trace.steps[-violation.loop :]}
        waiting = [entry for entry in _standing(program, violation, "waits") if entry.thread not in going]
        return [StoryLine(steps[-1].thread, 0, "(and round again)", step=len(steps) - 1, mark="round"), *waiting]
    last = steps[-1]
    number, own = len(steps) - 1, []
    here = told[-1].depth if told and told[-1].thread == last.thread else 0
    if not told or told[-1].step != number:
        text = linecache.getline(last.file, last.line).strip() or "(the last step)"
        own.append(StoryLine(last.thread, here, text, f"{Path(last.file).name}:{last.line}", number, "at"))
    else:
        told[-1].mark = "at"
    broken = f"^ {violation.rule}"
    if violation.where and violation.where.file == last.file and violation.where.line != last.line:
        broken += f", line {violation.where.line}"
    own += [StoryLine(last.thread, here, text, step=number, mark="broken") for text in (broken, *_beside_the_cpu(last))]
    return own


def _standing(program: Program, violation: Violation, what: str) -> list[StoryLine]:
    """For those who wait or run for ever: the statement that each thread stands at."""
    found = []
    for thread, counter in _stuck(program, violation.trace):
        where = counter.where
        text, place = statement(where.file, where.line), f"{Path(where.file).name}:{where.line}"
        found.append(StoryLine(thread, 0, f"^ {what}: {text}", place, len(violation.trace), "broken"))
    return found


def _stuck(program: Program, trace: Trace) -> Iterator[tuple[int, Counter]]:
    """The threads that have not ended in the last state, and where each stands; without those that only wait for others."""
    state = trace.states[-1] if trace.states else Reference(program).initial
    for thread, base in enumerate(program.bases):
        number = int.from_bytes(state[base : base + program.counter_width], "big")
        if number and not is_harness(program.counters[number - 1].function.source):
            yield thread, program.counters[number - 1]


def _freed(steps: list[PlainStep]) -> tuple[int, PlainEvent] | None:
    """If the last step uses a record that was freed, or frees it again: the step that freed it, and how."""
    error = steps[-1].error if steps else None
    if not isinstance(error, (UseAfterFree, FreedTwice)):
        return None
    frees = [(n, e) for n, step in enumerate(steps) for e in step.events if e.kind == "free" and e.where == error.freed_at]
    return frees[-1] if frees else None


def _tell_free(entries: list[StoryLine], steps: list[PlainStep]) -> None:
    """Give the line that freed the record a place in the story, if it has none."""
    found = _freed(steps)
    if found is None:
        return
    number, event = found
    assert event.where is not None
    place = f"{Path(event.where.file).name}:{event.where.line}"
    told = [entry for entry in entries if entry.step == number and entry.where == place]
    for entry in told:
        entry.mark = entry.mark or "freed"
    if told:
        return
    text = statement(event.where.file, event.where.line)
    after = next((i for i, entry in enumerate(entries) if entry.step > number), len(entries))
    beside = entries[after - 1] if after and entries[after - 1].thread == steps[number].thread else None
    depth = 0 if beside is None else beside.depth + 1
    entries.insert(after, StoryLine(steps[number].thread, depth, text, place, number, "freed"))


def _message(program: Program, violation: Violation, steps: list[PlainStep]) -> str:
    """What went wrong; for a deadlock, who waits where; of what was freed, which line freed it."""
    found = _freed(steps)
    if found is not None:
        number, event = found
        assert event.where is not None
        by = f"; {program.threads[steps[number].thread].name} freed it at {short_path(event.where.file)}:{event.where.line}"
        return violation.message.removesuffix(by) + by
    if violation.rule == "sleep-in-atomic":
        return _why_not_sleep(program, violation)
    if violation.rule != "deadlock":
        return violation.message
    waits = [f"{program.threads[t].name} in {c.function.name}()" for t, c in _stuck(program, violation.trace)]
    return f"nobody can go on: {', '.join(waits) or 'all threads'} {'waits' if len(waits) == 1 else 'wait'} for ever"


def _why_not_sleep(program: Program, violation: Violation) -> str:
    """What forbids sleeping: that the caller said so, or a spinlock; which, where it was held before the last step."""
    trace, layout = violation.trace, program.layout
    before = trace.states[len(trace) - 2] if len(trace) > 1 else Reference(program).initial
    owner = trace.steps[-1].thread + 1
    spins = [(at, kind) for at, kind in layout.records if issubclass(kind, SpinLock)]
    held = [layout.name_of(at, kind) for at, kind in spins if before[at + layout.offset(kind, "owner")] == owner]
    ghosts = tuple(f"{layout.name_of(at, NonBlock)}." for at, kind in layout.records if kind is NonBlock)
    locks = [told_lock(program, name) for name in held if not name.startswith(ghosts)]
    if len(held) > len(locks):
        return f"must not sleep: called with blockable = false{', and holds ' + ' and '.join(locks) if locks else ''}"
    return f"sleeps while it holds the spinlock {' and '.join(locks)}" if locks else violation.message


def _beside_the_cpu(last: PlainStep) -> list[str]:
    """What a CPU would have found where the device's last access broke a rule; the machine is as that step left it."""
    for event in reversed(last.events):
        given = event.arguments
        if event.kind == "call" and {"device", "va", "write", "error"} <= set(given) and (mm := address_space_of(given["device"])) is not None:
            cpu = _cpu(mm, given["va"], given["write"])
            return [f"device: {page_or_error(given['error'])}", f"CPU:    {cpu}"]
        if event.kind == "call" and {"device", "va", "cpu", "found"} <= set(given):
            return [f"device: {page_or_error(given['found'])}", f"CPU:    {page_or_error(given['cpu'], signals=True)}"]
        if event.kind == "call" and {"device", "va", "frame", "write"} <= set(given):
            frame, mm = given["frame"], address_space_of(given["device"])
            device = f"device: {_frame(frame)}"
            return [device] if mm is None else [device, f"CPU:    {_cpu(mm, given['va'], given['write'])}"]
    return []


def _frame(frame: Record) -> str:
    shown = resolve(Char)
    contents = shown.show(frame.contents) if hasattr(frame, "contents") and shown is not None else "?"  # type: ignore[union-attr]
    if len(getattr(frame, "second", ())) > 0 and shown is not None:
        contents = f"{contents} and {shown.show(frame.second[0])}"  # type: ignore[attr-defined,union-attr]
    free = ", free" if getattr(frame, "refcount", 1) == 0 else ""
    return f"{short(frame)} (contents {contents}{free})"


def _cpu(mm: Any, va: int, write: bool) -> str:
    before, frame, after = cpu_view(mm, va, write)
    return before + ("" if frame is None else _frame(frame)) + after


# JSON.


def result_to_json(result: Result) -> dict[str, Any]:
    """A search's result as data, without its trace; see docs/json.md."""
    violation = result.violation
    return {
        "verdict": result.verdict.value,
        "states": result.states,
        "transitions": result.transitions,
        "depth": result.depth,
        "seconds": round(result.seconds, 3),
        "exact": result.exact,
        "missed": result.missed,
        "reduced": list(result.reduced),
        "note": result.note or None,
        "reason": result.reason,
        "preemptions": result.preemptions,
        "kept": result.kept,
        "error": str(result.error) if result.error else None,
        "broken": None if violation is None else _broken(violation),
        "also_broken": [_broken(other) for other in result.broken[1:]],
    }


def _broken(violation: Violation) -> dict[str, Any]:
    """Which rule, and where it is demanded."""
    return {
        "rule": violation.rule,
        "message": violation.message,
        "file": short_path(violation.where.file) if violation.where else None,
        "line": violation.where.line if violation.where else None,
    }


def trace_to_json(program: Program, found: Violation, made_by: Mapping[str, Any]) -> dict[str, Any]:
    """A trace as data: `made_by` says how to build its program again; see docs/json.md."""
    violation = found.untangle(Reference(program))
    lines, steps = tell(program, violation.trace)
    names, last = [thread.name for thread in program.threads], len(steps)
    words = words_of(program, panels(program), [program.initial_shared, *(step.shared for step in steps)])
    return {
        "schema": SCHEMA,
        "kind": "trace",
        "made_by": dict(made_by),
        "rule": violation.rule,
        "message": violation.message if violation.rule == "deadlock" else _message(program, violation, steps),
        "loop": violation.loop,
        "threads": names,
        "steps": [
            {
                "thread": names[taken.thread],
                "choices": list(taken.choices),
                "file": short_path(seen.file),
                "line": seen.line,
                "calls": [event.name for event in seen.events if event.kind == "call"],
            }
            for taken, seen in zip(violation.trace.steps, steps, strict=False)
        ],
        "lines": [
            {"thread": names[line.thread], "depth": line.depth, "text": line.text, "where": line.where, "step": min(line.step + 1, last)}
            for line in lines
        ],
        "values": {"cells": words.cells, "initial": words.initial, "changes": words.changes},
        "states": [state.hex() for state in violation.trace.states],
    }


def trace_from_json(data: Any) -> tuple[dict[str, Any], list[str], Violation]:
    """What `trace_to_json` wrote: how the program was made, its threads' names, what it breaks. Raises LangError."""
    try:
        if data["kind"] != "trace" or data["schema"] != SCHEMA:
            raise LangError(f"a trace of schema {SCHEMA} is wanted; this is {data['kind']} of schema {data['schema']}")
        names = [str(name) for name in data["threads"]]
        steps = tuple(Step(names.index(s["thread"]), tuple(int(c) for c in s["choices"])) for s in data["steps"])
        states = tuple(bytes.fromhex(state) for state in data["states"])
        loop = int(data.get("loop", 0))
        if not 0 <= loop <= len(steps):
            raise ValueError(f"a loop of {loop} steps among {len(steps)}")
        violation = Violation(str(data["rule"]), str(data["message"]), None, Trace(steps, states), loop)
        return _made_by(data["made_by"]), names, violation
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LangError(f"not a trace: {type(error).__name__}: {error}; write one with secondsight check --json") from None


def _made_by(data: Any) -> dict[str, Any]:
    """How a trace's program is made again, with values that are of the right type. Raises TypeError, ValueError."""
    made_by: dict[str, Any] = dict(data)
    for name, value in made_by.items():
        if name == "rules":
            fits = isinstance(value, list) and all(isinstance(rule, str) for rule in value)
        elif name == "bounds":
            fits = isinstance(value, dict) and all(type(size) is int for size in value.values())
        else:
            fits = isinstance(value, str)
        if not fits:
            raise TypeError(f"{name} of made_by is {value!r}")
    return made_by
