"""The table of a scenario's operations, and what one recorded operation is.

`OPS` is the one table: the recorder, the checks, the JSON form, the encoding sent to the guest agent
and the model all read it. An operation is added by adding a row here and teaching the executors (the
agent, the model) what it does; a method of its own on the recorder gives it a signature and a manual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from secondsight.lang.locks import MAX_THREADS

__all__ = [
    "MAX_HANDLES",
    "MAX_OPS",
    "MAX_PAGES",
    "MAX_THREADS",
    "OPS",
    "SEALS",
    "Arg",
    "ArgType",
    "HandleType",
    "Op",
    "OpSpec",
    "Ref",
    "ScenarioError",
    "Value",
]

MAX_PAGES = 16  # of one memfd or mapping
MAX_OPS = 64  # of one scenario
MAX_HANDLES = 32


# F_SEAL_*, include/uapi/linux/fcntl.h
SEALS = {"seal": 1, "shrink": 2, "grow": 4, "write": 8, "future_write": 16}


class ScenarioError(Exception):
    """A scenario that cannot be recorded or loaded.

    The text is `file:line: reason`, and on a second line what to do about it; the line is the
    user's own. `site`, `reason` and `remedy` hold the parts.
    """

    def __init__(self, reason: str, remedy: str = "", site: tuple[str, int] | None = None) -> None:
        self.reason, self.remedy, self.site = reason, remedy, site
        where = f"{site[0]}:{site[1]}: " if site and site[1] else f"{site[0]}: " if site else ""
        super().__init__(where + reason + (f"\n  {remedy}" if remedy else ""))


class HandleType(Enum):
    """What a handle stands for."""

    MEMFD = "memfd"
    UDMABUF = "udmabuf"
    MAPPING = "mapping"
    DEVICE = "device"
    DAX = "dax device"
    PIN = "pin"
    IMPORTER = "importer"


class ArgType(Enum):
    """The type of an operation's argument, and how it is written in a scenario's data."""

    COUNT = "a number of pages"  # int
    PAGE = "a page's number in a file"  # int
    HALVES = "a number of half pages"  # int
    VALUE = "a page's value"  # str of one character
    SEALS = "seals"  # str, names joined by |
    FD = "a memfd, udmabuf or dax device"  # Ref
    DEVICE = "a device"  # Ref
    DAX = "a dax device"  # Ref
    PIN = "a pin"  # Ref
    IMPORTER = "an importer"  # Ref
    FLAG = "yes or no"  # bool
    UDMABUF = "a udmabuf"  # Ref
    MEMFD = "a memfd"  # Ref
    ADDRESS = "an address"  # Ref with a page
    RANGES = "ranges of memfds"  # tuple of (Ref, page, pages)


@dataclass(frozen=True)
class Arg:
    name: str
    type: ArgType
    optional: bool = False  # may be None


@dataclass(frozen=True)
class OpSpec:
    """One row of `OPS`: an operation's arguments, the handle it makes, and what it does."""

    args: tuple[Arg, ...]
    makes: HandleType | None
    doc: str
    model_only: bool = False  # no real kernel can run it yet
    kernel_only: bool = False  # the model cannot run it yet


def _op(
    doc: str, *args: Arg, makes: HandleType | None = None, model_only: bool = False, kernel_only: bool = False
) -> OpSpec:
    return OpSpec(args, makes, doc, model_only, kernel_only)


