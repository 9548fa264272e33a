"""Where kernel releases differ in what the model can see: one table, found by running the same scenarios on all of them.

The model is Linux 6.12. Asked for another release (`world.model.outcomes(..., release="6.1.0-50-amd64")`, `secondsight
run --release 6.1`), it answers as that one does, as far as this table goes. A difference has a `mechanism` (its name), the
first release that behaves as the model does (`since`, major and minor), what older ones do, and where that was read and
seen. What a kernel's configuration lacks is no difference of releases: `kernels.ability` knows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["DIFFERENCES", "LOOKED_AT", "Difference", "differences_table", "differs", "version_of"]


@dataclass(frozen=True)
class Difference:
    """One mechanism that changed. `since`: the first release like the model; `older`: what those before do."""

    mechanism: str
    since: tuple[int, int]
    older: str
    newer: str
    read: str
    seen: str


DIFFERENCES: dict[str, Difference] = {
    found.mechanism: found
    for found in (
        Difference(
            "future-write-seal-is-asked-late",
            since=(6, 12),
            older="mmap(MAP_FIXED) of a memfd with F_SEAL_FUTURE_WRITE fails with -EPERM when what was mapped there has gone",
            newer="it fails with -EPERM before anything is unmapped, as with F_SEAL_WRITE on all releases",
            read="shmem_mmap() calls seal_check_write() (mm/shmem.c, Linux 6.1.192); do_mmap() calls memfd_check_seals_mmap() "
            "(mm/mmap.c, mm/memfd.c, Linux 6.12.117). Releases in between were not looked at.",
            seen="6.1.0-56-amd64 against 6.12.117+deb12-amd64, 6.18, 7.2.13+deb14-amd64 (scenarios/found_by_agreement.py)",
        ),
        Difference(
            "merged-mapping-ignores-the-seal",
            since=(6, 12),
            older="mmap(MAP_FIXED) of a memfd with F_SEAL_FUTURE_WRITE succeeds, and may write, when it continues a mapping of the "
            "file beside it: the two become one and nobody asks for the seal",
            newer="it fails with -EPERM, whatever lies beside it",
            read="__mmap_region() merges before it calls mmap_file() (mm/mmap.c, Linux 6.1.192); see the one above. Releases in "
            "between were not looked at.",
            seen="6.1.0-56-amd64 against 6.12.117+deb12-amd64, 6.18, 7.2.13+deb14-amd64 (scenarios/found_by_agreement.py)",
        ),
        Difference(
            "a-migration-unmaps-once-a-stage",
            since=(6, 3),
            older="a page that somebody holds is unmapped and mapped again up to ten times before move_pages(2) and its like give it up: subscribers hear of each",
            newer="it is unmapped twice: once in passes that wait for nothing, once in those that do. A pinned private page, which stays mapped, is tried ten times on all",
            read="unmap_and_move(), migrate_pages() (mm/migrate.c, Linux 6.1.192); migrate_pages_sync(), migrate_pages_batch() (mm/migrate.c, Linux 6.12.117)",
            seen="6.1 against 6.12 and 7.2, in forced runs",
        ),
        Difference(
            "longterm-pin-of-the-zero-page",
            since=(6, 12),
            older="pin_user_pages(FOLL_LONGTERM) for reading of private memory that nobody has written pins the zero page: what the "
            "process writes there later, the pin never sees; one of a file's page takes no lock",
            newer="the process gets a page of its own first, which is pinned; a file's page is pinned under the mmap lock where its entry may not write",
            read="gup_must_unshare() (include/linux/mm.h, Linux 6.1.192; mm/internal.h, Linux 6.12.117). Releases in between were not "
            "looked at.",
            seen="6.1 against 6.12 and 7.2 (scenarios/pinned_pages.py)",
        ),
        Difference(
            "empty-page-is-a-bad-address",
            since=(6, 12),
            older="move_pages(2) says -EFAULT of anonymous memory that nobody has touched",
            newer="it says -ENOENT, as of a file's page that is not mapped yet on all releases",
            read="add_page_for_migration() looks by follow_page(FOLL_DUMP), for which no_page_table() has an error of its own (mm/migrate.c, "
            "mm/gup.c, Linux 6.1.192); add_folio_for_migration() by folio_walk_start() (mm/migrate.c, Linux 6.12.117). Releases in between "
            "were not looked at.",
            seen="6.1.0-56-amd64 against 6.12.117+deb12-amd64, 7.2.13+deb14-amd64 (scenarios/moved_pages.py)",
        ),
        Difference(
            "protected-page-is-not-found",
            since=(6, 12),
            older="move_pages(2) says -ENOENT of a page that mprotect(PROT_NONE) protects, the zero page too",
            newer="it moves the page; of the zero page it says -EFAULT",
            read="follow_page_pte(), gup_can_follow_protnone() (mm/gup.c, include/linux/mm.h, Linux 6.1.192); add_folio_for_migration() by folio_walk_start() "
            "(mm/migrate.c, Linux 6.12.117). Releases in between were not looked at.",
            seen="6.1.0-56-amd64 against 6.12.117+deb12-amd64 (drawn scenarios)",
        ),
        Difference(
            "longterm-pin-of-a-file",
            since=(6, 5),
            older="pin_user_pages(FOLL_LONGTERM | FOLL_WRITE) of a shared mapping pins also the page of a file that is written back to a disk",
            newer="it fails with -EFAULT, and the walk without a lock does not have such a page",
            read="check_vma_flags(), writable_file_mapping_allowed(), gup_fast_folio_allowed() (mm/gup.c, Linux 6.12.117), of which 6.1.192 has none. They came with 6.5.",
            seen="6.1 against 6.12 and 7.2 (tests/kernels/test_disk_files.py)",
        ),
        Difference(
            "hole-is-written-back-first",
            since=(6, 12),
            older="before a hole is punched into a file on a disk, what is dirty where it will be is written back, under no lock: entries are made read-only, and subscribers hear of that too",
            newer="it is dropped as it is",
            read="ext4_punch_hole() (fs/ext4/inode.c, Linux 6.1.192, 6.12.117). Releases in between were not looked at.",
            seen="6.1.0-56-amd64 against 6.12.117+deb12-amd64 (drawn forced runs)",
        ),
        Difference(
            "direct-io-by-reference",
            since=(6, 12),
            older="direct I/O takes references to the pages of its buffer and does not pin them: after a fork meanwhile, who writes the "
            "page first gets a copy, and what is read may arrive in the page that the other one has",
            newer="it pins them, and a fork copies a pinned page for the child at once",
            read="__bio_iov_iter_get_pages() calls iov_iter_get_pages2(), which calls get_user_pages_fast() (block/bio.c, lib/iov_iter.c, "
            "Linux 6.1.192); iov_iter_extract_pages(), which calls pin_user_pages_fast() (Linux 6.12.117). Releases in between were not "
            "looked at.",
            seen="the two sources, and the outcomes of scenarios/halves.py on both",
        ),
        Difference(
            "huge-zero-page-is-replaced",
            since=(7, 2),
            older="a write to the huge zero page splits it: one page is copied, the other stays the zero page. So does the model where no "
            "release is asked for",
            newer="a huge page takes its place",
            read="do_huge_pmd_wp_page() goes on to __split_huge_pmd() (mm/huge_memory.c, Linux 6.12.117), or calls do_huge_zero_wp_pmd() first "
            "(7.2.13). Releases in between were not looked at.",
            seen="6.12.117+deb12-amd64 against 7.2.13+deb14-amd64 (drawn scenarios)",
        ),
        Difference(
            "collapse-of-what-may-not-be-written",
            since=(7, 2),
            older="MADV_COLLAPSE of pages of which none may be written, as they were only read or the mapping is read-only, fails with -EINVAL. So it does "
            "in the model where no release is asked for",
            newer="they become a huge page as others do",
            read="hpage_collapse_scan_pmd() and __collapse_huge_page_isolate() end with SCAN_PAGE_RO (mm/khugepaged.c, Linux 6.12.117), which 7.2.13 "
            "has not. Releases in between were not looked at.",
            seen="6.12.117+deb12-amd64 against 7.2.13+deb14-amd64 (scenarios/huge_pages.py)",
        ),
        Difference(
            "userfaultfd-past-the-end-is-no-memory",
            since=(7, 2),
            older="UFFDIO_COPY and UFFDIO_ZEROPAGE past the end of a memfd that is mapped shared fail with -EFAULT, UFFDIO_CONTINUE with -EINVAL. So "
            "does the model where no release is asked for",
            newer="the first two fail with -ENOMEM, UFFDIO_CONTINUE with -EFAULT",
            read="shmem_mfill_atomic_pte() looks for the end itself (mm/shmem.c, Linux 6.12.117); shmem_mfill_folio_alloc() returns no folio, which "
            "__mfill_atomic_pte() takes for a lack of memory (mm/shmem.c, mm/userfaultfd.c, 7.2.13). mfill_atomic_pte_continue() makes -EFAULT of -ENOENT alone (mm/userfaultfd.c, 6.12.117), and "
            "of every error (7.2.13). Releases in between were not looked at.",
            seen="6.12.117+deb12-amd64 against 7.2.13+deb14-amd64 (drawn scenarios)",
        ),
        Difference(
            "mapping-over-a-part-of-a-huge-page",
            since=(6, 12),
            older="mmap(MAP_FIXED) over a part of a huge page of a memfd fails with -ENOMEM",
            newer="it fails with -EINVAL, as munmap does",
            read="__mmap_region() gives -ENOMEM for whatever do_mas_munmap() says (mm/mmap.c, Linux 6.1.192); vms_gather_munmap_vmas() (mm/vma.c, "
            "Linux 6.12.117). Releases in between were not looked at.",
            seen="6.1.0-56-amd64 against 6.12.117+deb12-amd64 (drawn scenarios)",
        ),
        Difference(
            "split-maps-the-zero-page",
            since=(6, 12),
            older="when a huge page's folio is split, a page of zeros of it stays mapped: move_pages(2) moves it",
            newer="the zero page is mapped instead, and move_pages(2) fails with -EFAULT",
            read="try_to_map_unused_to_zeropage() (mm/migrate.c, Linux 6.12.117), which 6.1.192 has not. Releases in between were not looked at.",
            seen="6.1 against 6.12 and 7.2 (scenarios/huge_pages.py)",
        ),
        Difference(
            "held-page-stays-lazyfree",
            since=(6, 15),
            older="reclaim makes a page that MADV_FREE has marked one like any other again where somebody holds it, written or not: later it is swapped out",
            newer="only where it was written; one that is held stays marked, and is dropped by a later reclaim",
            read="try_to_unmap_one() (mm/rmap.c, Linux 6.12.117; Linux 7.2). Releases in between were not looked at.",
            seen="6.1 and 6.12 against 7.2 (the kernel's own C: secondsight conform)",
        ),
        Difference(
            "exclusive-page-stays-mapped",
            since=(6, 15),
            older="a page that a device has for itself (make_device_exclusive_range()) counts as not mapped: reclaim, compaction and the split of a huge page leave it alone, as the entry's "
            "reference is one that nobody accounts for; what is locked is not waited for (-EBUSY). It goes back to the CPU with the event EXCLUSIVE, and mprotect() makes its entry one that may not be "
            "written. So does the model where no release is asked for",
            newer="it stays mapped: reclaim swaps it out and compaction moves it, the device is told (CLEAR); make_device_exclusive() waits for the folio lock. It goes back with CLEAR, and may be written if "
            "its mapping may by then",
            read="page_make_device_exclusive_one() calls folio_remove_rmap_pte(), restore_exclusive_pte() folio_add_anon_rmap_pte() (mm/rmap.c, mm/memory.c, Linux 6.12.117); make_device_exclusive() leaves "
            "the count as it is (mm/rmap.c, Linux 7.2). The lists have it for 6.15, whose source was not looked at.",
            seen="mm/rmap.c of each of the three releases, beside the model (docs/conform.md)",
        ),
        Difference(
            "mremap-of-several-vmas",
            since=(6, 17),
            older="mremap() of pages that are not all of one vma fails with -EFAULT, and what was mapped at the new place has gone. So does the model where no "
            "release is asked for",
            newer="the vmas move one after the other, but one that is registered with a userfaultfd only by itself; where it fails at once nothing has gone. "
            "Places that overlap are refused (-EINVAL) before anybody looks whether something is mapped (-EFAULT)",
            read="mremap_to(), vma_to_resize() (mm/mremap.c, Linux 6.12.117); remap_move(), check_prep_vma() (7.2.13). The lists have it for 6.17, whose "
            "source was not looked at.",
            seen="6.12.117+deb12-amd64 against 7.2.13+deb14-amd64 (drawn scenarios), and a host's 6.18 (scenarios/moved_and_killed.py)",
        ),
        Difference(
            "touched-memory-joins-untouched",
            since=(7, 2),
            older="private memory that was written does not become one vma with memory beside it that nobody has written. So does the model where no release "
            "is asked for",
            newer="it does",
            read="is_mergeable_anon_vma() (mm/vma.c, Linux 6.12.117, 7.2.13). Releases in between were not looked at.",
            seen="6.12.117+deb12-amd64 against 7.2.13+deb14-amd64 (drawn scenarios)",
        ),
        Difference(
            "untouched-memory-stays-accounted",
            since=(6, 12),
            older="private memory that nobody has touched counts (VM_ACCOUNT) as it did when it comes to be one that may not be written",
            newer="it counts no more, and becomes no vma with memory beside it that does",
            read="mprotect_fixup() (mm/mprotect.c, Linux 6.1.192, 6.12.117, 7.2.13). Releases in between were not looked at.",
            seen="6.12.117+deb12-amd64 (scenarios/found_by_agreement.py); 6.1 by reading",
        ),
        Difference(
            "populate-ends-at-a-gap",
            since=(6, 12),
            older="MADV_POPULATE_READ and MADV_POPULATE_WRITE go on behind a gap: -ENOMEM at the end, or what is wrong behind it",
            newer="they end there with -ENOMEM",
            read="madvise_populate(), which madvise_walk_vmas() calls for each vma (mm/madvise.c, Linux 6.1.192), or for all of the range (6.12.117). Releases in between were "
            "not looked at.",
            seen="6.1.0-56-amd64 against 6.12.117+deb12-amd64 (drawn scenarios)",
        ),
        Difference(
            "dofork-of-special-memory",
            since=(7, 2),
            older="MADV_DOFORK of a udmabuf's mapping, or of huge pages of a memfd, succeeds. So it does in the model where no release is asked for",
            newer="it fails with -EINVAL",
            read="madvise_vma_behavior() asks for VM_IO (mm/madvise.c, Linux 6.1.192, 6.12.117), or for VM_SPECIAL (7.2.13). Releases in between were not looked at.",
            seen="6.1.0-56-amd64, 6.12.117+deb12-amd64 against 7.2.13+deb14-amd64 (drawn scenarios)",
        ),
        Difference(
            "a-fault-locks-its-vma",
            since=(6, 12),
            older="a CPU's fault takes the mmap lock, and waits for every change of mappings",
            newer="it takes the lock of its vma, and goes on beside changes of other vmas. The model has these locks in forced runs",
            read="do_user_addr_fault() (arch/x86/mm/fault.c, Linux 6.1.192); lock_vma_under_rcu() (mm/memory.c, Linux 6.12.117). They came with 6.4.",
            seen="6.12.117+deb12-amd64 (drawn forced runs)",
        ),
        Difference(
            "madvise-locks-its-vma",
            since=(6, 17),
            older="MADV_DONTNEED and MADV_FREE hold the mmap lock for reading, and wait for every change of mappings. So they do in the model where no release is asked for",
            newer="in a part of one vma that no userfaultfd has they hold the lock of that vma, and go on beside changes of others. The model has these locks in forced runs",
            read="do_madvise() (mm/madvise.c, Linux 6.12.117); get_lock_mode(), try_vma_read_lock() (mm/madvise.c, 7.2.13). The lists have it for 6.17, whose source was not "
            "looked at.",
            seen="6.12.117+deb12-amd64 against 7.2.13+deb14-amd64 (drawn forced runs)",
        ),
        Difference(
            "dax-refuses-before-it-maps",
            since=(7, 2),
            older="a mapping of a device's memory (device-dax) that its file refuses (MAP_PRIVATE, or the device has gone) is undone, and subscribers are told. So they are in the model "
            "where no release is asked for",
            newer="it is refused before there is one, and nobody is told",
            read="dax_mmap() is a file's mmap (drivers/dax/device.c, Linux 6.12); what is refused in mmap_prepare has no vma yet (mm/vma.c, 7.2.13). drivers/dax/device.c of 7.2 was not looked at.",
            seen="7.2.13+deb14-amd64 (a drawn forced run)",
        ),
        Difference(
            "hugetlb-goes-in-one-bracket",
            since=(6, 12),
            older="huge pages of a file that are unmapped have a notifier bracket of their own, within that of munmap(2), exit or MADV_DONTNEED: subscribers "
            "are called twice. The model has the outer one alone (no outcome differs by it); forced runs of such a release have no huge pages of files",
            newer="there is one bracket",
            read="__unmap_hugepage_range() (mm/hugetlb.c, Linux 6.1.192, 6.12.117). Releases in between were not looked at.",
            seen="6.1.0-56-amd64 against 6.12.117+deb12-amd64 (drawn forced runs)",
        ),
        Difference(
            "reservation-of-a-page-that-goes",
            since=(6, 12),
            older="what a private mapping of huge pages has used of its reservation is used for good: after MADV_DONTNEED the next page is one that nobody has "
            "reserved, or SIGBUS",
            newer="with the last entry of such a page it is reserved again",
            read="__unmap_hugepage_range() (mm/hugetlb.c, Linux 6.1.192, 6.12.117). Releases in between were not looked at.",
            seen="6.1.0-56-amd64, 6.12.117+deb12-amd64 (drawn scenarios)",
        ),
        Difference(
            "swapped-in-for-reading-may-be-written",
            since=(6, 12),
            older="private memory that comes back from swap for a read may not be written: the first write faults once more, and so does a device's",
            newer="it may be written at once where its vma may and nobody else has it",
            read="do_swap_page() (mm/memory.c, Linux 6.1.192, 6.12.117, 7.2.13). Releases in between were not looked at.",
            seen="6.1.0-56-amd64 against 6.12.117+deb12-amd64 (a drawn forced run)",
        ),
        Difference(
            "slot-goes-after-mapping",
            since=(7, 2),
            older="a write that brings private memory back from swap frees its slot, if nothing else stands for it; of two faults on one page the one that comes too late leaves it in the swap cache",
            newer="the page is mapped first: a write to what is the process's alone keeps slot and swap cache, and the fault that comes too late frees both if nothing stands for the slot",
            read="do_swap_page(), should_try_to_free_swap() (mm/memory.c, Linux 6.1.192, 6.12.117, 7.2.13). Releases in between were not looked at.",
            seen="mm/memory.c of 6.12 and 7.2 beside the model (conform); nothing that a process can ask tells",
        ),
        Difference(
            "userfaultfd-moves-pages",
            since=(6, 12),
            older="UFFDIO_MOVE is unknown: -EINVAL",
            newer="a page is moved from one address to another",
            read="userfaultfd_ioctl() (fs/userfaultfd.c, Linux 6.1.192), move_pages() (mm/userfaultfd.c, Linux 6.12.117). It came with 6.8.",
            seen="6.1.0-56-amd64 against 6.12.117+deb12-amd64 (drawn scenarios)",
        ),
        Difference(
            "userfaultfd-poisons-pages",
            since=(6, 12),
            older="UFFDIO_POISON is unknown: -EINVAL",
            newer="a page is marked such that every access to it ends with SIGBUS",
            read="userfaultfd_ioctl() (fs/userfaultfd.c, Linux 6.1.192), mfill_atomic_pte_poison() (mm/userfaultfd.c, Linux 6.12.117). It came with 6.6.",
            seen="6.1.0-56-amd64 against 6.12.117+deb12-amd64 (scenarios/userfault_markers.py)",
        ),
        Difference(
            "userfaultfd-protects-what-is-to-come",
            since=(6, 12),
            older="UFFDIO_API refuses UFFD_FEATURE_WP_UNPOPULATED, and UFFDIO_CONTINUE a page that is to come write-protected (UFFDIO_CONTINUE_MODE_WP): -EINVAL",
            newer="it does both",
            read="userfaultfd_api(), userfaultfd_continue() (fs/userfaultfd.c, Linux 6.1.192, 6.12.117). They came with 6.4.",
            seen="6.1.0-56-amd64 against 6.12.117+deb12-amd64 (scenarios/userfault_markers.py)",
        ),
        Difference(
            "two-pass-interval-notifiers",
            since=(7, 2),
            older="an interval notifier has `invalidate` alone; a driver with two passes is refused",
            newer="it may have `invalidate_start` and `invalidate_finish` instead: all are started before the first is finished. "
            "The model has them in every release that is not asked for by name",
            read="mn_itree_invalidate(), mn_itree_finish_pass() (mm/mmu_notifier.c, Linux 6.1.192, 6.12.117, 7.2.13). Releases in "
            "between were not looked at.",
            seen="the file itself, of each of the three releases, beside the model (docs/conform.md)",
        ),
        Difference(
            "a-fault-locks-a-page-in-device-memory",
            since=(7, 2),
            older="a CPU's fault on a page in a device's memory holds the page and has its driver bring it back: two such faults at a time may keep "
            "each other from it again and again. The model is so where no release is asked for",
            newer="it locks the page first, and who does not get the lock waits",
            read="do_swap_page() (mm/memory.c, Linux 6.12.117, 7.2.13), migrate_vma_collect_pmd() (mm/migrate_device.c, the same). Releases in between "
            "were not looked at.",
            seen="not on a kernel: what a CPU finds is the same (tests/linux/test_migrate_device.py has both forms); mm/migrate_device.c of each of the three "
            "releases, beside the model (docs/conform.md)",
        ),
    )
}


def differs(mechanism: str, release: str | None) -> bool:
    """Whether a release is older than the model in that mechanism. None: the model's own release."""
    return release is not None and version_of(release) < DIFFERENCES[mechanism].since


def differences_table() -> str:
    """The differences as a Markdown table, for docs/agree.md."""
    rows = [
        (one.mechanism, ".".join(map(str, one.since)), one.older, one.newer, f"{one.read} Seen: {one.seen}.")
        for one in DIFFERENCES.values()
    ]
    head = ("mechanism", "before", "older releases", "the model and newer releases", "read and seen")
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ("---",) * len(head), *rows))


LOOKED_AT = ((6, 1), (6, 12), (7, 2))
"""The releases whose source was read for it, and which scenarios ran on."""


def version_of(release: str) -> tuple[int, int]:
    """Major and minor of a release's name, such as `6.1.0-50-amd64`, `linux-6.1` or `6.1`. Raises ValueError.

    >>> version_of("linux-6.12")
    (6, 12)
    """
    found = re.match(r"(?:linux-)?(\d+)\.(\d+)", release)
    if found is None:
        raise ValueError(f"{release!r} is no kernel release: 6.1 or linux-6.12 or 6.1.0-50-amd64 is one")
    return int(found[1]), int(found[2])
