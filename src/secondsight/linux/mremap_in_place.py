"""mm/mremap.c: a mapping becomes larger or smaller where it is.

    shrink      the pages behind the new end are unmapped as by munmap(2): a bracket, and UNMAP of a userfaultfd, in the same order
    grow        under the mmap lock for writing the vma becomes longer, and perhaps one with that behind it. Nobody is told: nothing was there

Left out: MREMAP_MAYMOVE of what cannot grow; huge pages of files; limits, but that of locked memory.
"""

from __future__ import annotations

from secondsight.lang import Errno, Ref, atomic, milestone
from secondsight.linux.errno import EAGAIN, EFAULT, ENOMEM
from secondsight.linux.fork import mms
from secondsight.linux.memory import vma_flags
from secondsight.linux.mlock import mm_populate
from secondsight.linux.mm_flags import VM_PFNMAP
from secondsight.linux.mm_types import NOT_PREPARED, Count, Flags, Mm, Pgoff, Result, Va, VaEnd, Vma
from secondsight.linux.util import locked_vms, vma_is_locked
from secondsight.linux.vma import do_vmi_munmap, vma_merge_new_range, vmas_changed

__all__ = ["mremap"]


@milestone
def mremap(mm: Mm, addr: Va, old_len: Pgoff, new_len: Pgoff, low: Va, high: VaEnd) -> Result:
    """mremap() (mm/mremap.c, Linux 6.12) with no flags: `addr`, or -EFAULT (not mapped; to grow, and not all of one vma, or a PFN mapping), -ENOMEM (to grow, and
    it does not end there, or something else begins), -EAGAIN (locked, and beyond the limit). `low`, `high`: see `vma.vma_merge_new_range`."""
    mm.mmap_lock.write_lock()
    with atomic:
        vma = mm.mm_mt[addr]
        ret: Errno = -EFAULT if vma is None else 0
        locked = False
        if vma is not None and new_len > old_len:
            ret = vma_to_expand(mm, vma, addr, old_len, new_len)
            if ret == 0:
                vma_merge_extend(mm, vma, new_len - old_len, low, high)
                if len(locked_vms) > 0:
                    if vma_is_locked(vma):
                        locked_vms[mms.index(mm)].pages += new_len - old_len
                        locked = True
    if ret == 0 and new_len < old_len:
        ret = do_vmi_munmap(mm, addr + new_len, addr + old_len)
        return addr if ret == 0 else ret
    with atomic:
        vmas_changed(mm, addr, addr + new_len)
        mm.mmap_lock.write_unlock()
    if len(locked_vms) > 0:
        if locked:
            mm_populate(mm, addr + old_len, addr + new_len)
    return addr if ret == 0 else ret


@atomic
def vma_to_expand(mm: Mm, vma: Vma, addr: Va, old_len: Pgoff, new_len: Pgoff) -> Errno:
    """vma_to_resize(), vma_expandable() (mm/mremap.c, Linux 6.12): 0 if the vma may become longer where it is, or an error. Left out: VM_DONTEXPAND of other
    than PFN mappings."""
    delta: Count = new_len - old_len
    if addr + old_len > vma.vm_end or vma_flags(vma) & VM_PFNMAP != 0:
        return -EFAULT
    if len(locked_vms) > 0:
        if vma_is_locked(vma):
            counted = locked_vms[mms.index(mm)]
            if counted.pages + delta > counted.limit:
                return -EAGAIN
    if addr + old_len != vma.vm_end:
        return -ENOMEM
    for va in range(vma.vm_end, vma.vm_end + delta):
        if mm.mm_mt[va] is not None:
            return -ENOMEM
    return 0


@atomic
def vma_merge_extend(mm: Mm, vma: Vma, delta: Count, low: Va, high: VaEnd) -> Ref[Vma]:
    """vma_merge_extend() (mm/vma.c, Linux 6.12): the vma maps `delta` pages more, and becomes one with that behind them, if that continues it."""
    flags: Flags = vma.flags[0] if len(vma.flags) > 0 else 0
    on_fork: Flags = vma.on_fork[0] if len(vma.on_fork) > 0 else 0
    prepared: Count = vma.anon_prepared[0] if len(vma.anon_prepared) > 0 else NOT_PREPARED
    pgoff: Pgoff = vma.vm_pgoff + vma.vm_end - vma.vm_start
    return vma_merge_new_range(mm, vma.vm_end, vma.vm_end + delta, vma.vm_file, pgoff, vma.write, flags, prepared, low, high, on_fork)
