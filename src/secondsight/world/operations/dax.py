"""Device memory with a file to map (device-dax), its removal, and the parts of that, which are on the model only."""

from __future__ import annotations

from typing import Any

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic
from secondsight.linux.dax import dev_dax_invalidate, dev_dax_probe, dev_dax_unbind, kill_dax, synchronize_dax
from secondsight.linux.errno import EBADF
from secondsight.linux.memremap import dev_pagemap_drain, dev_pagemap_kill, dev_pagemap_remove
from secondsight.linux.mm_types import AddressSpace, Mm, Result
from secondsight.linux.mmap import do_mmap, do_mmap_fixed
from secondsight.scenario.ops import Arg, ArgType, HandleType, Needs, Often, Op
from secondsight.world.declare import arm, before_the_threads, operation
from secondsight.world.operations.memfd import map_flags
from secondsight.world.tables import (
    FIXED,
    READ_ONLY,
    Handle,
    RowNumber,
    address,
    dax_of,
    flags,
    handles,
    high,
    low,
    makes,
    needs,
    page,
    pages,
)

__all__ = ["map_memory"]

DAX = Arg(ArgType.DAX)


@before_the_threads(
    pages=Arg(ArgType.COUNT),
    makes=HandleType.DAX,
    needs=Needs.DAX,
    named=False,
    takes=lambda args: {"frames": args["pages"], "pagemaps": 1, "dax_devices": 1},
    at_least=lambda args: {"file_pages": args["pages"]},
)
def dax(handle: Handle, op: Op, mm: Any, device: Any) -> int:
    """Device memory (`dev_pagemap`) of `pages` pages, with a file to map (in the setup). Taken away by `dax_remove`, or by its parts: `dax_disable`,
    `dax_invalidate` and `dax_drain`. A scenario has one on a real kernel, which is there for all its processes."""
    handle.made = True
    handle.file = dev_dax_probe(op.args["pages"])  # type: ignore[arg-type]
    return 0


@arm("mmap", HandleType.DAX)
def mmap_dax(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """mmap() of device memory."""
    with atomic:
        closed = handles[needs[i]].closed
        file = dax_of(handles[needs[i]])
    if closed:
        return -EBADF
    return map_memory(i, mm, file)


def map_memory(i: RowNumber, mm: Mm, file: Ref[AddressSpace]) -> Result:
    """mmap() of a device's memory, or of a file of a file system in it."""
    ret: Result = 0
    write = flags[i] & READ_ONLY == 0
    assert file is not None
    if flags[i] & FIXED != 0:
        ret = do_mmap_fixed(mm, address[i], pages[i], file, page[i], write, map_flags(i), low[i], high[i])
    else:
        ret = do_mmap(mm, address[i], pages[i], file, page[i], write, map_flags(i))
    if ret < 0:
        return ret
    with atomic:
        handles[makes[i]].made = True
    return 0


@operation(dax=DAX, own=False, needs=Needs.DAX, often=Often(3, 4, 5))
def dax_remove(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Somebody takes device memory away (the driver's `unbind` in sysfs): no new faults, every mapping is zapped, and when the last reference has gone the memory
    is. What is touched then is SIGBUS, and it can be mapped no more (-ENXIO). Fails with -ENODEV: that was done before."""
    with atomic:
        file = dax_of(handles[needs[i]])
        assert file is not None
    return dev_dax_unbind(file)


@operation(dax=DAX, own=False, model_only=True, named=False)
def dax_disable(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Teardown of device memory: no new faults, no new references to its dev_pagemap. On the model only."""
    with atomic:
        file = dax_of(handles[needs[i]])
        assert file is not None
        pgmap = file.pgmap
    assert pgmap is not None
    kill_dax(file)
    synchronize_dax(file)
    dev_pagemap_kill(pgmap)
    return 0


@operation(dax=DAX, own=False, model_only=True, named=False)
def dax_invalidate(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Teardown of device memory: every mapping of it is zapped. On the model only."""
    with atomic:
        file = dax_of(handles[needs[i]])
        assert file is not None
    dev_dax_invalidate(file)
    return 0


@operation(dax=DAX, own=False, model_only=True, named=False)
def dax_drain(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Teardown of device memory: wait for the last reference, then the memory is gone. On the model only."""
    with atomic:
        file = dax_of(handles[needs[i]])
        assert file is not None
        pgmap = file.pgmap
    assert pgmap is not None
    dev_pagemap_drain(pgmap)
    dev_pagemap_remove(pgmap)
    return 0
