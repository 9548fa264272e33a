"""mm/interval_tree.c: the vmas that map a file, in the order of the file's page that each begins with; those of an anon_vma.

Of those that begin with the same page, the first that came is first. Callers hold the file's `i_mmap_rwsem`, or the anon_vma's lock. The kernel's
tree is balanced; here it is a list in the tree's order.
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic
from secondsight.linux.mm_types import AddressSpace, AnonVma, Pgoff, Va, Vma

__all__ = [
    "anon_vma_interval_tree_insert", "anon_vma_interval_tree_iter_first", "anon_vma_interval_tree_iter_next", "anon_vma_interval_tree_remove",
    "linear_page_index", "vma_interval_tree_insert", "vma_interval_tree_insert_after", "vma_interval_tree_iter_first", "vma_interval_tree_iter_next", "vma_interval_tree_remove",
]  # fmt: skip


@atomic
def linear_page_index(vma: Vma, va: Va) -> Pgoff:
    """linear_page_index() (include/linux/pagemap.h, Linux 6.12): which page of its file a vma has at `va`; without a file the
    address, or what it was before the vma moved."""
    return vma.vm_pgoff + va - vma.vm_start


@atomic
def vma_interval_tree_insert(vma: Vma, mapping: AddressSpace) -> None:
    """vma_interval_tree_insert() (mm/interval_tree.c, Linux 6.12)."""
    before: Ref[Vma] = None
    behind = mapping.i_mmap
    while behind is not None and behind.vm_pgoff <= vma.vm_pgoff:
        before = behind
        behind = behind.shared
    vma.shared = behind
    if before is None:
        mapping.i_mmap = vma
    else:
        before.shared = vma


@atomic
def vma_interval_tree_insert_after(vma: Vma, prev: Vma) -> None:
    """vma_interval_tree_insert_after() (mm/interval_tree.c, Linux 6.12): behind one that begins with the same page and maps no fewer."""
    vma.shared = prev.shared
    prev.shared = vma


@atomic
def vma_interval_tree_remove(vma: Vma, mapping: AddressSpace) -> None:
    """vma_interval_tree_remove() (mm/interval_tree.c, Linux 6.12)."""
    if mapping.i_mmap is vma:
        mapping.i_mmap = vma.shared
    else:
        before = mapping.i_mmap
        while before is not None and before.shared is not vma:
            before = before.shared
        assert before is not None
        before.shared = vma.shared
    vma.shared = None


@atomic
def vma_interval_tree_iter_first(mapping: AddressSpace, first: Pgoff, last: Pgoff) -> Ref[Vma]:
    """vma_interval_tree_iter_first() (mm/interval_tree.c, Linux 6.12): the first that maps any of the pages `first` to `last`."""
    return following(mapping.i_mmap, first, last)


@atomic
def vma_interval_tree_iter_next(vma: Vma, first: Pgoff, last: Pgoff) -> Ref[Vma]:
    """vma_interval_tree_iter_next() (mm/interval_tree.c, Linux 6.12): the next that does."""
    return following(vma.shared, first, last)


@atomic
def following(vma: Ref[Vma], first: Pgoff, last: Pgoff) -> Ref[Vma]:
    """The first from `vma` on that maps any of the pages."""
    while vma is not None:
        if vma.vm_pgoff <= last and vma.vm_pgoff + vma.vm_end - vma.vm_start > first:
            return vma
        vma = vma.shared
    return None


# Those of an anon_vma: by `vm_pgoff`, which is the address, as long as nothing has moved.


@atomic
def anon_vma_interval_tree_insert(vma: Vma, anon_vma: AnonVma) -> None:
    """anon_vma_interval_tree_insert() (mm/interval_tree.c, Linux 6.12)."""
    before: Ref[Vma] = None
    behind = anon_vma.rb_root
    while behind is not None and behind.vm_pgoff <= vma.vm_pgoff:
        before = behind
        behind = behind.anon_next[0]
    vma.anon_next[0] = behind
    if before is None:
        anon_vma.rb_root = vma
    else:
        before.anon_next[0] = vma


@atomic
def anon_vma_interval_tree_remove(vma: Vma, anon_vma: AnonVma) -> None:
    """anon_vma_interval_tree_remove() (mm/interval_tree.c, Linux 6.12)."""
    if anon_vma.rb_root is vma:
        anon_vma.rb_root = vma.anon_next[0]
    else:
        before = anon_vma.rb_root
        while before is not None and before.anon_next[0] is not vma:
            before = before.anon_next[0]
        assert before is not None
        before.anon_next[0] = vma.anon_next[0]
    vma.anon_next[0] = None


@atomic
def anon_vma_interval_tree_iter_first(anon_vma: AnonVma, first: Pgoff, last: Pgoff) -> Ref[Vma]:
    """anon_vma_interval_tree_iter_first() (mm/interval_tree.c, Linux 6.12): the first that may have any of the pages `first` to `last`."""
    return at_index(anon_vma.rb_root, first, last)


@atomic
def anon_vma_interval_tree_iter_next(vma: Vma, first: Pgoff, last: Pgoff) -> Ref[Vma]:
    """anon_vma_interval_tree_iter_next() (mm/interval_tree.c, Linux 6.12)."""
    return at_index(vma.anon_next[0], first, last)


@atomic
def at_index(vma: Ref[Vma], first: Pgoff, last: Pgoff) -> Ref[Vma]:
    """The first from `vma` on that may have any of the pages."""
    while vma is not None:
        if vma.vm_pgoff <= last and first < vma.vm_pgoff + vma.vm_end - vma.vm_start:
            return vma
        vma = vma.anon_next[0]
    return None
