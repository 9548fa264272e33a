"""Mutants of mm/gup.c that cannot be told from it, with the reason: of those of memfd_pin_folios() that were tried, which are a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT"]

EQUIVALENT: Final[Mapping[str, str]] = by_name(
    {
        "of hugetlb": "memfd_pin_folios: drop 1, 7",
        "of a folio that cannot be had: each that is in the file can": "memfd_pin_folios: drop 16",
        "one page is found at a time, so that the loop over those that were found ends all the same": "memfd_pin_folios: drop 22",
        "of a hole that somebody else fills while it is filled: it is filled in one step": "memfd_pin_folios: drop 28",
    }
)
