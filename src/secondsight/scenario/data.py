"""A recorded scenario and its outcomes, as plain data.

An *outcome* is what one run left behind: a name and a value for every `into=`, and one for every
operation that failed without being asked for its result. Values are one character (a page's value),
`ok`, an errno name (`-EINVAL`), a signal name (`SIGSEGV`), `skipped` (a handle it needs never came
into being), `exited` (the process was gone before the operation ran), `torn` (the page holds
bytes that nobody wrote) or `differs` (`device_compare`: the device's access ended otherwise than
the CPU's). Frozen as a sorted tuple, an outcome can be kept in a set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secondsight.scenario.check import Checker
from secondsight.scenario.ops import MAX_THREADS, ArgValue, HandleRef, HandleType, Op, ScenarioError

__all__ = [
    "DIFFERS",
    "EXITED",
    "OK",
    "SKIPPED",
    "TORN",
    "ZERO",
    "Outcome",
    "Place",
    "Scenario",
    "ScenarioThread",
    "check",
    "collect",
    "freeze",
    "load_expected",
    "show_outcome",
    "show_value",
]

ZERO = "\0"  # a page of zeros; printed and written in files as 0
OK, SKIPPED, EXITED, TORN, DIFFERS = "ok", "skipped", "exited", "torn", "differs"

Outcome = tuple[tuple[str, str], ...]

VERSION = 2
"""The version of a scenario's JSON form. Of the first, which did not say so, every operation was in one process."""


@dataclass(frozen=True)
class ScenarioThread:
    """A named thread of a scenario and its operations, in program order."""

    name: str
    ops: tuple[Op, ...]

    def is_own(self, accesses: bool = False) -> bool:
        """Whether it is the process's own: it does something that a device or the rest of the kernel does not do.

        `accesses`: the device's accesses are the process's own.
        """
        return not self.ops or any(op.declared.own or (accesses and op.declared.accesses) for op in self.ops)

    @property
    def process(self) -> str | None:
        """The process that it is a thread of; None: the first, as is one that does nothing."""
        return self.ops[0].process if self.ops else None


@dataclass(frozen=True)
class Place:
    """An operation's place: `section` is `setup`, a thread's name or `final`; `thread` is the
    thread's number, None outside the threads."""

    section: str
    index: int
    thread: int | None
    op: Op

    @property
    def name(self) -> str:
        """The outcome name of its result: its `into`, or an automatic one such as `guest[1].munmap`."""
        return self.op.into or f"{self.section}[{self.index}].{self.op.kind}"


