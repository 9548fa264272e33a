"""The world in which mm/gup.c and its model are compared: four pages, a memfd, threads that take pages and give them back."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Literal

from secondsight.lang import Array, Bounds, Record, atomic, const, shared
from secondsight.linux.gup import (
    get_user_page_vma_remote,
    memfd_pin_folio,
    memfd_pin_valid,
    pin_user_pages_fast,
    pin_user_pages_remote,
    unpin_folio,
)
from secondsight.linux.gup_pages import PageArray, get_user_pages, pin_user_pages, unpin_user_pages
from secondsight.linux.memory import FAULT_FLAG_WRITE, handle_mm_fault
from secondsight.linux.memory_zap import zap_page_range_single
from secondsight.linux.mm_flags import FOLL_PIN, FOLL_WRITE, VM_PFNMAP, VM_PRIVATE
from secondsight.linux.mm_types import AddressSpace, Flags, Mm, Result, Va
from secondsight.linux.mmap import link_new_vma
from secondsight.linux.page_alloc import ZERO_PFN, alloc_page, frames, get_page, is_zero_page, put_page
from secondsight.linux.shmem import ShmemFile, shmem_get_folio
from secondsight.linux.vma import do_vmi_align_munmap

__all__ = ["Entry", "FRAMES", "Kind", "Op", "PAGES", "Special", "THREADS", "first", "map_pages", "operation", "results", "script", "second", "third"]

PAGES, THREADS, FRAMES = 4, 3, 12


class Op(IntEnum):
    """What a thread does; the numbers are those of c/gup.c."""

    PIN = 0
    GET = 1
    PIN_FAST = 2
    PIN_REMOTE = 3
    GET_REMOTE = 4
    PUT = 5
    ZAP = 6
    TOUCH = 7
    UNMAP = 8
    PIN_MEMFD = 9


class Kind(IntEnum):
    """What is mapped at a page; the numbers are those of c/gup.c."""

    NONE = 0
    READ = 1
    WRITE = 2
    PFNMAP = 3
    FILE_READ = 4
    FILE_WRITE = 5
    PRIVATE_READ = 6
    PRIVATE_WRITE = 7


class Entry(IntEnum):
    """What the page table has for a page: none; one that may be read, that others may have too, that may be written, that has been written; the zero page; the file's."""

    NONE = 0
    READ = 1
    SHARED = 2
    WRITE = 3
    WRITTEN = 4
    ZERO = 5
    CACHE_READ = 6
    CACHE_WRITE = 7


Value = Annotated[int, Bounds(-200, 255)]
Index = Annotated[int, Bounds(0, 200)]

operation = const("conform.gup.operation", Op)
first = const("conform.gup.first", Index)
second = const("conform.gup.second", Index)
third = const("conform.gup.third", Index)


class Results(Record):
    """What each thread's last operation returned; how many pages it has, whether they are pinned, and whether as folios of a memfd."""

    of: Array[Value, Literal[3]]
    held: Array[Index, Literal[3]]
    pinned: Array[bool, Literal[3]]
    folios: Array[bool, Literal[3]]


results = shared(Results)


class Special(AddressSpace):
    """A file whose memory has no pages (VM_PFNMAP)."""

    def vm_flags(self) -> Flags:
        return VM_PFNMAP


@atomic
def keep(pages: PageArray, thread: Index, op: Op, ret: Result) -> None:
    """What a call gave its thread; the calls for one page say which."""
    results.pinned[thread] = op in (Op.PIN, Op.PIN_FAST, Op.PIN_REMOTE)
    results.folios[thread] = op == Op.PIN_MEMFD
    if op == Op.PIN or op == Op.GET or op == Op.PIN_MEMFD:
        results.held[thread] = ret if ret > 0 else 0
    else:
        results.held[thread] = 1 if ret >= 0 else 0
        if ret >= 0:
            pages.folios[0] = frames[ret]


def take(mm: Mm, pages: PageArray, thread: Index, at: Index) -> Result:
    """One call for pages, under the mmap lock."""
    op = operation[at]
    va: Va = first[at]
    flags: Flags = third[at]
    ret: Result = 0
    mm.mmap_lock.read_lock()
    if op == Op.PIN:
        ret = pin_user_pages(mm, va, second[at], flags, pages)
    elif op == Op.GET:
        ret = get_user_pages(mm, va, second[at], flags, pages)
    elif op == Op.PIN_REMOTE:
        ret = pin_user_pages_remote(mm, va, flags)
    else:
        ret = get_user_page_vma_remote(mm, va, flags)
    keep(pages, thread, op, ret)
    mm.mmap_lock.read_unlock()
    return ret


