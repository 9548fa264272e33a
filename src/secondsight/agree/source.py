"""A scenario as the Python source that records it: what a user can save, read, change and run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from secondsight.scenario import HandleRef, Op, Scenario
from secondsight.scenario.ops import ArgValue

__all__ = ["refs", "source_of"]


def source_of(scenario: Scenario, comment: str = "") -> str:
    """A file that records the scenario; `comment` becomes its head. Loading it gives an equal scenario back, places apart."""
    used = {ref.handle for place in scenario.places() for ref in refs(place.op)}
    used |= {place.op.process for place in scenario.places() if place.op.process is not None}
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += ["from secondsight import scenario", "from secondsight.scenario import Recorder", "", ""]
    lines += ["@scenario", f"def {scenario.name}(s: Recorder) -> None:"]
    if scenario.doc:
        lines.append(f'    """{scenario.doc}"""')
    lines += [f"    {line}" for line in _in_their_processes(scenario.setup, used)]
    for number, thread in enumerate(scenario.threads):
        out = [_variable(name) for name in _needed_elsewhere(scenario, number)]
        lines += ["", *(f"    {name} = None" for name in out)]
        lines += [f"    @{_variable(thread.process or 's')}.thread", f"    def {thread.name}() -> None:"]
        lines += [f"        nonlocal {', '.join(out)}"] if out else []
        lines += [f"        {_call(op, used)}" for op in thread.ops] or ["        pass"]
    if scenario.final:
        lines += ["", "    with s.after():"]
        lines += [f"        {line}" for line in _in_their_processes(scenario.final, used)]
    if not scenario.setup and not scenario.threads and not scenario.final:
        lines.append("    pass")
    return "\n".join(lines) + "\n"


def _needed_elsewhere(scenario: Scenario, number: int) -> list[str]:
    """The handles that a thread makes and others use: a child that it forks, and what that has of it."""
    others = [place.op for place in scenario.places() if place.thread != number]
    used = {op.process for op in others} | {ref.handle for op in others for ref in refs(op)}
    return [op.makes for op in scenario.threads[number].ops if op.makes is not None and op.makes in used]


def _in_their_processes(ops: tuple[Op, ...], used: set[str]) -> Iterator[str]:
    """The calls, those of another process in a block of it."""
    for process, some in groupby(ops, lambda op: op.process):
        if process is not None:
            yield f"with {_variable(process)}:"
        for op in some:
            yield ("    " if process else "") + _call(op, used)


def refs(op: Op) -> list[HandleRef]:
    """The handles that an operation uses."""
    found: list[HandleRef] = []
    for value in op.args.values():
        if isinstance(value, HandleRef):
            found.append(value)
        elif isinstance(value, tuple):
            found += [ref for ref, _, _ in value]
    return found


def _variable(handle: str) -> str:
    return handle.replace(" ", "_")


def _call(op: Op, used: set[str]) -> str:
    words: list[str] = []
    for name, value in op.args.items():
        if value is None or (op.kind == "mmap" and name == "page" and value == 0):
            continue
        words.append(_shown(value) if isinstance(value, HandleRef) and not words else f"{name}={_shown(value)}")
    if op.into is not None:
        words.append(f'into="{op.into}"')
    target = f"{_variable(op.makes)} = " if op.makes in used and op.makes is not None else ""
    return f"{target}s.{op.kind}({', '.join(words)})"


def _shown(value: ArgValue) -> str:
    if isinstance(value, HandleRef):
        return f"{_variable(value.handle)} + {value.page}" if value.page else _variable(value.handle)
    if isinstance(value, tuple):
        return "[" + ", ".join(f"({_variable(ref.handle)}, {page}, {pages})" for ref, page, pages in value) + "]"
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}"'
    return str(value)
