"""2026, revoking a dma-buf: an exporter takes its memory away from a dynamic importer. What must it wait for, and how does it begin again?

Rows are sequences of the exporter (`devices/revocable_buffer.py`): those that vfio's exporter has had since Linux 6.19, those that were
proposed for it in 2026, and forms beside them with one thing changed. Columns are properties, each asked with the importer that puts
it to the test (`devices/fenced_importer.py`): its thread maps and queues jobs at any time, its device does them, its worker unmaps.

What Linux 7.2 asks (dma_buf_invalidate_mappings(), drivers/dma-buf/dma-buf.c): an importer that was told may use the memory in full until
its fences are signalled, and read from it, for nothing, until it unmaps; it starts nothing new by the old mapping. So the importers of
`new work` and `hasty unmap` do what they must not; the columns say what comes of it.

Why the cells that surprise are as they are:

* unmap, *jobs in flight* is broken: an importer may unmap in the callback, while its device still works. Only the fence says so.
* fences, *new memory* holds although the importer may still have its old mapping when the exporter begins again: it was told, and gives that
  back before it starts a job. With the importer of `new work` it is broken.
* re-arm at revoke, *hasty unmap* is broken: a job is queued when the lock is free again, so after the fences were waited for, and the
  importer unmaps without waiting for it. The other order of the waits holds: when nobody has it mapped, no fence can come.
* unmap or 1 s, *map beside* is broken: the count is made new while a mapping is left, which is then given back.
* count left at 0, *closed after* ends with the kernel's warning of a count below 0; after it the exporter would wait for ever, for the
  count never comes to 0 again.

In the first four columns and in *new memory* who is stuck is not asked: there a sequence that gets stuck has been asked about as far as it goes.

Left out, to nobody's advantage: several importers and buffers; jobs of several pages. Left out, to the exporters' advantage (may hide a
bug): importers that attach or detach meanwhile; the end of the buffer's file, whose last reference may go at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secondsight.cases.revoke_story import (
    revokes,
    revokes_and_closes,
    revokes_restores,
    revokes_restores_revokes,
    submits,
    submits_when_restored,
)
from secondsight.cases.table import Answer, CaseTable, Finding, FreeRun, Heading, Kernels
from secondsight.contract.buffer import job_on_the_buffers_memory
from secondsight.devices import fenced_importer as importers
from secondsight.devices import revocable_buffer as exporters
from secondsight.devices.fenced_importer import FencedImporter
from secondsight.devices.revocable_buffer import RevocableBuffer
from secondsight.lang import Machine
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.page_alloc import mem_init
from secondsight.scenario import File, Recorder, Scenario
from secondsight.scenario.schedule import CannotForce
from secondsight.search import Verdict, Violation

__all__ = ["COLUMNS", "ROWS", "TABLE", "RevokeColumn", "RevokeRow", "program_of"]


@dataclass(frozen=True, slots=True)
class RevokeRow:
    """A sequence: its exporter."""

    entry: Heading
    exporter: type[RevocableBuffer]


@dataclass(frozen=True, slots=True)
class RevokeColumn:
    """A property: what the exporter does, the importer, what it does and how often.

    `ends`: the property is that both come to their end, with counts that are right; else that only the buffer's memory is used.
    """

    entry: Heading
    importer: type[FencedImporter]
    exporter: Callable[..., None] = revokes
    jobs: Callable[[FencedImporter, int], None] = submits
    times: int = 2
    ends: bool = False


ROWS: tuple[RevokeRow, ...] = (
    RevokeRow(Heading("tell only", "refuse mappings, tell importers, go on (vfio in Linux 6.19)"), exporters.TellsOnly),
    RevokeRow(
        Heading("READ fences", "tell, wait for the fences of implicit synchronisation (usage READ) under resv"),
        exporters.ImplicitFencesOnly,
    ),
    RevokeRow(Heading("fences", "tell, wait for all fences (usage BOOKKEEP) under resv: enough to move a buffer"), exporters.FencesOnly),
    RevokeRow(Heading("unmap", "tell, wait until importers have unmapped"), exporters.UnmapOnly),
    RevokeRow(Heading("unmap, fences", "tell, wait for unmapping, then for the fences"), exporters.UnmapThenFences),
    RevokeRow(Heading("both under resv", "tell, wait for the fences, then for unmapping, with resv held all the time"), exporters.UnmapUnderResv),
    RevokeRow(Heading("unmap or 1 s", "fences, then unmapping, for at most a second (as posted in January 2026)"), exporters.GivesUpWaiting),
    RevokeRow(
        Heading("open, then count", "fences, unmapping; to restore, mapping is allowed before the count is made new (January 2026)"),
        exporters.OpensBeforeItCounts,
    ),
    RevokeRow(
        Heading("count left at 0", "fences, unmapping, which leaves the count at 0 until restored (commit 1a8a5227f229)"),
        exporters.CountingBuffer,
    ),
    RevokeRow(Heading("skip the put", "the same; closing what is revoked drops no reference (proposed in April 2026)"), exporters.SkipsThePut),
    RevokeRow(
        Heading("re-arm at revoke", "fences, unmapping, then the count is made new at once (the fix of Linux 7.1)"),
        exporters.RearmsAtRevoke,
    ),
)

COLUMNS: tuple[RevokeColumn, ...] = (
    RevokeColumn(
        Heading("jobs in flight", "no job uses lost memory; the importer unmaps when it is told, while its device goes on"),
        importers.UnmapsAtOnce,
    ),
    RevokeColumn(
        Heading("reads ahead", "no device reads lost memory; the importer's reads ahead, without a fence, until a worker unmaps"),
        importers.ReadsUntilItUnmaps,
        times=1,
    ),
    RevokeColumn(
        Heading("new work", "no job uses lost memory; the importer queues jobs by the old mapping until a worker has waited for them and unmaps"),
        importers.UsesTheOldMapping,
    ),
    RevokeColumn(
        Heading("hasty unmap", "no job uses lost memory; the same importer, whose worker unmaps without waiting for jobs"),
        importers.UnmapsWithoutWaiting,
    ),
    RevokeColumn(Heading("goes on", "nobody waits for ever, or goes round for ever"), importers.FencedImporter, ends=True),
    RevokeColumn(
        Heading("closed after", "what is revoked can be revoked again, when the exporter's device is closed: all ends, counts are right"),
        importers.FencedImporter,
        revokes_and_closes,
        times=1,
        ends=True,
    ),
    RevokeColumn(
        Heading("new memory", "when other memory has come in the place of what was lost, the importer gets it, and uses nothing else"),
        importers.FencedImporter,
        revokes_restores,
        submits_when_restored,
    ),
    RevokeColumn(
        Heading("map beside", "the importer maps beside revoking, restoring and revoking again: all ends, counts are right"),
        importers.FencedImporter,
        revokes_restores_revokes,
        ends=True,
    ),
)


def program_of(exporter: type[RevocableBuffer], column: RevokeColumn) -> Program:
    """A sequence and a property as a checked program."""
    sizes = bounds(frames=5, dmabuf_pages=1, attachments=1, resv_fences=1, dma_fences=2)
    machine = Machine(bounds=sizes, pools={exporter: 1, column.importer: 1})
    with machine:
        mem_init()
        buffer = machine.pool(exporter).alloc()
        buffer.open(1)
        importer = machine.pool(column.importer).alloc()
        importer.attach_to(buffer)
        threads = [
            Thread("exporter", column.exporter, (buffer,), daemon=not column.ends),
            Thread("importer", column.jobs, (importer, column.times), daemon=not column.ends),
            Thread("worker", importer.work, daemon=True),
            Thread("engine", importer.engine, daemon=True),
        ]
    return build(machine, threads, rules=[] if column.ends else [job_on_the_buffers_memory], room=Room(exact=True))


def program(row: str, column: str) -> Program:
    """A cell's program, by the names of its row and column."""
    sequence = next(r for r in ROWS if r.entry.name == row)
    return program_of(sequence.exporter, next(c for c in COLUMNS if c.entry.name == column))