@dataclass(frozen=True)
class Scenario:
    """A recorded scenario. `setup` runs first and alone, then all `threads` together, then, when
    they have all ended, `final`. Each operation says in which process it is done."""

    name: str
    doc: str
    setup: tuple[Op, ...]
    threads: tuple[ScenarioThread, ...]
    final: tuple[Op, ...]

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The names that every outcome has, in the order of the operations."""
        return tuple(place.op.into for place in self.places() if place.op.into)

    @property
    def processes(self) -> tuple[str | None, ...]:
        """The processes: None for the first, and the handles of others; one that is forked comes after its parent."""
        return (None, *(p.op.makes for p in self.places() if p.op.declared.makes is HandleType.PROCESS))

    @property
    def forks(self) -> dict[str, Place]:
        """The processes that come into being by fork, and where."""
        return {p.op.makes: p for p in self.places() if p.op.declared.forks and p.op.makes}

    @property
    def has_device(self) -> bool:
        """Whether it has a device, of which a driver is asked for when it runs."""
        return any(place.op.declared.makes is HandleType.DEVICE for place in self.places())

    @property
    def chooses(self) -> bool:
        """Whether something in it is not decided by what was done before: without threads too it may have several outcomes."""
        return any(place.op.declared.chooses for place in self.places())

    def places(self) -> Iterator[Place]:
        """Every operation with its place: setup, each thread, final."""
        for i, op in enumerate(self.setup):
            yield Place("setup", i, None, op)
        for number, thread in enumerate(self.threads):
            for i, op in enumerate(thread.ops):
                yield Place(thread.name, i, number, op)
        for i, op in enumerate(self.final):
            yield Place("final", i, None, op)

    def to_json(self) -> str:
        """This scenario as JSON text; `from_json` gives an equal one back."""
        return json.dumps(
            {
                "version": VERSION,
                "name": self.name,
                "doc": self.doc,
                "setup": [_op_to_json(op) for op in self.setup],
                "threads": [{"name": t.name, "ops": [_op_to_json(op) for op in t.ops]} for t in self.threads],
                "final": [_op_to_json(op) for op in self.final],
            },
            indent=1,
        )

    @staticmethod
    def from_json(text: str) -> Scenario:
        """The scenario that `to_json` wrote. Raises ScenarioError on anything else, and on a
        scenario that the recorder would have refused."""
        try:
            data = json.loads(text)
            version = data.get("version", 1)
            if version not in (1, VERSION):
                raise ScenarioError(
                    f"a scenario of version {version!r}; this secondsight reads versions 1 to {VERSION}", "load it with the secondsight that wrote it"
                )
            result = Scenario(
                name=_text(data["name"]),
                doc=_text(data["doc"]),
                setup=tuple(_op_from_json(op) for op in data["setup"]),
                threads=tuple(ScenarioThread(_text(t["name"]), tuple(_op_from_json(op) for op in t["ops"])) for t in data["threads"]),
                final=tuple(_op_from_json(op) for op in data["final"]),
            )
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ScenarioError(
                f"not a scenario's JSON: {type(error).__name__}: {error}", "write it with Scenario.to_json()"
            ) from error
        check(result)
        return result


# Outcomes


def freeze(values: Mapping[str, str]) -> Outcome:
    """Names and values as an outcome that can be a member of a set. A zero page may be given as `0`."""
    return tuple(sorted((name, ZERO if value == "0" else value) for name, value in values.items()))


def show_value(value: str) -> str:
    """A value for people: a zero page is `0`."""
    return "0" if value == ZERO else value


def show_outcome(outcome: Outcome) -> str:
    """An outcome for people: `seen=a, cpu=0`."""
    return ", ".join(f"{name}={show_value(value)}" for name, value in outcome)


def collect(scenario: Scenario, results: Iterable[str | None]) -> Outcome:
    """The outcome of a run, from the result of each operation in the order of `scenario.places()`.

    A result is the value for `into` (a page's character, `ok`, `-EINVAL`, ...), or None for an
    operation that never ran. Operations without an `into` appear only when they failed.
    """
    values: dict[str, str] = {}
    for place, result in zip(scenario.places(), results, strict=True):
        if place.op.into is not None:
            values[place.name] = EXITED if result is None else result
        elif result is not None and result != OK and len(result) > 1:
            values[place.name] = result
    return freeze(values)


def load_expected(path: Path) -> dict[str, frozenset[Outcome]]:
    """The possible outcomes written beside a scenario file (`NAME.expected.json`), by scenario name."""
    try:
        data = json.loads(path.read_text())
        return {
            name: frozenset(freeze({_text(k): _text(v) for k, v in outcome.items()}) for outcome in entry["outcomes"])
            for name, entry in data.items()
        }
    except OSError as error:
        raise ScenarioError(f"cannot be read: {error.strerror}", site=(str(path), 0)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ScenarioError(
            f"not a file of expected outcomes: {error}",
            'write {"SCENARIO": {"why": "...", "outcomes": [{"NAME": "VALUE"}]}}',
            (str(path), 0),
        ) from error


def check(scenario: Scenario) -> None:
    """Raise ScenarioError unless the recorder could have made this scenario."""
    checker = Checker()
    seen: set[str] = {"setup", "final"}
    if len(scenario.threads) + bool(scenario.final) > MAX_THREADS:
        raise ScenarioError(f"{scenario.name}: more than {MAX_THREADS} threads, what runs after them counted")
    for thread in scenario.threads:
        if not thread.name.isidentifier() or thread.name in seen:
            raise ScenarioError(f"{scenario.name}: {thread.name!r} cannot name a thread, or names two")
        seen.add(thread.name)
    for place in scenario.places():
        checker.add(place.section, place.op)


# JSON


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _value_to_json(value: ArgValue) -> Any:
    if isinstance(value, HandleRef):
        return {"handle": value.handle, "page": value.page}
    if isinstance(value, tuple):
        return [[_value_to_json(part) for part in item] for item in value]
    return value


def _value_from_json(data: Any) -> ArgValue:
    if isinstance(data, dict):
        if not isinstance(data["page"], int):
            raise TypeError(f"{data['page']!r} is not a page")
        return HandleRef(_text(data["handle"]), data["page"])
    if isinstance(data, list):
        return tuple((_ref_from_json(fd), page, pages) for fd, page, pages in data)
    if data is None or isinstance(data, int | str):
        return data
    raise TypeError(f"{data!r} is not an argument")


def _ref_from_json(data: Any) -> HandleRef:
    value = _value_from_json(data)
    if not isinstance(value, HandleRef):
        raise TypeError(f"{data!r} is not a handle")
    return value


def _op_to_json(op: Op) -> dict[str, Any]:
    args = {name: _value_to_json(value) for name, value in op.args.items()}
    data = {"kind": op.kind, "args": args, "into": op.into, "makes": op.makes, "site": list(op.site)}
    return data if op.process is None else data | {"process": op.process}


def _op_from_json(data: Any) -> Op:
    args = {_text(name): _value_from_json(value) for name, value in data["args"].items()}
    into, makes = (data[key] if data[key] is None else _text(data[key]) for key in ("into", "makes"))
    process = _text(data["process"]) if "process" in data else None
    file, line = data["site"]
    if not isinstance(line, int):
        raise TypeError(f"{line!r} is not a line")
    return Op(_text(data["kind"]), args, into, makes, (_text(file), line), process)
