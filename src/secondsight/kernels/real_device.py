"""secondsight.ko, the device on a real kernel: built for a kernel, and which form of its mirror a driver class is.

Its C files lie in `kernels/module/`; the headers `c_tables` are written beside them.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from secondsight.devices import mirror
from secondsight.devices.coherent_gpu import CoherentGpu
from secondsight.devices.device import Device
from secondsight.devices.small.resetting import Resets, RestoresItsTable
from secondsight.kernels.c_tables import limits_header, points_header
from secondsight.kernels.catalog import Kernel
from secondsight.kernels.modules import build_module
from secondsight.scenario.data import Scenario
from secondsight.scenario.ops import Needs

__all__ = ["FREELY", "OF_THE_MODULE", "VARIANTS", "built_for", "default_of", "needs_cma", "needs_dax", "needs_device_pages", "needs_fs_dax", "needs_module", "needs_movable", "variant_of"]

SOURCE = Path(__file__).parent / "module"

VARIANTS: dict[type[Device], str] = {
    mirror.Mirror: "right",
    mirror.MirrorWithoutTest: "no-test",
    mirror.MirrorTestsBeforeLock: "test-before-lock",
    mirror.MirrorCallbackWithoutLock: "callback-unlocked",
    mirror.MirrorDereferencesLater: "late-deref",
    mirror.MirrorNeverMarksDirty: "unmarked",
    Resets: "resets",
    RestoresItsTable: "restores",
}
"""The drivers that the module has too, line by line, and what it calls them."""


FREELY: dict[type[Device], str] = {CoherentGpu: "coherent"}
"""Drivers that the module has for runs that nobody forces: not with hold points at the same places."""


def variant_of(driver: type[Device] | None) -> str | None:
    """The module's name for a driver class (None: the reference mirror); None: the module does not have it."""
    return VARIANTS.get(driver or mirror.Mirror) or FREELY.get(driver or mirror.Mirror)


def default_of(scenario: Scenario) -> type[Device] | None:
    """The driver of a scenario that runs without one; None: the reference mirror, which has more than the model's: exclusive access, and memory of its own."""
    return Resets if any(place.op.kind == "device_reset" for place in scenario.places()) else None


OF_THE_MODULE = frozenset({Needs.MODULE, Needs.SWAP, Needs.MEMCG, Needs.CMA})
"""What nobody has without secondsight.ko: its devices, the swap device among them, to which what is reclaimed goes."""


def needs_module(scenario: Scenario) -> bool:
    """Whether a scenario has operations on the module's devices, its swap device among them."""
    return any(place.op.declared.needs in OF_THE_MODULE for place in scenario.places())


def needs_device_pages(scenario: Scenario) -> bool:
    """Whether a scenario has pages that are a device's alone (CONFIG_DEVICE_PRIVATE)."""
    return any(place.op.kind in ("device_exclusive", "make_device_exclusive", "device_migrate", "device_evict") for place in scenario.places())


def needs_movable(scenario: Scenario) -> bool:
    """Whether a scenario takes a block of memory offline."""
    return any(place.op.declared.needs is Needs.MOVABLE for place in scenario.places())


def needs_cma(scenario: Scenario) -> bool:
    """Whether a scenario wants an area of contiguous memory."""
    return any(place.op.declared.needs is Needs.CMA for place in scenario.places())


def needs_dax(scenario: Scenario) -> bool:
    """Whether a scenario has device memory with a file."""
    return any(place.op.declared.needs is Needs.DAX for place in scenario.places())


def needs_fs_dax(scenario: Scenario) -> bool:
    """Whether a scenario has files of the file system that a guest has in a device's memory: their pages are that memory, or their blocks."""
    return any(place.op.declared.needs in (Needs.FS_DAX, Needs.DISK) for place in scenario.places())


def built_for(kernel: Kernel) -> Path:
    """The module built for a kernel, from the cache if it was built before. Raises KernelError, as `build_module` does."""
    with tempfile.TemporaryDirectory(prefix="secondsight-module-") as folder:
        for path in SOURCE.iterdir():
            if path.suffix in (".c", ".h") or path.name == "Makefile":
                shutil.copy(path, folder)
        (Path(folder) / "points.h").write_text(points_header())
        (Path(folder) / "limits.h").write_text(limits_header())
        return build_module(kernel, Path(folder))
