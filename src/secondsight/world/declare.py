"""Declaring operations: what a scenario says of one (`scenario.ops.Operation`) together with what it does on the model.

    @operation(addr=Arg(ArgType.ADDRESS), pages=Arg(ArgType.COUNT, Default.SPAN, keyword=True), takes_away=True)
    def munmap(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
        \"\"\"Unmap. Unmapping what is not mapped succeeds.\"\"\"
        return vm_munmap(mm, address[i], pages[i])

The function is written in the protocol language; its arguments are in `tables`, by their types (`COLUMNS`). It is not
`@atomic`. The operation's name is the function's, its manual the docstring.

A *family* is what programs contain together: what one file of `operations/` declares. A program with a device has those of the
scenario's operations, and `ALWAYS`: fewer would be smaller still, and more shapes to compile after each change of a driver. Where it is known what
else is done in programs of that shape, as it is of the contract's scenarios, it has that alone (`model.done_together`). Scenarios
without a device are many and small: they share one program with everything that needs no device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from inspect import cleandoc
from typing import Any, TypeVar

from secondsight.devices.device import Device
from secondsight.lang import Functions, Ref, marker
from secondsight.linux.mm_types import Mm, Result
from secondsight.scenario.ops import OPS, Arg, ArgType, HandleType, Op, Operation, ScenarioError, declare
from secondsight.world.tables import Handle, RowNumber

__all__ = [
    "ACTS", "ALREADY_DONE", "ASKED", "COLUMNS", "Amounts", "OnModel", "also", "arm", "before_the_threads", "model_of", "on_kernels", "on_model", "operation", "with_families",
    "without_device",
]  # fmt: skip

Act = Callable[[RowNumber, Mm, Ref[Device]], Result]
A = TypeVar("A", bound=Act)
Amounts = Callable[[Mapping[str, Any]], dict[str, int]]
"""From an operation's arguments how much of each bound it takes."""

ACTS = Functions[Act]("ACTS")
"""What operations do on the model, by number."""

COLUMNS = {
    ArgType.ADDRESS: ("address", "page"),
    ArgType.PLACE: ("address",),
    ArgType.COUNT: ("pages",),
    ArgType.PAGE: ("page",),
    ArgType.LENGTH: ("value",),
    ArgType.SIZE: ("pages",),
    ArgType.HALVES: ("page", "pages"),
    ArgType.LIMIT: ("value", "page"),
    ArgType.VALUE: ("value",),
    ArgType.SEALS: ("value",),
    ArgType.FLAG: ("value", "page", "pages"),
    ArgType.PROCESS: ("value",),
}
"""In which table of a row an argument is, by its type; the second of a type is in the second."""


def nothing(args: Mapping[str, Any]) -> dict[str, int]:
    """It takes nothing."""
    return {}


@dataclass(frozen=True)
class OnModel:
    """An operation on the model. `acts`: the number of the function that it is, by the type of its file; None: of any other.

    `begins`: of one that is done before the threads, in plain Python; its function does nothing then. `turns`: whether it opens or
    closes the device (`tables.turns`). `flags`: for every row of it. `takes`: what it takes of bounds, each operation of a
    scenario for itself; `at_least`: the size of the largest.
    """

    acts: dict[HandleType | None, int]
    begins: Callable[[Handle, Op, Any, Any], int] | None = None
    turns: int = 0
    flags: int = 0
    takes: Amounts = nothing
    at_least: Amounts = nothing

    def number(self, file: HandleType | None) -> int:
        """The number of the function for a file of that type."""
        return self.acts.get(file, self.acts[None])


ASKED: dict[str, str] = {}
"""The kernel's functions that a trace calls by what the thread asks for, in the words of its program."""

_MODEL: dict[str, OnModel] = {}
_FAMILIES: dict[str, list[int]] = {}
ALWAYS = (__name__.rpartition(".")[2], "memory", "process", "device")


