"""include/linux/mm_types.h: the records that the machinery keeps, and nothing that acts on them.

A process's address space is an `Mm`: page-table entries (`Pte`), the vmas by page (`mm_mt`), the mmap lock, and who
wants to hear of changes (`Subscriptions`). Physical pages are `Folio`s. What a file mapping maps is
an `AddressSpace`; memfds, device-dax files and dma-bufs derive from it. Drivers derive from `Driver`.

Locks, and what they cover here:

* `mmap_lock` (sleeping, reader-writer): `mm_mt` and the vmas in it. Writers: mmap, the first part of munmap, the end of exit.
* the page-table lock: `ptes` and `pmds`. It is a spinlock, so whatever happens under one hold of it is one `@atomic` step.
* `AddressSpace.i_mmap_rwsem` (sleeping, reader-writer): `i_mmap`, the vmas that map the file, and what part of it each maps.
* `AnonVma.rwsem` (sleeping, reader-writer): which vmas a walk over the entries that map an anonymous folio comes to.
* `Folio.locked` is the folio lock, held across steps by truncation, reclaim, migration and who waits for a page to be read in.
* `Subscriptions` has a spinlock of its own in the kernel: again, `@atomic`.

Order: `mmap_lock`, then the folio lock, then `i_mmap_rwsem` or `AnonVma.rwsem`, then the page-table lock.

Records of include/linux/mmu_notifier.h (`Subscriptions`, `IntervalNotifier`, ...) are here because they and `Mm`
refer to each other; what acts on them is in `mmu_notifier.py`.

The TLBs of the CPUs are there where somebody asks (`Mm.tlb`); else a cleared entry is gone for every CPU at once.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final, Literal

from secondsight.lang import (
    U8,
    Array,
    Bits,
    Bounds,
    Char,
    End,
    Errno,
    Index,
    Most,
    Record,
    Ref,
    RwLock,
    SequenceNumber,
    Value,
    bound,
    container_of,
    shared_array,
)
from secondsight.linux.errno import EAGAIN, EFAULT, ENODEV

__all__ = [
    "CLONED",
    "NOT_PREPARED",
    "PREPARED",
    "AddressSpace",
    "AnonVma",
    "Count",
    "Driver",
    "Event",
    "Finish",
    "Flags",
    "Folio",
    "Gather",
    "HPAGE_PMD_NR",
    "Hint",
    "HlistNode",
    "IntervalNotifier",
    "Mm",
    "MmuNotifier",
    "Nid",
    "Owner",
    "PageBits",
    "Pagemap",
    "Pfn",
    "Pgoff",
    "Pmd",
    "PmdKind",
    "Pte",
    "PteKind",
    "Range",
    "Result",
    "SecondaryTlbs",
    "Seq",
    "Subscriber",
    "Subscriptions",
    "SwpEntry",
    "Tlb",
    "TlbEntry",
    "UffdEvent",
    "UserfaultfdCtx",
    "UserfaultfdWait",
    "Va",
    "VaEnd",
    "Vma",
    "VmaLock",
    "anon_vmas",
    "completed_faults",
    "page_notifiers",
    "hints",
    "huge_pages",
    "fs_dax_mappings",
    "hugetlb_private",
    "numa_hints",
    "resizes",
    "secondary_tlbs",
    "shmem_swap",
    "writes_back",
]

Va = Annotated[int, Index("pages")]
"""A virtual page number: addresses are counted in pages."""
VaEnd = Annotated[int, End("pages")]
"""A virtual page number just past a range."""
Pgoff = Annotated[int, Bounds(0, 15)]
"""A page's place in a file, or a number of such pages."""
Pfn = Annotated[int, Bounds(-128, 127, "pfn")]
"""A frame's number, or a negative errno in its stead."""
PageBits = Bits[Literal["pages"]]
"""A set of pages of an address space."""
Count = Annotated[int, Bounds(0, 15)]
"""How many of something there are."""
Seq = SequenceNumber
"""A sequence number of `Subscriptions.invalidate_seq`, or a copy of one. The kernel's is a long and wraps; this one must not."""
Flags = U8
"""A few flag bits: FAULT_FLAG_, VM_FAULT_, VM_, HMM_PFN_REQ_."""
Result = Annotated[int, Bounds(-128, 127, "result")]
"""A page's contents or another small number, or a negative errno."""

SwpEntry = Annotated[int, Bounds(0, 15)]
"""swp_entry_t of a page in swap: the number of its slot."""

HPAGE_PMD_NR: Final = 2
"""How many pages a huge page has. Here it is two; what matters of a huge page shows on two."""


class Event(IntEnum):
    """enum mmu_notifier_event: why a range is invalidated."""

    UNMAP = 0
    CLEAR = 1
    PROTECTION_VMA = 2
    PROTECTION_PAGE = 3
    SOFT_DIRTY = 4
    RELEASE = 5
    MIGRATE = 6
    EXCLUSIVE = 7


