"""What happens to the memfd in the cells of the 2023 table, and the properties that are asked of the importer's reads.

A *story* is what the VMM does, as data: for each event an action, a page and the data. Its first events are the setup, one
write for each page of the memfd. Every write has a letter of its own, so data says when it was written; data 0 is never
written, so a 0 is a page that was made to fill a hole. Another thread is the importer, which reads at any time. All that
the rules need to know beside the machine itself is in `story`.
"""

from __future__ import annotations

from enum import IntEnum

from secondsight.devices.udmabuf_importer import Importer
from secondsight.devices.udmabuf_prepare import UdmabufPrepare
from secondsight.lang import U8, Char, Record, Ref, atomic, choose, const, require, rule, shared, tracepoint, wait_until
from secondsight.linux.dma_buf import DmaBufAttachment, importer_access
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.mm_types import Folio, Mm, Pgoff, Va
from secondsight.linux.shmem import ShmemFile, shmem_fallocate_punch_hole

__all__ = [
    "Action",
    "Story",
    "all_is_quiet",
    "importer_compares",
    "importer_reads",
    "importer_reads_until_quiet",
    "never_older",
    "no_unwritten_zero",
    "other_vcpu",
    "reads_new_data",
    "story",
    "told_without_writer",
    "vmm",
]


class Action(IntEnum):
    """What the VMM, or a guest's CPU that it runs, does."""

    WRITE = 0
    """A store to the memfd, through the VMM's mapping: page p of it is mapped at address p."""
    PUNCH = 1
    """fallocate(FALLOC_FL_PUNCH_HOLE) of one page."""
    REUSE = 2
    """A store to anonymous memory of the VMM's: it takes the frame that was freed last."""
    PREPARE = 3
    """The UDMABUF_PREPARE ioctl, where the design has it."""
    MAY_END = 4
    """The VMM goes on, or does not."""


class Story(Record):
    """A ghost, for rules only. `running`: CPUs of the VMM and its guest that have not ended; at 0 all is quiet. It is counted down
    only where somebody asks (`counts`).

    `newest`: the last event of the story whose outcome the importer has read.
    """

    memfd: Ref[ShmemFile]
    running: U8
    newest: U8


story = shared(Story)
actions = const("story.action", Action)
pages = const("story.page", U8)
data = const("story.data", U8)
counts = const("story.counts", U8)
"""Whether anybody asks if all is quiet: the importer, or the property. Else the count would tell states apart for nobody."""


# The threads.


def vmm(mm: Mm, memfd: ShmemFile, first: U8, prepares: Ref[UdmabufPrepare]) -> None:
    """The story from event `first` on, by one thread of the VMM. `prepares`: the buffer, if its design has UDMABUF_PREPARE."""
    for i in range(first, len(actions)):
        if actions[i] == Action.PUNCH:
            shmem_fallocate_punch_hole(memfd, pages[i], 1)
        elif actions[i] == Action.PREPARE:
            if prepares is not None:
                prepares.prepare()
        elif actions[i] == Action.MAY_END:
            if choose(2) == 1:
                break
        else:
            cpu_write(mm, pages[i], data[i])
    if counts[0] != 0:
        story.running -= 1


def other_vcpu(mm: Mm, va: Va) -> None:
    """Another CPU of the guest reads a page, at any time. In a hole its fault puts a page of zeros into the memfd."""
    cpu_read(mm, va)
    if counts[0] != 0:
        story.running -= 1


def importer_reads(importer: Importer, times: U8) -> None:
    """Read page 0 so many times, at any time."""
    for _ in range(times):
        importer.read(0)


def importer_reads_until_quiet(importer: Importer, times: U8) -> None:
    """Read page 0 so many times, at any time; once more when all is quiet."""
    for _ in range(times):
        importer.read(0)
    wait_until(story.running == 0)
    attach = importer.attach
    assert attach is not None
    all_is_quiet(attach)
    last = importer.read(0)
    require(last >= 0, "reads-new-data", "the importer cannot read what the VMM has written")


def importer_compares(importer: Importer, times: U8) -> None:
    """Read page 0 and page 1 in turn, at any time, and remember how new they were."""
    for i in range(times):
        value = importer.read(i % 2)
        if value >= 0:
            has_read(i % 2, value)


@atomic
def has_read(pgoff: Pgoff, value: Char) -> None:
    """Note the newest event whose outcome the importer has seen."""
    story.newest = max(story.newest, outcome_of(pgoff, value))


@tracepoint
def all_is_quiet(attach: DmaBufAttachment) -> None:
    """All is quiet and the importer has not yet read again."""


# The properties. `no freed frame` is contract/buffer.py's.


@rule("reads-new-data", on=importer_access)
def reads_new_data(attach: DmaBufAttachment, pgoff: Pgoff, frame: Folio, write: bool) -> None:
    """Once the VMM has written, and has made the call that its design asks of it, the importer reads what a CPU would read."""
    if story.running == 0:
        page = page_of_memfd(pgoff)
        require(
            page is not None and page.contents == frame.contents,
            "reads-new-data",
            "the importer reads other data than the memfd has, although the VMM has written and has done all that it has to",
        )


@rule("no-unwritten-zero", on=importer_access)
def no_unwritten_zero(attach: DmaBufAttachment, pgoff: Pgoff, frame: Folio, write: bool) -> None:
    """The importer reads no page that was made to fill a hole and that the guest has not yet written."""
    require(frame.contents != 0, "no-unwritten-zero", "the importer reads zeros that the guest did not write")


@rule("never-older", on=importer_access)
def never_older(attach: DmaBufAttachment, pgoff: Pgoff, frame: Folio, write: bool) -> None:
    """Having read the outcome of one event, the importer sees in every page what had been done to that page before.

    So one page never goes back; nor does another page lag behind the one read before. Any two loads of a CPU keep this.
    """
    at = outcome_of(pgoff, frame.contents)
    for i in range(len(actions)):
        require(
            i <= at or i > story.newest or pages[i] != pgoff or actions[i] > Action.PUNCH,
            "never-older",
            "the importer reads data older than what it has read before",
        )


@rule("told-without-writer", on=all_is_quiet)
def told_without_writer(attach: DmaBufAttachment) -> None:
    """When nothing goes on any longer and the VMM has made no call for it: what the importer has mapped are the memfd's pages,
    or its mapping has been taken away."""
    for pgoff in range(len(attach.sgt)):
        require(
            not attach.mapped or attach.sgt[pgoff] is page_of_memfd(pgoff),
            "told-without-writer",
            "the memfd has another page than the importer has mapped, and nobody will tell the importer",
        )


def page_of_memfd(pgoff: Pgoff) -> Ref[Folio]:
    """What the memfd has at `pgoff`."""
    memfd = story.memfd
    assert memfd is not None
    return memfd.pages[pgoff]


def outcome_of(pgoff: Pgoff, contents: Char) -> U8:
    """The event that left the page with these contents: a write, or for 0 the page's punch (the story has one a page)."""
    found = 0
    for i in range(len(actions)):
        if pages[i] == pgoff and data[i] == contents and actions[i] <= Action.PUNCH:
            found = i
    return found
