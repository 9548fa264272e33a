"""Mutants of exporters and drivers that tables are about, before the cells of their tables (`design_mutants`); and of all designs the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from secondsight.cases import revoke_2026, thread_2011_ib
from secondsight.cases.choice_mutants import CHOICES, HARMLESS_IN_CHOICES
from secondsight.cases.design_mutants import DesignCell, MutatedDesign, holding, mutants_of, of_scenario
from secondsight.cases.pins_mutants import HARMLESS_IN_HOLDERS, HOLDERS
from secondsight.cases.retry_mutants import HARMLESS_IN_RETRIES, RETRIES
from secondsight.cases.revoke_2026 import RevokeColumn
from secondsight.cases.revoke_story import revokes_restores_revokes, submits
from secondsight.cases.table import CaseTable, Heading
from secondsight.cases.udmabuf_mutants import HARMLESS_IN_UDMABUFS, UDMABUFS
from secondsight.contract.buffer import job_on_the_buffers_memory
from secondsight.contract.harmless import by_name, by_reason
from secondsight.devices.device import Device
from secondsight.devices.fenced_importer import FencedImporter, ReadsUntilItUnmaps, UnmapsAtOnce
from secondsight.devices.moving_buffer import MovingBuffer
from secondsight.devices.rdma_2011 import OdpIn2011
from secondsight.devices.rdma_odp import OdpLaterWhereTold
from secondsight.devices.revocable_buffer import (
    CountingBuffer,
    FencesOnly,
    RearmsAtRevoke,
    RevocableBuffer,
    SkipsThePut,
    UnmapThenFences,
)
from secondsight.lang import Machine, Ref, atomic
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.errno import ENODEV
from secondsight.linux.mm_types import Folio
from secondsight.linux.page_alloc import mem_init
from secondsight.scenario import Recorder, Scenario

__all__ = ["DESIGNS", "HARMLESS_IN_DESIGNS", "designs_page"]


# Exporters that revoke.


def closes(exporter: RevocableBuffer) -> None:
    """What was never revoked is closed: its memory is given back."""
    before = exporter.storage[0]
    exporter.close()
    gone(exporter, before)


def revokes_for_good(exporter: RevocableBuffer) -> None:
    """Revoked: its memory is given back."""
    before = exporter.storage[0]
    exporter.revoke()
    gone(exporter, before)


@atomic
def gone(exporter: RevocableBuffer, before: Ref[Folio]) -> None:
    """The buffer has no memory, and nobody refers to what it had."""
    assert before is not None
    assert before.refcount == 0, "the memory is not given back"
    assert all(frame is None for frame in exporter.storage), "the buffer still has memory"


BESIDE_ITS_COLUMNS: tuple[RevokeColumn, ...] = (
    RevokeColumn(Heading("given back", "what was revoked has given its memory back"), UnmapsAtOnce, revokes_for_good),
    RevokeColumn(Heading("closed at once", "no job uses lost memory: the exporter is closed without having been revoked, and gives its memory back"), UnmapsAtOnce, closes),
    RevokeColumn(
        Heading("closed unmapped", "no device reads lost memory: the same beside an importer that reads ahead until a worker unmaps"), ReadsUntilItUnmaps, closes, times=1
    ),
    RevokeColumn(
        Heading("lost again", "no device reads lost memory, also when it is revoked a second time; the importer reads ahead until a worker unmaps"),
        ReadsUntilItUnmaps,
        revokes_restores_revokes,
    ),
)
"""What the table does not ask, and mutants have to be asked: its columns look at the first revocation, or at counts alone."""


def moves(exporter: MovingBuffer) -> None:
    """The buffer is moved, and then again."""
    exporter.move()
    exporter.move()


def moves_alone(exporter: MovingBuffer) -> None:
    """The buffer is moved once, and nobody has a job: what was in it is there, and the old memory and the copy's fence are given back."""
    before = exporter.storage[0]
    assert before is not None
    before.contents = 120
    exporter.move()
    has_moved(exporter, before)


@atomic
def has_moved(exporter: MovingBuffer, before: Folio) -> None:
    """From `before`: all is quiet."""
    after = exporter.storage[0]
    assert before.refcount == 0, "the old memory is not given back"
    assert after is not None
    assert after.contents == 120, "the new memory has not what was in the old"
    for entry in exporter.resv.fences:
        fence = entry.fence
        assert fence is None or fence.refcount == 1, "somebody refers to the copy's fence"


def is_lost_and_asked_to_move(exporter: MovingBuffer) -> None:
    """What was taken away is asked to move, and has nothing to move."""
    exporter.revoke()
    ret = exporter.move()
    assert ret == -ENODEV, "it has moved, and has no memory"


