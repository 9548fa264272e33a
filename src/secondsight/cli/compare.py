"""`secondsight compare OLD NEW`: which verdicts change between two drivers, and which outcomes appear and go."""

from __future__ import annotations

from dataclasses import replace
from textwrap import fill
from typing import TYPE_CHECKING, Any

from rich.text import Text

from secondsight.cli.common import (
    BROKEN,
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
from secondsight.report import SCHEMA, result_to_json
from secondsight.report.tables import STYLES
from secondsight.report.trace import letter, tell_result, tell_way
from secondsight.search import Progress, Result, Verdict
from secondsight.search.request import Request

if TYPE_CHECKING:
    from secondsight.contract.compare import Change, Ending

__all__ = ["compare"]


def compare(
    old: str,
    new: str,
    request: Request,
    names: list[str],
    adversary: list[str] | None,
    by_hand: dict[str, int],
    traces: bool,
    full: bool,
    as_json: bool,
) -> int:
    """Compare, and tell it; the exit code. `names`: of the drivers' classes none, one for both, or two."""
    from secondsight.contract import compare as comparing

    kinds = one_driver(old, names[0] if names else None), one_driver(new, names[-1] if names else None)
    found: list[Change] = []
    interrupted = False
    with Running() as running:

        def on_progress(scenario: str, progress: Progress) -> None:
            running.say(search_progress(scenario, progress))

        request = request.but(kept=True)
        try:
            for one in comparing.compare(*kinds, adversary, request, on_progress, by_hand):
                found.append(one)
                if one.differs and not as_json:
                    _show_difference(one)
                if "interrupted" in (one.old.result.reason, one.new.result.reason):
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            interrupted = True
    if as_json:
        write_json({"schema": SCHEMA, "kind": "compare", "old": old, "new": new, "scenarios": [_as_json(one) for one in found]})
    else:
        _show_rest(found)
        if not interrupted:
            _show_traces(kinds, found, traces, full)
    return INTERRUPTED if interrupted else _code(found)


def _code(found: list[Change]) -> int:
    if any(one.is_worse for one in found):
        return BROKEN
    unfinished = any(Verdict.NOT_FINISHED in (one.old.result.verdict, one.new.result.verdict) for one in found)
    return NOT_FINISHED if unfinished else HOLDS


# For people.


def _verdict(result: Result) -> Text:
    why = ", ".join(dict.fromkeys(v.rule for v in result.broken)) or (result.reason or "" if result.error is None else str(result.error))
    return Text(result.verdict.value + (f": {why}" if why else ""), STYLES[result.verdict])


def _show_difference(one: Change) -> None:
    line = Text(f"{one.scenario.name}\n  ")
    line.append_text(_verdict(one.old.result))
    if str(_verdict(one.new.result)) == str(_verdict(one.old.result)):
        line.append(", both")
    else:
        line.append("  ->  ").append_text(_verdict(one.new.result))
    show(line)
    for sign, endings in (("-", one.gone), ("+", one.come)):
        for ending in sorted(map(str, endings or ())):
            show(fill(f"  {sign} {ending}", width(), subsequent_indent="    "))
    if one.gone is None:
        show("  (not all outcomes are known: they are not compared)")


def _show_rest(found: list[Change]) -> None:
    """How many scenarios there is something to tell of, and what the others are with both drivers."""
    same = [one for one in found if not one.differs]
    verdicts = [one.new.result.verdict for one in same]
    text = f"{len(found) - len(same)} of {len(found)} scenarios differ"
    if same:
        text += f"; the others, with both: {', '.join(f'{verdicts.count(v)} {v.value}' for v in Verdict if v in verdicts)}"
    unknown = sum(1 for one in same if one.gone is None)
    show(text + (f" (of {unknown} not all outcomes are known)" if unknown else ""))


def _show_traces(kinds: tuple[type[Any], type[Any]], found: list[Change], every: bool, full: bool) -> None:
    """The shortest trace of each verdict that has changed and of each outcome; or of each kind of these, the first."""
    from secondsight.contract.compare import ways_of
    from secondsight.world.reach import MOST_STATES

    shown: set[object] = set()

    def is_wanted(kind: object) -> bool:
        first = kind not in shown
        shown.add(kind)
        return first or every

    for one in found:
        judged = [{v.rule for v in side.result.broken} for side in (one.old, one.new)]
        for which, side, kind in (("old", one.old, kinds[0]), ("new", one.new, kinds[1])):
            for violation in side.result.broken:
                if violation.rule not in judged[which == "old"] and is_wanted((which, violation.rule)):
                    title = f"{which}: {kind.__name__} ({one.scenario.name})"
                    _show_trace(title, side.rebuild(), replace(side.result, violation=violation), full)
    far = 0
    for one in found:
        for which, side, kind, endings in (("old", one.old, kinds[0], one.gone), ("new", one.new, kinds[1], one.come)):
            wanted = [ending for ending in sorted(endings or (), key=str) if is_wanted(which)]
            if not wanted:
                continue
            program, ways = ways_of(kind, side, one.scenario, wanted)
            far += len(wanted) - len(ways)
            for ending, way in ways.items():
                told = tell_way(f"only {which}: {kind.__name__} ({one.scenario.name}): {ending}", program, way)
                print()
                show_trace(letter(told, form=trace_form(full)))
    if far:
        show(f"\nOf {far} outcomes no trace is shown: they are more than {MOST_STATES:,} states away.")
    if len(shown) < sum(len(one.gone or ()) + len(one.come or ()) + (one.old.result.verdict != one.new.result.verdict) for one in found) and not every:
        show("\nThe first trace of each kind of difference is shown; --traces shows all.")


def _show_trace(title: str, program: Any, result: Result, full: bool) -> None:
    print()
    show_trace(letter(tell_result(title, program, result), form=trace_form(full)))


# For machines.


def _as_json(one: Change) -> dict[str, Any]:
    def endings(some: frozenset[Ending] | None) -> list[dict[str, str]] | None:
        return None if some is None else [dict(ending.results) for ending in sorted(some, key=str)]

    names = {"adversary": one.adversary, "scenario": one.scenario.name, "differs": one.differs, "worse": one.is_worse}
    return {**names, "old": result_to_json(one.old.result), "new": result_to_json(one.new.result), "gone": endings(one.gone), "come": endings(one.come)}
