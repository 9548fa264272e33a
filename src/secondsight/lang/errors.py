"""Every error the language can raise, each with what happened, where, and what to do.

`LangError` is the base: a command line prints it as it is, without a traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from errno import errorcode
from functools import partial
from typing import Any

__all__ = [
    "BadIndex",
    "Blocked",
    "FreedTwice",
    "LangError",
    "LeftRange",
    "ModelError",
    "NoneFollowed",
    "OutOfRecords",
    "Position",
    "Refused",
    "RuleBroken",
    "TooLarge",
    "UseAfterFree",
]


MOST_TOLD = 20
"""Refusals that are told at once."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a source file; `line` and `column` count from 1; 0 is unknown."""

    file: str = "?"
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class LangError(Exception):
    """Something is wrong with a model or its bounds; `str()` is fit for a user's eyes."""

    def whole(self) -> str:
        """The same, and all else that is wrong with the text."""
        return str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """What it is made of again in another process: its text and its parts, whatever it was made from."""
        return _made_again, (type(self), self.args, self._parts())

    def _parts(self) -> dict[str, Any]:
        return dict(vars(self))


class Refused(LangError):
    """A construct outside the language: where, the source line, what is wrong, what to write instead."""

    def __init__(self, where: Position, source: str, wrong: str, instead: str) -> None:
        self.where, self.source, self.wrong, self.instead = where, source, wrong, instead
        caret = " " * max(0, where.column - 1) + "^"
        super().__init__(f"{where}: {wrong}\n    {source.rstrip()}\n    {caret}\n  instead: {instead}")
        self.find_others: Callable[[], list[Refused]] = list
        """What else the program is refused for (`lang.refusals`): found when it is asked for."""

    def _parts(self) -> dict[str, Any]:
        """The others are found before it leaves: elsewhere there is no program."""
        return vars(self) | {"find_others": partial(list, self.find_others())}

    def whole(self) -> str:
        """This refusal, then the others; of those that say the same the first, with the lines of all."""
        lines: dict[tuple[str, str, str], list[int]] = {}
        texts: dict[tuple[str, str, str], str] = {}
        for one in (self, *self.find_others()):
            said = one.where.file, one.wrong, one.instead
            texts.setdefault(said, str(one))
            lines.setdefault(said, []).append(one.where.line)
        told = [text + _also(lines[said][1:]) for said, text in texts.items()]
        rest = len(told) - MOST_TOLD
        return "\n\n".join(told[:MOST_TOLD] + [f"and {rest} more"] * (rest > 0))


def _made_again(kind: type[LangError], arguments: tuple[Any, ...], parts: dict[str, Any]) -> LangError:
    error = kind.__new__(kind, *arguments)
    vars(error).update(parts)
    return error


def _also(lines: list[int]) -> str:
    return f"\n  also in line{'s' * (len(lines) > 1)} {', '.join(map(str, lines))}" if lines else ""


class ModelError(LangError):
    """A running model did what no model may: the verdict is not about Linux but about the model's own text or bounds."""

    rule = "model-error"

    def __init__(self, message: str, where: Position | None = None) -> None:
        self.message, self.where = message, where
        super().__init__(message if where is None else f"{where}: {message}")


class OutOfRecords(ModelError):
    """A pool or bounded array is full. Raise its bound; this is never a verdict."""

    rule = "out-of-records"

    def __init__(self, bound: str, size: int, where: Position | None = None) -> None:
        self.bound, self.size = bound, size
        super().__init__(f"OutOfRecords: {bound} ({size}) all in use; raise with {bound}={size + 1}", where)


class LeftRange(ModelError):
    """An integer left the range of its type."""

    rule = "left-range"

    def __init__(self, name: str, value: int, low: int, high: int, where: Position | None = None) -> None:
        self.name, self.value, self.low, self.high = name, value, low, high
        super().__init__(f"LeftRange: {name} = {value} is outside {low}..{high}; give it a wider type", where)


class BadIndex(ModelError):
    """An index outside an array."""

    rule = "bad-index"

    def __init__(self, name: str, index: int, size: int, where: Position | None = None) -> None:
        self.name, self.index, self.size = name, index, size
        number = f" (is it -{errorcode[-index]}?)" if index < -1 and -index in errorcode else ""
        super().__init__(f"BadIndex: {name}[{index}]{number}, but it has {size} elements", where)


class TooLarge(ModelError):
    """A number became larger than any number of the language; `name` is how it was computed."""

    rule = "too-large"

    def __init__(self, name: str, where: Position | None = None) -> None:
        super().__init__(f"TooLarge: {name} needs more than 63 bits; there are no larger numbers", where)


class NoneFollowed(ModelError):
    """A reference that is None was followed: what would be a NULL dereference in C. Reported as a broken rule."""

    rule = "none-followed"

    def __init__(self, name: str, where: Position | None = None) -> None:
        self.name = name
        super().__init__(f"NoneFollowed: {name} is None", where)


class RuleBroken(LangError):
    """A `require`, `assert` or built-in rule does not hold: the thing the search looks for."""

    def __init__(self, rule: str, message: str, where: Position | None = None) -> None:
        self.rule, self.message, self.where = rule, message, where
        super().__init__(f"{rule}: {message}")


class UseAfterFree(RuleBroken):
    """A field of a record that was given back to its pool was read or written; `name` is the field.

    `record` and `freed_at` are known in plain execution alone: the record, and the line that freed it last.
    """

    def __init__(self, name: str, where: Position | None = None, record: object = None, freed_at: Position | None = None) -> None:
        self.name, self.record, self.freed_at = name, record, freed_at
        super().__init__("use-after-free", f"{name} of a record that was freed", where)


class FreedTwice(RuleBroken):
    """A record was given back to its pool that had been given back before; see `UseAfterFree`."""

    def __init__(self, where: Position | None = None, record: object = None, freed_at: Position | None = None) -> None:
        self.record, self.freed_at = record, freed_at
        super().__init__("double-free", "a record of a pool is freed twice", where)


class Blocked(Exception):
    """Internal: a step cannot run to its end now. Never reaches a user."""
