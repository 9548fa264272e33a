"""Bounds that are decided by hand fit together: what one of them sizes is indexed by functions that another one lets in."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

from secondsight.scenario.ops import ScenarioError

__all__ = ["fitting"]

_NEEDS: Final[tuple[tuple[str, str, str], ...]] = (
    ("pte_markers", "userfaultfd", "entries are marked for a userfaultfd"),
    ("userfaultfd", "vma_flags", "memory is registered in the flags of its vma"),
    ("anon_ids", "anon_prepared", "which anon_vma a vma has is asked of those that have one"),
    ("numa_hints", "prot_none", "a hint takes all permissions from an entry"),
    ("huge", "pmds", "a huge page is an entry of the level above, of which there is one for two pages"),
    ("hugetlb_private_regions", "hugetlb_private", "what is reserved is private memory's of huge pages"),
)
"""What cannot be without what, and why."""

_OF_EACH_PROCESS: Final = ("memlock", "secondary_tlbs")


def fitting(sizes: Mapping[str, int], decided: Container[str], processes: int, where: str) -> None:
    """Raise `ScenarioError` for a bound that a user has decided and that is of no use without another one, which is not there.

    `where`: whose bounds they are. `processes`: how many there are.
    """
    for name, needed, why in _NEEDS:
        if sizes.get(name) and not sizes.get(needed) and (name in decided or needed in decided):
            remedy = f"decide {needed} too, or leave {name} out" if name in decided else f"leave {needed} out, or decide {name}=0 too"
            raise ScenarioError(f"{where}: {name}={sizes[name]} and {needed}=0: {why}", remedy)
    for name in _OF_EACH_PROCESS:
        if name in decided and 0 < sizes[name] < processes:
            raise ScenarioError(f"{where}: {name}={sizes[name]}: there are {processes} processes, and each has one", f"decide {name}={processes}, or leave it out")
