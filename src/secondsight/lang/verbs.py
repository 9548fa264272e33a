"""The verbs of the language, as they act in plain execution.

The front end knows each of them by identity and lowers it; here is what they do in CPython.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from secondsight.lang.errors import LangError, ModelError, NoneFollowed, OutOfRecords, RuleBroken
from secondsight.lang.records import container
from secondsight.lang.runtime import runtime
from secondsight.lang.standins import unwrap

__all__ = ["atomic", "choose", "container_of", "count", "current", "hold_point", "out_of_records", "require", "rule", "tracepoint", "wait_until"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class _Atomic:
    """`@atomic` on a function, or `with atomic:` around statements: no step boundary inside."""

    def __call__(self, function: F) -> F:
        function.__atomic__ = True  # type: ignore[attr-defined]
        return function

    def __enter__(self) -> None:
        runtime.atomic_depth += 1

    def __exit__(self, *_: object) -> None:
        runtime.atomic_depth -= 1


atomic = _Atomic()


def choose(among: Any) -> Any:
    """Any one of `among`: a number n (0..n-1), an array, or a generator over one. Every possibility is searched."""
    options = range(among) if isinstance(among, int) else list(cast(Iterable[Any], among))
    if not options:
        raise ModelError("choose() has nothing to choose from")
    if runtime.scheduler is None:
        raise LangError("choose() needs a scheduler: this code cannot run by hand or in a scenario's setup")
    return options[runtime.scheduler.choose(len(options))]


def wait_until(condition: bool) -> None:
    """Go on only when `condition` holds; sleeps, so not with a spinlock held."""
    if runtime.scheduler is not None:
        runtime.scheduler.wait(bool(condition), True)
    elif not condition:
        raise ModelError("this call would wait for ever: nothing else runs")


def require(condition: bool, rule: str, message: str = "") -> None:
    """The rule named `rule` is broken unless `condition` holds."""
    if not condition:
        raise RuleBroken(rule, message or rule)


def out_of_records(bound: str) -> None:
    """Everything of the named bound is in use: the bound must be raised; never a verdict."""
    raise OutOfRecords(bound, runtime.machine.bound(bound))


def hold_point(name: str) -> None:
    """A place where a forced run can hold the thread. Nothing at all, but in a program built with `holds=True`: there a step
    begins here, and the thread's place says which hold point it is."""


def current() -> int:
    """The number of the running thread, 1 and up (255 by hand)."""
    return runtime.thread


def container_of(record: Any, kind: type[T], field: str) -> T:
    """container_of() (include/linux/container_of.h): the record of class `kind`, or a subclass, whose field `field` a record is."""
    record = unwrap(record)
    if record is None:
        raise NoneFollowed("the argument of container_of()")
    outer, name = container(record)
    if not isinstance(outer, kind) or name != field:
        raise ModelError(f"{record!r} is not the `{field}` of a {kind.__name__}")
    return outer


def count(conditions: Iterable[bool]) -> int:
    """How many of the conditions hold."""
    return sum(1 for c in conditions if c)


def tracepoint(function: F) -> F:
    """A function without a body, called where rules may want to look; see `rule`."""

    def fire(*args: Any, **named: Any) -> None:
        for probe in runtime.machines[-1].rules if runtime.machines else ():
            if probe.__on__ is fire:
                with atomic:
                    probe(*args, **named)

    fire.__name__, fire.__qualname__, fire.__module__ = function.__name__, function.__qualname__, function.__module__
    fire.__doc__, fire.__wrapped__ = function.__doc__, function  # type: ignore[attr-defined]
    fire.__tracepoint__ = True  # type: ignore[attr-defined]
    return cast(F, fire)


def rule(name: str, on: Callable[..., Any]) -> Callable[[F], F]:
    """Attach a rule to a tracepoint: it runs there, in the same step, in machines and programs that list it."""
    if not getattr(on, "__tracepoint__", False):
        raise LangError(f"@rule({name!r}, on={getattr(on, '__name__', on)}): not a tracepoint")

    def attach(function: F) -> F:
        function.__rule__ = name  # type: ignore[attr-defined]
        function.__on__ = on  # type: ignore[attr-defined]
        function.__atomic__ = True  # type: ignore[attr-defined]
        return function

    return attach
