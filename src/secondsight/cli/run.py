"""`secondsight run FILE`: a scenario's possible outcomes on the model, beside those observed on a real kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from secondsight.cli.common import (
    BROKEN,
    HOLDS,
    NOT_FINISHED,
    Running,
    exit_code,
    search_progress,
    show,
    warn,
    width,
    write_json,
)
from secondsight.cli.html import could_be_written, tell_and_show, write_page
from secondsight.cli.searching import notes, told
from secondsight.devices.device import Device
from secondsight.lang import LangError
from secondsight.linux.releases import LOOKED_AT, version_of
from secondsight.report import SCHEMA, result_to_json
from secondsight.report.page import page_data
from secondsight.report.trace import tell_way
from secondsight.scenario import Outcome, Scenario, ScenarioError, load_scenarios, show_outcome, show_value
from secondsight.scenario.shipped import scenarios_of
from secondsight.search import Result, Verdict
from secondsight.search.request import Request
from secondsight.world.reach import ways_to

if TYPE_CHECKING:
    from secondsight.kernels import Kernel, Observation

__all__ = ["force", "run"]


@dataclass(frozen=True)
class Compared:
    """A scenario with what can happen on the model and what did happen on a kernel."""

    scenario: Scenario
    result: Result
    possible: frozenset[Outcome]
    observed: Observation | None

    @property
    def impossible(self) -> dict[Outcome, int]:
        """What was observed though the model, searched to its end, does not have it."""
        if self.observed is None or self.result.verdict is not Verdict.HOLDS:
            return {}
        return {o: n for o, n in self.observed.outcomes.items() if o not in self.possible}


def run(
    named: str,
    request: Request,
    target: Kernel | None,
    runs: int,
    seed: int,
    release: str | None,
    by_hand: dict[str, int],
    as_json: bool,
    page: Path | None,
) -> int:
    """Search the scenarios of a file, run them on the kernel `target` if there is one, and tell it; the exit code."""
    could_be_written(page)
    file, scenarios = scenarios_of(named)
    if release is not None:
        _checked(release)
    with Running() as running:
        answers_as = release or (target.release if target is not None else None)
        compared: list[Compared] = []
        stopped: BaseException | None = None
        try:
            compared.extend(_models(scenarios, request, running, answers_as, by_hand))
        except KeyboardInterrupt as error:
            stopped = error
        if target is not None and stopped is None and not any(c.result.reason == "interrupted" for c in compared):
            stopped = _on_kernel(compared, target, runs, seed, running)
    if as_json:
        write_json({"schema": SCHEMA, "kind": "run", "file": str(file), "scenarios": [_as_json(c) for c in compared]})
    else:
        for one in compared:
            _print(one)
    if page is not None and stopped is None:
        write_page(page, _page(file.name, compared, by_hand, answers_as))
    if any(c.impossible for c in compared):
        return BROKEN
    if stopped is not None:
        raise stopped
    return exit_code(c.result for c in compared)


def force(file: Path, schedule: Path, kernel: Kernel, as_json: bool) -> int:
    """`--schedule`: force one schedule, and tell it; the exit code."""
    from secondsight.agree.confirm import Confirmed
    from secondsight.cases import Question
    from secondsight.cli.confirming import asking, confirmation_json, question_of_file, show_confirmation

    question = question_of_file(schedule, lambda: _drivers(file))
    if isinstance(question, Question):
        _is_of(file, question.schedule.scenario)
    with asking(kernel) as ask:
        found, name = ask(schedule.name, question), ask.kernel
    if as_json:
        write_json({"schema": SCHEMA, "kind": "forced", "file": str(file), **confirmation_json(name, found)})
    else:
        label = f"{name}, {found.schedule.scenario.name}" if found.schedule is not None else name
        show_confirmation(label, found)
        if found.seen is not None and found.verdict is Confirmed.CONFIRMED:
            show(f"  {found.seen}")
    return {Confirmed.CONFIRMED: HOLDS, Confirmed.REFUTED: BROKEN, Confirmed.CANNOT: NOT_FINISHED}[found.verdict]


def _drivers(file: Path) -> list[type[Device]]:
    """The drivers that a file has; none where it is a file of scenarios."""
    from secondsight.contract import load_drivers

    try:
        return load_drivers(file)
    except LangError:
        return []


def _is_of(file: Path, scenario: Scenario) -> None:
    """Refuse a schedule of another scenario than the file has. A driver's file has none: its scenarios are the contract's."""
    if _drivers(file):
        return
    known = {one.name: one for one in load_scenarios(file)}
    if scenario.name not in known:
        raise ScenarioError(f"has no scenario {scenario.name}, which the schedule is of", f"it has {', '.join(known)}", (str(file), 0))
    if known[scenario.name].to_json() != scenario.to_json():
        raise ScenarioError(f"{scenario.name} is not as it was when the schedule was saved", "save it again", (str(file), 0))


def _checked(release: str) -> None:
    try:
        asked = version_of(release)
    except ValueError as error:
        raise typer.BadParameter(f"--release {error}") from error
    if asked not in LOOKED_AT:
        known = [f"{major}.{minor}" for major, minor in LOOKED_AT]
        warn(f"note: --release {release}: what differs between releases is known of {', '.join(known)}; others are answered by these")


def _models(
    scenarios: list[Scenario], request: Request, running: Running, release: str | None, by_hand: dict[str, int]
) -> Iterator[Compared]:
    """Every scenario on the model, up to one that Ctrl-C ended."""
    for scenario in scenarios:
        found = _model(scenario, request, running, release, by_hand)
        yield found
        if found.result.reason == "interrupted":
            return


def _model(
    scenario: Scenario, request: Request, running: Running, release: str | None, by_hand: dict[str, int]
) -> Compared:
    from secondsight.world.model import outcomes

    def on_progress(progress: Any) -> None:
        running.say(search_progress(scenario.name, progress))

    result, possible = outcomes(scenario, request=request.but(on_progress=on_progress, on_growth=running.grows), bounds=by_hand, release=release)
    return Compared(scenario, result, possible, None)


def _on_kernel(compared: list[Compared], kernel: Kernel, runs: int, seed: int, running: Running) -> BaseException | None:
    """What one boot of the kernel showed of every scenario goes to `compared`; what has cut that short, to be raised later."""
    from secondsight.kernels import KernelError, boot
    from secondsight.kernels.real_device import needs_cma, needs_dax, needs_fs_dax, needs_module, needs_movable

    running.say(f"booting {kernel.name}")
    try:
        module, movable, dax, fs_dax, cma = (any(needs(one.scenario) for one in compared) for needs in (needs_module, needs_movable, needs_dax, needs_fs_dax, needs_cma))
        with boot(kernel, module=module, movable=movable, dax=dax, fs_dax=fs_dax, cma=cma) as vm:
            for number, one in enumerate(compared):
                name = one.scenario.name

                def on_progress(seen: Observation, name: str = name) -> None:
                    running.say(f"{kernel.name}: {name}: {seen.runs} of {runs} runs", seen.runs, runs)

                compared[number] = replace(one, observed=vm.observe(one.scenario, runs, seed, on_progress))
    except (KeyboardInterrupt, KernelError, ScenarioError) as error:
        return error
    return None


def _page(file: str, compared: list[Compared], by_hand: dict[str, int], release: str | None) -> dict[str, Any]:
    """What a page shows: the outcomes, and a shortest way to each."""
    rows, traces, told = [], [], []
    for one in compared:
        made, ways = ways_to(one.scenario, one.possible, by_hand, release)
        for outcome in sorted(one.possible | set(one.observed.outcomes if one.observed else ())):
            shown, name = show_outcome(outcome) or "(nothing to tell)", None
            if outcome in ways:
                name = f"{one.scenario.name}, {shown}"
                traces.append(tell_and_show(True, made, name, partial(tell_way, name, made, ways[outcome]))[1])
            rows.append({"cells": [one.scenario.name, shown, *(cell.plain for cell in _row(one, outcome)[1:])], "trace": name})
        told += [f"{one.scenario.name}: {' '.join(one.scenario.doc.split())}"] * bool(one.scenario.doc) + [f"{one.scenario.name}: {line}" for line in _summary(one).splitlines()]
    columns = ["scenario", "outcome", "model", *(["observed"] if any(one.observed for one in compared) else [])]
    return page_data(f"{file}: what can happen", traces, {"columns": columns, "verdict": None, "rows": rows, "notes": told})


# For people.


def _print(one: Compared) -> None:
    show(one.scenario.name, style="bold")
    if one.scenario.doc:
        show(Padding(" ".join(one.scenario.doc.split("\n\n")[0].split()), (0, 0, 1, 2)))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, width=width(), padding=(0, 2, 0, 0))
    table.add_column("outcome", ratio=1, overflow="fold")
    table.add_column("model", width=14)
    observed = one.observed
    if observed is not None:
        table.add_column("observed", width=14)
    known = one.possible | (set(observed.outcomes) if observed else set())
    for outcome in sorted(known):
        table.add_row(*_row(one, outcome))
    show(table)
    show(_summary(one))
    for outcome, count in sorted(one.impossible.items()):
        show(
            f"IMPOSSIBLE OUTCOME OBSERVED: {show_outcome(outcome)} ({count} times). The model says that this cannot happen: "
            "the model is wrong, or the kernel is. Please report it.",
            style="bold red",
        )
    print()


def _row(one: Compared, outcome: Outcome) -> list[Text]:
    complete = one.result.verdict is Verdict.HOLDS
    if outcome in one.possible:
        model = Text("possible")
    else:
        model = Text("IMPOSSIBLE", "bold red") if complete else Text("not seen yet", "yellow")
    row = [Text(show_outcome(outcome) or "(nothing to tell)"), model]
    if one.observed is not None:
        count = one.observed.outcomes.get(outcome, 0)
        row.append(Text(f"{count} times" if count else "not observed", "" if count else "dim"))
    return row


def _summary(one: Compared) -> str:
    result = one.result
    text = f"model: {len(one.possible)} possible outcome{'s' if len(one.possible) != 1 else ''}"
    if result.verdict is not Verdict.HOLDS:
        text += " so far"
    text += f", {told(result)}"
    if result.verdict is not Verdict.HOLDS:
        why = result.error or (result.violation.message if result.violation else result.reason)
        text += f"; {result.verdict.value}: {why}"
    text += "".join(f"\n{note}" for note in notes([result]))
    if one.observed is not None:
        text += f"\nLinux {one.observed.kernel_release}: {one.observed.runs} runs, {one.observed.seconds:.1f} s"
        if not one.impossible and result.verdict is Verdict.HOLDS:
            text += "; every observed outcome is possible"
    return text


def _as_json(one: Compared) -> dict[str, Any]:
    data: dict[str, Any] = {"name": one.scenario.name, "model": result_to_json(one.result)}
    data["possible"] = [_outcome(o) for o in sorted(one.possible)]
    if one.observed is not None:
        data["observed"] = {
            "kernel": one.observed.kernel_release,
            "runs": one.observed.runs,
            "outcomes": [{"outcome": _outcome(o), "count": n} for o, n in sorted(one.observed.outcomes.items())],
        }
        data["impossible"] = [_outcome(o) for o in sorted(one.impossible)]
    return data


def _outcome(outcome: Outcome) -> dict[str, str]:
    return {name: show_value(value) for name, value in outcome}
