"""As if it were the CPU, where it fails: a device's access fails only if a CPU's could have failed meanwhile.

An access takes time, and the process changes its memory beside it. So it is enough that a CPU's access to the same address
would have failed at *some* moment of it: when it began, when it failed, or in between. What lies in between is remembered
here (`accesses`, a ghost for each address space): for each thread the access that it makes, and whether the CPU's has been
refused since.
"""

from __future__ import annotations

from typing import Literal

from secondsight.devices.device import access_begins, access_failed, device_closing, device_opened
from secondsight.lang import Array, Errno, Record, atomic, current, require, rule, shared_array
from secondsight.linux.device import device_access
from secondsight.linux.errno import ENOMEM
from secondsight.linux.fork import mms
from secondsight.linux.mm import vma_is_accessible
from secondsight.linux.mm_interval_tree import linear_page_index
from secondsight.linux.mm_types import AddressSpace, Driver, Folio, Mm, Result, Va, VaEnd, Vma, resizes
from secondsight.linux.page_alloc_slowpath import failing_allocations
from secondsight.linux.pgtable import pte_none_mostly
from secondsight.linux.shmem_size import has_past_the_end
from secondsight.linux.swapops import is_poisoned_swp_entry, pte_markers
from secondsight.linux.userfaultfd import userfaultfd_minor, userfaultfd_missing, userfaultfd_pte_wp
from secondsight.linux.vma import vmas_changed

__all__ = ["access_ends", "access_is_watched", "fails_as_the_cpu", "goes_away_meanwhile", "is_being_closed", "is_past_the_end_meanwhile", "opens_for_who_lives"]


class Accesses(Record):
    """A ghost. By number of thread: the page after the one that it accesses (0: none), whether it writes, and whether a CPU
    would have been refused the same since it began."""

    at: Array[VaEnd, Literal[8]]
    writes: Array[bool, Literal[8]]
    refused: Array[bool, Literal[8]]


accesses = shared_array(Accesses, "mms")
"""Of each mm, in the order of `mms`: what changes in one says nothing of an access in another."""


@atomic
def is_not_there(mm: Mm, va: Va, write: bool) -> bool:
    """Whether a CPU's access to `va` ends in a signal, once whoever holds the mmap lock for writing has dropped it.

    No vma, or one that forbids it: SIGSEGV. Or user space is to answer (userfaultfd). No page, and none to be had (the OOM reaper came by, the device memory is gone,
    past the end of the file): SIGBUS. Or there is no process any more that could access anything.
    """
    vma = mm.mm_mt[va]
    if mm.users == 0 or vma is None or (write and not vma.write) or not vma_is_accessible(vma):
        return True
    if len(mm.userfaultfd) > 0:
        if is_told_of(mm, vma, va, write):
            return True
    file = vma.vm_file
    if len(resizes) > 0:  # what is mapped past the end is about to go
        if file is not None and is_past_the_end(file, vma, va):
            return True
    if len(pte_markers) > 0:
        if is_poisoned_swp_entry(mm.ptes[va]):
            return True
    if not pte_none_mostly(mm.ptes[va]):
        return False
    if file is None:
        return mm.unstable
    has_page = file.has_page(linear_page_index(vma, va))
    return not has_page


@atomic
def is_past_the_end(file: AddressSpace, vma: Vma, va: Va) -> bool:
    """Whether the file of a mapping has no page at `va` any more."""
    has_page = file.has_page(linear_page_index(vma, va))
    return not has_page


@atomic
def is_told_of(mm: Mm, vma: Vma, va: Va, write: bool) -> bool:
    """Whether user space is to answer a CPU's access (userfaultfd): it gets a signal, or waits for as long as user space likes. A device's
    access may fail then: hmm_range_fault() cannot wait."""
    pte = mm.ptes[va]
    if pte_none_mostly(pte) and (userfaultfd_missing(vma) or userfaultfd_minor(vma)):
        return True
    return write and userfaultfd_pte_wp(vma, pte)


