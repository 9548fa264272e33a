"""Device memory with a file to map (device-dax), and the parts of its teardown. On the model only."""

from __future__ import annotations

from typing import Any

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic
from secondsight.linux.dax import dax_mmap, dev_dax_invalidate, dev_dax_probe, kill_dax, synchronize_dax
from secondsight.linux.errno import EBADF
from secondsight.linux.memremap import dev_pagemap_drain, dev_pagemap_kill, dev_pagemap_remove
from secondsight.linux.mm_types import Mm, Result
from secondsight.scenario.ops import Arg, ArgType, HandleType, Op
from secondsight.world.declare import arm, before_the_threads, operation
from secondsight.world.tables import READ_ONLY, Handle, RowNumber, address, dax_of, flags, handles, makes, needs, page, pages

__all__: list[str] = []

DAX = Arg(ArgType.DAX)


@before_the_threads(
    pages=Arg(ArgType.COUNT),
    makes=HandleType.DAX,
    model_only=True,
    named=False,
    takes=lambda args: {"frames": args["pages"], "pagemaps": 1, "dax_devices": 1},
    at_least=lambda args: {"file_pages": args["pages"]},
)
def dax(handle: Handle, op: Op, mm: Any, device: Any) -> int:
    """Device memory (`dev_pagemap`) of `pages` pages, with a file to map (in the setup). Taken away by `dax_disable`,
    `dax_invalidate` and `dax_drain`. On the model only."""
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
    assert file is not None
    ret = dax_mmap(file, mm, address[i], pages[i], page[i], True, flags[i] & READ_ONLY == 0)
    if ret < 0:
        return ret
    with atomic:
        handles[makes[i]].made = True
    return 0


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
