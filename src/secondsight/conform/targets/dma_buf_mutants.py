"""Mutants of drivers/dma-buf/dma-buf.c, and of `linux.dma_buf`, that cannot be told from it, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT", "EQUIVALENT_MODEL"]

EQUIVALENT: Final[Mapping[str, str]] = by_name(
    {
        "fences: there are none": (
            "__map_dma_buf: drop 3, 4; __map_dma_buf: negate 1, 2; __map_dma_buf: off by one 1; __dma_buf_begin_cpu_access: drop 1; "
            "__dma_buf_begin_cpu_access: turn round 1"
        ),
        "CONFIG_DMABUF_DEBUG and CONFIG_DMA_API_DEBUG are off": (
            "__map_dma_buf: drop 5; __unmap_dma_buf: drop 1; __unmap_dma_buf: swap 1; dma_buf_map_attachment: drop 9; "
            "dma_buf_map_attachment: negate 10, 11"
        ),
        "without CONFIG_DMABUF_MOVE_NOTIFY alone": (
            "dma_buf_map_attachment: drop 3, 6; dma_buf_map_attachment: negate 4, 6; dma_buf_unmap_attachment: drop 4"
        ),
        "peer-to-peer, what an importer keeps for itself, the direction: nobody here looks": (
            "dma_buf_dynamic_attach: drop 4, 6, 21; dma_buf_dynamic_attach: swap 8; dma_buf_map_attachment: drop 8; "
            "dma_buf_map_attachment: swap 1; dma_buf_map_attachment: turn round 1, 2"
        ),
        "an exporter with attach or detach of its own, or whose map_dma_buf returns nothing": (
            "dma_buf_dynamic_attach: drop 7, 8, 16; dma_buf_dynamic_attach: negate 6; dma_buf_detach: drop 6; "
            "dma_buf_map_attachment: drop 5"
        ),
        "memory is not used again": "dma_buf_dynamic_attach: drop 22; dma_buf_detach: drop 7",
        "asks lockdep, or whether it may sleep": (
            "dma_buf_pin: drop 2; dma_buf_unpin: drop 2; dma_buf_pin: swap 1; dma_buf_unpin: swap 1; dma_buf_map_attachment: "
            "drop 1, 2; dma_buf_unmap_attachment: drop 1, 2; dma_buf_move_notify: drop 1"
        ),
        "neither depends on the other": "__map_dma_buf: swap 1; dma_buf_dynamic_attach: swap 1, 3",
    }
)

EQUIVALENT_MODEL: Final[Mapping[str, str]] = {}
