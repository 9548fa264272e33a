"""`secondsight check FILE...`: a user's driver against every adversary of the contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from secondsight.cli.annotations import Annotation, broken_at, github, not_finished, refused_at, sarif
from secondsight.cli.common import (
    INTERRUPTED,
    Running,
    exit_code,
    search_progress,
    show,
    show_trace,
    trace_form,
    width,
    write_json,
)
from secondsight.cli.html import could_be_written, tell_and_show, write_page
from secondsight.cli.searching import notes
from secondsight.cli.several import one_after_the_other, with_drivers
from secondsight.lang import LangError, ModelError, OutOfRecords
from secondsight.lang.names import there_are
from secondsight.lang.program import Program
from secondsight.report import SCHEMA, replay_command, rests_to_json, result_to_json, told_rests, trace_to_json
from secondsight.report.page import page_data
from secondsight.report.tables import STYLES, figures
from secondsight.report.token import plain_name
from secondsight.report.trace import Telling, letter, short_path, tell_result
from secondsight.scenario import ScenarioError
from secondsight.search import Progress, Result, Verdict, Violation
from secondsight.search.request import Request

if TYPE_CHECKING:
    from secondsight.agree.confirm import Confirmation
    from secondsight.contract import Checked, Rests

__all__ = ["check", "made_by_words", "program_of"]

Shown = tuple["Checked", Telling, dict[str, Any]]
"""A trace: of which search, as it is told, and as a page shows it."""


def check(
    files: Sequence[Path],
    request: Request,
    driver: list[str] | None,
    rule: list[str] | None,
    adversary: list[str] | None,
    by_hand: dict[str, int],
    form: str,
    full: bool,
    on: str | None,
    page: Path | None,
) -> int:
    """Check the drivers of some files and folders, and tell it; the exit code. `form` is one of `annotations.FORMATS`."""
    if on is not None:
        from secondsight.cli.confirming import (
            could_be_asked,  # and with it the kernels' half, which takes longer to load than a small check to run
        )

        could_be_asked(on)
    could_be_written(page)
    chosen = with_drivers(files)
    if len(chosen) > 1 and (driver or page):
        raise typer.BadParameter(f"--class and --html are for one file; here are {len(chosen)}")
    do = partial(_annotated, request=request, driver=driver, rule=rule, adversary=adversary, by_hand=by_hand, form=form, full=full, on=on, page=page)
    if len(chosen) == 1 and form != "sarif":
        return do(chosen[0], write_json)
    code, documents = one_after_the_other(chosen, do)
    if form == "json":
        write_json({"schema": SCHEMA, "kind": "checks", "exit_code": code, "files": documents})
    elif form == "sarif":
        write_json(sarif([one for document in documents if isinstance(document, list) for one in document]))
    return code


def _annotated(file: Path, write: Callable[[Any], None], *, form: str, **asked: Any) -> int:
    """As `_check`; what the file is refused for is annotated too, if annotations are wanted."""
    try:
        return _check(file, write, form=form, **asked)
    except LangError as error:
        if form == "sarif":
            write(refused_at(file, error))
        elif form == "github":
            print("\n".join(github(refused_at(file, error))))
        raise


def _check(
    file: Path,
    write: Callable[[Any], None],
    request: Request,
    driver: list[str] | None,
    rule: list[str] | None,
    adversary: list[str] | None,
    by_hand: dict[str, int],
    form: str,
    full: bool,
    on: str | None,
    page: Path | None,
) -> int:
    """One file; its exit code. As `json` and `sarif` its result, or its annotations, go to `write`."""
    from secondsight import contract

    drivers, for_people = _drivers(file, driver), form in ("text", "github")
    found: list[Checked] = []
    interrupted = False
    with Running() as running:

        def on_progress(scenario: str, progress: Progress) -> None:
            running.say(search_progress(scenario, progress))

        results = (c for kind in drivers for c in contract.check(kind, adversary, rule, request.but(on_growth=running.grows), on_progress, by_hand))
        try:
            for checked in results:
                if found and for_people and _group(found[-1]) != _group(checked):
                    _line(file, found)
                found.append(checked)
                if checked.result.reason == "interrupted":
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            interrupted = True
        rests = {} if interrupted else _rests(drivers, found, rule, by_hand, running, request.kept)
    answers: dict[int, Confirmation] = {}
    stopped = None if on is None or interrupted else _confirm(on, drivers, found, answers)
    traces = _traces(file, found, rule or (), bool(driver) or len(drivers) > 1, page) if page or form != "json" else []
    if form == "json":
        write(_as_json(file, found, rests, interrupted, _as_data(on, answers) if answers else {}))
    elif form == "sarif":
        write(_annotations(file, found, traces))
    elif found:
        _line(file, found, interrupted)
        for driver_name, rest in rests.items():
            told = told_rests(rest)
            if told and any(checked.result.broken for checked in found if checked.driver == driver_name):
                show(f"  where it holds ({', '.join(rest.reach)}):")
            for text in told:
                show(f"  {driver_name + ': ' if len(drivers) > 1 else ''}{text}")
        for note in notes(checked.result for checked in found):
            show(note)
        if any(checked.result.kept for checked in found):
            show("note: kept: nothing has changed since that was searched (--again: anew)")
        _print_traces(found, traces, full)
        if answers:
            _show_answers(on, found, answers)
    if form == "github":
        for line in github(_annotations(file, found, traces)):
            print(f"\n{line}")
    if page is not None:
        write_page(page, _page(file, found, traces, rests, interrupted))
    if stopped is not None:
        raise stopped
    return INTERRUPTED if interrupted else exit_code(checked.result for checked in found)


def _drivers(file: Path, wanted: list[str] | None) -> list[type[Any]]:
    """The file's drivers, or those named by `--class`."""
    from secondsight.contract import load_drivers

    found = {kind.__name__: kind for kind in load_drivers(file, wanted)}
    for name in wanted or ():
        if name not in found:
            raise LangError(f"{file} has no driver {name}; it has {', '.join(found)}")
    return [kind for name, kind in found.items() if not wanted or name in wanted]