def on_kernel(row: str, column: str, violation: Violation) -> CannotForce:
    """Why no cell is asked of a real kernel."""
    return CannotForce("the module's exporter has the last of these sequences, and its importer keeps the contract: what is wrong is not run on a kernel")


def _jobs_beside(name: str, exporter: Callable[[Recorder, File], None]) -> Scenario:
    s = Recorder()
    buffer = s.buffer(pages=1)
    gpu = s.attached_device(buffer)

    @s.thread
    def vfio() -> None:
        exporter(s, buffer)

    @s.thread
    def device() -> None:
        gpu.job("D", into="written")
        gpu.job_read(into="seen")

    return s.scenario(name, "Two jobs beside what the exporter does.")


def _revokes(s: Recorder, buffer: File) -> None:
    s.buffer_revoke(buffer)


def _restores(s: Recorder, buffer: File) -> None:
    s.buffer_revoke(buffer)
    s.buffer_restore(buffer)


def _revokes_again(s: Recorder, buffer: File) -> None:
    _restores(s, buffer)
    s.buffer_revoke(buffer)


_RUN = {"goes on": _revokes, "new memory": _restores, "map beside": _revokes_again}


def runs_on_kernel(row: str, column: str) -> FreeRun | CannotForce:
    """A cell that holds: the last row with an importer that keeps the contract."""
    if row != "re-arm at revoke" or column not in _RUN:
        return CannotForce("the module's exporter has the last of these sequences, and its importer keeps the contract and does not close what is revoked")
    return FreeRun(_jobs_beside(column.replace(" ", "_"), _RUN[column]), kernels=Kernels(abilities=("device",)))


HOLDS, BROKEN = Verdict.HOLDS, Verdict.BROKEN

