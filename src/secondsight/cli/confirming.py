"""`--confirm KERNEL` and `--schedule FILE`: the model's counterexamples, forced on a real kernel."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from secondsight.agree.confirm import Confirmation, Confirmed, confirm
from secondsight.agree.freely import run_freely
from secondsight.cases import TABLES, FreeRun, Kernels, Question
from secondsight.cli.common import Running, parts, show
from secondsight.cli.kernel import find_kernel
from secondsight.devices.device import Device
from secondsight.kernels import Kernel, KernelError, boot
from secondsight.kernels.ability import ABILITIES, abilities
from secondsight.kernels.real_device import VARIANTS
from secondsight.lang import LangError
from secondsight.linux.releases import version_of
from secondsight.report import trace_from_json
from secondsight.scenario import ScenarioError
from secondsight.scenario.schedule import Forced, schedule_of_json
from secondsight.search import Violation
from secondsight.world.forced import CannotForce, schedule_of

__all__ = ["Asking", "asking", "confirmation_json", "could_be_asked", "question_of_checked", "question_of_file", "show_confirmation"]

STYLES = {Confirmed.CONFIRMED: "green", Confirmed.REFUTED: "bold red", Confirmed.CANNOT: "yellow"}


class Asking:
    """Asks one kernel, which is booted when there is something to force, and again when an answer has cost it.

    `kernel` names it in sentences."""

    def __init__(self, kernel: Kernel, running: Running) -> None:
        self._kernel, self._running = kernel, running
        self._vm: Any = None
        self.kernel = kernel.name

    def __call__(self, label: str, question: Question | FreeRun | CannotForce) -> Confirmation:
        """The kernel's answer. Raises KernelError when it cannot be booted, or dies."""
        if isinstance(question, CannotForce):
            return Confirmation(Confirmed.CANNOT, question.why)
        lacks = _lacks(self._kernel, question.kernels)
        if lacks is not None:
            return Confirmation(Confirmed.CANNOT, lacks, free=isinstance(question, FreeRun))
        if self._vm is None or not self._vm.is_up:
            self._running.say(f"booting {self._kernel.name}")
            self._vm = boot(self._kernel, module=True, movable=True, dax="device dax" in abilities(self._kernel), fs_dax="fs dax" in abilities(self._kernel))
        self._running.say(f"{self._kernel.name}: {label}")
        if isinstance(question, FreeRun):
            return run_freely(self._vm, question.scenario, question.shows, self._kernel.release)
        return confirm(self._vm, question.schedule, question.driver, self._kernel.release)

    def close(self) -> None:
        """End the guest."""
        if self._vm is not None:
            self._vm.close()


def _lacks(kernel: Kernel, wanted: Kernels) -> str | None:
    """Why a cell's code is not in a kernel; None: it is."""
    release = version_of(kernel.release)
    if wanted.since is not None and release < wanted.since:
        return f"the row is what Linux does since {wanted.since[0]}.{wanted.since[1]}: this one is older"
    if wanted.before is not None and release >= wanted.before:
        return f"the row is what Linux did before {wanted.before[0]}.{wanted.before[1]}: this one is newer"
    missing = [name for name in wanted.abilities if name not in abilities(kernel)]
    return f"the kernel is without {', '.join(missing)}: {ABILITIES[missing[0]]}" if missing else None


@contextmanager
def asking(kernel: Kernel) -> Iterator[Asking]:
    """Ask a kernel for a while."""
    with Running() as running:
        asks = Asking(kernel, running)
        try:
            yield asks
        finally:
            asks.close()


def could_be_asked(name: str | None) -> None:
    """Raise KernelError for a kernel that is not there or cannot be asked: before minutes of searching, not after them."""
    kernel = find_kernel(name, None)
    if kernel is not None and kernel.image is None:
        raise KernelError("secondsight.ko is for virtual machines, and not for the running kernel", "name a kernel to boot")


# Questions.