def moves_and_revokes(exporter: MovingBuffer) -> None:
    """The buffer is moved, and what it has then is taken away."""
    exporter.move()
    before = exporter.storage[0]
    exporter.revoke()
    gone(exporter, before)


MOVES: tuple[RevokeColumn, ...] = (
    RevokeColumn(Heading("moves", "no job uses memory that the buffer has left; the importer unmaps when it is told, while its device goes on"), UnmapsAtOnce, moves),
    RevokeColumn(Heading("moves, goes on", "nobody waits for ever"), FencedImporter, moves, ends=True),
    RevokeColumn(Heading("moves alone", "what was in the buffer is there, and what the move took is given back"), FencedImporter, moves_alone, times=0, ends=True),
    RevokeColumn(Heading("lost, moves", "who asks what was taken away to move is told so, and does not wait"), FencedImporter, is_lost_and_asked_to_move, times=1, ends=True),
    RevokeColumn(Heading("moves, lost", "the buffer is moved and then taken away: it gives its memory back, and no job uses it"), UnmapsAtOnce, moves_and_revokes),
)
"""Of an exporter that moves its buffer."""


def _two_move(exporter: type[MovingBuffer]) -> Program:
    """Two threads move one buffer, beside an importer whose device goes on: each move comes to an end."""
    machine = Machine(bounds=bounds(frames=5, dmabuf_pages=1, attachments=1, resv_fences=1, dma_fences=2), pools={exporter: 1, UnmapsAtOnce: 1})
    with machine:
        mem_init()
        buffer = machine.pool(exporter).alloc()
        buffer.open(1)
        importer = machine.pool(UnmapsAtOnce).alloc()
        importer.attach_to(buffer)
        threads = [
            *(Thread(name, moves_once, (buffer,)) for name in ("mover", "other")),
            Thread("importer", submits, (importer, 1)),
            Thread("worker", importer.work, daemon=True),
            Thread("engine", importer.engine, daemon=True),
        ]
    return build(machine, threads, rules=[job_on_the_buffers_memory], room=Room(exact=True))


def moves_once(exporter: MovingBuffer) -> None:
    """The buffer is moved: nobody takes it away."""
    ret = exporter.move()
    assert ret == 0, "it has not moved"


def _moving() -> MutatedDesign:
    """The exporter that the contract's adversaries have, which is in no row: as `re-arm at revoke`, and it moves."""
    names = holding(revoke_2026.TABLE, "re-arm at revoke")
    columns = (*MOVES, *(column for column in revoke_2026.COLUMNS if column.entry.name in names), *BESIDE_ITS_COLUMNS)
    cells = [DesignCell(revoke_2026.TABLE, "re-arm at revoke", column.entry.name, MovingBuffer, _revoking(column)) for column in columns]
    two = DesignCell(revoke_2026.TABLE, "re-arm at revoke", "two move", MovingBuffer, _two_move)
    return MutatedDesign(MovingBuffer, (*cells[: len(MOVES)], two, *cells[len(MOVES) :]))


def _exporter(kind: type[RevocableBuffer], *rows: str) -> MutatedDesign:
    """A class, and the rows that it is judged in: a row's exporter is the class, or derives from it."""
    cells = []
    for row in revoke_2026.ROWS:
        if row.entry.name in rows:
            names = [*holding(revoke_2026.TABLE, row.entry.name), *(column.entry.name for column in BESIDE_ITS_COLUMNS)]
            if row.entry.name == "fences":
                names = [name for name in names if name not in ("closed unmapped", "lost again")]  # it does not wait until who reads ahead has unmapped
            for column in (*revoke_2026.COLUMNS, *BESIDE_ITS_COLUMNS):
                if column.entry.name in names:
                    looks = job_on_the_buffers_memory if column.entry.name == "new memory" else None
                    cells.append(DesignCell(revoke_2026.TABLE, row.entry.name, column.entry.name, row.exporter, _revoking(column), looks))
    return MutatedDesign(kind, tuple(cells))


def _revoking(column: RevokeColumn) -> Callable[[type], Program]:
    return partial(revoke_2026.program_of, column=column)


def _driver(kind: type[Device], table: CaseTable, row: str, base: type[Device], scenario_of: Callable[[str], Scenario], without: Sequence[str] = ()) -> MutatedDesign:
    """A driver of a table with scenarios, and the row that it is judged in."""
    columns = [column for column in holding(table, row) if column not in without]
    cells = (DesignCell(table, row, column, base, partial(of_scenario, scenario=scenario_of(column))) for column in columns)
    return MutatedDesign(kind, tuple(cells))


