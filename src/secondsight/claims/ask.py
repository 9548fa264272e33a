"""A claim asked of the model: can these lines come in this order, and what is the whole run that they are part of?

*Possible* is said only of a run that plain execution takes, whose told lines have the claim's in order. *Impossible* only where every state
was seen with every way to have come there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

from secondsight.claims.patterns import Pattern, Vocabulary
from secondsight.claims.reading import reach
from secondsight.claims.search import Runs, find_run
from secondsight.claims.text import ClaimedLine, ClaimText, joined
from secondsight.claims.told import Possible, StopsAt, told_run
from secondsight.claims.why import why_it_stops
from secondsight.contract import Rule, driver_program
from secondsight.contract.compare import OnProgress
from secondsight.devices.device import Device
from secondsight.lang.errors import LangError
from secondsight.lang.plain import Disagreement
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.lang.traced import Traced
from secondsight.scenario import Scenario
from secondsight.search import Limits, Progress, Result, Verdict
from secondsight.search.request import Request
from secondsight.world.enough import with_enough

__all__ = ["Subject", "Tried", "ask", "ask_of", "not_understood", "subject_of"]

_MOST_JOINED = 4
_MOST_RIGHT = 12


@dataclass(frozen=True, slots=True)
class Tried:
    """A claim in one scenario. `verdict`: *possible* (then `possible`), *impossible* (then `stop`), *not finished* (`reason`).

    `unknown`: lines that nothing in the program is like, each with the nearest names. `nobody`: why the scenario has no threads for the columns.
    """

    scenario: str
    verdict: str
    lines: int
    """How many lines a run has at most."""
    of: int
    states: int = 0
    seconds: float = 0.0
    possible: Possible | None = None
    stop: StopsAt | None = None
    reason: str | None = None
    unknown: tuple[tuple[ClaimedLine, tuple[str, ...]], ...] = ()
    nobody: str = ""
    remarks: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """What a claim is asked of: a scenario, or a table's cell. `title` heads the runs that are told; `program(rules, bounds)` is its program, watched
    by its rules or by none; None where it cannot be had without."""

    name: str
    title: str
    program: Callable[[bool, dict[str, int]], Program | None]


def subject_of(driver: type[Device], scenario: Scenario, rules: Sequence[Rule]) -> Subject:
    """A driver in a scenario, watched by rules."""

    def program(watched: bool, bounds: dict[str, int]) -> Program:
        return driver_program(driver, scenario, rules if watched else (), bounds)

    return Subject(scenario.name, f"{driver.__name__} ({scenario.name})", program)


def ask(
    claim: ClaimText,
    subjects: Sequence[Subject],
    request: Request | None = None,
    on_progress: OnProgress | None = None,
    bounds: dict[str, int] | None = None,
) -> Iterator[Tried]:
    """Ask it of each until one makes it possible. Raises `LangError` as `driver_program` does."""
    for subject in subjects:
        tried = ask_of(claim, subject, request, on_progress, bounds)
        yield tried
        if tried.verdict == "possible" or tried.reason == "interrupted":
            return


def not_understood(tried: Sequence[Tried]) -> list[tuple[ClaimedLine, tuple[str, ...]]]:
    """The lines that nothing is like in any of the programs, each with the nearest names."""
    unknown = [{line.number: (line, names) for line, names in one.unknown} for one in tried]
    everywhere = set.intersection(*(set(one) for one in unknown)) if unknown else set()
    return [unknown[0][number] for number in sorted(everywhere)]


def ask_of(
    claim: ClaimText,
    subject: Subject,
    request: Request | None = None,
    on_progress: OnProgress | None = None,
    bounds: dict[str, int] | None = None,
) -> Tried:
    """Ask it of one. Where it stops at the end of runs that break a rule it is asked without rules too: what would come then?"""
    asked = request or Request()
    found: list[Tried] = []
    sizes: list[dict[str, int]] = []

    def tell(progress: Progress) -> None:
        if on_progress is not None:
            on_progress(subject.name, progress)

    def search(program: Program) -> Result:
        one, runs = _in_program(claim, subject, program, asked.limits, tell)
        found[:] = [one]
        verdict = Verdict.NOT_FINISHED if runs.error is not None else Verdict.HOLDS
        return Result(verdict, runs.states, 0, 0, runs.seconds, error=runs.error)

    def build(watched: bool, enough: dict[str, int]) -> Program:
        sizes[:] = [enough]
        program = subject.program(watched, enough)
        assert program is not None
        return program

    with_enough(partial(build, True), search, bounds or {})
    one = found[0]
    if one.stop is None or not one.stop.cut or subject.program(False, sizes[0]) is None:
        return one
    with_enough(partial(build, False), search, bounds or {})
    other = replace(found[0], states=one.states + found[0].states, seconds=one.seconds + found[0].seconds)
    if other.possible is None:
        return other
    rule, step = _first_broken(build(True, sizes[0]), other.possible)
    return replace(other, possible=replace(other.possible, breaks=rule, broken_at=step, beyond=""))


def _first_broken(watched: Program, possible: Possible) -> tuple[str, int]:
    """The rule that a run breaks which was found without rules, and by which step."""
    reference = Reference(watched)
    state = reference.initial
    for number, step in enumerate(possible.told.violation.trace.steps, 1):
        way = next(w for w in reference.thread_successors(state, step.thread) if w.choices == step.choices)
        if way.state is None:
            return getattr(way.error, "rule", ""), number
        state = way.state
    raise Disagreement("a run that no rule ends was not found where rules are watched")


def _in_program(
    claim: ClaimText, subject: Subject, program: Program, limits: Limits, on_progress: Callable[[Progress], None]
) -> tuple[Tried, Runs]:
    traced = Traced(program)
    words = traced.program.code.keep("vocabulary", lambda: Vocabulary(traced))
    patterns, unknown = _understood(words, claim.lines)
    remarks = tuple((p.line.number, p.remark) for p in patterns if p.remark and p.remark != "a remark")
    patterns = [pattern for pattern in patterns if not pattern.remark]
    tried = Tried(subject.name, "impossible", 0, len(patterns), unknown=tuple(unknown), remarks=remarks)
    if unknown:
        return tried, Runs()
    if not patterns:
        raise LangError("no line of the claim says what a thread does")
    ways, nobody = _threads(claim, traced, patterns)
    if not ways:
        return replace(tried, nobody=nobody), Runs()
    best: tuple[Runs, tuple[int, ...]] | None = None
    states, seconds = 0, 0.0
    for threads in ways:
        allowed = [frozenset(threads[column] for column in pattern.line.columns) for pattern in patterns]
        left = replace(limits, seconds=None if limits.seconds is None else max(0.0, limits.seconds - seconds))
        runs = find_run(traced, patterns, allowed, left, on_progress)
        states, seconds = states + runs.states, seconds + runs.seconds
        tried = replace(tried, states=states, seconds=seconds)
        if runs.whole is not None:
            titles = _titles(claim, program, threads)
            possible = told_run(subject.title, program, patterns, allowed, runs.whole, titles, _beyond(runs, len(ways) > 1))
            return replace(tried, verdict="possible", lines=len(patterns), possible=possible), runs
        if best is None or _lines(runs) > _lines(best[0]) or (runs.reason and not best[0].reason):
            best = runs, threads
        if runs.reason is not None:
            break
    assert best is not None
    runs, threads = best
    tried = replace(tried, lines=_lines(runs))
    if runs.reason is not None:
        return replace(tried, verdict="not finished", reason=str(runs.error) if runs.error is not None else runs.reason), runs
    allowed = [frozenset(threads[column] for column in pattern.line.columns) for pattern in patterns]
    stop = why_it_stops(subject.title, program, traced, patterns, allowed, runs, _titles(claim, program, threads))
    return replace(tried, stop=stop), runs


def _beyond(runs: Runs, several: bool) -> str:
    """What is known of the runs that have all lines where the one that was found breaks no rule. `several`: the columns could be other threads."""
    if runs.whole is None or runs.whole.rule:
        return ""
    said = f"no run that has these lines{', with these threads,' if several else ''} breaks a rule"
    return said if runs.all_seen else f"in {runs.states:,} states {said}; the others were not looked at"


def _lines(runs: Runs) -> int:
    return max([run.lines for run in (*runs.farthest, *runs.cut.values())], default=0)


def _titles(claim: ClaimText, program: Program, threads: Sequence[int]) -> dict[str, str]:
    """What the columns are called that have another name than their threads."""
    names = [program.threads[thread].name for thread in threads]
    return {title: name for title, name in zip(claim.titles, names, strict=True) if title and title.casefold() != name.casefold()}


def _understood(words: Vocabulary, lines: Sequence[ClaimedLine]) -> tuple[list[Pattern], list[tuple[ClaimedLine, tuple[str, ...]]]]:
    """What the lines mean; one that means nothing by itself may be a part of one that was wrapped: with those after it, or the one before."""
    patterns: list[Pattern] = []
    unknown: list[tuple[ClaimedLine, tuple[str, ...]]] = []
    i = 0
    while i < len(lines):
        line = lines[i]
        pattern, taken = _wrapped(words, lines[i : i + 1 + _MOST_JOINED])
        if pattern is None and patterns and (whole := _end_of(words, patterns[-1], lines[i - 1], line)) is not None:
            pattern = whole
            patterns.pop()
        if pattern is None:
            unknown.append((line, tuple(words.nearest(line.text))))
        else:
            patterns.append(pattern)
        i += taken
    return patterns, unknown


def _wrapped(words: Vocabulary, lines: Sequence[ClaimedLine]) -> tuple[Pattern | None, int]:
    """What the first of some lines means, with as many of those after it as it takes; how many these are, it included."""
    first, text = lines[0], lines[0].text
    pattern, taken = words.understand(first), 1
    while pattern is None and taken < len(lines) and _is_below(first, lines[taken]):
        ways = [way(text, lines[taken].text) for way in (joined, str.__add__)]  # or a word was broken
        found = (words.understand(replace(first, text=one)) for one in ways)
        pattern, text, taken = next((one for one in found if one is not None and _begins_in(one, first.text)), None), ways[0], taken + 1
    return (pattern, taken) if pattern is not None else (None, 1)


def _is_below(line: ClaimedLine, further: ClaimedLine) -> bool:
    """Whether a line may be a part of the one before it: further right, in the same column."""
    return 0 < further.indent - line.indent <= _MOST_RIGHT and line.columns[0] in further.columns


def _begins_in(pattern: Pattern, first: str) -> bool:
    """Whether what was understood of two lines is in the first one too: one statement, or a call that begins there and does not end."""
    if pattern.remark or pattern.rule or (pattern.places and not pattern.functions):
        return True
    begun = first.rpartition("(")[0] if first.count("(") > first.count(")") else first if "(" not in first else ""
    return any(pattern.line.text.find(name) < len(begun) for name in pattern.names if name in pattern.line.text)


def _end_of(words: Vocabulary, known: Pattern, before: ClaimedLine, line: ClaimedLine) -> Pattern | None:
    """What the line before means with a line that means nothing by itself: another statement, or a lock that is waited for."""
    if known.line.number != before.number or not _is_below(before, line):
        return None
    whole = words.understand(replace(known.line, text=joined(known.line.text, line.text), place=line.place))
    if whole is None or (whole.functions, whole.places, whole.result) == (known.functions, known.places, known.result):
        return None
    return whole


# Which thread a column is.


def _threads(claim: ClaimText, traced: Traced, patterns: Sequence[Pattern]) -> tuple[list[tuple[int, ...]], str]:
    """Every way in which the columns can be threads, by column; where there is none, why."""
    threads = traced.program.threads
    can = [reach(traced, thread) for thread in range(len(threads))]
    of_place = [(c.where.file, c.where.line, c.function) for c in traced.program.counters]
    numbers = {function: number for number, function in enumerate(traced.functions)}

    def may(pattern: Pattern, thread: int) -> bool:
        if pattern.rule or pattern.functions & can[thread]:
            return True
        if any((file, line) in pattern.places and numbers.get(function) in can[thread] for file, line, function in of_place):
            return True
        freed = {(p.file, p.line) for p in traced.places}
        return bool(pattern.places & freed)

    candidates: list[list[int]] = []
    for column, title in enumerate(claim.titles):
        mine = [pattern for pattern in patterns if pattern.line.columns == (column,)]
        named = [t for t in range(len(threads)) if threads[t].name.casefold() == title.casefold()]
        meant = named or list(range(len(threads)))
        fitting = [t for t in meant if all(may(pattern, t) for pattern in mine)]
        if not fitting:
            return [], _nobody(mine, may, {t: threads[t].name for t in meant})
        candidates.append(fitting)
    ways = [way for way in product(*candidates) if len(set(way)) == len(way)]
    used = [c for c in range(len(claim.titles)) if any(c in pattern.line.columns for pattern in patterns)]
    distinct = list({tuple(way[c] for c in used): way for way in reversed(ways)}.values())[::-1]
    return distinct, "" if distinct else f"it has {len(threads)} threads, and two columns can only be the same one"


def _nobody(mine: Sequence[Pattern], may: Callable[[Pattern, int], bool], names: dict[int, str]) -> str:
    """Why none of some threads is a column."""
    for pattern in mine:
        if not any(may(pattern, t) for t in names):
            who = next(iter(names.values())) + " never" if len(names) == 1 else "no thread"
            return f"{who} comes to line {pattern.line.number}: {pattern.line.text}"
    first = {t: next(p for p in mine if not may(p, t)) for t in names}
    said = ", ".join(f"{names[t]} does not come to line {p.line.number}" for t, p in first.items())
    return f"no thread does all that stands in one column: {said}"
