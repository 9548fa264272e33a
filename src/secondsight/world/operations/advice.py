"""What a process says of its memory: what a child gets of it, that it is to be there, that a file's part of it goes (madvise)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secondsight.devices.device import Device
from secondsight.lang import Ref
from secondsight.linux.fork import vmas
from secondsight.linux.madvise_fork import madvise_fork
from secondsight.linux.madvise_populate import madvise_populate
from secondsight.linux.madvise_remove import madvise_remove as remove
from secondsight.linux.mm_flags import VM_DONTCOPY, VM_WIPEONFORK
from secondsight.linux.mm_types import Mm, Result
from secondsight.scenario.ops import Often
from secondsight.world.declare import also, operation
from secondsight.world.operations.memory import ADDRESS, SPAN
from secondsight.world.tables import UNDOES, WIPES, WRITES, RowNumber, address, flags, high, low, pages

__all__: list[str] = []


def of_forks(args: Mapping[str, Any]) -> dict[str, int]:
    """What those need that say what a child gets."""
    return {"more_flags": 1, "cow": 1}


@operation(addr=ADDRESS, pages=SPAN, remaps=True, at_least=of_forks, often=Often(4, 2, 1))
def madvise_dontfork(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """MADV_DONTFORK: a child that is forked from now on has nothing at these addresses. Fails with -ENOMEM (not mapped)."""
    if len(vmas[0].more_flags) > 0:
        flag = VM_WIPEONFORK if flags[i] & WIPES != 0 else VM_DONTCOPY
        return madvise_fork(mm, address[i], pages[i], flag, flags[i] & UNDOES == 0, low[i], high[i])
    return 0


also("madvise_dontfork", "madvise_dofork", """MADV_DOFORK: a child has these pages again. Fails with -ENOMEM (not mapped).""", UNDOES, often=Often(2, 1, 0))

also(
    "madvise_dontfork", "madvise_wipeonfork",
    """MADV_WIPEONFORK: a child that is forked from now on finds zeros in these pages. Fails with -ENOMEM (not mapped), -EINVAL (not anonymous).""",
    WIPES, takes=lambda args: {"frames": args["pages"]}, often=Often(4, 2, 1),
)  # fmt: skip

also(
    "madvise_dontfork", "madvise_keeponfork", """MADV_KEEPONFORK: a child gets what these pages hold again. Fails with -ENOMEM (not mapped).""",
    UNDOES | WIPES, often=Often(2, 1, 0),
)  # fmt: skip


@operation(addr=ADDRESS, pages=SPAN, often=Often(5, 5, 4))
def madvise_populate_read(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """MADV_POPULATE_READ: the pages are faulted in as for a load, and nobody has looked at them. Fails with -ENOMEM (not mapped), -EINVAL (PROT_NONE, or a udmabuf's
    mapping), -EFAULT (past the end of the file)."""
    return madvise_populate(mm, address[i], pages[i], flags[i] & WRITES != 0)


also(
    "madvise_populate_read", "madvise_populate_write",
    """MADV_POPULATE_WRITE: the same as for a store; the pages hold what they held. Fails with -ENOMEM (not mapped), -EINVAL (may not be written, or a udmabuf's mapping),
    -EFAULT (past the end of the file).""",
    WRITES, often=Often(5, 5, 4), at_least=lambda args: {"completed_faults": 1},
)  # fmt: skip


@operation(addr=ADDRESS, pages=SPAN, takes_away=True, takes=lambda args: {"frames": args["pages"]}, often=Often(7, 8, 7))
def madvise_remove(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """MADV_REMOVE: a hole in the file that is mapped there, as `fallocate_punch_hole` makes one. Fails with -ENOMEM (not mapped), -EINVAL (no file's, or
    locked), -EACCES (a private mapping), -EPERM (write-sealed), -ENODEV (a udmabuf)."""
    return remove(mm, address[i], pages[i])