@atomic
def give_back(pages: PageArray, thread: Index) -> None:
    """What the thread has."""
    if results.pinned[thread]:
        unpin_user_pages(pages, results.held[thread])
    elif results.folios[thread]:
        for k in range(results.held[thread]):
            pinned = pages.folios[k]
            assert pinned is not None
            unpin_folio(pinned)
    else:
        for k in range(results.held[thread]):
            folio = pages.folios[k]
            assert folio is not None
            if not is_zero_page(folio):
                put_page(folio)
    results.held[thread] = 0


def pin_memfd(file: ShmemFile, pages: PageArray, thread: Index, start: Index, length: Index) -> Result:
    """memfd_pin_folios() as its callers call it: a page of the file in each step."""
    ret: Result = memfd_pin_valid(file, start, length)
    if ret == 0:
        for k in range(length):
            pin_one(file, pages, start, k)
        ret = length
    keep(pages, thread, Op.PIN_MEMFD, ret)
    return ret


@atomic
def pin_one(file: ShmemFile, pages: PageArray, start: Index, k: Index) -> None:
    """One page of it."""
    pages.folios[k] = memfd_pin_folio(file, start + k)


def touch(mm: Mm, va: Va, write: bool) -> None:
    """A CPU's fault."""
    mm.mmap_lock.read_lock()
    handle_mm_fault(mm, va, FAULT_FLAG_WRITE if write else 0)
    mm.mmap_lock.read_unlock()


def script(mm: Mm, file: ShmemFile, pages: PageArray, thread: Index, at: Index, end: Index) -> None:
    """What a thread does: the operations from `at` to before `end`. It gives back what it has before it takes more."""
    has = False
    while at < end:
        op = operation[at]
        ret: Value = 0
        if has and (op <= Op.PUT or op == Op.PIN_MEMFD):
            give_back(pages, thread)
            has = False
        elif op == Op.PIN_FAST:
            ret = pin_user_pages_fast(mm, first[at], third[at] | FOLL_PIN)
            keep(pages, thread, op, ret)
            has = ret >= 0
        elif op < Op.PUT:
            ret = take(mm, pages, thread, at)
            has = ret > 0 or (ret == 0 and op != Op.PIN and op != Op.GET)
        elif op == Op.PIN_MEMFD:
            ret = pin_memfd(file, pages, thread, first[at], second[at])
            has = ret > 0
        elif op == Op.ZAP:
            zap_page_range_single(mm, first[at], second[at])
        elif op == Op.TOUCH:
            touch(mm, first[at], third[at] & FOLL_WRITE != 0)
        elif op == Op.UNMAP:
            ret = do_vmi_align_munmap(mm, first[at], second[at])
        results.of[thread] = ret
        at += 1


def map_pages(mm: Mm, file: ShmemFile, special: Special, pages: Sequence[tuple[Kind, Entry]]) -> None:
    """Map pages, with or without an entry for each; neighbours of a kind are of one vma."""
    kinds = [kind for kind, _ in pages]
    for page, (kind, entry) in enumerate(pages):
        pte = mm.ptes[page]
        if kind != Kind.NONE and (not page or kinds[page - 1] != kind):
            length = next((i for i in range(page, len(pages)) if kinds[i] != kind), len(pages)) - page
            write = kind in (Kind.WRITE, Kind.PFNMAP, Kind.FILE_WRITE, Kind.PRIVATE_WRITE)
            private = VM_PRIVATE if kind >= Kind.PRIVATE_READ else 0
            link_new_vma(mm, page, length, None if kind < Kind.PFNMAP else special if kind == Kind.PFNMAP else file, page, write, private)
        if entry == Entry.NONE:
            continue
        if entry == Entry.ZERO:
            folio = frames[ZERO_PFN]
        elif entry in (Entry.CACHE_READ, Entry.CACHE_WRITE):
            folio = shmem_get_folio(file, page)
            get_page(folio)
        else:
            folio = alloc_page()
            folio.shared[0] = entry == Entry.SHARED
        pte.frame = folio
        pte.writable = entry in (Entry.WRITE, Entry.WRITTEN, Entry.CACHE_WRITE)
        pte.dirty = entry == Entry.WRITTEN
