"""What a kernel can run, told from its configuration and its headers."""

from __future__ import annotations

import os

from secondsight.kernels.catalog import Kernel
from secondsight.kernels.dax_modules import has_dax_modules

__all__ = ["ABILITIES", "abilities"]

ABILITIES = {
    "system calls": "scenarios of memory, files and threads",
    "udmabuf": "scenarios with udmabufs",
    "device": "secondsight.ko: a device's mirror, pins, an importer, a buffer that moves, and hold points",
    "exclusive": "device-private and device-exclusive pages",
    "ftrace holds": "hold points inside the kernel's own functions",
    "memory offline": "a block of memory that is taken offline",
    "contiguous memory": "an area of contiguous memory (CMA) that a driver wants",
    "device dax": "device memory that has a file, and is taken away",
    "fs dax": "a file system in a device's memory, whose files' pages are that memory",
    "disk files": "files on a disk, which have a page cache and are written back",
    "own tests": "the kernel's own tests of HMM: secondsight kernel selftest",
    "lockdep": "lock order and sleeping while atomic are checked by the kernel itself",
}

_WANTED = {
    "udmabuf": ("UDMABUF",),
    "device": ("HMM_MIRROR", "MMU_NOTIFIER", "MODULES", "KPROBES"),
    "exclusive": ("DEVICE_PRIVATE",),
    "ftrace holds": ("FUNCTION_TRACER", "DYNAMIC_FTRACE", "KALLSYMS", "KPROBES"),
    "memory offline": ("MEMORY_HOTREMOVE", "ACPI_HOTPLUG_MEMORY"),
    "contiguous memory": ("CMA", "DMA_CMA", "MODULES"),
    "device dax": ("DEV_DAX", "DEV_DAX_HMEM", "DEV_DAX_HMEM_DEVICES"),
    "fs dax": ("X86_PMEM_LEGACY", "BLK_DEV_PMEM", "EXT4_FS", "FS_DAX"),
    "disk files": ("X86_PMEM_LEGACY", "BLK_DEV_PMEM", "EXT4_FS"),
    "own tests": ("TEST_HMM",),
    "lockdep": ("PROVE_LOCKING",),
}
_WITH_HEADERS = ("device", "exclusive", "ftrace holds", "contiguous memory")


def abilities(kernel: Kernel) -> list[str]:
    """Which of `ABILITIES` a kernel has. Of one whose configuration is not known: system calls alone."""
    if kernel.image is None:
        return ["system calls", *(["udmabuf"] if os.access("/dev/udmabuf", os.R_OK | os.W_OK) else [])]
    config = kernel.config
    found = ["system calls"]
    for ability, options in _WANTED.items():
        if ability in _WITH_HEADERS and kernel.headers is None:
            continue
        if ability == "contiguous memory" and config.get("CMA_SIZE_PERNUMA"):
            continue  # 7.2.13 has an area a node beside, and none of them as a whole, for a reason that nobody has looked for
        if ability in ("device dax", "fs dax", "disk files") and not has_dax_modules(kernel.release):
            continue
        if all(config.get(option) in ("y", "m") for option in options):
            found.append(ability)
    return found