def _rests(
    drivers: list[type[Any]], found: list[Checked], rule: list[str] | None, by_hand: dict[str, int], running: Running, kept: bool
) -> dict[str, Rests]:
    """By driver, what its verdicts *holds* rest on; `kept`: as it is known from an earlier check."""
    from secondsight import contract

    rests = {}
    for kind in drivers:
        mine = [checked for checked in found if checked.driver == kind.__name__]
        held = dict.fromkeys(c.adversary for c in mine)
        for checked in mine:
            if checked.result.verdict is not Verdict.HOLDS:
                held.pop(checked.adversary, None)
        if held:
            running.say(f"{kind.__name__}: what the verdicts rest on")
            known = {checked.scenario: checked.program for checked in mine if checked.program is not None}
            rests[kind.__name__] = contract.rests_on(kind, list(held), rule, by_hand, kept, known)
    return rests


def _confirm(
    on: str, drivers: list[type[Any]], found: list[Checked], answers: dict[int, Confirmation]
) -> BaseException | None:
    """What a real kernel says to the shortest counterexample against each adversary, by its place in `found`, goes to `answers`;
    what has cut that short, to be raised when they are shown.
    """
    by_name = {kind.__name__: kind for kind in drivers}
    shortest: dict[tuple[str, str], tuple[int, int]] = {}
    for number, checked in enumerate(found):
        if checked.result.violation is not None:
            length = len(checked.result.violation.trace)
            shortest[_group(checked)] = min(shortest.get(_group(checked), (length, number)), (length, number))
    from secondsight.cli.confirming import asking, question_of_checked
    from secondsight.kernels import Kernel, KernelError

    try:
        with asking(Kernel.find(on)) as ask:
            for _, number in shortest.values():
                one, violation = found[number], found[number].result.violation
                assert violation is not None
                question = question_of_checked(by_name[one.driver], one.adversary, one.scenario, one.rules, dict(one.bounds), violation)
                answers[number] = ask(one.scenario, question)
    except (KeyboardInterrupt, KernelError, ScenarioError) as error:
        return error
    return None


def _as_data(on: str | None, answers: dict[int, Confirmation]) -> dict[int, dict[str, Any]]:
    from secondsight.cli.confirming import confirmation_json

    return {number: confirmation_json(str(on), answer) for number, answer in answers.items()}


# For people.


def _show_answers(on: str | None, found: Sequence[Checked], answers: dict[int, Confirmation]) -> None:
    from secondsight.cli.confirming import show_confirmation

    for number, answer in answers.items():
        show_confirmation(f"{on}, {found[number].driver}, {found[number].scenario}", answer)


def _group(checked: Checked) -> tuple[str, str]:
    return checked.driver, checked.adversary