class Owner(Record):
    """What `owner` of struct mmu_notifier_range points to: whoever asked for a change, and may know the calls that it makes.

    A driver's own; the machine has as many as the bound `owners` says (`mmu_notifier.owner_of`).
    """

    driver: Ref[Driver]


class Hint(Record):
    """What the 2011 thread asks for, and no kernel has: who calls says that a page stays the one that a CPU will find, as long as
    somebody holds it: it is being swapped out, or moved. `given` is not used: that there is a hint is all."""

    given: bool


hints = shared_array(Hint, bound("hints", most=1))
"""Of size 1 where reclaim and migration give it (`Range.hint`)."""


class Range(Value):
    """struct mmu_notifier_range: the pages `start` to before `end`, why, whether callbacks may sleep, and of EXCLUSIVE and MIGRATE
    who asked.

    Left out: the mm, which every function takes beside it.
    """

    start: Va
    end: VaEnd
    event: Event
    blockable: bool
    owner: Ref[Owner] = None
    hint: Ref[Hint] = None


coherent_memory = shared_array(bool, bound("coherent_memory", most=1))
"""Of size 1 where a device has memory that CPUs can reach (MEMORY_DEVICE_COHERENT)."""


class Pagemap(Record):
    """struct dev_pagemap with its dev_pagemap_ops (include/linux/memremap.h, Linux 6.12), as its pages know it: memory that no CPU can
    reach (MEMORY_DEVICE_PRIVATE), or of a device and coherent (MEMORY_DEVICE_COHERENT): then `coherent` is true. `owner` tells whose it is. What else
    it has is in `memremap_private`.
    """

    owner: Ref[Owner]
    coherent: Array[bool, Literal["coherent_memory"]]

    def migrate_to_ram(self, mm: Mm, va: Va, folio: Folio) -> Flags:
        """dev_pagemap_ops.migrate_to_ram: a CPU wants the page at `va`, which is `folio`: move it to where it can have it. VM_FAULT_."""
        return 2

    def free_zone_device_folio(self, folio: Folio) -> None:
        """free_zone_device_folio() (mm/memremap.c, Linux 6.12): the last reference to a page has gone. Under any lock: it may not sleep."""


bound("cow", most=1, usual=1)
huge_pages = shared_array(bool, bound("huge", most=1))
"""Of size 1 where there may be folios of two pages, and entries that map one whole (`Mm.pmds`)."""
hugetlb_private = shared_array(bool, bound("hugetlb_private", most=1))
"""Of size 1 where files of huge pages are mapped privately (`hugetlb_private`)."""
bound("hugetlb_private_pool", most=1)
bound("halves", most=1, usual=1)
bound("lazyfree", most=1, usual=1)
bound("private_memory", most=7, usual=1)
bound("nodes", most=1)

Nid = Annotated[int, Bounds(0, 1)]
"""A node's number. There are two; whatever is allocated is on the first, where the CPUs are."""


completed_faults = shared_array(bool, bound("completed_faults", most=1))
"""Of size 1 where it shows that a fault which makes a file's page dirty gives the mmap lock up when it is done (`memory.fault_dirty_shared_page`): in scenarios with
operations that take pages so, beside another thread. A driver that calls pin_user_pages_fast() itself has it where its `bounds` say so; else its pin keeps the lock, as if it
had begun when the page was there already."""


page_notifiers = shared_array(bool, bound("page_notifiers", most=1))
"""Of size 1 where a subscriber is called as in Linux 3.2: by `invalidate_page` and `change_pte` (`mmu_notifier_2011`)."""


fs_dax_mappings = shared_array(bool, bound("fs_dax_files", most=2, usual=1))
"""Not empty where there are files whose pages are a device's memory (`fs_dax`): their file system hears of the first write to each page."""

numa_hints = shared_array(bool, bound("numa_hints", most=1))
"""Of size 1 where NUMA balancing looks at who uses which page (`mempolicy`)."""


resizes = shared_array(bool, bound("resizes", most=1, usual=1))
"""Of size 1 where a scenario changes the size of a file (ftruncate, fallocate)."""


shmem_swap = shared_array(bool, bound("shmem_swap", most=1, usual=1))
"""Of size 1 where a scenario has a memfd, and something that reclaims: its pages go to swap (`shmem`)."""


writes_back = shared_array(bool, bound("writes_back", most=1, usual=1))
"""Of size 1 where a scenario has a file of a file system that writes its pages back to a disk (`ext4_inode`): it is to hear of the first write to a page that is clean."""


