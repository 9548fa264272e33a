"""`secondsight claim FILE --driver DRIVER.py`: an interleaving out of a mail, matched to the model: possible or impossible, and why."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from rich.text import Text

from secondsight.cli.common import (
    HOLDS,
    INTERRUPTED,
    NOT_FINISHED,
    Running,
    search_progress,
    show,
    show_trace,
    trace_form,
    width,
    write_json,
)
from secondsight.cli.driver import one_driver
from secondsight.lang import LangError
from secondsight.lang.names import there_are
from secondsight.report import SCHEMA, replay_command
from secondsight.report.token import plain_name, token_of
from secondsight.report.trace import Telling, letter
from secondsight.search import Limits, Progress
from secondsight.search.request import Request

if TYPE_CHECKING:
    from secondsight.cases import CaseTable
    from secondsight.claims import ClaimedLine, ClaimText, Possible, Subject, Tried
    from secondsight.scenario import Scenario

__all__ = ["Limits", "claim"]

IMPOSSIBLE = 1
STYLES = {"possible": "green", "impossible": "red", "not finished": "yellow"}


def claim(
    file: str,
    driver: str | None,
    kind: str | None,
    scenario: str | None,
    adversary: list[str] | None,
    by_hand: dict[str, int],
    limits: Limits,
    full: bool,
    as_json: bool,
    table: str | None = None,
    cell: str | None = None,
) -> int:
    """Match a claim to the model, and tell it; the exit code."""
    from secondsight.claims import ask, not_understood, read_claim

    text = read_claim(_text(file), file)
    asked = _of_a_driver(str(driver), kind, text, scenario, adversary) if table is None else _of_a_table(table, cell, text)
    request = Request(limits=limits)
    tried: list[Tried] = []
    with Running() as running:

        def on_progress(name: str, progress: Progress) -> None:
            running.say(search_progress(name, progress))

        for one in ask(text, asked.subjects, request, on_progress, by_hand):
            tried.append(one)
    unknown = not_understood(tried)
    if unknown:
        raise LangError(_unknown(file, asked.name, unknown))
    verdict = _verdict(tried)
    if as_json:
        document = {"schema": SCHEMA, "kind": "claim", "file": file, asked.kind: asked.name, "verdict": verdict}
        write_json(document | {"scenarios": [_as_json(one, asked.named) for one in tried]})
    else:
        _show(file, asked, tried, full)
    if any(one.reason == "interrupted" for one in tried):
        return INTERRUPTED
    return {"possible": HOLDS, "impossible": IMPOSSIBLE, "not finished": NOT_FINISHED}[verdict]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a claim is asked of: a `driver` or a `table` (the `kind`), its `name`, how a command names it, and its scenarios or cells."""

    kind: str
    name: str
    named: str
    subjects: list[Subject]
    each: str


def _of_a_driver(driver: str, kind: str | None, text: ClaimText, scenario: str | None, adversary: list[str] | None) -> _Asked:
    from secondsight.claims import subject_of
    from secondsight.contract import rules_for

    made = one_driver(driver, kind)
    rules = rules_for(made)
    return _Asked("driver", made.__name__, driver, [subject_of(made, one, rules) for one in _scenarios(made, text, scenario, adversary)], "scenarios")


def _of_a_table(named: str, cell: str | None, text: ClaimText) -> _Asked:
    """A table's cells, or one: first those whose name stands above the claim, as in a trace's first line."""
    from secondsight.cases import program_of_cell
    from secondsight.claims import Subject
    from secondsight.cli.settle import name_of, tables_named, the_cell

    tables = tables_named(named)
    cells = [(table, row, column) for table in tables for row, column in table.cells() if table.program(row, column) is not None] if cell is None else [the_cell(tables, cell)]
    above = " ".join(text.above.split())
    cells.sort(key=lambda one: not above.startswith(f"{one[1]}, {one[2]}"))

    def subject(table: CaseTable, row: str, column: str) -> Subject:
        return Subject(f"{row}:{column}", f"{row}, {column}", lambda watched, bounds: program_of_cell(table, row, column, bounds) if watched else None)

    return _Asked("table", tables[0].name, name_of(tables[0]), [subject(*one) for one in cells], "cells")


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text()
    except OSError as error:
        raise LangError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LangError(f"{file} is not a text") from None


def _scenarios(driver: type[Any], text: ClaimText, named: str | None, adversaries: list[str] | None) -> list[Scenario]:
    """The scenarios to try, in order: first one that stands above the claim, as in a trace's first line."""
    from secondsight.contract import adversaries_for
    from secondsight.contract.check import pick

    scenarios: list[Scenario] = [s for a in pick("adversary", adversaries_for(driver), adversaries) for s in a.scenarios]
    if named is not None:
        known = {plain_name(s.name): s for s in scenarios}
        if plain_name(named) not in known:
            raise LangError(f"no adversary has a scenario {named}; {there_are(named, known, 'secondsight explain ADVERSARY')}")
        return [known[plain_name(named)]]
    above = " ".join(text.above.split())
    return sorted(scenarios, key=lambda s: f"({s.name})" not in above)


def _verdict(tried: list[Tried]) -> str:
    """Possible in one; impossible in all; else it is not known."""
    verdicts = {one.verdict for one in tried}
    return next(v for v in ("possible", "not finished", "impossible") if v in verdicts)