def _line(file: Path, found: list[Checked], interrupted: bool = False) -> None:
    """The last adversary in a line: the worst verdict of its scenarios, all their states and seconds. Where the check was `interrupted`
    before all of them were tried, none of them makes it hold."""
    from secondsight import contract

    against = [checked for checked in found if _group(checked) == _group(found[-1])]
    if not any(checked.driver == found[-1].driver for checked in found if checked not in against):
        show(f"{found[-1].driver} ({file.name})", style="bold")
    is_cut = interrupted and len(against) < len(contract.EVERY_ADVERSARY[against[0].adversary].scenarios)
    worst = _worst([checked.result.verdict for checked in against] + [Verdict.NOT_FINISHED] * is_cut)
    results = [checked.result for checked in against if checked.result.verdict is worst]
    told = worst.value
    if worst is Verdict.HOLDS and not any(c.accessed for c in against):
        told += ": no page accessed"
    if any(c.result.reduced for c in against):
        told += " (reduced)"
    kept = [c.result.kept for c in against]
    if any(kept):
        told += " (kept)" if all(kept) else " (partly kept)"
    reasons = [v.rule for r in results for v in r.broken]
    reasons += [r.reason for r in results if r.reason and not r.error]
    reasons += ["interrupted"] * (is_cut and worst is Verdict.NOT_FINISHED)
    if reasons:
        told += f": {', '.join(dict.fromkeys(reasons))}"
    states, seconds = sum(c.result.states for c in against), sum(c.result.seconds for c in against)
    line = Text(f"  {against[0].adversary:<18} ")
    line.append(told, STYLES[worst])
    seen = f" {figures(states, seconds)}"
    if len(line) + len(seen) > width():
        show(line)
        line = Text()
    show(line.append(seen.rjust(width() - len(line))))
    for text in dict.fromkeys(error_words(c.result.error) for c in against if c.result.error is not None):
        show(f"    {text}")


def _traces(file: Path, found: list[Checked], rules: Sequence[str], several: bool, page: Path | None) -> list[Shown]:
    """The shortest trace of each broken rule, and of each error that stopped a search, told, with the command that replays it. `several`: the file may have other drivers."""
    by_rule: dict[tuple[str, str], list[tuple[int, int, Checked, Violation]]] = {}
    for number, checked in enumerate(found):
        for violation in checked.result.broken or readable_error(checked.result):
            by_rule.setdefault((checked.driver, violation.rule), []).append((len(violation.trace), number, checked, violation))
    traces = []
    for broken in by_rule.values():
        _, _, shown, violation = min(broken, key=lambda one: one[:2])
        options = {"class": [shown.driver] if several else [], "rule": rules, "bound": [f"{k}={n}" for k, n in shown.bounds.items()]}
        again = partial(replay_command, str(file), shown.scenario, options=options)
        program, result = shown.rebuild(), replace(shown.result, violation=violation)
        name = f"{shown.driver}, {shown.scenario}, {violation.rule}"
        traces.append((shown, *tell_and_show(page, program, name, partial(tell_result, f"{shown.driver} ({shown.scenario})", program, result, again))))
    return traces


def error_words(error: LangError) -> str:
    """An error and its place; a file of ours by its path within the package."""
    where = error.where if isinstance(error, ModelError) else None
    short = short_path(where.file) if where is not None else ""
    return str(error).replace(where.file, short, 1) if where is not None and "/" in short else str(error)


LONGEST_WAY = 100  # to an error: what counts for ever leaves its range after thousands of steps, all alike


def readable_error(result: Result) -> tuple[Violation, ...]:
    """The error of the driver that stopped a search, where the way there is short enough to be read."""
    stopped = result.stopped
    return () if stopped is None or isinstance(result.error, OutOfRecords) or len(stopped.trace) > LONGEST_WAY else (stopped,)


def _annotations(file: Path, found: list[Checked], traces: list[Shown]) -> list[Annotation]:
    """What is to be shown beside the driver's lines: each broken rule once, and searches that did not finish."""
    without_trace = [checked for checked in found if not readable_error(checked.result)]
    unfinished = [one for checked in without_trace for one in not_finished(file, checked.driver, checked.scenario, checked.result)]
    return [broken_at(file, told) for _, told, _ in traces] + unfinished


def _print_traces(found: list[Checked], traces: list[Shown], full: bool) -> None:
    """Each trace in full."""
    for _, told, _ in traces:
        print()
        show_trace(letter(told, form=trace_form(full)))
    if len({checked.adversary for checked in found if checked.result.broken}) > len(traces):
        show("\nThis is the shortest trace of each broken rule; --adversary NAME shows another's.")


