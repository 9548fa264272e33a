"""State declared at module level, and the names that stand for the current machine's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from secondsight.lang.runtime import runtime
from secondsight.lang.types import ArrayType, RecordType

__all__ = ["Shared", "SharedArray", "SharedRecord", "unwrap"]


@dataclass(frozen=True, eq=False)
class Shared:
    """A declaration of state that every machine has; `kind` is its type, `name` its place in errors and traces."""

    kind: RecordType | ArrayType
    name: str

    declared: ClassVar[list[Shared]] = []


class SharedRecord:
    """Stands for the current machine's record of a declaration."""

    def __init__(self, declaration: Shared) -> None:
        object.__setattr__(self, "_shared", declaration)

    def _target(self) -> Any:
        return runtime.machine.state(object.__getattribute__(self, "_shared"))

    def __getattribute__(self, name: str) -> Any:
        if name in ("_shared", "_target", "__class__"):
            return object.__getattribute__(self, name)
        return getattr(object.__getattribute__(self, "_target")(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "_target")(), name, value)

    def __eq__(self, other: object) -> bool:
        return object.__getattribute__(self, "_target")() is unwrap(other)

    def __hash__(self) -> int:
        return hash(object.__getattribute__(self, "_target")())

    def __enter__(self) -> Any:
        return object.__getattribute__(self, "_target")().__enter__()

    def __exit__(self, *args: Any) -> Any:
        return object.__getattribute__(self, "_target")().__exit__(*args)


class SharedArray:
    """Stands for the current machine's array of a declaration."""

    def __init__(self, declaration: Shared) -> None:
        self._shared = declaration

    @property
    def _target(self) -> Any:
        return runtime.machine.state(self._shared)

    def __getitem__(self, index: int) -> Any:
        return self._target[index]

    def __setitem__(self, index: int, value: Any) -> None:
        self._target[index] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self._target)

    def __len__(self) -> int:
        return len(self._target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


def unwrap(value: Any) -> Any:
    """The record behind a name declared with `shared`."""
    return object.__getattribute__(value, "_target")() if isinstance(value, SharedRecord) else value