class Folio(Record):
    """struct page and struct folio (include/linux/mm_types.h, Linux 6.12). A folio of one page is the struct page that it lies over.

    `refcount` (`_refcount`) counts everything that keeps it: page cache, page-table entries, pins. At 0 it is free. `pins` are
    those of FOLL_PIN (`_pincount`): of a folio of one page the kernel adds 1024 to the one counter for each, here they are a count of
    their own and one reference each. `contents` is the page's, or that of its first half and `second` that of the other, where a scenario
    tells them apart (`highmem`). `locked` is PG_locked. How often it is mapped is looked up
    (`rmap.folio_mapcount`). Which one is which does not matter to anything: a search may rename them.

    `shared` is !PageAnonExclusive of an anonymous page, where pages are copied on write (`mm`). `pgmap` has one in its first place:
    of a page that no CPU can reach whose memory it is.

    What follows is written only where somebody walks from a folio to the entries that map it (`rmap`): of an anonymous folio
    `anon_vma`, of a file's `mapping`, and `index`, the page's place in it: of anonymous memory the address that its vma had when it was
    touched first (`Vma.vm_pgoff`). `lazyfree` is !PG_swapbacked of an anonymous page, where there is MADV_FREE. `isolated` is !PG_lru, once somebody has taken it off its list (`folio_isolate_lru`); `swap` is its slot while
    `swapcache`. `unflushed`, where CPUs have TLBs: reclaim is done with it, and frees it when they are flushed (free_folios of shrink_folio_list(), `vmscan`).

    A folio of two pages (of order 1) is there only where a scenario has huge pages (the bound `huge`). `head` (`compound_head`) is the
    folio that a page is part of, itself or the one before; `tail` is the folio's second page. Both are None of a folio of one page. Each
    page has `contents` and `shared` of its own; the rest is the folio's, in its first page: of the second `refcount` is 0
    (`page_alloc.page_folio`). `batched` is of a new folio of one page that may still be on its way to the LRU list: a CPU's batch (`lru_add`)
    holds a reference then, which is not in `refcount`. `partially_mapped` is of a folio of two pages of which one was mapped no more while the other
    was (on the deferred split list): who wants to be rid of it, or to move it, splits it. `hugetlb` is folio_test_hugetlb(), where the
    pool is limited (`hugetlb_pool`), `restore_reserve` folio_test_hugetlb_restore_reserve(), where private mappings have reserved some of it (`hugetlb_resv`). `nid` is folio_nid(), where somebody asks (`migrate.do_pages_stat`). Left out: folios of other orders; that their frames lie side by side (a page's number says nothing of the next).
    """

    interchangeable = True
    refcount: Count
    pins: Count
    shared: Array[bool, Literal["cow"]]
    pgmap: Array[Ref[Pagemap], Literal["private_memory"]]
    contents: Char
    second: Array[Char, Literal["halves"]]
    locked: bool
    head: Array[Ref[Folio], Literal["huge"]]
    tail: Array[Ref[Folio], Literal["huge"]]
    batched: Array[bool, Literal["huge"]]
    partially_mapped: Array[bool, Literal["huge"]]
    hugetlb: Array[bool, Literal["hugetlb_pool"]]
    restore_reserve: Array[bool, Literal["hugetlb_private_pool"]]
    nid: Array[Nid, Literal["nodes"]]
    anon_vma: Ref[AnonVma]
    mapping: Ref[AddressSpace]
    index: Pgoff
    isolated: bool
    dirty: bool
    lazyfree: Array[bool, Literal["lazyfree"]]
    writeback: bool
    swapcache: bool
    swap: SwpEntry
    unflushed: Array[bool, Literal["tlbs"]]


Gather = Annotated[list[Folio], Most("pages")]
"""struct mmu_gather: the frames whose references are to be dropped."""


class AnonVma(Record):
    """struct anon_vma (include/linux/rmap.h, Linux 6.12), its root: the vmas that may map an anonymous folio.

    `rb_root` is the first of its interval tree; `Vma.anon_next` leads to the next. The kernel has one for each vma, or for neighbours
    together, and those of a child and its parent have one lock, their root's. Here a process and all that come of it by fork
    share one, and `anon_vmas` has as many as there are mms, or none where nobody walks.
    """

    rwsem: RwLock
    rb_root: Ref[Vma]


anon_vmas = shared_array(AnonVma, bound("anon_vmas", usual=8))


