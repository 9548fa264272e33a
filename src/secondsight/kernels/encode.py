"""A scenario as the lines that the guest agent reads, and the agent's results as values.

The encoding follows the types of the operations' arguments (`scenario.ops.ArgType`): a number of pages, a page, seals and a page's
value are one number, a file is its handle's number, an address is handle and page, ranges are their
count and three numbers each, a flag is 0 or 1. -1 stands for an argument that is absent.

A forced run is a line `forced STEPS POINTS` and a `step` line for each step of its schedule (agent/forced.c).
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterable, Mapping, Sequence

from secondsight.kernels.errors import KernelError
from secondsight.scenario.data import DIFFERS, OK, SKIPPED, TORN, Scenario
from secondsight.scenario.holds import by_number, hold
from secondsight.scenario.ops import SEALS, ArgType, ArgValue, HandleRef, HandleType, Needs, Op

__all__ = ["SentSchedule", "encode", "encode_steps", "pages_of", "place_of", "value_of"]

SentSchedule = Sequence[tuple[str, Mapping[str, str]]]
"""A schedule: for each step the thread that is let go, and where the threads that moved have settled then: a hold point's
name, `op:N` (before operation N of the thread), `blocked` or `ended`."""

BLOCKED, ENDED, RUNNING = "blocked", "ended", "running"
_SHORT = {"b": BLOCKED, "e": ENDED, "r": RUNNING}

_ERRORS: dict[int, str] = dict(errno.errorcode) | {errno.EOPNOTSUPP: "EOPNOTSUPP"}  # the kernel's name; the C library has two for it

def encode(scenario: Scenario, variant: str = "") -> str:
    """The lines that load a scenario into the agent. `variant`: the form of secondsight.ko's mirror that its device is.
    Raises KernelError for an operation that only the model has."""
    places = list(scenario.places())
    for place in places:
        if place.op.declared.model_only:
            raise KernelError(
                f"{scenario.name}: {place.op.kind} cannot run on a real kernel yet",
                "run it on the model: secondsight run without --on",
            )
    _check_dax(scenario)
    _check_fs_dax(scenario)
    _check_disk_files(scenario)
    made = [place.op.makes for place in places if place.op.makes]
    processes = scenario.processes
    number = {name: i for i, name in enumerate(made)}
    name = "_".join(scenario.name.split())[:63]
    lines = [f"scenario {name} {len(made)} {len(scenario.threads)} {len(places)}"]
    if variant and places:  # the agent reads a scenario to its last operation
        lines.append(f"driver {variant}")
    if any(place.op.declared.needs in (Needs.HUGE, Needs.HUGETLB) for place in places):
        lines.append("huge")
    for device in (place.op for place in places if place.op.declared.makes is HandleType.DEVICE):
        assert device.makes is not None
        pages = " ".join(f"{number[handle]}+{page}" for handle, page in pages_of(scenario, device.process))
        lines.append(f"probe {number[device.makes]} {pages}".rstrip())
    if len(scenario.processes) > 1:
        lines.append(f"processes {len(scenario.processes)}")
    lines += [f"forked {scenario.processes.index(child)} {number[child]}" for child in scenario.forks]
    process = None
    for place in places:
        if place.op.process != process:
            process = place.op.process
            lines.append(f"in {scenario.processes.index(process)}")
        section = place.section[0] if place.thread is None else place.thread
        makes = number[place.op.makes] if place.op.makes else -1
        words = [section, place.op.kind, makes, *_arguments(place.op, number, processes)]
        lines.append("op " + " ".join(str(word) for word in words))
    return "\n".join(lines) + "\n"


def _check_dax(scenario: Scenario) -> None:
    """Raises KernelError for what a real kernel's device memory does not do, or does otherwise than the model: there is one, larger than the scenario's, of small pages; and what
    pins it is not waited for when it is taken away."""
    places = list(scenario.places())
    size = {place.op.makes: place.op.args["pages"] for place in places if place.op.declared.makes is HandleType.DAX}
    if not size:
        return
    if len(size) > 1:
        raise KernelError(f"{scenario.name}: a guest has one dax device, and the scenario {len(size)}", "give it one")
    for op in (place.op for place in places):
        fd, page, pages = (op.args.get(name) for name in ("fd", "page", "pages"))
        if op.declared.makes is HandleType.MAPPING and isinstance(fd, HandleRef) and fd.handle in size and page + pages > size[fd.handle]:  # type: ignore[operator]
            raise KernelError(f"{scenario.name}: a mapping reaches past the end of the dax device; a real one goes on there", "give the device more pages")
        if op.kind == "direct_read" or (op.declared.makes is HandleType.PIN and any(place.op.kind == "dax_remove" for place in places)):
            raise KernelError(f"{scenario.name}: {op.kind} beside a dax device{'' if op.kind == 'direct_read' else ' that goes'}, which is not modelled", "leave one of them out")
        if op.declared.needs in (Needs.HUGE, Needs.HUGETLB):
            raise KernelError(f"{scenario.name}: huge pages beside a dax device, which has small ones", "leave one of them out")


def _check_fs_dax(scenario: Scenario) -> None:
    """Raises KernelError for what a real file system in a device's memory does otherwise than the model: it has private mappings, and small pages alone."""
    ops = [place.op for place in scenario.places()]
    files = {op.makes for op in ops if op.declared.makes is HandleType.FS_DAX}
    if not files:
        return
    for op in ops:
        fd = op.args.get("fd")
        if op.kind == "mmap_private" and isinstance(fd, HandleRef) and fd.handle in files:
            raise KernelError(f"{scenario.name}: a private mapping of a dax file, which is not modelled", "map it shared")
        if op.declared.needs in (Needs.HUGE, Needs.HUGETLB):
            raise KernelError(f"{scenario.name}: huge pages beside a dax file, which has small ones", "leave one of them out")


