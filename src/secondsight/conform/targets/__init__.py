"""The kernel files that are run beside their models."""

from __future__ import annotations

from secondsight.conform.target import Target
from secondsight.conform.targets.dma_buf import DmaBufFile
from secondsight.conform.targets.dma_resv import DmaResvFile
from secondsight.conform.targets.gup import GupFile
from secondsight.conform.targets.hmm import HmmFile
from secondsight.conform.targets.memfd import MemfdFile
from secondsight.conform.targets.memory import MemoryFile
from secondsight.conform.targets.memremap import MemremapFile
from secondsight.conform.targets.migrate import MigrateFile
from secondsight.conform.targets.migrate_device import MigrateDeviceFile
from secondsight.conform.targets.mm_interval_tree import MmIntervalTreeFile
from secondsight.conform.targets.mmu_notifier import MmuNotifierFile
from secondsight.conform.targets.percpu_refcount import PercpuRefcountFile
from secondsight.conform.targets.rmap import RmapFile
from secondsight.conform.targets.udmabuf import UdmabufFile
from secondsight.conform.targets.userfaultfd import UserfaultfdFile

__all__ = ["TARGETS"]

TARGETS: tuple[type[Target], ...] = (MmuNotifierFile, HmmFile, MemfdFile, DmaBufFile, UdmabufFile, PercpuRefcountFile, DmaResvFile, MmIntervalTreeFile, UserfaultfdFile, MemremapFile, MigrateDeviceFile, GupFile, MemoryFile, RmapFile, MigrateFile)
"""Every target, in the order in which they are run."""