def _page(file: Path, found: list[Checked], traces: list[Shown], rests: dict[str, Rests], interrupted: bool) -> dict[str, Any]:
    """What a page shows: the traces, and below them the verdict of every search."""
    by_search = {id(checked): shown["name"] for checked, _, shown in reversed(traces)}
    rows = []
    for checked in found:
        result = checked.result
        why = ", ".join(dict.fromkeys(v.rule for v in result.broken)) or (str(result.error) if result.error else result.reason or "")
        names = [checked.driver, checked.adversary, checked.scenario]
        rows.append({"cells": [*names, result.verdict.value, why, figures(result.states, result.seconds)], "trace": by_search.get(id(checked))})
    told = [f"{name}: {text}" for name, rest in rests.items() for text in told_rests(rest)] + notes(checked.result for checked in found)
    columns = ["driver", "adversary", "scenario", "verdict", "why", "seen"]
    results = {"columns": columns, "verdict": 3, "rows": rows, "notes": told + ["The check was interrupted."] * interrupted}
    worst = _worst([c.result.verdict for c in found] + [Verdict.NOT_FINISHED] * interrupted)
    return page_data(f"{file.name}: {worst.value}", [shown for _, _, shown in traces], results)


# For machines.


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    return next((v for v in (Verdict.BROKEN, Verdict.NOT_FINISHED) if v in verdicts), Verdict.HOLDS)


def _as_json(
    file: Path,
    found: list[Checked],
    rests: dict[str, Rests],
    interrupted: bool,
    answers: dict[int, Any],
) -> dict[str, Any]:
    verdicts = [c.result.verdict for c in found] + [Verdict.NOT_FINISHED] * interrupted
    return {
        "schema": SCHEMA,
        "kind": "check",
        "file": str(file),
        "verdict": _worst(verdicts).value,
        "rests_on": {name: rests_to_json(rest) for name, rest in rests.items()},
        "results": [
            _result(file, checked) | ({"on_kernel": answers[n]} if n in answers else {}) for n, checked in enumerate(found)
        ],
    }


def _result(file: Path, checked: Checked) -> dict[str, Any]:
    names = {"driver": checked.driver, "adversary": checked.adversary, "scenario": checked.scenario}
    data: dict[str, Any] = {**names, "rules": list(checked.rules), "accessed": checked.accessed, **result_to_json(checked.result)}
    if checked.result.violation is not None:
        made_by = {"command": "check", "file": str(file.resolve()), **names, "rules": list(checked.rules), "bounds": dict(checked.bounds)}
        data["trace"] = trace_to_json(checked.rebuild(), checked.result.violation, made_by)
    return data


def made_by_words(file: Path, which: str, driver: list[str] | None, rules: list[str] | None, sizes: dict[str, int]) -> dict[str, Any]:
    """How the program of a token is made: of a file's driver, and a scenario of an adversary as one word."""
    from secondsight import contract

    kinds = _drivers(file, driver)
    if len(kinds) > 1:
        raise LangError(f"{file} has several drivers, {', '.join(k.__name__ for k in kinds)}; say by --class which it is")
    known = {plain_name(s.name): (a.name, s.name) for a in contract.EVERY_ADVERSARY.values() for s in a.scenarios}
    if plain_name(which) not in known:
        raise LangError(f"no adversary has a scenario {which}; {there_are(which, known, 'secondsight explain ADVERSARY')}")
    adversary, scenario = known[plain_name(which)]
    watched = [rule.name for rule in contract.rules_for(kinds[0], rules)]
    return {
        "command": "check", "file": str(file), "driver": kinds[0].__name__, "adversary": adversary, "scenario": scenario, "rules": watched,
        "bounds": sizes,
    }  # fmt: skip


def program_of(made_by: dict[str, Any]) -> tuple[str, Program]:
    """The program of a saved trace, built again, and its driver's name with the scenario's."""
    from secondsight import contract

    (driver,) = _drivers(Path(made_by["file"]), [made_by["driver"]])
    adversary = contract.EVERY_ADVERSARY.get(made_by["adversary"])
    scenario = next((s for s in adversary.scenarios if s.name == made_by["scenario"]), None) if adversary else None
    there = {rule.name for rule in contract.rules_for(driver)}
    if scenario is None or not there.issuperset(made_by["rules"]):
        raise LangError("the trace is of an adversary or a rule that is not there any more")
    rules = contract.rules_for(driver, made_by["rules"])
    return f"{driver.__name__} ({scenario.name})", contract.driver_program(driver, scenario, rules, made_by["bounds"] or None)
