"""The 2023 table's row *pinned* on a real kernel: its broken cells as scenarios on the real udmabuf, forced at their operations.

The other rows are designs that no kernel has. Here the VMM and the importer are threads of one process, and the importer
reads through a mapping of the udmabuf: 6.12's udmabuf shows an importer what it shows such a mapping, the pages that it pinned.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Named

from secondsight.cases.table import FreeRun, Kernels, Question
from secondsight.scenario import Mapping, Recorder, Scenario
from secondsight.search import Violation
from secondsight.world.forced import CannotForce, NotFollowed, Schedule, ScheduledStep, run_forced
from secondsight.world.settled import ForcedModel

__all__ = ["PINNED", "in_order", "on_kernel", "runs_on_kernel"]


def _story(name: str, doc: str, importer: Callable[[Recorder, Mapping], None], pages: int, more: bool) -> Scenario:
    """The VMM writes b, punches page 0 and writes c there (`more`: then n to page 1); the importer reads its buffer."""
    s = Recorder()
    fd = s.memfd_create(pages=pages, seals="shrink")
    memfd = s.mmap(fd)
    s.write(memfd, "a")
    buffer = s.mmap(s.udmabuf_create(fd))

    @s.thread
    def vmm() -> None:
        s.write(memfd, "b")
        s.fallocate_punch_hole(fd, page=0)
        s.write(memfd, "c")
        if more:
            s.write(memfd + 1, "n")

    def reads() -> None:
        importer(s, buffer)

    reads.__name__ = "importer"
    s.thread(reads)
    with s.after():
        s.read(memfd, into="memfd")
    return s.scenario(name, doc)


def _once(s: Recorder, buffer: Mapping) -> None:
    s.read(buffer, into="importer")


def _before_and_after(s: Recorder, buffer: Mapping) -> None:
    s.read(buffer, into="before")
    s.read(buffer, into="importer")


def _newer_first(s: Recorder, buffer: Mapping) -> None:
    s.read(buffer + 1, into="page1")
    s.read(buffer, into="importer")


PINNED: dict[str, tuple[Scenario, str]] = {
    "reads new data": (
        _story("reads_new_data", "After the refill the importer reads what was there before the hole.", _once, 1, False),
        "vmm vmm vmm importer",
    ),
    "never older": (
        _story("never_older", "The importer reads n in page 1, then in page 0 what was older than c.", _newer_first, 2, True),
        "vmm vmm vmm vmm importer importer",
    ),
    "told without writer": (
        _story("told_without_writer", "The importer's mapping neither changes nor goes.", _before_and_after, 1, False),
        "vmm importer vmm vmm importer",
    ),
}
"""For each broken cell of the row: a scenario, and the threads in the order in which their operations run."""


def on_kernel(row: str, column: str, violation: Violation) -> Question | CannotForce:
    """A broken cell as a question to a real kernel."""
    if row != "pinned":
        return CannotForce("the row is a design that no kernel has")
    scenario, order = PINNED[column]
    schedule = in_order(scenario, order.split())
    for left in run_forced(schedule):
        values = dict(left.outcome)
        if values["importer"] != "b" or values["memfd"] != "c":
            raise NotFollowed(0, f"{scenario.name} does not show what it is for: {left}")
    return Question(schedule, kernels=_HAS)


def _no_zero(outcome: Named[str, str]) -> bool:
    return "0" not in (outcome["before"], outcome["importer"])


def runs_on_kernel(row: str, column: str) -> FreeRun | CannotForce:
    """A cell that holds as a question to a real kernel: its scenario runs freely."""
    if row != "pinned":
        return CannotForce("the row is a design that no kernel has")
    if column == "no freed frame":
        return CannotForce("what is read does not tell a page that is kept from one that was freed")
    return FreeRun(_WATCHED, _no_zero if column == "no unwritten zero" else None, _HAS)


_HAS = Kernels(abilities=("udmabuf",))
_WATCHED = _story("holes", "The importer reads at any time.", _before_and_after, 1, False)


def in_order(scenario: Scenario, order: list[str]) -> Schedule:
    """The schedule that runs the threads' operations in an order, one after another."""
    model = ForcedModel(scenario, points=("op",))
    node, steps = model.start().settled[0], []
    for thread in order:
        before = model.places_of(node)
        (node,) = model.release(node, thread).settled
        steps.append(ScheduledStep(thread, {n: p for n, p in model.places_of(node).items() if n == thread or p != before[n]}))
    return Schedule(scenario, None, tuple(steps), ("op",))