@marker
def operation(
    *,
    turns: int = 0,
    takes: Amounts = nothing,
    at_least: Amounts = nothing,
    asks: Mapping[str, str] | None = None,
    **given: Any,
) -> Callable[[A], A]:
    """Declare an operation that the model has. `asks`: entries of `ASKED`. Further keywords are its arguments (`Arg`), and what else
    `Operation` has."""

    def make(act: A) -> A:
        ASKED.update(asks or {})
        declared = _declared(act.__name__.rstrip("_"), act.__doc__ or "", given)
        _MODEL[declared.name] = OnModel({None: _add(act)}, turns=turns, takes=takes, at_least=at_least)
        return act

    return make


@marker
def arm(name: str, *of: HandleType) -> Callable[[A], A]:
    """What the operation `name` does with a file of those types."""

    def make(act: A) -> A:
        _MODEL[name].acts.update(dict.fromkeys(of, _add(act)))
        return act

    return make


def before_the_threads(
    *, takes: Amounts = nothing, at_least: Amounts = nothing, **given: Any
) -> Callable[[Callable[[Handle, Op, Any, Any], int]], None]:
    """Declare an operation of the setup that is no step of any thread. The function is plain Python: it gets the handle, the
    operation, the process's mm and the device, and returns 0 or an error."""

    def make(begins: Callable[[Handle, Op, Any, Any], int]) -> None:
        declared = _declared(begins.__name__, begins.__doc__ or "", given | {"in_setup": True})
        _MODEL[declared.name] = OnModel({None: ALREADY_DONE}, begins, takes=takes, at_least=at_least)

    return make


def also(like: str, name: str, manual: str, flags: int = 0, takes: Amounts | None = None, at_least: Amounts | None = None, **said: Any) -> None:
    """Declare an operation that has the arguments of another, and does the same under `flags`."""
    known = _MODEL[like]
    declare(replace(OPS[like], name=name, manual=cleandoc(manual), **said))
    _MODEL[name] = replace(known, flags=flags, takes=takes or known.takes, at_least=at_least or known.at_least)


def on_kernels(name: str, manual: str, **given: Any) -> None:
    """Declare an operation that only real kernels have yet."""
    _declared(name, manual, given | {"kernel_only": True})


def on_model(op: Op) -> OnModel:
    """What the model knows of an operation. Raises ScenarioError for one that only real kernels have."""
    if op.declared.kernel_only:
        raise ScenarioError(f"{op.kind} cannot run on the model yet", "run it on a real kernel: secondsight run --on linux-6.12", op.site)
    return _MODEL[op.kind]


def model_of(name: str) -> OnModel:
    """What the model knows of the operations of a name that it can run."""
    return _MODEL[name]


def with_families(numbers: Iterable[int]) -> tuple[int, ...]:
    """The numbers of some functions, and of everything in their families and those that a program with a device always has."""
    wanted = set(numbers)
    return tuple(sorted(n for name, family in _FAMILIES.items() if name in ALWAYS or wanted & set(family) for n in family))


def without_device() -> tuple[int, ...]:
    """The numbers of all functions in families that have nothing to do with a device."""
    drives = {n for name, known in _MODEL.items() if "device" in OPS[name].args for n in known.acts.values()}
    return tuple(sorted(n for family in _FAMILIES.values() if not drives & set(family) for n in family))


def already_done(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """An operation of the setup that was done before the threads."""
    return 0


def _add(act: Act) -> int:
    number = ACTS.add(act)
    _FAMILIES.setdefault(act.__module__.rpartition(".")[2], []).append(number)
    return number


ALREADY_DONE = _add(already_done)


def _declared(name: str, manual: str, given: Mapping[str, Any]) -> Operation:
    args = {key: value for key, value in given.items() if isinstance(value, Arg)}
    said = {key: value for key, value in given.items() if key not in args}
    return declare(Operation(name, cleandoc(manual), args, **said))
