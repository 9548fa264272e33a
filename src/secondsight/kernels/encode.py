"""A scenario as the lines that the guest agent reads, and the agent's results as values.

The encoding follows the types in `scenario.ops.OPS`: a number of pages, a page, seals and a page's
value are one number, a file is its handle's number, an address is handle and page, ranges are their
count and three numbers each. -1 stands for an argument that is absent.
"""

from __future__ import annotations

import errno
import signal

from secondsight.kernels.errors import KernelError
from secondsight.scenario.data import OK, SKIPPED, TORN, Scenario
from secondsight.scenario.ops import OPS, SEALS, ArgType, Op, Ref, Value

__all__ = ["encode", "value_of"]

_SHAPES = {
    ArgType.COUNT: "n",
    ArgType.PAGE: "n",
    ArgType.VALUE: "n",
    ArgType.SEALS: "n",
    ArgType.FD: "h",
    ArgType.MEMFD: "h",
    ArgType.ADDRESS: "a",
    ArgType.RANGES: "r",
}


def shape(kind: str) -> str:
    """The argument encoding of an operation, in the letters of the agent's own table."""
    return "".join(_SHAPES[arg.type] for arg in OPS[kind].args)


def encode(scenario: Scenario) -> str:
    """The lines that load a scenario into the agent. Raises KernelError for an operation that only the model has."""
    places = list(scenario.places())
    for place in places:
        if OPS[place.op.kind].model_only:
            raise KernelError(
                f"{scenario.name}: {place.op.kind} cannot run on a real kernel yet",
                "run it on the model: secondsight run without --on",
            )
    made = [place.op.makes for place in places if place.op.makes]
    number = {name: i for i, name in enumerate(made)}
    lines = [f"scenario {scenario.name[:63]} {len(made)} {len(scenario.threads)} {len(places)}"]
    for place in places:
        section = place.section[0] if place.thread is None else place.thread
        makes = number[place.op.makes] if place.op.makes else -1
        words = [section, place.op.kind, makes, *_arguments(place.op, number)]
        lines.append("op " + " ".join(str(word) for word in words))
    return "\n".join(lines) + "\n"


def _arguments(op: Op, number: dict[str, int]) -> list[int]:
    words: list[int] = []
    for arg in OPS[op.kind].args:
        words += _words(arg.type, op.args[arg.name], number)
    return words


def _words(type_: ArgType, value: Value, number: dict[str, int]) -> list[int]:
    if value is None:
        return [-1, -1] if type_ is ArgType.ADDRESS else [-1]
    if isinstance(value, Ref):
        return [number[value.handle], value.page] if type_ is ArgType.ADDRESS else [number[value.handle]]
    if isinstance(value, tuple):
        return [
            len(value),
            *(word for ref, page, pages in value for word in (number[ref.handle], page, pages)),
        ]
    if type_ is ArgType.SEALS:
        return [sum(SEALS[name] for name in set(str(value).split("|")) if name)]
    return [ord(value) if isinstance(value, str) else value]


def value_of(result: str) -> str | None:
    """One of the agent's results as an outcome's value; None for an operation that never ran."""
    kind, _, number = result.partition(":")
    if kind == "page":
        return chr(int(number))
    if kind == "errno":
        return "-" + errno.errorcode.get(int(number), number)
    if kind == "signal":
        return signal.Signals(int(number)).name
    return {"none": None, "ok": OK, "skipped": SKIPPED, "torn": TORN}[kind]
