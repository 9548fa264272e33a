"""Pages that are to stay in memory (mlock)."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref
from secondsight.linux import mlock as kernel
from secondsight.linux.mm_types import Mm, Result
from secondsight.linux.util import locked_vm, locked_vms
from secondsight.scenario.ops import Arg, ArgType, Often
from secondsight.world.declare import operation
from secondsight.world.operations.memory import ADDRESS, SPAN
from secondsight.world.tables import RowNumber, address, high, low, pages

__all__: list[str] = []


def locks(args: object) -> dict[str, int]:
    """What all of these need."""
    return {"memlock": 1, "vma_flags": 1}


@operation(addr=ADDRESS, pages=SPAN, remaps=True, at_least=locks, often=Often(5, 3, 3))
def mlock(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """mlock(): the pages are faulted in, and stay in memory. Fails with -ENOMEM (not mapped, locked up to there; more than `limit_memlock` allows; past the end of
    a file; PROT_NONE). MADV_DONTNEED and MADV_PAGEOUT of a locked page fail with -EINVAL."""
    if len(locked_vms) > 0:
        return kernel.do_mlock(mm, address[i], pages[i], low[i], high[i])
    return 0


@operation(addr=ADDRESS, pages=SPAN, remaps=True, at_least=locks, often=Often(3, 2, 1))
def munlock(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """munlock(). Fails with -ENOMEM (not mapped, done up to there)."""
    if len(locked_vms) > 0:
        return kernel.munlock(mm, address[i], pages[i], low[i], high[i])
    return 0


@operation(pages=Arg(ArgType.COUNT), in_setup=True, at_least=locks, named=False)
def limit_memlock(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """setrlimit(RLIMIT_MEMLOCK), in the setup, for a process that has no CAP_IPC_LOCK from then on: so many pages may be locked."""
    if len(locked_vms) > 0:
        locked_vm(mm).limit = pages[i]
    return 0
