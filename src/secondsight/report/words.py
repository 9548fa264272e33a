"""How things are called in a trace: functions, arguments, results, frames and locks, in the words of kernel mails."""

from __future__ import annotations

import linecache
import re
import typing
from collections.abc import Callable
from functools import cache
from typing import Any

from secondsight.lang import LangError, Record, Value
from secondsight.lang.types import IntType, SizedInt, Type, resolve
from secondsight.linux import SIGBUS, SIGSEGV
from secondsight.linux.fork import mms
from secondsight.world.declare import ASKED

__all__ = [
    "arguments", "call_text", "frame_name", "is_harness", "is_machinery", "is_written_by_hand", "lock_text", "page_or_error", "result", "short",
    "statement",
    "types_of",
]  # fmt: skip

_HARNESS = ("secondsight.world.", "secondsight.contract.", "secondsight.cases.")
_MACHINERY = ("secondsight.linux.", "secondsight.lang.", "secondsight.contract.", "secondsight.world.")
_FRAME = re.compile(r"\bframes\[(\d+)\]$")
_OUR_OWN = ("low", "high")
"""Parameters that the kernel's function does not have: how far a vma's neighbours are looked for (`vma.vma_merge_new_range`)."""
_MM = re.compile(r"\bmms\[(\d+)\]$")


def is_machinery(function: Callable[..., Any] | None) -> bool:
    """Whether a function is Linux's, the language's or a rule's: shown by its name, never by its statements."""
    return function is not None and (function.__module__ + ".").startswith(_MACHINERY)


def is_harness(function: Callable[..., Any] | None) -> bool:
    """Whether a function only carries out what a scenario asks for: not part of the story."""
    return function is not None and (function.__module__ + ".").startswith(_HARNESS)


def is_written_by_hand(function: Callable[..., Any] | None) -> bool:
    """Whether a function is a driver's or a test's own text, whose lines are worth showing."""
    if function is None or is_machinery(function) or is_harness(function):
        return False
    return function.__module__ != "secondsight.devices.device"


@cache
def types_of(function: Callable[..., Any]) -> dict[str, Type | None]:
    """The types of a function's parameters and of its result (`return`), where they can be told."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError):
        return {}
    found: dict[str, Type | None] = {}
    for name, hint in hints.items():
        try:
            found[name] = resolve(hint)
        except LangError:
            continue
    return found


def short(value: Any, kind: Type | None = None) -> str | None:
    """A value in few words; None for what says nothing to a reader (a record that is the only one of its kind)."""
    if isinstance(value, Record):
        path = repr(value).strip("<>")
        mm = _MM.search(path)
        return f"mm{mm[1]}" if mm and len(mms) > 1 else frame_name(path)
    if isinstance(value, Value):
        return _bundle(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none" if kind is not None else None
    if isinstance(kind, (IntType, SizedInt)):
        return kind.show(int(value))
    return str(getattr(value, "name", value))


def frame_name(path: str) -> str | None:
    """What mails call the frame that lies at a path: `P2`; None if it is something else."""
    frame = _FRAME.search(path)
    return f"P{frame[1]}" if frame else None


def _bundle(value: Value) -> str:
    """A `Value`, such as a notifier's range: pages, event, and whether it may not block; what is None says nothing."""
    fields = {name: getattr(value, name) for name in type(value).value_fields()}
    words = []
    if {"start", "end"} <= set(fields):
        start, end = fields.pop("start"), fields.pop("end")
        words.append(str(start) if end == start + 1 else f"{start}-{end - 1}")
    if fields.pop("blockable", True) is False:
        fields["nonblock"] = True
    for name, item in fields.items():
        if isinstance(item, bool):
            words += [name] if item else []
        elif item is not None:
            words.append(short(item, type(value).value_fields()[name]) or name)
    return ", ".join(words)


def arguments(function: Callable[..., Any] | None, given: dict[str, Any], named: bool) -> str:
    """A call's arguments: records that say nothing are left out, and what is the model's own; a flag is its name when true."""
    types = types_of(function) if function is not None else {}
    words = []
    for name, value in given.items():
        if name == "self" or (name in _OUR_OWN and is_machinery(function)):
            continue
        if isinstance(value, bool):
            words += [name] if value else []
            continue
        brief = function is not None and function.__module__ == "secondsight.devices.device"
        text = short(value, types.get(name)) if not (brief and isinstance(value, Value)) else _bundle(value).partition(",")[0]
        if text is not None and value is not None:
            words.append(f"{name}={text}" if named and not isinstance(value, (Record, Value)) else text)
    return ", ".join(words)


def call_text(function: Callable[..., Any] | None, name: str, given: dict[str, Any], named: bool, of_class: bool) -> str:
    """A call as a mail would write it: `fault(va=0)`, `page_table.map(0, P1)`, `MyGpu.invalidate(0, UNMAP)`."""
    plain = name.rpartition(".")[2]
    if named:
        plain = ASKED.get(plain, plain)
    owner = given.get("self")
    if isinstance(owner, Record):
        path = repr(owner).strip("<>")
        if path.rpartition("]")[2].startswith("."):
            plain = f"{path.rpartition('.')[2]}.{plain}"
        elif of_class:
            plain = f"{type(owner).__name__}.{plain}"
    return f"{plain}({arguments(function, given, named)})"


def result(function: Callable[..., Any] | None, value: Any) -> str | None:
    """What a call gave back: `P1`, `-EBUSY`, `'a'`; None for nothing worth saying."""
    if value is None or function is None or getattr(function, "__quiet__", False):
        return None
    kind = types_of(function).get("return")
    if isinstance(kind, IntType) and kind.display == "result":
        return page_or_error(int(value), function.__module__.endswith(".fault"))
    return short(value, kind)


def page_or_error(value: int, signals: bool = False) -> str:
    """A `linux.mm_types.Result`: a page's contents, a small number, a negative errno, or (`signals`) a signal, as of a CPU's."""
    if value < 0:
        if signals and value in (-SIGSEGV, -SIGBUS):
            return "SIGSEGV" if value == -SIGSEGV else "SIGBUS"
        return IntType(-128, 127, "errno").show(value)
    return repr(chr(value)) if value > 31 else str(value)


def lock_text(name: str, lock: Any, known: dict[str, Any]) -> str:
    """`lock(self.lock)` for a lock that the locals of the code at hand lead to; else by its place."""
    for local, value in known.items():
        if isinstance(value, Record):
            for field in type(value).fields():
                if value.__dict__.get(field) is lock:
                    return f"{name}({local}.{field})"
    path = repr(lock).strip("<>")
    return f"{name}({path.partition('.')[2] if path.count('.') > 1 else path})"


def statement(file: str, line: int) -> str:
    """The statement at a line of a source file; of `with atomic:` what it begins with."""
    text = linecache.getline(file, line).strip()
    if text.startswith("with atomic"):
        text = linecache.getline(file, line + 1).strip() + " ..."
    return text.rstrip(":")