def _only_writes() -> Scenario:
    """As the column `swap-out` of 2011, where the device has not read the page before it writes: nothing else has said of the page that it is dirty."""
    s = Recorder()
    a = s.mmap(pages=1)
    s.write(a, "A")
    s.madvise_pageout(a)
    s.read(a)
    nic = s.device()

    @s.thread
    def kswapd() -> None:
        s.reclaim(a)
        s.reclaim(a)

    @s.thread
    def device() -> None:
        nic.write(a, "D", into="written")

    with s.after():
        nic.compare(a)
    return s.scenario("only writes", "the kernel swaps a page out, twice, to which the device only writes")


def _in_2011() -> MutatedDesign:
    """The thread's driver on its own callbacks."""
    known = _driver(OdpIn2011, thread_2011_ib.TABLE, "2011: later", OdpIn2011, thread_2011_ib.scenario_of)
    more = DesignCell(thread_2011_ib.TABLE, "2011: later", "only writes", OdpIn2011, partial(of_scenario, scenario=_only_writes()))
    return MutatedDesign(OdpIn2011, (*known.cells, more))


DESIGNS: dict[str, MutatedDesign] = {
    **UDMABUFS,
    **HOLDERS,
    **CHOICES,
    **RETRIES,
    "RevocableBuffer": _exporter(RevocableBuffer, "fences", "skip the put"),
    "FencesOnly": _exporter(FencesOnly, "fences"),
    "CountingBuffer": _exporter(CountingBuffer, "skip the put", "re-arm at revoke"),
    "SkipsThePut": _exporter(SkipsThePut, "skip the put"),
    "RearmsAtRevoke": _exporter(RearmsAtRevoke, "re-arm at revoke"),
    "UnmapThenFences": _exporter(UnmapThenFences, "unmap, fences"),
    "MovingBuffer": _moving(),
    "OdpLaterWhereTold": _driver(
        OdpLaterWhereTold, thread_2011_ib.TABLE, "by a hint", OdpLaterWhereTold, thread_2011_ib.scenario_of, (thread_2011_ib.DIRECT, thread_2011_ib.BY_REFERENCE)
    ),
    "OdpIn2011": _in_2011(),
}
"""By the name of the class."""

_BEING_MADE = "the buffer is being made: nobody looks at it yet"
_UNDER_RESV = "the reservation lock is held: that it is one step besides only saves states"
_BETWEEN = "the reservation lock is held from one to the other: nobody maps or queues a job in between"
_NO_FENCE_COMES = (
    "importers have been told, and nobody maps: whoever queues a job still does so by the old mapping, and that is waited for where it has to be unmapped; "
    "so it is all the same whether the lock is held while the fences are waited for"
)
_WAITED_FOR = "all is waited for already: whether the lock is held when the memory goes is all the same"
_NOBODY_COUNTS = "nobody has it mapped, nobody may map it, and one thread alone revokes and restores: nobody counts meanwhile"
_TAKEN = "wait_for_completion() has taken what complete() gave: nothing is left there"
_TOLD_BEFORE = "importers were told by `revoke`: to tell them again is for those that wait until they may map, and no importer here does"
_MM_STAYS = "`notifier.mm` is there before `open` is called, and stays; mmget_not_zero() looks by itself"
_ONE_STEP = "one step, in which nobody looks"
_NOTHING_HERE = "it does nothing here: a driver that is derived from this one waits there"
_NO_ZERO_PAGE = "what is put off is flushed at once too without harm, and in no cell that holds is it the zero page"
_NOT_CALLED = "in no cell that holds is it called: where a range goes, what is put off is of another page"
_CHANGES_UNDER_IT = "the driver's lock is held, under which every change of the table is made"
_CLEARED_ALREADY = (
    "the CPU's entry has changed before the callback is called: whoever looks from then on finds the new page; whoever looked before finds that the number has gone on, or has its "
    "entry put off"
)

