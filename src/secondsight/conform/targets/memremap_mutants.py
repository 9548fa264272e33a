"""Mutants of mm/memremap.c, and of `linux.memremap`, that cannot be told from it, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT", "EQUIVALENT_MODEL"]

EQUIVALENT: Final[Mapping[str, str]] = by_name(
    {
        "a pagemap that stays in the tree is found, and its dead count is not taken": "pageunmap_range: drop 9; pgmap_array_delete: drop 1",
        "nobody has the memory any more: the order of its end is nobody's business": (
            "pageunmap_range: swap 2; memunmap_pages: drop 5; memunmap_pages: swap 2; pgmap_array_delete: drop 2; pgmap_array_delete: swap 1"
        ),
        "it only prints": "memunmap_pages: drop 6",
        "of fs-dax alone": "memunmap_pages: drop 7",
        "one CPU: nothing comes between the lock of RCU and what stands beside it": "get_dev_pagemap: swap 1",
        "accounting, and a flag of anonymous pages that nothing here looks at": (
            "free_zone_device_folio: drop 1, 2; free_zone_device_folio: negate 2; free_zone_device_folio: off by one 1"
        ),
        "memory hotplug is a stub": "pageunmap_range: drop 3",
        "page_free() does not look at it here": "free_zone_device_folio: swap 1",
        "a page that is given out is nobody's yet: one step": "zone_device_page_init: swap 1, 2",
        "one range, and no page of it set aside": "pfn_first: negate 1",
        "memory that is not private is never free here, nor is any coherent": (
            "free_zone_device_folio: drop 5; free_zone_device_folio: turn round 2; free_zone_device_folio: off by one 3"
        ),
    }
)

EQUIVALENT_MODEL: Final[Mapping[str, str]] = by_name({})
