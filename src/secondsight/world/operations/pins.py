"""Pinned pages. On a real kernel only."""

from __future__ import annotations

from secondsight.scenario.ops import Arg, ArgType, Default, HandleType, Needs
from secondsight.world.declare import on_kernels

__all__: list[str] = []

PIN = Arg(ArgType.PIN)

on_kernels(
    "pin",
    "pin_user_pages(), with FOLL_LONGTERM or without, for writing or for reading only. -EFAULT: not mapped. On a real kernel only.",
    addr=Arg(ArgType.ADDRESS), pages=Arg(ArgType.COUNT, Default.SPAN, keyword=True),
    longterm=Arg(ArgType.FLAG, False, keyword=True), write=Arg(ArgType.FLAG, True, keyword=True),
    makes=HandleType.PIN, needs=Needs.MODULE,
)  # fmt: skip
on_kernels(
    "pin_read", "The device loads the value of the pin's page `page`. -EBADF once it is unpinned. On a real kernel only.",
    pin=PIN, page=Arg(ArgType.PAGE, 0, inside=True), needs=Needs.MODULE, loads=True,
)  # fmt: skip
on_kernels(
    "pin_write",
    """The device stores `value` to the pin's page `page`. -EPERM if it is pinned for reading, or the zero page. On a real
    kernel only.""",
    pin=PIN, page=Arg(ArgType.PAGE, inside=True), value=Arg(ArgType.VALUE), needs=Needs.MODULE,
)  # fmt: skip
on_kernels("unpin", "unpin_user_pages(): the device gives the pages back. -EBADF the second time. On a real kernel only.", pin=PIN, needs=Needs.MODULE)
