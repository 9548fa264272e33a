"""mm/mremap.c: a mapping becomes larger or smaller where it is, or moves to become larger, if it may.

    shrink      the pages behind the new end are unmapped as by munmap(2): a bracket, and UNMAP of a userfaultfd, in the same order
    grow        under the mmap lock for writing the vma becomes longer, and perhaps one with that behind it. Nobody is told: nothing was there
    else        it moves (MREMAP_MAYMOVE) to a place where nothing is, as in `mremap`: a longer vma, the entries, and the old place goes

Left out: huge pages of files; accounting; limits, but that of locked memory.
"""

from __future__ import annotations

from secondsight.lang import Errno, Ref, atomic, milestone
from secondsight.linux.errno import EFAULT, ENOMEM
from secondsight.linux.fork import mms
from secondsight.linux.mlock import mm_populate
from secondsight.linux.mm_types import NOT_PREPARED, Count, Flags, Mm, Pgoff, Result, Va, VaEnd, Vma
from secondsight.linux.mremap import counts_locked, do_munmap, move_vma, tell, vma_to_resize
from secondsight.linux.util import locked_vms, vma_is_locked
from secondsight.linux.vma import anon_id_of, do_vmi_munmap, vma_merge_new_range, vmas_changed

__all__ = ["mremap"]


@milestone
def mremap(mm: Mm, addr: Va, old_len: Pgoff, new_len: Pgoff, low: Va, high: VaEnd, maymove: bool = False, new_addr: Va = 0) -> Result:
    """mremap() (mm/mremap.c, Linux 6.12) with no flags, or with MREMAP_MAYMOVE: `addr`, or `new_addr` where it has moved there (get_unmapped_area() is the caller's); or -EFAULT (not
    mapped; to grow, and not all of one vma, or a PFN mapping), -ENOMEM (to grow, may not move, and does not end there, or something else begins), -EAGAIN (locked, and
    beyond the limit). `low`, `high`: see `vma.vma_merge_new_range`, of the old place; nothing is beside the new one."""
    mm.mmap_lock.write_lock()
    moves = False
    with atomic:
        vma = mm.mm_mt[addr]
        ret: Errno = -EFAULT if vma is None else 0
        locked = False
        if vma is not None and new_len > old_len:
            ret = vma_to_resize(mm, addr, old_len, new_len)
            if ret == 0:
                if vma_expandable(mm, vma, addr + old_len, new_len - old_len):
                    vma_merge_extend(mm, vma, new_len - old_len, low, high)
                    if len(locked_vms) > 0:
                        if vma_is_locked(vma):
                            locked_vms[mms.index(mm)].pages += new_len - old_len
                            locked = True
                elif maymove:
                    moves = True
                else:
                    ret = -ENOMEM
    if ret == 0 and new_len < old_len:
        ret = do_vmi_munmap(mm, addr + new_len, addr + old_len)
        return addr if ret == 0 else ret
    at = addr
    late: Count = 0
    told = False
    if moves:
        told = move_vma(mm, addr, old_len, new_addr, new_len, new_addr, new_addr + new_len, False)
        late = do_munmap(mm, addr, addr + old_len)
        locked = counts_locked(mm, new_addr, new_len)
        at = new_addr
    with atomic:
        if moves:
            vmas_changed(mm, addr, addr + old_len)
        vmas_changed(mm, at, at + new_len)
        mm.mmap_lock.write_unlock()
    if len(locked_vms) > 0:
        if locked:
            mm_populate(mm, at + old_len, at + new_len)
    if len(mm.userfaultfd) > 0:
        tell(mm, addr, old_len, new_addr, 0, told, late)
    return at if ret == 0 else ret


@atomic
def vma_expandable(mm: Mm, vma: Vma, end: VaEnd, delta: Count) -> bool:
    """vma_expandable() (mm/mremap.c, Linux 6.12): whether what ends at `end` may become longer where it is: it is the end of the vma, and nothing is behind it."""
    if end != vma.vm_end:
        return False
    return all(mm.mm_mt[va] is None for va in range(end, end + delta))


@atomic
def vma_merge_extend(mm: Mm, vma: Vma, delta: Count, low: Va, high: VaEnd) -> Ref[Vma]:
    """vma_merge_extend() (mm/vma.c, Linux 6.12): the vma maps `delta` pages more, and becomes one with that behind them, if that continues it."""
    flags: Flags = vma.flags[0] if len(vma.flags) > 0 else 0
    more_flags: Flags = vma.more_flags[0] if len(vma.more_flags) > 0 else 0
    prepared: Count = vma.anon_prepared[0] if len(vma.anon_prepared) > 0 else NOT_PREPARED
    pgoff: Pgoff = vma.vm_pgoff + vma.vm_end - vma.vm_start
    return vma_merge_new_range(mm, vma.vm_end, vma.vm_end + delta, vma.vm_file, pgoff, vma.write, flags, prepared, low, high, more_flags, anon_id_of(vma))