EXPECTED = {
    "tell only": (BROKEN, BROKEN, BROKEN, BROKEN, HOLDS, HOLDS, BROKEN, HOLDS),
    "READ fences": (BROKEN, BROKEN, BROKEN, BROKEN, HOLDS, HOLDS, BROKEN, HOLDS),
    "fences": (HOLDS, BROKEN, BROKEN, BROKEN, HOLDS, HOLDS, HOLDS, HOLDS),
    "unmap": (BROKEN, HOLDS, HOLDS, BROKEN, HOLDS, HOLDS, HOLDS, HOLDS),
    "unmap, fences": (HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS),
    "both under resv": (HOLDS, HOLDS, HOLDS, HOLDS, BROKEN, BROKEN, HOLDS, BROKEN),
    "unmap or 1 s": (HOLDS, BROKEN, BROKEN, BROKEN, HOLDS, HOLDS, BROKEN, BROKEN),
    "open, then count": (HOLDS, HOLDS, HOLDS, BROKEN, HOLDS, BROKEN, BROKEN, BROKEN),
    "count left at 0": (HOLDS, HOLDS, HOLDS, BROKEN, HOLDS, BROKEN, HOLDS, HOLDS),
    "skip the put": (HOLDS, HOLDS, HOLDS, BROKEN, HOLDS, HOLDS, HOLDS, HOLDS),
    "re-arm at revoke": (HOLDS, HOLDS, HOLDS, BROKEN, HOLDS, HOLDS, HOLDS, HOLDS),
}
"""Reasoned, in the order of `COLUMNS`; the head of this file says why."""

CONTRACT = "count left at 0", "skip the put", "re-arm at revoke"
"""The rows with both waits in the order of Linux 7.2's contract, each made under its own conditions and without an end."""

FINDINGS = (
    Finding(
        "the notification is enough: an importer that was told stops",
        {("tell only", "jobs in flight"): HOLDS},
        "stands",
        "falls: a callback cannot stop a device; a job in flight uses the memory after the exporter has given it to somebody else",
    ),
    Finding(
        "when an exporter has told importers and waited for all fences, nobody uses the memory any more",
        {("fences", column): HOLDS for column in ("jobs in flight", "reads ahead", "new work")},
        "stands",
        "falls in part: no job that was queued before the notification does. A device that reads ahead does until it is unmapped, and so does "
        "work that is queued by the old mapping",
        if_it_falls=Answer.REFINED,
    ),
    Finding(
        "to wait until importers have unmapped is enough; the fences are for something else",
        {("unmap", "jobs in flight"): HOLDS},
        "stands",
        "falls: an importer may unmap with its fences outstanding, and then nothing but a fence says that its device is at work",
    ),
    Finding(
        "new work may use a mapping after the notification, if it is done before the mapping is given back",
        {
            **{(row, "new work"): HOLDS for row in ("unmap, fences", *CONTRACT)},
            **{(row, "hasty unmap"): BROKEN for row in CONTRACT},
            ("unmap, fences", "hasty unmap"): HOLDS,
            ("fences", "new work"): BROKEN,
        },
        "stands, where the exporter waits for unmapping after it has waited for the fences, and only if the importer itself waits for that work "
        "before it unmaps. An exporter that waits for unmapping first depends on neither",
        "falls: see the columns `new work` and `hasty unmap`",
        if_it_stands=Answer.REFINED,
    ),
    Finding(
        "both waits can be made under the reservation lock",
        {("both under resv", "goes on"): HOLDS},
        "stands",
        "falls: to unmap an importer needs the lock, and both wait for ever",
    ),
    Finding(
        "a second for the unmapping is enough, for who takes longer is broken",
        {("unmap or 1 s", column): HOLDS for column in ("reads ahead", "map beside")},
        "stands",
        "falls: who is slow uses lost memory, and gives a mapping back to a count that knows nothing of it",
    ),
    Finding(
        "the count may be made new when mapping is allowed again",
        {("open, then count", "map beside"): HOLDS, ("count left at 0", "map beside"): HOLDS},
        "stands, in either order",
        "falls in one order: it must be new before mapping is allowed, else a mapping in between takes a reference to a count of 0",
        if_it_falls=Answer.REFINED,
    ),
    Finding(
        "a buffer that is revoked can be closed",
        {("count left at 0", "closed after"): HOLDS},
        "stands",
        "falls, as first merged: the second revocation drops the exporter's reference again",
    ),
    Finding(
        "both fixes of that hold: to skip the put, and to make the count new as soon as nobody uses it",
        {(row, column): HOLDS for row in ("skip the put", "re-arm at revoke") for column in ("closed after", "new memory", "map beside")},
        "stands: they differ in nothing that is asked here. With the second the count is never at 0 outside of `revoke`, so whoever comes to revoke "
        "next needs to know nothing",
        "falls: see the rows of the two",
    ),
)

TABLE = CaseTable(
    name="2026-revoke",
    title="2026, revoking a dma-buf",
    question="an exporter takes its memory away from a dynamic importer: what must it wait for, and how does it begin again?",
    rows=tuple(row.entry for row in ROWS),
    columns=tuple(column.entry for column in COLUMNS),
    program=program,
    findings=FINDINGS,
    expected={
        (row, column.entry.name): verdict
        for row, verdicts in EXPECTED.items()
        for column, verdict in zip(COLUMNS, verdicts, strict=True)
    },
    on_kernel=on_kernel,
    runs_on_kernel=runs_on_kernel,
)
