"""The run that a claim is part of, as a trace with the numbers of the claim's lines at the left; and what it breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secondsight.claims.patterns import Pattern, are_among, parsed_call, same, squeezed, words_of
from secondsight.claims.search import FoundRun
from secondsight.lang.errors import NoneFollowed, RuleBroken
from secondsight.lang.plain import Disagreement
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.report.story import Besides, StoryLine
from secondsight.report.trace import Telling, tell_run
from secondsight.search import Trace, Violation
from secondsight.search.messages import deadlock_message

__all__ = ["Possible", "StopsAt", "besides", "numbered", "told_run", "told_so_far"]


@dataclass(frozen=True, slots=True)
class Possible:
    """The run; `titles`: the columns' titles and the names of their threads, where these differ. `until`: how many of its steps the claim
    takes. `breaks`: the rule that is broken in the end; `beyond`: where it breaks none, what is known of other runs that have all lines."""

    told: Telling
    titles: dict[str, str]
    until: int
    breaks: str
    beyond: str
    broken_at: int = 0
    """The step that breaks the rule, from 1, where the claim goes on behind it: what comes after it is what would come if the rule did not
    end the run."""


@dataclass(frozen=True, slots=True)
class StopsAt:
    """The line at which it stops, with what was claimed there, and the shortest of the runs that come so far; `reasons`: what must
    happen first. `titles` as in `Possible`."""

    number: int
    text: str
    told: Telling | None
    reasons: tuple[str, ...]
    titles: dict[str, str]
    cut: bool = False
    """Whether a run that comes so far ends there because it breaks a rule, and the claim goes on."""


def told_run(
    title: str, program: Program, patterns: Sequence[Pattern], allowed: Sequence[frozenset[int]], run: FoundRun,
    titles: dict[str, str], beyond: str,
) -> Possible:  # fmt: skip
    """Replay the run that has all lines, and look for them in what is told of it. Raises `Disagreement` if one is not there."""
    reference = Reference(program)
    violation = _ended(reference, run)
    wanted = besides(patterns)
    for tidy in (violation.untangle(reference), violation) if violation.rule else (violation,):
        told = tell_run(title, program, tidy, wanted)
        if numbered(told.entries, patterns, allowed) is None:
            return Possible(told, titles, run.until, violation.rule, beyond)
    missing = numbered(told.entries, patterns, allowed)
    assert missing is not None
    raise Disagreement(f"the run has no line that is told like line {missing.line.number} of the claim: {missing.line.text}")


def told_so_far(
    title: str, program: Program, patterns: Sequence[Pattern], allowed: Sequence[frozenset[int]], run: FoundRun
) -> Telling:
    """Tell a run that has only some of the lines."""
    reference = Reference(program)
    violation = _ended(reference, run)
    told = tell_run(title, program, violation, besides(patterns))
    numbered(told.entries, patterns[: run.lines], allowed)
    return told


def _ended(reference: Reference, run: FoundRun) -> Violation:
    """The run as a trace, with the rule that ended it, if one did."""
    trace = Trace.along(reference, run.steps)
    if run.rule == "deadlock":
        last = trace.states[-1] if trace.states else reference.initial
        return Violation("deadlock", deadlock_message(reference, last), None, trace)
    if run.end is None:
        before = trace.states[-1] if trace.states else reference.initial
        last_step = run.steps[-1]
        way = next(w for w in reference.thread_successors(before, last_step.thread) if w.choices == last_step.choices)
        error = way.error
        if not isinstance(error, (RuleBroken, NoneFollowed)):
            raise Disagreement(f"the run ends in {run.rule} only where its calls are noted")
        return Violation(error.rule, error.message if isinstance(error, RuleBroken) else str(error), error.where, trace)
    return Violation("", "", None, trace)


def besides(patterns: Sequence[Pattern]) -> Besides:
    """What of the claim's a trace might not tell by itself."""
    locks = [pattern for pattern in patterns if pattern.takes_lock]
    return Besides(
        frozenset(source for pattern in patterns if not pattern.takes_lock for source in pattern.sources),
        frozenset(place for pattern in patterns if not pattern.stands for place in pattern.places),
        frozenset(pattern.lock for pattern in locks if pattern.lock),
        any(not pattern.lock for pattern in locks),
    )


def numbered(entries: Sequence[StoryLine], patterns: Sequence[Pattern], allowed: Sequence[frozenset[int]]) -> Pattern | None:
    """Give the lines of a story the numbers of the claim's lines, in order; the first of these that is not there, or None. What a thread
    does in one step may be told in either order."""
    for entry in entries:
        entry.claimed = 0
    begin = 0
    for pattern, threads in zip(patterns, allowed, strict=False):
        left = (i for i in range(begin, len(entries)) if entries[i].thread in threads and _is_told(pattern, entries[i]))
        found = next((i for i in left if not entries[i].claimed or pattern.result is not None), None)
        if found is None:
            return pattern
        entries[found].claimed = entries[found].claimed or pattern.line.number  # a call and its result may be told in one line
        while begin < found and (entries[begin].step < entries[found].step or entries[begin].thread != entries[found].thread):
            begin += 1
    return None


def _is_told(pattern: Pattern, entry: StoryLine) -> bool:
    """Whether a told line is one that is claimed."""
    text = entry.text
    if pattern.rule or pattern.stands:
        if not text.startswith("^"):
            return False
        return text[2:].partition(",")[0] == pattern.rule or (pattern.rule == "deadlock" and text.startswith("^ waits")) or (
            pattern.stands and squeezed(text.partition(":")[2]) == squeezed(pattern.line.text.partition(":")[2])
        )
    if any(f"{file.rpartition('/')[2]}:{line}" == entry.where for file, line in pattern.places):
        return pattern.choices is None or text.endswith(f" = {pattern.choices}")
    return (pattern.result is not None or not entry.returned) and any(_is_call(pattern, *call) for call in parsed_call(text))


def _is_call(pattern: Pattern, _: str, name: str, inside: str, behind: str) -> bool:
    if name not in pattern.names:
        return False
    if pattern.lock:
        return inside.rpartition(".")[2] == pattern.lock
    result = behind.removeprefix(" = ") if behind.startswith(" = ") else None
    if pattern.result is not None and not same(pattern.result, result):
        return False
    return (not inside and result is not None) or are_among(pattern.words, words_of(inside))
