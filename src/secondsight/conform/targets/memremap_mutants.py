"""Mutants of mm/memremap.c, and of `linux.memremap`, that cannot be told from it, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT", "EQUIVALENT_MODEL"]

EQUIVALENT: Final[Mapping[str, str]] = by_name({})

EQUIVALENT_MODEL: Final[Mapping[str, str]] = by_name({})