class AddressSpace(Record):
    """struct address_space with its vm_operations: something that can be mapped. `fault` is `vm_ops->fault`.

    `i_mmap` is the first of the interval tree of the vmas that map it; `Vma.shared` leads to the next.
    """

    i_mmap_rwsem: RwLock
    i_mmap: Ref[Vma]

    def fault(self, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
        """Put page `pgoff` at `va`; `flags` are FAULT_FLAG_, the result VM_FAULT_. The mmap lock is held."""
        return 2

    def has_folio(self, pgoff: Pgoff, folio: Folio) -> bool:
        """Whether page `pgoff` is in that folio now."""
        return False

    def map_pages(self, vma: Vma, start: Va, end: VaEnd) -> None:
        """`vm_ops->map_pages`: enter what can be had at once into the empty entries `start` to before `end` of one vma."""

    def migrate_folio(self, pgoff: Pgoff, folio: Folio) -> None:
        """`a_ops->migrate_folio`, its part that is the file's: page `pgoff` is `folio` from now on."""

    def writepage(self, folio: Folio) -> None:
        """`a_ops->writepage`, its part that is the file's: a locked folio that nothing maps leaves the file for the swap cache."""

    def remove_folio(self, pgoff: Pgoff) -> None:
        """The part of __filemap_remove_folio() (mm/filemap.c, Linux 6.12) under the lock of the file's xarray: the file has page `pgoff` no more."""

    def can_writeback(self) -> bool:
        """mapping_can_writeback() (include/linux/backing-dev.h, Linux 6.12): its pages are written back, and a CPU may write one only after `page_mkwrite`."""
        return False

    def page_mkwrite(self, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
        """`vm_ops->page_mkwrite` of a shared mapping's page, and what comes after it: the page is dirty, and its entry may be written. As `fault`."""
        return 2

    def dirty_folio(self, folio: Folio) -> None:
        """`a_ops->dirty_folio`: one of its pages is dirty from now on."""
        folio.dirty = True

    def release_folio(self, folio: Folio) -> None:
        """`a_ops->release_folio` of a locked folio that is clean: what the file system keeps of it goes."""

    def saved(self, pgoff: Pgoff) -> Char:
        """For rules: what page `pgoff` holds that is read anew."""
        return 0

    def fsync(self, first: Pgoff, length: Pgoff) -> Errno:
        """`f_op->fsync` (of shmem noop_fsync()): what is dirty of these pages is written, and waited for."""
        return 0

    def mfill(self, vma: Vma, va: Va, pgoff: Pgoff, value: Char, wp: bool) -> Errno:
        """shmem_mfill_atomic_pte(): a new page of the file, mapped at `va` at once: 0, -EFAULT past its end, -EEXIST where it has one, or
        something is mapped. `wp`: it is write-protected."""
        return -EFAULT

    def mcontinue(self, vma: Vma, va: Va, pgoff: Pgoff, wp: bool) -> Errno:
        """mfill_atomic_pte_continue(): map the page that the file has: 0, -EFAULT where it has none, -EINVAL past its end, -EEXIST where something is
        mapped."""
        return -EFAULT

    def vm_flags(self) -> Flags:
        """VM_PFNMAP, VM_DEVMAP or neither."""
        return 0

    def has_page(self, pgoff: Pgoff) -> bool:
        """For rules: whether a fault on page `pgoff` could be answered now by a page, and not by SIGBUS."""
        return True

    def map_writable(self, map_flags: Flags) -> Errno:
        """memfd_check_seals_mmap() and mapping_map_writable(): whether a shared mapping that may write can be made: 0 or
        an error, before anything is done. 0: `unmap_writable` follows, when it is made or has failed. `map_flags`: of mmap()."""
        return 0

    def map_readable(self) -> Errno:
        """The same of a shared mapping that may not write: 1: it is VM_SEALED, and nothing follows; 0: it may come to write, so
        `unmap_writable` follows; or an error."""
        return 0

    def unmap_writable(self) -> None:
        """mapping_unmap_writable()."""

    def mmap(self, length: Pgoff, pgoff: Pgoff, map_flags: Flags) -> Errno:
        """file_operations.mmap: the file's own look at a new mapping, when what was there has gone: 0 or an error."""
        return 0

    def is_hugetlb(self) -> bool:
        """is_vm_hugetlb_page() of what maps it: its pages are huge, and no part of one is mapped or unmapped alone."""
        return False

    def fallocate_punch_hole(self, first: Pgoff, length: Pgoff) -> Errno:
        """`f_op->fallocate` with FALLOC_FL_PUNCH_HOLE, behind the checks of vfs_fallocate() (fs/open.c, Linux 6.12): -ENODEV of what is no regular file."""
        return -ENODEV

    def mapped_to_write(self, end: Pgoff) -> None:
        """A new mapping that may write reaches up to page `end`: a file of huge pages is no smaller from then on (`resizes`)."""

    def unlinked(self) -> None:
        """remove_vma(): a mapping of the file has gone and its reference to the file with it."""


bound("vma_flags", most=1, usual=1)
bound("anon_prepared", most=1, usual=1)
bound("anon_ids", most=1, usual=1)
bound("more_flags", most=1, usual=1)

NOT_PREPARED: Final = 0
PREPARED: Final = 1
CLONED: Final = 2
"""What a vma may be to anonymous memory (`Vma.anon_prepared`): it has no anon_vma yet; it has one; it has its own and its parent's, as after a
fork (of anon_vma_chain: empty, singular, longer)."""



bound("vma_locks", most=1)

madvise_locks_vma = shared_array(bool, bound("madvise_locks_vma", most=1))
"""Of size 1 where a release says so: see `releases` (madvise-locks-its-vma); `vma_locks` is 1 then."""


class VmaLock(Record):
    """struct vma_lock (include/linux/mm_types.h, Linux 6.12), and vm_lock_seq: the thread that has it for writing, as long as that holds the mmap lock so."""

    rwsem: RwLock
    writer: U8


class Vma(Record):
    """struct vm_area_struct: pages `vm_start` to before `vm_end` of `vm_mm`; `vm_file` None is anonymous memory.

    `write` is VM_WRITE. `flags` has what else a mapping has of vm_flags (VM_SEALED, VM_PRIVATE, VM_NONE, VM_UFFD_), where the scenario can tell (the bound is 1);
    else there is no such place. `hugetlb_lock` has struct hugetlb_vma_lock in its first place, where there are files of huge pages (`hugetlb_vma_lock`). `hugetlb_resv` are the flags
    HPAGE_RESV_, and `resv_map` is struct resv_map, of a private mapping of one: for which of the file's huge pages it has used what it had reserved (`hugetlb_resv`). `shared` (`shared.rb`) leads to the next vma in the tree of its file. `anon_next` has one in its first
    place: the next in the tree of its `anon_vma`. `anon_prepared` is whether the kernel has given it an anon_vma yet, at a first write: asked
    where there may be huge pages, and where mappings move (mremap). `anon_id` says which: two vmas have the same one if they may become one; asked where mappings move and
    flags change, or a child comes. `vm_pgoff` of a vma without a file is its address, as long as it has not
    moved after such a write. `more_flags` has what `flags` has no room for: what a child gets of it (VM_DONTCOPY,
    VM_WIPEONFORK), where somebody has a say in that, and VM_ACCOUNT where it shows which vmas are one. `next` leads to the next of those
    that munmap has taken out of the tree of its mm (`mas_detach`), or of those that are free. Which vma is which does not
    matter to anything: a search may rename them.
    """

    interchangeable = True
    vm_mm: Ref[Mm]
    vm_start: Va
    vm_end: VaEnd
    vm_pgoff: Pgoff
    vm_file: Ref[AddressSpace]
    write: bool
    anon_vma: Ref[AnonVma]
    anon_prepared: Array[Count, Literal["anon_prepared"]]
    anon_id: Array[Va, Literal["anon_ids"]]
    vm_lock: Array[VmaLock, Literal["vma_locks"]]
    anon_next: Array[Ref[Vma], Literal["anon_vmas"]]
    flags: Array[Flags, Literal["vma_flags"]]
    more_flags: Array[Flags, Literal["more_flags"]]
    hugetlb_lock: Array[RwLock, Literal["hugetlb_vma_lock"]]
    hugetlb_resv: Array[Flags, Literal["hugetlb_private"]]
    resv_map: Array[bool, Literal["hugetlb_private_regions"]]
    shared: Ref[Vma]
    next: Ref[Vma]


class PteKind(IntEnum):
    """What an entry is that is not pte_none: present, or what the type of its swp_entry_t says (include/linux/swapops.h)."""

    PRESENT = 0
    SWAP = 1
    MIGRATION = 2
    DEVICE_PRIVATE = 3
    DEVICE_EXCLUSIVE = 4
    MARKER = 5


bound("prot_none", most=1, usual=1)


class Pte(Record):
    """pte_t: the folio whose page it is about, what it says of it, and its soft bits. `pgtable` has the tests of it.

    `kind` is of an entry that is not empty. Of one for a page in swap `swap` is the slot, and `frame` is None. `writable` is also
    whether a migration entry is a writable one. `special` is pte_special or pte_devmap: the entry holds no reference. `dirty` is
    kept where pages are swapped out. `exclusive` is of a swap entry or a migration entry, where pages are copied on write
    (pte_swp_exclusive(), !is_readable_migration_entry()): no other process has had a share in the page. What nothing writes is no
    part of a state. `prot_none` is _PAGE_PROTNONE, where somebody asks for PROT_NONE or NUMA balancing hints:
    the page is there and no access finds it.
    `uffd_wp` is pte_uffd_wp(), of an entry of any kind that is not empty: user space wants to hear of the next write. Of a MARKER it says which.
    """

    frame: Ref[Folio]
    kind: PteKind
    writable: bool
    special: bool
    prot_none: Array[bool, Literal["prot_none"]]
    uffd_wp: Array[bool, Literal["userfaultfd"]]
    dirty: bool
    exclusive: bool
    swap: SwpEntry


class PmdKind(IntEnum):
    """What an entry of the middle level is: empty, a page table, a huge page's, or that of one which is being moved (pmd_none(), pmd_trans_huge(),
    is_pmd_migration_entry())."""

    NONE = 0
    TABLE = 1
    HUGE = 2
    MIGRATION = 3


class Pmd(Record):
    """pmd_t: what there is for two pages. Of a huge page the two `ptes` are its halves: they are as the one entry is, and change together.

    An entry that the fields of `ptes` say nothing of is empty whatever `kind` is; so only huge pages need it.
    """

    kind: PmdKind


class HlistNode(Record):
    """struct hlist_node of one mmu notifier. `hashed` is !hlist_unhashed; `next` stays when it is unhashed, for walkers.

    A walk over the list that stands on a node when that is taken out goes on at `next` as it was then. `subscription` is
    None where the node is not in use. `ops` and `users` are of one that mmu_notifier_get() gave; `freeing`: it was put for the last
    time, and is freed after a grace period.
    """

    subscription: Ref[MmuNotifier]
    next: Ref[HlistNode]
    hashed: bool
    ops: Ref[Driver]
    users: Count
    freeing: bool


bound("subscribers", least=1, usual=4)
bound("mmu_notifiers", most=8, usual=2)


class Subscriptions(Record):
    """struct mmu_notifier_subscriptions (mm/mmu_notifier.c). `has_itree`: an interval notifier was ever inserted.

    In the kernel the first registration makes it; nothing can tell one that is not there from one that nobody uses.
    `itree` is in the order of the interval tree: by start address, of equal ones as inserted. `deferred_list` ends with
    the hlist's first. `nodes` are the mmu notifiers, `list` the number of the first one's node plus 1, 0 for none.
    """

    invalidate_seq: Seq = 2
    active_invalidate_ranges: Count
    has_itree: bool
    itree: Array[Ref[IntervalNotifier], Literal["subscribers"]]
    deferred_list: Array[Ref[IntervalNotifier], Literal["subscribers"]]
    list: Count
    nodes: Array[HlistNode, Literal["mmu_notifiers"]]


class UffdEvent(IntEnum):
    """What a message of a userfaultfd is about (include/uapi/linux/userfaultfd.h); NONE: the entry is not in use."""

    NONE = 0
    PAGEFAULT = 1
    REMOVE = 2
    UNMAP = 3
    FORK = 4
    REMAP = 5


bound("userfaultfd", most=1, usual=1)
bound("userfaults", most=7, usual=4)


class UserfaultfdWait(Record):
    """struct userfaultfd_wait_queue (fs/userfaultfd.c, Linux 6.12): who waits, for a page or until an event has been read. `why`: of
    a fault, UFFD_. `waken`: it waits no more, or never began to."""

    event: UffdEvent
    start: Va
    end: VaEnd
    why: Count
    waken: bool


class UserfaultfdCtx(Record):
    """struct userfaultfd_ctx (fs/userfaultfd.c, Linux 6.12), of which a process has one at most here.

    `sigbus`, `events`, `forks`, `unpopulated`: the features UFFD_FEATURE_SIGBUS, UFFD_FEATURE_EVENT_REMOVE with _UNMAP and _REMAP, UFFD_FEATURE_EVENT_FORK,
    UFFD_FEATURE_WP_UNPOPULATED. `handed`: somebody has its
    file descriptor; of a child's, once the message of the fork has been read. `queue` has what is to be read, faults and events as they came:
    numbers of `waits` plus 1 (fault_pending_wqh and event_wqh). A fault that was read and waits still is in `waits` alone
    (fault_wqh). `mmap_changing` is raised under `map_changing_lock`. `dying`: the process gets a fatal signal.
    """

    opened: bool
    released: bool
    sigbus: bool
    events: bool
    forks: bool
    unpopulated: bool
    handed: bool
    dying: bool
    mmap_changing: Count
    map_changing_lock: RwLock
    waits: Array[UserfaultfdWait, Literal["userfaults"]]
    queue: Array[Count, Literal["userfaults"]]


bound("tlbs", most=1)


class TlbEntry(Record):
    """What the TLB of some CPU may still have of a page whose entry has been cleared, or allows less by now, until it is flushed (`tlb`)."""

    frame: Ref[Folio]
    writable: bool


class Tlb(Record):
    """The TLBs of all CPUs that run the process, by page. `batched` is mm->tlb_flush_batched, of which reclaim has entries to be flushed still; `batch_writable` is
    current->tlb_ubc.writable: one of them may be written (`rmap.set_tlb_ubc_flush_pending`)."""

    entries: Array[TlbEntry, Literal["pages"]]
    batched: bool
    batch_writable: bool


class SecondaryTlbs(Record):
    """A ghost of an mm: by page how many changes of its entry have not been told to the devices that walk its page tables yet (`tlb`)."""

    stale: Array[Count, Literal["pages"]]


secondary_tlbs = shared_array(SecondaryTlbs, bound("secondary_tlbs", most=8))
"""Of each mm, in the order of `mms`, where a device walks the process's page tables itself; else there are none."""


bound("async_puts", most=1)
bound("young_callbacks", most=1)
bound("pages", least=2, most=14, usual=8)  # sets of pages are kept in bit masks
bound("pmds", most=7)
bound("gup_fast_steps", most=1)


class Mm(Record):
    """struct mm_struct: an address space. `users` is mm_users, `unstable` is MMF_UNSTABLE.

    `mm_mt` is the maple tree: the vma at each page. There are as many pages as `ptes`. `pmds` has half as many where there may be huge
    pages, else none: then all pages lie under one page table, which is there. `tlb` has one where it is asked what a stale TLB entry does. `async_put` is
    async_put_work, for those who leave by mmput_async(). `write_protect_seq` has one where pages are taken without a lock step by step (`gup_fast`): odd while a fork
    protects pages.
    """

    mmap_lock: RwLock
    users: Count
    unstable: bool
    mm_mt: Array[Ref[Vma], Literal["pages"]]
    ptes: Array[Pte, Literal["pages"]]
    pmds: Array[Pmd, Literal["pmds"]]
    subscriptions: Subscriptions
    tlb: Array[Tlb, Literal["tlbs"]]
    userfaultfd: Array[UserfaultfdCtx, Literal["userfaultfd"]]
    async_put: Array[bool, Literal["async_puts"]]
    write_protect_seq: Array[Seq, Literal["gup_fast_steps"]]


class Subscriber(Record):
    """Whoever hears of changes: of everything in an mm (`MmuNotifier`), or of a part (`IntervalNotifier`).

    `unregistered` is a ghost, for rules only: unregistering it has returned.
    """

    unregistered: bool


class IntervalNotifier(Subscriber):
    """struct mmu_interval_notifier with its mmu_interval_notifier_ops: which part of which mm is watched, and the sequence
    number that was stored last.

    A driver has as many as it likes, in its record or in pools; a class derived from this one has callbacks of its own, and finds
    what it lies in by `container_of`. Those of the `notifier` of a `Driver` are by default the driver's.

    `in_tree`: it is in the interval tree. `waiting` is a ghost, for rules only: the pages of running invalidations whose
    call to this subscription has not yet returned.
    """

    mm: Ref[Mm]
    start: Va
    end: VaEnd
    invalidate_seq: Seq
    in_tree: bool
    waiting: PageBits

    def __init_subclass__(cls) -> None:
        """Note that a class derived from this one has callbacks of its own: it may say by `driver` whose it is."""
        if "driver" not in cls.__dict__:
            cls.driver = of_nobody  # type: ignore[method-assign]

    def driver(self) -> Ref[Driver]:
        """For rules: whose subscription this is. None: it does not say; where there are several devices it must."""
        return container_of(self, Driver, "notifier")

    def invalidate(self, rng: Range, cur_seq: Seq) -> bool:
        """mmu_interval_notifier_ops.invalidate: drop what is mirrored of `rng`. False only if `rng` is not blockable."""
        return container_of(self, Driver, "notifier").invalidate(rng, cur_seq)

    def invalidate_start(self, rng: Range, cur_seq: Seq) -> Errno:
        """mmu_interval_notifier_ops.invalidate_start (Linux 7.2), for those with two passes. See `Driver.invalidate_start`."""
        return container_of(self, Driver, "notifier").invalidate_start(rng, cur_seq)

    def invalidate_finish(self, finish: Finish) -> None:
        """mmu_interval_notifier_ops.invalidate_finish (Linux 7.2): the second pass of what `invalidate_start` began."""
        container_of(self, Driver, "notifier").invalidate_finish(finish)


class Finish(Record):
    """struct mmu_interval_notifier_finish (Linux 7.2): a second pass that a driver has asked for, in a list of such.

    `pending` is a ghost, for rules only: it is in a list.
    """

    notifier: Ref[IntervalNotifier]
    next: Ref[Finish]
    pending: bool


class MmuNotifier(Subscriber):
    """struct mmu_notifier with its mmu_notifier_ops: a subscriber to everything that happens in an mm."""

    def __init_subclass__(cls) -> None:
        """Note which of mmu_notifier_ops are set: invalidate_range_start, invalidate_range_end, change_pte, arch_invalidate_secondary_tlbs."""
        if "invalidate_range_start" in cls.__dict__ and "has_range_start" not in cls.__dict__:
            cls.has_range_start = always  # type: ignore[method-assign]
        if "invalidate_range_end" in cls.__dict__ and "has_range_end" not in cls.__dict__:
            cls.has_range_end = always  # type: ignore[method-assign]
        if "change_pte" in cls.__dict__ and "has_change_pte" not in cls.__dict__:
            cls.has_change_pte = always  # type: ignore[method-assign]
        if "arch_invalidate_secondary_tlbs" in cls.__dict__ and "has_secondary_tlbs" not in cls.__dict__:
            cls.has_secondary_tlbs = always  # type: ignore[method-assign]

    def has_range_start(self) -> bool:
        """Whether there is an `invalidate_range_start`."""
        return False

    def has_range_end(self) -> bool:
        """Whether there is an `invalidate_range_end`."""
        return False

    def has_secondary_tlbs(self) -> bool:
        """Whether there is an `arch_invalidate_secondary_tlbs`."""
        return False

    def has_change_pte(self) -> bool:
        """Whether there is a `change_pte`."""
        return False

    def is_told_of_failure(self) -> bool:
        """Whether `invalidate_range_end` is called when another one's start has failed: then its own may not fail."""
        return self.has_range_end()

    def invalidate_range_start(self, mm: Mm, rng: Range) -> Errno:
        """The pages of `rng` are about to change. 0, or -EAGAIN if `rng` is not blockable and this would have to."""
        return 0

    def invalidate_range_end(self, mm: Mm, rng: Range) -> None:
        """The pages of `rng` have changed."""

    def arch_invalidate_secondary_tlbs(self, mm: Mm, start: Va, end: VaEnd) -> None:
        """Entries of these pages have changed: drop what a TLB has of them, before this returns. It may not sleep."""

    def release(self, mm: Mm) -> None:
        """The mm is about to go."""

    def clear_flush_young(self, mm: Mm, start: Va, end: VaEnd) -> bool:
        """mmu_notifier_ops.clear_flush_young: whether the device has used one of these pages since it was asked last. May not sleep: the
        page-table lock is held. Called where the bound `young_callbacks` is not 0."""
        return False

    def clear_young(self, mm: Mm, start: Va, end: VaEnd) -> bool:
        """mmu_notifier_ops.clear_young: the same, and nothing need be flushed for it. May not sleep either."""
        return False

    def test_young(self, mm: Mm, address: Va) -> bool:
        """mmu_notifier_ops.test_young: whether the device has used the page since it was asked last, by one of the others: nothing changes. May not
        sleep either."""
        return False

    def invalidate_page(self, mm: Mm, address: Va) -> None:
        """mmu_notifier_ops.invalidate_page (Linux 3.2): the entry of a page has gone. May not sleep: the page-table lock is held. Called where the bound
        `page_notifiers` is not 0."""

    def change_pte(self, mm: Mm, address: Va, page: Folio, write: bool) -> None:
        """mmu_notifier_ops.change_pte (Linux 3.2): another page is there now. May not sleep either. Who has none is called by `invalidate_page`."""

    def free_notifier(self) -> None:
        """mmu_notifier_ops.free_notifier, of one that `Driver.alloc_notifier` made: nobody calls it any more. May not sleep."""


def of_nobody(self: IntervalNotifier) -> Ref[Driver]:
    """`driver` of a class that does not say."""
    return None


def always(self: MmuNotifier) -> bool:
    """`has_range_end` of a class that has its own `invalidate_range_end`."""
    return True


class Driver(MmuNotifier):
    """What a driver's own record derives from: the callbacks of every interface here, each doing nothing.

    It is the `container_of` of `notifier`, the one interval notifier that most drivers have. `notifier.mm` is the mm it mirrors under the 2019 interface too.
    `closing` is a ghost, for rules only: somebody has begun to close it.
    """

    notifier: IntervalNotifier
    closing: bool

    def invalidate(self, rng: Range, seq: Seq) -> bool:
        """mmu_interval_notifier_ops.invalidate: drop what is mirrored of `rng`. False only if `rng` is not blockable."""
        return True

    def invalidate_start(self, rng: Range, seq: Seq) -> Errno:
        """mmu_interval_notifier_ops.invalidate_start (Linux 7.2), for drivers with two passes; else `invalidate`.

        -EAGAIN: false, only if `rng` is not blockable. 0: all is done. n: `mmu_notifier.finishes[n - 1]` is to be given to
        `invalidate_finish` when all others were called. Called where the bound `finishes` is not 0.
        """
        done = self.invalidate(rng, seq)
        return 0 if done else -EAGAIN

    def invalidate_finish(self, finish: Finish) -> None:
        """mmu_interval_notifier_ops.invalidate_finish (Linux 7.2): the second pass of what `invalidate_start` began."""

    def alloc_notifier(self, mm: Mm) -> Ref[MmuNotifier]:
        """mmu_notifier_ops.alloc_notifier: a new one, for mmu_notifier_get(). None: there is no memory for it."""
        return None

    def sync_cpu_device_pagetables(self, rng: Range) -> Errno:
        """hmm_mirror_ops (2019): drop what is mirrored of `rng`. 0, or -EAGAIN if `rng` is not blockable."""
        return 0

    def has_alone(self, va: Va) -> bool:
        """For rules: whether the device believes to have the page at `va` for itself."""
        return False

    def walks_page_tables(self) -> bool:
        """For rules: whether the device walks the process's page tables itself, so that only its TLBs can be out of date."""
        return False

    def dma_mappings(self) -> bool:
        """For rules: whether the device has pages that it may use by numbers of its own (`dma_iommu`)."""
        return False

    def dev_private_owner(self) -> Ref[Owner]:
        """hmm_range.dev_private_owner, as the driver gives it: whose pages in device memory it can reach. None: nobody's."""
        return None

    def move_notify(self) -> None:
        """dma_buf_attach_ops.move_notify: stop using the buffer this record is attached to, and ask for it again."""