def _unknown(file: str, driver: str, unknown: list[tuple[ClaimedLine, tuple[str, ...]]]) -> str:
    lines = []
    for line, names in unknown:
        near = f"; the nearest: {', '.join(names)}" if names else ""
        lines.append(f"{file}:{line.number}: {line.text}\n  no function and no statement of {driver}'s program is like it{near}")
    return "\n".join(lines)


# For people.


def _show(file: str, asked: _Asked, tried: list[Tried], full: bool) -> None:
    verdict = _verdict(tried)
    best = max(tried, key=lambda one: (one.verdict == "possible", one.verdict == "not finished", one.lines))
    where = f"{asked.name}, {best.scenario}" if len(tried) == 1 or best.possible else f"{asked.name}, in {len(tried)} {asked.each}"
    show(Text.assemble((verdict, STYLES[verdict]), f": {file} ({where}; {_seen(tried)})"))
    for number, why in best.remarks:
        show(f"line {number} is not looked at: {why}")
    if best.possible is not None:
        _show_possible(best, asked.named, full)
        return
    if len(tried) > 1:
        _show_others(tried)
    if best.reason is not None:
        show(fill(f"{best.scenario}: not all states were seen ({best.reason}); until then no run has more than {best.lines} of the {best.of} lines", width()))
    elif best.stop is None and len(tried) == 1:
        show(fill(best.nobody, width()))
    elif best.stop is not None:
        stop = best.stop
        show(f"it stops at line {stop.number}: {stop.text}" + (f" ({best.scenario})" if len(tried) > 1 else ""))
        for reason in stop.reasons:
            show(fill(reason, width(), initial_indent="  ", subsequent_indent="    "))
        _show_titles(stop.titles)
        if stop.told is not None:
            show(fill(f"A run that comes so far has {_number(best.lines)} of the claim; their numbers are at the left:", width()))
            _show_told(stop.told, full)


def _seen(tried: list[Tried]) -> str:
    states = sum(one.states for one in tried)
    return f"{states:,} states, {sum(one.seconds for one in tried):.1f} s"


def _number(lines: int) -> str:
    return f"{lines} line{'s' * (lines != 1)}"


def _show_possible(best: Tried, driver: str, full: bool) -> None:
    found = best.possible
    assert found is not None
    rest = len(found.told.violation.trace) - found.until
    if found.broken_at:
        said = f"{found.breaks} is broken by step {found.broken_at} of {found.until}, which ends a run; what is told after it is what would come then."
        show(fill(said, width()))
    elif not found.breaks:
        show(fill(f"{found.beyond[0].upper()}{found.beyond[1:]}.", width()))
    elif rest:
        show(fill(f"{found.breaks} is broken {rest} step{'s' * (rest != 1)} behind its last line.", width()))
    _show_titles(found.titles)
    show("The numbers at the left are those of its lines.")
    _show_told(found.told, full)
    token = _token(found)
    if token is not None:
        print(f"\n{replay_command(driver, best.scenario, token, {})}")


def _token(found: Possible) -> str | None:
    """What replays the run, where it ends with a broken rule."""
    told = found.told
    return token_of(told.program, told.violation) if told.violation.rule and not found.broken_at else None


def _show_titles(titles: dict[str, str]) -> None:
    if titles:
        show(", ".join(f"{title} is {name}" for title, name in titles.items()))


def _show_told(told: Telling, full: bool) -> None:
    print()
    show_trace(letter(told, form=trace_form(full)))


def _show_others(tried: list[Tried]) -> None:
    """Where it stops in each scenario that has threads for it."""
    for one in tried:
        if one.reason is not None:
            show(f"  {one.scenario}: not finished ({one.reason})")
        elif one.stop is not None:
            show(f"  {one.scenario}: stops at line {one.stop.number}")
    others = [one for one in tried if one.reason is None and one.stop is None]
    if others:
        why = others[0].nobody or f"nothing is like line {others[0].unknown[0][0].number}"
        same = " " if len(others) == 1 else f" and {len(others) - 1} more "
        show(fill(f"  {others[0].scenario}{same}cannot have it: {why}", width(), subsequent_indent="    "))


# For machines.


def _as_json(one: Tried, driver: str) -> dict[str, Any]:
    seen = {"states": one.states, "seconds": round(one.seconds, 3), "reason": one.reason, "lines": one.lines, "of": one.of}
    document: dict[str, Any] = {"scenario": one.scenario, "verdict": one.verdict, **seen}
    if one.possible is not None:
        told, token = one.possible.told, _token(one.possible)
        document["possible"] = {
            "titles": one.possible.titles, "breaks": one.possible.breaks or None, "beyond": one.possible.beyond or None, "until": one.possible.until, "broken_at": one.possible.broken_at or None,
            "replay": None if token is None else replay_command(driver, one.scenario, token, {}), "run": _run_as_json(told),
        }  # fmt: skip
    if one.stop is not None:
        stop = one.stop
        run = None if stop.told is None else _run_as_json(stop.told)
        document["stop"] = {"line": stop.number, "text": stop.text, "reasons": list(stop.reasons), "titles": stop.titles, "run": run}
    if one.unknown or one.nobody:
        document["unfit"] = one.nobody or f"nothing is like line {one.unknown[0][0].number}"
    return document


def _run_as_json(told: Telling) -> list[dict[str, Any]]:
    """What is told of a run: each line with its thread, its step (from 1) and the claim's line that it is."""
    names = [thread.name for thread in told.program.threads]
    return [
        {"thread": names[e.thread], "text": e.text, "where": e.where or None, "step": e.step + 1, "line": e.claimed or None} for e in told.entries
    ]