@atomic
def is_refused(mm: Mm, va: Va, write: bool) -> bool:
    """Whether a CPU's access to `va` fails now. While the mmap lock is held for writing it waits."""
    if mm.mmap_lock.owner != 0:
        return mm.users == 0
    return is_not_there(mm, va, write)


@atomic
def is_out_of_memory(error: Result) -> bool:
    """Whether it says that there is no memory, and an allocation has failed: a CPU's access would have ended with the process (VM_FAULT_OOM)."""
    if len(failing_allocations) > 0:
        return error == -ENOMEM and failing_allocations[0].failed
    return False


@atomic
def forget(mm: Mm) -> None:
    """The calling thread's access is over."""
    mine = accesses[mms.index(mm)]
    mine.at[current()] = 0
    mine.writes[current()] = False
    mine.refused[current()] = False


@rule("as-if-cpu", on=access_begins)
def access_is_watched(device: Driver, va: Va, write: bool) -> None:
    """An access begins: whether a CPU would be refused it now is the first that is known of it."""
    mm = device.notifier.mm
    if mm is not None and current() < 8:
        mine = accesses[mms.index(mm)]
        mine.at[current()] = va + 1
        mine.writes[current()] = write
        mine.refused[current()] = is_refused(mm, va, write)


@rule("as-if-cpu", on=device_access)
def access_ends(device: Driver, va: Va, frame: Folio, write: bool) -> None:
    """It has found its page."""
    mm = device.notifier.mm
    if mm is not None and current() < 8:
        forget(mm)


@rule("as-if-cpu", on=vmas_changed)
def goes_away_meanwhile(mm: Mm, start: Va, end: VaEnd) -> None:
    """What a CPU would be refused from now on, it is refused during every access that is going on there."""
    here = accesses[mms.index(mm)]
    for thread in range(1, 8):
        if start < here.at[thread] <= end:
            if is_not_there(mm, here.at[thread] - 1, here.writes[thread]):
                here.refused[thread] = True


@rule("as-if-cpu", on=has_past_the_end)
def is_past_the_end_meanwhile(file: AddressSpace) -> None:
    """What lies past the end of a file now a CPU is refused during every access that is going on there."""
    for mm in mms:
        here = accesses[mms.index(mm)]
        for thread in range(1, 8):
            if here.at[thread] > 0:
                vma = mm.mm_mt[here.at[thread] - 1]
                if vma is not None and vma.vm_file is file:
                    if is_not_there(mm, here.at[thread] - 1, here.writes[thread]):
                        here.refused[thread] = True


@rule("as-if-cpu", on=device_closing)
def is_being_closed(device: Driver, mm: Mm) -> None:
    """From now on a device may refuse everything. Another device may not."""
    device.closing = True


@rule("as-if-cpu", on=access_failed)
def fails_as_the_cpu(device: Driver, va: Va, write: bool, error: Result) -> None:
    """A device's access fails only if a CPU's to the same address would have failed at some moment of it.

    Broken by an error that says that something changed meanwhile: the driver has to begin again. A device that is being
    closed may fail, and one for which an allocation has failed says -ENOMEM. Source: Documentation/mm/hmm.rst (hmm_range_fault's -EBUSY) and the 2019 thread ("same failure").
    """
    mm = device.notifier.mm
    if mm is not None and current() < 8:
        mine = accesses[mms.index(mm)]
        refused = mine.refused[current()] or device.closing or is_refused(mm, va, write) or is_out_of_memory(error)
        require(refused, "as-if-cpu", "the device's access failed where a CPU's would not have failed at any moment of it")
        forget(mm)


@rule("as-if-cpu", on=device_opened)
def opens_for_who_lives(device: Driver, mm: Mm, error: Errno) -> None:
    """`open` fails only for a process that has gone, or for want of memory."""
    require(error == 0 or mm.users == 0 or is_out_of_memory(error), "as-if-cpu", "open() fails although the process lives")
