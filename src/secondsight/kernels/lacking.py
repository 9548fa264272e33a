"""What a booted kernel may lack that a scenario needs: one table, asked before the guest is.

`Lack.word` is how the agent says that it has it, in its first line (kernels/agent/agent.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secondsight.kernels.errors import KernelError
from secondsight.scenario.data import Scenario
from secondsight.scenario.ops import Needs

__all__ = ["LACKS", "Lack", "refuse_without"]


@dataclass(frozen=True)
class Lack:
    """What may be missing, in the agent's word and in ours, and what to do then."""

    word: str
    what: str
    remedy: str


PACKAGED = "use a packaged kernel, such as linux-6.12"

LACKS: dict[Needs, Lack] = {
    Needs.UDMABUF: Lack("udmabuf", "/dev/udmabuf", "use a kernel with CONFIG_UDMABUF=y, such as linux-6.12"),
    Needs.LIMITS: Lack("limits", "parameters of udmabuf that may be written", "use a kernel in QEMU, such as linux-6.12"),
    Needs.NODES: Lack("nodes", "second NUMA node", PACKAGED),
    Needs.HUGE: Lack("huge", "huge pages that it makes where they are asked for alone, and tells of (PAGEMAP_SCAN)", "use a newer packaged kernel, such as linux-6.12"),
    Needs.HUGETLB: Lack("hugetlb", "pool of huge pages", "use a packaged kernel, such as linux-6.12; on the running one: sysctl vm.nr_hugepages=16"),
    Needs.MOVABLE: Lack("movable", "block of memory that can be taken offline", "boot(kernel, movable=True), of a packaged kernel such as linux-6.12"),
    Needs.CMA: Lack("cma", "area of contiguous memory (CONFIG_DMA_CMA)", "boot(kernel, module=True, cma=True), of one that has it: linux-6.12-own"),
    Needs.DAX: Lack("dax", "device memory with a file", "boot(kernel, dax=True), of a packaged kernel such as linux-6.12"),
    Needs.DISK: Lack("disk", "file system with files on a disk", "boot(kernel, fs_dax=True), of a packaged kernel such as linux-6.12"),
    Needs.FS_DAX: Lack("fs_dax", "file system in a device's memory (fs-dax)", "boot(kernel, fs_dax=True), of a packaged kernel such as linux-6.12"),
    Needs.USERFAULTFD: Lack("userfaultfd", "userfaultfd, or not for whoever runs this", PACKAGED),
    Needs.MEMCG: Lack("memcg", "memory cgroup of which memory can be wanted back (CONFIG_MEMCG)", "use a packaged kernel in QEMU, such as linux-6.12"),
    Needs.COMPACTION: Lack("compaction", "memory that is compacted when that is asked for (CONFIG_COMPACTION)", "use a packaged kernel in QEMU, such as linux-6.12"),
    Needs.SWAP: Lack("swap", "swap device", PACKAGED),
}


def refuse_without(scenario: Scenario, release: str, hello: Mapping[str, Any], has_module: bool) -> None:
    """Raises KernelError for a scenario that needs what the guest's first line says that it lacks. A swap device is secondsight.ko's: without that, it is that that is missing."""
    needed = {place.op.declared.needs for place in scenario.places()}
    for needs, lack in LACKS.items():
        if needs in needed and not hello.get(lack.word) and (has_module or needs is not Needs.SWAP):
            raise KernelError(f"kernel {release} has no {lack.what}, which {scenario.name} needs", lack.remedy)
