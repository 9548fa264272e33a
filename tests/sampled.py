"""Parameters of which `make test` takes a part, and `make wide` the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def some(values: Iterable[Any], every: int = 6, first: int = 0) -> list[Any]:
    """All of them; but for one in `every` so many, from the one at `first` on, they are marked `wide`."""
    return [one if at % every == first else _wide(one) for at, one in enumerate(values)]


def _wide(value: Any) -> Any:
    return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.wide)