OPS: dict[str, OpSpec] = {
    "memfd_create": _op(
        "a new memfd of zeros, sealed as asked",
        Arg("pages", ArgType.COUNT),
        Arg("seals", ArgType.SEALS),
        makes=HandleType.MEMFD,
    ),
    "mmap": _op(
        "map a file shared, or anonymous memory private; read and write",
        Arg("fd", ArgType.FD, optional=True),
        Arg("page", ArgType.PAGE),
        Arg("pages", ArgType.COUNT),
        Arg("at", ArgType.ADDRESS, optional=True),
        makes=HandleType.MAPPING,
    ),
    "mmap_read_only": _op(
        "map a file shared, or anonymous memory private; read only",
        Arg("fd", ArgType.FD, optional=True),
        Arg("page", ArgType.PAGE),
        Arg("pages", ArgType.COUNT),
        Arg("at", ArgType.ADDRESS, optional=True),
        makes=HandleType.MAPPING,
        model_only=True,
    ),
    "munmap": _op("unmap pages", Arg("addr", ArgType.ADDRESS), Arg("pages", ArgType.COUNT)),
    "write": _op(
        "store a value to each page in turn",
        Arg("addr", ArgType.ADDRESS),
        Arg("value", ArgType.VALUE),
        Arg("pages", ArgType.COUNT),
    ),
    "read": _op("load one page's value", Arg("addr", ArgType.ADDRESS)),
    "fallocate_punch_hole": _op(
        "give pages of a memfd back; they read as zeros",
        Arg("fd", ArgType.MEMFD),
        Arg("page", ArgType.PAGE),
        Arg("pages", ArgType.COUNT),
    ),
    "madvise_dontneed": _op("MADV_DONTNEED on a range", Arg("addr", ArgType.ADDRESS), Arg("pages", ArgType.COUNT)),
    "udmabuf_create": _op(
        "UDMABUF_CREATE: a dma-buf of a memfd's pages",
        Arg("fd", ArgType.FD),
        Arg("page", ArgType.PAGE),
        Arg("pages", ArgType.COUNT),
        makes=HandleType.UDMABUF,
    ),
    "udmabuf_create_halves": _op(
        "UDMABUF_CREATE with an offset and a size in half pages: only whole pages are taken",
        Arg("fd", ArgType.FD),
        Arg("offset", ArgType.HALVES),
        Arg("size", ArgType.HALVES),
        makes=HandleType.UDMABUF,
    ),
    "udmabuf_create_list": _op(
        "UDMABUF_CREATE_LIST: a dma-buf of several ranges, in order",
        Arg("ranges", ArgType.RANGES),
        makes=HandleType.UDMABUF,
    ),
    "add_seals": _op("fcntl(F_ADD_SEALS)", Arg("fd", ArgType.MEMFD), Arg("seals", ArgType.SEALS)),
    "close": _op("close a file descriptor; mappings of it stay", Arg("fd", ArgType.FD)),
    "exit": _op("end the process, with all its threads"),
    "oom_reap": _op("the OOM reaper takes the process's private memory, without sleeping", model_only=True),
    "device": _op("a device that mirrors the process's memory", makes=HandleType.DEVICE),
    "closed_device": _op("a device that nobody has opened yet", makes=HandleType.DEVICE, model_only=True),
    "device_open": _op("somebody opens the device for the process", Arg("device", ArgType.DEVICE), model_only=True),
    "device_read": _op("the device loads one page's value", Arg("device", ArgType.DEVICE), Arg("addr", ArgType.ADDRESS)),
    "device_write": _op(
        "the device stores a value to one page",
        Arg("device", ArgType.DEVICE),
        Arg("addr", ArgType.ADDRESS),
        Arg("value", ArgType.VALUE),
    ),
    "device_compare": _op(
        "the device's access and the CPU's, with nothing else going on, must end alike",
        Arg("device", ArgType.DEVICE),
        Arg("addr", ArgType.ADDRESS),
    ),
    "device_close": _op("the driver unsubscribes from the process", Arg("device", ArgType.DEVICE)),
    "device_snapshot": _op(
        "what the driver finds at a page without a fault: r, w (writable as well) or - (nothing)",
        Arg("device", ArgType.DEVICE),
        Arg("addr", ArgType.ADDRESS),
        kernel_only=True,
    ),
    "device_exclusive": _op(
        "the device exchanges a page's value while no CPU can reach it; the result is the old one",
        Arg("device", ArgType.DEVICE),
        Arg("addr", ArgType.ADDRESS),
        Arg("value", ArgType.VALUE),
        kernel_only=True,
    ),
    "pin": _op(
        "pin_user_pages: a device keeps the pages that are at an address now",
        Arg("addr", ArgType.ADDRESS),
        Arg("pages", ArgType.COUNT),
        Arg("longterm", ArgType.FLAG),
        Arg("write", ArgType.FLAG),
        makes=HandleType.PIN,
        kernel_only=True,
    ),
    "pin_read": _op("load the value of a pinned page", Arg("pin", ArgType.PIN), Arg("page", ArgType.PAGE), kernel_only=True),
    "pin_write": _op(
        "store a value to a pinned page",
        Arg("pin", ArgType.PIN),
        Arg("page", ArgType.PAGE),
        Arg("value", ArgType.VALUE),
        kernel_only=True,
    ),
    "unpin": _op("unpin_user_pages", Arg("pin", ArgType.PIN), kernel_only=True),
    "importer": _op(
        "a device that is attached to a udmabuf",
        Arg("udmabuf", ArgType.UDMABUF),
        makes=HandleType.IMPORTER,
        kernel_only=True,
    ),
    "importer_map": _op("dma_buf_map_attachment", Arg("importer", ArgType.IMPORTER), kernel_only=True),
    "importer_unmap": _op("dma_buf_unmap_attachment", Arg("importer", ArgType.IMPORTER), kernel_only=True),
    "importer_read": _op(
        "load one page's value through the mapping of the attachment",
        Arg("importer", ArgType.IMPORTER),
        Arg("page", ArgType.PAGE),
        kernel_only=True,
    ),
    "importer_close": _op("dma_buf_detach", Arg("importer", ArgType.IMPORTER), kernel_only=True),
    "dax": _op("device memory with a file to map", Arg("pages", ArgType.COUNT), makes=HandleType.DAX, model_only=True),
    "dax_disable": _op("teardown: no new faults, no new references to the dev_pagemap", Arg("dax", ArgType.DAX), model_only=True),
    "dax_invalidate": _op("teardown: every mapping of the device memory is zapped", Arg("dax", ArgType.DAX), model_only=True),
    "dax_drain": _op("teardown: wait for the last reference, then the memory is gone", Arg("dax", ArgType.DAX), model_only=True),
}


@dataclass(frozen=True)
class Ref:
    """A reference to a handle by its name; for an address, with the page counted from the mapping's start."""

    handle: str
    page: int = 0

    def __str__(self) -> str:
        return f"{self.handle}+{self.page}" if self.page else self.handle


Range = tuple[Ref, int, int]
Value = int | str | Ref | tuple[Range, ...] | None


@dataclass(frozen=True)
class Op:
    """One operation: its kind (a row of `OPS`), its arguments, the outcome name its result goes
    into, the handle it makes, and the file and line where the user wrote it."""

    kind: str
    args: Mapping[str, Value]
    into: str | None = None
    makes: str | None = None
    site: tuple[str, int] = ("", 0)

    def __str__(self) -> str:
        def show(value: Value) -> str:
            if isinstance(value, tuple):
                return "[" + ", ".join(f"({r}, {page}, {pages})" for r, page, pages in value) + "]"
            return repr(value) if isinstance(value, str) else str(value)

        args = ", ".join(f"{name}={show(v)}" for name, v in self.args.items() if v is not None)
        target = self.into or self.makes
        return (f"{target} = " if target else "") + f"{self.kind}({args})"
