"""Mutants of mm/migrate_device.c and of its model that cannot be told from them, each with the reason."""

from __future__ import annotations

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT", "EQUIVALENT_MODEL"]

EQUIVALENT = by_name({})
EQUIVALENT_MODEL = by_name({})
