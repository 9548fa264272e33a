"""A state as both sides show it: the interpreter's in secondsight's names, and secondsight's own."""

from __future__ import annotations

from typing import Any

from attack.explore import Graph
from attack.interpreter import END, State
from attack.locks import FAIR
from attack.source import Text
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference

__all__ = ["projected", "projected_values", "seen_by", "values_of"]

PATHS = {"rw readers": "rw.readers", "rw waiting": "rw.waiting", "rw": "rw.owner", "spin": "spin.owner", "m0": "m0.owner", "m1": "m1.owner"}
"""Names of ours that are others there."""


def projected(graph: Graph, text: Text, state: State) -> tuple[dict[str, Any], list[int]]:
    """A state of the interpreter as secondsight shows it: values by their paths, and the line where each thread stands."""
    names = dict(zip(graph.interpreter.keys, state[0], strict=True))
    values: dict[str, Any] = {}
    for name, value in names.items():
        first, _, rest = name.partition(" ")
        if name in ("slot0", "slot1", "world node"):
            of = "nodes" if name == "world node" else "items"
            values[f"world.{'node' if name == 'world node' else name}"] = None if value is None else f"{of}[{value}]"
        elif first[:4] == "item":
            values[f"items[{first[4:]}].{rest}"] = (None if value is None else f"items[{value}]") if rest == "next" else value
        elif first[:3] == "box":
            values[f"boxes[{first[3:]}].{'lock.owner' if rest else 'v'}"] = value
        elif first[:4] == "node":
            path = f"nodes[{first[4:]}]"
            values[f"{path} used" if rest == "used" else f"{path}.{'lock.owner' if rest else 'v'}"] = value
        else:
            values[f"world.{PATHS.get(name, name)}"] = value
    lines = []
    for todo, _ in state[1]:
        entry = graph.interpreter.entries[todo][0]
        lines.append(0 if todo == END else text.lines[entry[1]])
    if not FAIR:
        del values["world.rw.waiting"]
    return values, lines


def seen_by(program: Program, reference: Reference, state: bytes) -> tuple[dict[str, Any], list[int]]:
    """The same of a state of secondsight."""
    values = dict(values_of(program, state))
    lines = []
    for thread in range(len(program.threads)):
        counter = reference.counter(state, thread)
        lines.append(program.code.places[counter - 1].where.line if counter else 0)
    return values, lines


def values_of(program: Program, state: bytes) -> list[tuple[str, Any]]:
    """The shared values of a state of secondsight."""
    found = []
    for path, value, said in program.layout.fields(state):
        first, _, rest = path.partition(".")
        name = rest if first.startswith("attacked_") else path
        is_reference = path.endswith((".next", ".slot0", ".slot1", "world.node"))
        found.append((name, (None if value is None else said.partition(".")[2] if said.startswith("attacked_") else said) if is_reference else value))
    return found


def projected_values(graph: Graph, shared: tuple[Any, ...]) -> list[tuple[str, Any]]:
    """The same of the interpreter's."""
    return list(projected(graph, _NoText(), (shared, ()))[0].items())  # type: ignore[arg-type]


class _NoText:
    def __init__(self) -> None:
        self.lines: dict[int, int] = {}