def _check_disk_files(scenario: Scenario) -> None:
    """Raises KernelError for what writeback is not modelled of."""
    ops = [place.op for place in scenario.places()]
    has = {op.declared.makes for op in ops}
    for op in ops:
        if op.kind == "msync" and HandleType.FS_DAX in has:
            raise KernelError(f"{scenario.name}: msync beside a dax file, whose entries it would make read-only, which is not modelled", "leave one of them out")
        if HandleType.DISK_FILE in has and op.declared.needs in (Needs.HUGE, Needs.HUGETLB):
            raise KernelError(f"{scenario.name}: huge pages beside a file on a disk, which has small ones", "leave one of them out")


def pages_of(scenario: Scenario, process: str | None = None) -> list[tuple[str, int]]:
    """The pages that a process's mappings can have, each once, as the model numbers them: mapping and page."""
    pages = []
    for place in scenario.places():
        made = place.op.declared.pages_made
        count = place.op.args.get("pages") if made is None else made(place.op.args)
        makes_mapping = place.op.declared.makes is HandleType.MAPPING and place.op.process == process
        if makes_mapping and place.op.args.get("at") is None and place.op.makes and isinstance(count, int):
            pages += [(place.op.makes, page) for page in range(count)]
    return pages


def encode_steps(scenario: Scenario, steps: SentSchedule, points: Iterable[str]) -> str:
    """The lines that run the loaded scenario by a schedule, with these hold points armed.
    Raises KernelError for a thread or a place that there is not."""
    number = {thread.name: i for i, thread in enumerate(scenario.threads)}
    if scenario.forks:
        reason = f"{scenario.name}: fork cannot be in a forced run yet: what the agent itself shares with the child is copied on write too"
        raise KernelError(reason, "run it without a schedule, or look at the trace on the model")

    def word(thread: str, where: str) -> str:
        if where in (BLOCKED, ENDED):
            return where[0]
        if where.startswith("op:"):
            return where
        try:
            return str(hold(where).number)
        except KeyError as error:
            raise KernelError(f"{scenario.name}: thread {thread}: {error.args[0]}", "look at the schedule") from None

    lines = [f"forced {len(steps)} {sum(1 << hold(point).number for point in points):x}"]
    for release, then in steps:
        unknown = {release, *then} - number.keys()
        if unknown:
            raise KernelError(f"{scenario.name} has no thread {unknown.pop()}", "look at the schedule: is it of this scenario?")
        settled = [f"{number[thread]} {word(thread, where)}" for thread, where in then.items()]
        lines.append(" ".join(["step", str(number[release]), *settled]))
    return "\n".join(lines) + "\n"


def place_of(word: str | int) -> str:
    """Where a thread is, in a schedule's words, from the agent's."""
    return by_number(word).name if isinstance(word, int) else _SHORT.get(word, word)


def _arguments(op: Op, number: dict[str, int], processes: Sequence[str | None]) -> list[int]:
    words: list[int] = []
    for name, arg in op.declared.args.items():
        value = op.args[name]
        if arg.type is ArgType.PROCESS and isinstance(value, HandleRef):
            words += [number[value.handle], processes.index(value.handle)]
        else:
            words += _words(arg.type, value, number)
    return words


def _words(type_: ArgType, value: ArgValue, number: dict[str, int]) -> list[int]:
    if value is None:
        return [-1] * (1 + (type_.shape == "a"))
    if isinstance(value, HandleRef):
        return [number[value.handle], value.page] if type_.shape == "a" else [number[value.handle]]
    if isinstance(value, tuple):
        return [
            len(value),
            *(word for ref, page, pages in value for word in (number[ref.handle], page, pages)),
        ]
    if type_ is ArgType.SEALS:
        return [sum(SEALS[name] for name in set(str(value).split("|")) if name)]
    return [ord(value) if isinstance(value, str) else int(value)]


def value_of(result: str) -> str | None:
    """One of the agent's results as an outcome's value; None for an operation that never ran."""
    kind, _, number = result.partition(":")
    if kind == "page":
        return chr(int(number))
    if kind == "errno":
        return "-" + _ERRORS.get(int(number), number)
    if kind == "signal":
        return signal.Signals(int(number)).name
    return {"none": None, "ok": OK, "skipped": SKIPPED, "torn": TORN, "differs": DIFFERS}[kind]