HARMLESS_IN_DESIGNS: dict[str, dict[str, str]] = {
    **HARMLESS_IN_UDMABUFS,
    **HARMLESS_IN_HOLDERS,
    **HARMLESS_IN_CHOICES,
    **HARMLESS_IN_RETRIES,
    "RevocableBuffer": by_name(
        {
            _BEING_MADE: "open: swap 1, 2",
            "no cell closes the buffer's file: nobody looks at the count": "open: drop 2",
            _UNDER_RESV: "map_dma_buf: without the lock 1; map_dma_buf: first out of the lock 1",
            _BETWEEN: "tell: swap 1",
            "mapping is refused while it is revoked: nobody looks at the memory, or at the count": "restore: swap 1, 5, 6",
            _TOLD_BEFORE: "restore: drop 3, 4; restore: swap 3, 4",
            "to allow mappings is one store, and the count is new before": "restore: swap 7, 8",
        }
    ),
    "FencesOnly": by_name({_BETWEEN: "revoke: swap 2", _NO_FENCE_COMES: "revoke: swap 3", _WAITED_FOR: "revoke: swap 4"}),
    "CountingBuffer": by_name(
        {
            _BEING_MADE: "open: swap 1",
            _NOBODY_COUNTS: "rearm: without the lock 1; rearm: first out of the lock 1; rearm: last out of the lock 1; rearm: swap 1",
            _TAKEN: "rearm: drop 2",
            _BETWEEN: "revoke: swap 2",
            _NO_FENCE_COMES: "revoke: swap 3",
        }
    ),
    "SkipsThePut": by_name({"one thread alone revokes and closes: nobody else writes that": "close: swap 1", _BETWEEN: "close: swap 3", _NO_FENCE_COMES: "close: swap 4"}),
    "RearmsAtRevoke": by_name(
        {
            _NOBODY_COUNTS: "revoke: without the lock 1; revoke: first out of the lock 1; revoke: last out of the lock 1; revoke: swap 1",
            _TAKEN: "revoke: drop 3",
        }
    ),
    "MovingBuffer": by_name(
        {
            _ONE_STEP: "take_memory: swap 2; lose_memory: swap 2; queue_copy: swap 2, 4; copy: swap 2, 3, 4, 5",
            "no cell counts the references to the fences of jobs": "copy: drop 10",
            _UNDER_RESV: "map_dma_buf: without the lock 1; map_dma_buf: first out of the lock 1; map_dma_buf: last out of the lock 1",
            "no cell asks a CPU to use it: the rule that looks at that, `implicit-sync`, is of the adversary `cpu-access`": "begin_cpu: drop 1, 3; begin_cpu: swap 1; begin_cpu: negate 1",
            "the reservation lock is held from one to the other, and no importer here adds a fence when it is told": "move: swap 1",
            "it saves rounds: whether a copy is under way is asked again under the lock": "move: drop 5",
            "what a copy waits for are fences, and who signals them takes no reservation lock": "move: swap 3",
            "one step, and the reservation object has a reference to the fence": "copy: swap 1",
        }
    ),
    "UnmapThenFences": by_name({_NO_FENCE_COMES: "stop_all: swap 5, 6", _WAITED_FOR: "stop_all: swap 7"}),
    "OdpLaterWhereTold": {},
    "OdpIn2011": by_name(
        {
            _MM_STAYS: "fault: without the lock 1; fault: first out of the lock 1",
            "to look and to map is one step besides": "fault: without the lock 2",
            _CHANGES_UNDER_IT: "fault: without the lock 3",
            "nothing is mapped then: the access faults again": "fault: drop 8",
            "a page that is held is not moved, and comes back from the swap cache: what was put off is of the same page": "fault: drop 9",
            _NOT_CALLED: (
                "invalidate_range_start: without the lock 1; invalidate_range_start: first out of the lock 1; invalidate_range_start: last out of the lock 1; "
                "invalidate_range_start: drop 1, 2, 3; invalidate_range_start: swap 1"
            ),
            _CLEARED_ALREADY: "invalidate_page: without the lock 1; invalidate_page: first out of the lock 1; invalidate_page: last out of the lock 1; invalidate_page: swap 1",
            _NOTHING_HERE: "invalidate_page: drop 1; release: swap 1; release: drop 2",
            _NO_ZERO_PAGE: "changed: negate 2; changed: drop 2",
            _ONE_STEP: "changed: swap 1; flush_page: swap 2; work: without the lock 1",
            "what the worker does not flush is flushed when the page is mapped again, or the device is closed": "work: drop 2; flush_kept: negate 1; flush_kept: drop 1",
            "to flush all is one step; nobody maps what is closed": "close: without the lock 1; close: without the lock 2",
        }
    ),
}
"""By class and mutant: why it may survive."""


def designs_page() -> str:
    """The end of docs/adequacy.md."""
    counts = "".join(f"| `{name}` | {len(mutants_of(one))} | {len(mutants_of(one)) - len(HARMLESS_IN_DESIGNS[name])} |\n" for name, one in DESIGNS.items())
    living = "".join(f"| `{name}`: {'; '.join(mutants)} | {reason} |\n" for name, table in HARMLESS_IN_DESIGNS.items() for reason, mutants in by_reason(table).items())
    return HEAD + counts + "\n| may live | reason |\n| --- | --- |\n" + living


HEAD = """
## Mutants of designs

What tables are about: exporters and an importer that no release has, and drivers that are not for the contract's adversaries, in the same way. A mutant is noticed when a cell
of the design's rows that holds does not hold any more, or what the cells are about does not happen.

| design | mutants | noticed |
| --- | --- | --- |
"""
