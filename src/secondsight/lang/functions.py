"""Functions called by number: `ACTS[kind[i]](i, mm)`.

A `Functions` is a list of functions with the same parameters. Of a call by a table's element a program contains the functions
that the table may name: all of the list, or those that `Machine(only={table: numbers})` allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar, overload

from secondsight.lang.errors import BadIndex, LangError

__all__ = ["Functions", "is_marker", "marker", "milestone"]

F = TypeVar("F", bound=Callable[..., Any])


class Functions(Generic[F]):
    """A list of functions that is known when the model is loaded. `name`: what it is called in errors."""

    def __init__(self, name: str, functions: Iterable[F] = ()) -> None:
        self.name, self._functions = name, list(functions)

    def add(self, function: F) -> int:
        """Append a function; its number."""
        if getattr(function, "__atomic__", False):
            raise LangError(f"{function.__name__} is @atomic: a function of {self.name} is a plain one, with its atomic steps inside")
        self._functions.append(function)
        return len(self._functions) - 1

    def __getitem__(self, number: int) -> F:
        if not 0 <= number < len(self._functions):
            raise BadIndex(self.name, number, len(self._functions))
        return self._functions[number]

    def __len__(self) -> int:
        return len(self._functions)

    def __iter__(self) -> Iterator[F]:
        return iter(self._functions)


def marker(decorator: F) -> F:
    """Let models use a decorator that gives back the very function that it was given."""
    decorator.__marks__ = True  # type: ignore[attr-defined]
    return decorator


def is_marker(decorator: Any) -> bool:
    """Whether a decorator was declared to give the function back as it is."""
    return bool(getattr(decorator, "__marks__", False))


@overload
def milestone(function: F, /) -> F: ...


@overload
def milestone(*, quiet: bool) -> Callable[[F], F]: ...


@marker
def milestone(function: Any = None, /, *, quiet: bool = False) -> Any:
    """`@milestone` on a function: a call of it has a line of its own in every story, wherever it is made. `quiet`: without its result."""

    def mark(function: F) -> F:
        function.__milestone__ = True  # type: ignore[attr-defined]
        function.__quiet__ = quiet  # type: ignore[attr-defined]
        return function

    return mark if function is None else mark(function)
