"""What a driver finds in the CPU's page table without a fault."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic
from secondsight.linux.errno import EBUSY
from secondsight.linux.hmm import HMM_PFN_NONE, hmm_range_snapshot
from secondsight.linux.mm_types import Mm, Pfn, Result, Va
from secondsight.linux.mmu_notifier import mmu_interval_read_begin, mmu_interval_read_retry
from secondsight.linux.pgtable import pmd_trans_huge
from secondsight.linux.swapops import is_device_private_entry
from secondsight.scenario.ops import Arg, ArgType, Needs, Often
from secondsight.world.declare import operation
from secondsight.world.tables import RowNumber, address

__all__: list[str] = []

NOTHING, READABLE, WRITABLE, OWN_READABLE, OWN_WRITABLE, HUGE_READABLE, HUGE_WRITABLE = (ord(letter) for letter in "-rwRWhH")


@operation(device=Arg(ArgType.DEVICE), addr=Arg(ArgType.ADDRESS), own=False, needs=Needs.MODULE, loads=True, often=Often(by_the_device=2, for_itself=1))
def device_snapshot(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """What the driver finds at the page without a fault (hmm_range_fault): `r`, `w` (writable as well), `R` and `W` of a page in
    the device's own memory, `h` and `H` of a part of a huge page that one entry maps, or `-` (nothing that it can reach). Fails with -EFAULT (not mapped, PROT_NONE, a udmabuf's mapping)."""
    assert device is not None
    while True:
        seq = mmu_interval_read_begin(device.notifier)
        pfn = hmm_range_snapshot(device.notifier, address[i])
        if pfn == -EBUSY:
            continue
        found = letter(device, address[i], pfn)
        retry = mmu_interval_read_retry(device.notifier, seq)
        if not retry:
            return found


@atomic
def letter(device: Device, va: Va, pfn: Pfn) -> Result:
    """What is there, if it is found to be true still."""
    if pfn < 0:
        return NOTHING if pfn == HMM_PFN_NONE else pfn
    mm = device.notifier.mm
    assert mm is not None
    pte = mm.ptes[va]
    if is_device_private_entry(pte):
        return OWN_WRITABLE if pte.writable else OWN_READABLE
    if pmd_trans_huge(mm, va):
        return HUGE_WRITABLE if pte.writable else HUGE_READABLE
    return WRITABLE if pte.writable else READABLE
