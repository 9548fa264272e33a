"""What may be done with mapped pages."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref
from secondsight.linux.mm_types import Mm, Result
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.task_mmu import clear_refs_write
from secondsight.scenario.ops import Arg, ArgType, Often
from secondsight.world.declare import operation
from secondsight.world.operations.memory import ADDRESS, SPAN
from secondsight.world.tables import READS_ONLY, RowNumber, address, high, low, pages, value

__all__: list[str] = []


@operation(
    addr=ADDRESS,
    pages=SPAN,
    write=Arg(ArgType.FLAG, keyword=True),
    remaps=True,
    at_least=lambda args: {READS_ONLY: 1},
    asks={"do_mprotect_pkey": "mprotect"},
    often=Often(10, 7, 8),
)
def mprotect(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """mprotect() to PROT_READ, or with `write` to PROT_READ and PROT_WRITE: where it may not be written a store is SIGSEGV.
    Fails with -ENOMEM (not mapped, done up to there), -EACCES (mapped read-only from a memfd that was write-sealed)."""
    return do_mprotect_pkey(mm, address[i], pages[i], value[i] != 0, low[i], high[i])


@operation(
    addr=ADDRESS, pages=SPAN, remaps=True, at_least=lambda args: {"vma_flags": 1, "prot_none": 1}, often=Often(4, 3, 3),
)  # fmt: skip
def mprotect_none(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """mprotect() to PROT_NONE: a load is SIGSEGV too. What the pages hold stays. Fails with -ENOMEM (not mapped, done up to there)."""
    return do_mprotect_pkey(mm, address[i], pages[i], False, low[i], high[i], True)


# Never in a forced run: the agent's own stack and results may be written no more either, and the fault of its next store waits for whoever is held with the mmap lock.
@operation(often=Often(3, 3))
def clear_refs(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Writes 4 to /proc/self/clear_refs: no page of the process is soft-dirty, and each may be written no more until a store faults there."""
    clear_refs_write(mm)
    return 0
