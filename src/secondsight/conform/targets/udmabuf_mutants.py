"""Mutants of drivers/dma-buf/udmabuf.c, and of `linux.udmabuf`, that cannot be told from it, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["EQUIVALENT", "EQUIVALENT_MODEL"]

EQUIVALENT: Final[Mapping[str, str]] = {}

EQUIVALENT_MODEL: Final[Mapping[str, str]] = {}