def question_of_checked(
    driver: type[Device], adversary: str, scenario: str, rules: Iterable[str], bounds: dict[str, int], violation: Violation
) -> Question | CannotForce:
    """What `check` found, as a question."""
    from secondsight import contract

    found = next((s for s in contract.EVERY_ADVERSARY[adversary].scenarios if s.name == scenario), None)
    if found is None:
        raise LangError(f"{adversary} has no scenario {scenario} any more")
    probes = [probe for rule in contract.rules_for(driver, list(rules)) for probe in rule.probes]
    schedule = schedule_of(found, driver, violation, probes, bounds or None)
    return schedule if isinstance(schedule, CannotForce) else Question(schedule, driver)


def question_of_file(path: Path, drivers: Callable[[], Iterable[type[Device]]]) -> Question | FreeRun | CannotForce:
    """A saved schedule, or a saved trace (the shortest of a document's) made into one.

    `drivers`: the classes that a schedule's driver may be besides those that the real device has.
    """
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ScenarioError(f"cannot be read as JSON: {error}", "give a schedule, or a trace that --json wrote", (str(path), 0)) from error
    if isinstance(data, dict) and data.get("kind") == "schedule":
        return _saved_schedule(path, data, drivers)
    traces = [trace_from_json(part) for part in parts(data, "trace")]
    if not traces:
        raise ScenarioError("has neither a schedule nor a trace", "give a schedule, or a trace that --json wrote", (str(path), 0))
    made_by, _, violation = min(traces, key=lambda trace: len(trace[2].trace))
    try:
        return _of_trace(made_by, violation)
    except KeyError as error:
        raise ScenarioError(f"the trace does not say how its program is made: {error}", site=(str(path), 0)) from error


def _saved_schedule(path: Path, data: Any, drivers: Callable[[], Iterable[type[Device]]]) -> Question:
    try:
        schedule = schedule_of_json(data)
    except ScenarioError as error:
        raise ScenarioError(error.reason, error.remedy, (str(path), 0)) from error
    if schedule.driver is None:
        return Question(schedule)
    known = {kind.__name__: kind for kind in (*drivers(), *VARIANTS)}
    if schedule.driver not in known:
        raise ScenarioError(
            f"the schedule's driver {schedule.driver} is not known here",
            f"name the file that has it before --schedule; the real device has {', '.join(v.__name__ for v in VARIANTS)}",
            (str(path), 0),
        )
    return Question(schedule, known[schedule.driver])


def _of_trace(made_by: dict[str, Any], violation: Violation) -> Question | FreeRun | CannotForce:
    from secondsight.contract import load_drivers

    if made_by["command"] == "settle":
        table = TABLES.get(made_by["table"])
        if table is None or table.on_kernel is None:
            return CannotForce(f"nothing of {made_by['table']} is on a real kernel")
        return table.on_kernel(made_by["row"], made_by["column"], violation)
    driver = next((kind for kind in load_drivers(made_by["file"]) if kind.__name__ == made_by["driver"]), None)
    if driver is None:
        raise LangError(f"{made_by['file']} has no driver {made_by['driver']} any more")
    return question_of_checked(driver, made_by["adversary"], made_by["scenario"], made_by["rules"], made_by["bounds"], violation)


# Answers.


def show_confirmation(label: str, found: Confirmation) -> None:
    """An answer for people."""
    show(f"{label}: {found.verdict.value}: {found.why}", style=STYLES[found.verdict])
    if found.verdict is Confirmed.REFUTED and found.schedule is not None:
        for number, step in enumerate(found.schedule.steps, 1):
            show(f"  {number:>3}  {step}")
        for expected in found.expected:
            show(f"  expected: {expected}")
        if found.seen is not None:
            show(f"  seen:     {found.seen}")


def confirmation_json(kernel: str, found: Confirmation) -> dict[str, Any]:
    """An answer as data (docs/json.md)."""
    data: dict[str, Any] = {"kernel": kernel, "verdict": found.verdict.value, "why": found.why, "form": found.form, "free": found.free}
    if found.schedule is not None:
        data["schedule"] = json.loads(found.schedule.to_json())
    data["expected"] = [_forced_json(one) for one in sorted(found.expected, key=str)]
    data["seen"] = None if found.seen is None else _forced_json(found.seen)
    return data


def _forced_json(one: Forced) -> dict[str, Any]:
    from secondsight.scenario import show_value

    outcome = {name: show_value(value) for name, value in one.outcome}
    return {"outcome": outcome, "retries": list(one.retries), "late": list(one.late), "probe": list(one.probe)}
