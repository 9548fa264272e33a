"""Mutants of drivers/dma-buf/udmabuf.c, and of `linux.udmabuf`, that cannot be told from it, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT", "EQUIVALENT_MODEL"]

EQUIVALENT: Final[Mapping[str, str]] = by_name(
    {
        "a folio has one page here, and its offset is 0": (
            "udmabuf_vm_fault: drop 2; udmabuf_vm_fault: swap 1; udmabuf_pin_folios: drop 12, 14, 15; udmabuf_pin_folios: swap 5; "
            "udmabuf_pin_folios: off by one 10"
        ),
        "memory is there always": (
            "get_sg_table: drop 3; udmabuf_pin_folios: drop 10; udmabuf_create: drop 10, 11, 13, 14; udmabuf_create: swap 4, 5"
        ),
        "memory is not used again": (
            "get_sg_table: drop 8; put_sg_table: drop 3; unpin_all_folios: drop 4; unpin_all_folios: swap 3; release_udmabuf: drop 5; "
            "udmabuf_create: drop 33"
        ),
        "mapping for a device, and exporting, never fail here": (
            "get_sg_table: drop 5, 6; udmabuf_create: drop 26, 27, 29; udmabuf_create: swap 11"
        ),
        "neither uses what the other writes": (
            "unpin_all_folios: swap 2; add_to_unpin_list: swap 1; export_udmabuf: swap 1, 2, 3; udmabuf_pin_folios: swap 4; "
            "udmabuf_create: swap 10"
        ),
        "F_GET_SEALS has no argument": "check_memfd_seals: off by one 1",
        "an error has no folios: the loop over them does nothing": "udmabuf_pin_folios: drop 7",
        "ranges are whole pages": "udmabuf_create: drop 4, 5",
        "nobody asks for as much as size_limit_mb": "udmabuf_create: drop 7; udmabuf_create: off by one 2, 3",
    }
)

EQUIVALENT_MODEL: Final[Mapping[str, str]] = by_name(
    {"both are in one step": "udmabuf_pin_folios: swap 1"},
)
