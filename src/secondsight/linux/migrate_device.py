"""mm/migrate_device.c: pages move between the system's memory and a device's, at the wish of its driver. Here the first part: what is to move is
held, locked, and unmapped; the rest is in `migrate_device_pages`, and what needs no vma in `migrate_device_range`.

    migrate_vma_setup()         of a part of a vma: what can be moved is held, locked, and its entries are migration entries, in a
                                bracket of MIGRATE whose owner the driver gives; more walks (CLEAR) where others map it too; and what
                                somebody else holds is as it was
    the driver                  gives each its destination, locked, and copies
    migrate_vma_pages()         the destination takes the place of the source, unless somebody holds that by now; where nothing was,
                                it is mapped now, in one more bracket, unless something is by now
    the driver                  sees by MIGRATE_PFN_MIGRATE (`MigrateVma.migrate`) what has moved
    migrate_vma_finalize()      entries map the destination, or the source again; all is unlocked

The caller holds the mmap lock all the time. `migrate_device_range` is the first part for pages of a device, whoever maps them, and takes no mmap lock.

A page that is in device memory has device-private entries: a CPU's access faults, and do_swap_page() has `migrate_to_ram` of its pagemap
do all this the other way, with the page as `fault_page`.

A huge page is split for good first (`huge_memory_split`), within the bracket.

Left out: memory cgroups, userfaultfd.
"""

from __future__ import annotations

from typing import Final, Literal

from secondsight.lang import (
    Array,
    Errno,
    Record,
    Ref,
    atomic,
    bound,
    milestone,
    out_of_records,
    pool,
    require,
    shared_array,
    wait_until,
)
from secondsight.linux.errno import EINVAL
from secondsight.linux.filemap import folio_trylock, folio_unlock
from secondsight.linux.huge_memory import split_huge_pmd
from secondsight.linux.huge_memory_split import split_folio
from secondsight.linux.memory_swap import faults_hold_nothing, locks_the_device_page
from secondsight.linux.memremap_private import folio_is_device_coherent, folio_is_device_private, folio_is_zone_device
from secondsight.linux.mm_types import (
    HPAGE_PMD_NR,
    Count,
    Event,
    Flags,
    Folio,
    Mm,
    Owner,
    PmdKind,
    Pte,
    Range,
    Va,
    VaEnd,
    Vma,
    anon_vmas,
    coherent_memory,
    huge_pages,
    secondary_tlbs,
)
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.page_alloc import folio_order, get_page, is_zero_page, page_folio, put_page
from secondsight.linux.pgtable import folio_mapped, pmd_trans_huge, pte_none, pte_page, vm_normal_folio
from secondsight.linux.rmap_migrate import remove_migration_ptes, set_migration_entry, try_to_migrate
from secondsight.linux.swap import folio_isolate_lru
from secondsight.linux.swapops import is_device_private_entry, migrations
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs

__all__ = [
    "MIGRATE_VMA_SELECT_DEVICE_COHERENT",
    "MIGRATE_VMA_SELECT_DEVICE_PRIVATE",
    "MIGRATE_VMA_SELECT_SYSTEM",
    "MigrateVma",
    "device_folio_moved_to",
    "migrate_vma_init",
    "migrate_vma_setup",
    "migrate_vmas",
]

MIGRATE_VMA_SELECT_SYSTEM: Final = 1
"""Pages of the system's memory are moved, the zero page, and places where nothing is."""
MIGRATE_VMA_SELECT_DEVICE_PRIVATE: Final = 2
"""Pages in device memory are moved, those of `pgmap_owner`."""
MIGRATE_VMA_SELECT_DEVICE_COHERENT: Final = 4
"""The same of memory that CPUs can reach."""
COPIED_LATER: Final = 8
"""For rules: what is moved is copied when it stands where the source stood, and not before (`migrate_device_coherent_folio`)."""


class MigrateVma(Record):
    """struct migrate_vma (include/linux/migrate.h, Linux 6.12): the pages `start` to before `end` of `mm`, and of each where it is (`src`)
    and where it is to go (`dst`, the driver's to fill in). On a driver's stack: `with migrate_vmas.on_stack() as args:`.

    `migrate` and `write` are MIGRATE_PFN_MIGRATE and MIGRATE_PFN_WRITE of `src`: of a place where nothing is `src` is None and `migrate`
    true. `mm` is None for migrate_device_range(). `moved` is a ghost, for rules only: there is no turning back any more.
    """

    mm: Ref[Mm]
    start: Va
    npages: Count
    pgmap_owner: Ref[Owner]
    flags: Flags
    fault_page: Ref[Folio]
    src: Array[Ref[Folio], Literal["migrate_pages"]]
    migrate: Array[bool, Literal["migrate_pages"]]
    write: Array[bool, Literal["migrate_pages"]]
    dst: Array[Ref[Folio], Literal["migrate_pages"]]
    moved: Array[bool, Literal["migrate_pages"]]


bound("migrate_pages", most=7, usual=1)
migrate_vmas = pool(MigrateVma, bound("migrate_vmas", most=7, usual=2))


collect_forgets_dirty = shared_array(bool, bound("collect_forgets_dirty", most=1))
"""Of size 1: the entry's dirty bit is not carried over to the page when it becomes a migration entry, as before fd35ca3d12cc."""


@atomic
def migrate_vma_init(
    args: MigrateVma, mm: Mm, start: Va, npages: Count, owner: Ref[Owner], flags: Flags, fault_page: Ref[Folio] = None
) -> None:
    """What a driver writes into struct migrate_vma before migrate_vma_setup()."""
    if npages > len(args.src):
        out_of_records("migrate_pages")
    args.mm = mm
    args.start = start
    args.npages = npages
    args.pgmap_owner = owner
    args.flags = flags
    args.fault_page = None if len(faults_hold_nothing) > 0 else fault_page


@atomic
def device_folio_moved_to(folio: Folio) -> Ref[Folio]:
    """For rules: where a page has been moved to by now, though entries may stand for it still; None: it has not."""
    for k in range(len(migrate_vmas)):
        if migrate_vmas.is_used(migrate_vmas[k]):
            for i in range(len(migrate_vmas[k].src)):
                if migrate_vmas[k].moved[i] and migrate_vmas[k].src[i] is folio:
                    return migrate_vmas[k].dst[i]
    return None


# migrate_vma_setup().


@milestone
def migrate_vma_setup(args: MigrateVma) -> Errno:
    """migrate_vma_setup() (mm/migrate_device.c, Linux 6.12): what can be moved is held, locked and unmapped.

    0, whether there is any such page or not; -EINVAL where the pages are in no vma, not in one, or in one of which none can move, and where
    `fault_page` is not in device memory, or (Linux 7.2) not locked.
    """
    refused = migrate_vma_problem(args)
    if refused != 0:
        return refused
    with atomic:
        mm = args.mm
        start = args.start
        end: VaEnd = args.start + args.npages
        owner = args.pgmap_owner
    assert mm is not None
    rng = Range(start, end, Event.MIGRATE, True, owner)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, start, end)
    if len(huge_pages) > 0:
        cpages = migrate_vma_collect_huge(args, mm)
    else:
        cpages = migrate_vma_collect_pmd(args, 0, end - start)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, start, end)
    mmu_notifier_invalidate_range_end(mm, rng)
    if cpages > 0:
        migrate_device_unmap(args)
    return 0


@atomic
def migrate_vma_problem(args: MigrateVma) -> Errno:
    """The checks of migrate_vma_setup() (mm/migrate_device.c, Linux 6.12)."""
    if len(migrations) == 0:
        out_of_records("migrations")
    if len(anon_vmas) == 0:
        out_of_records("anon_vmas")
    mm = args.mm
    assert mm is not None
    require(mm.mmap_lock.held_by_me(), "lock-not-held", "moves pages without the mmap lock")  # walk_page_range() says so
    vma = mm.mm_mt[args.start]
    if vma is None or args.npages == 0 or args.start + args.npages > vma.vm_end:
        return -EINVAL
    file = vma.vm_file
    if file is not None and file.vm_flags() != 0:
        return -EINVAL
    faulted = args.fault_page
    if faulted is not None:
        if not folio_is_device_private(faulted):
            return -EINVAL
        if len(locks_the_device_page) > 0 and not page_folio(faulted).locked:
            return -EINVAL
    return 0


@milestone(quiet=True)
@atomic
def migrate_vma_collect_pmd(args: MigrateVma, first: Count, last: Count) -> Count:
    """migrate_vma_collect_pmd(), migrate_vma_collect_hole() (mm/migrate_device.c, Linux 6.12), under the page-table lock, of pages `first` to before `last`:
    how many may be moved.

    The folio lock is tried, not waited for: who does not get it leaves the page as it is. So is an anonymous page that may be pinned.
    """
    mm = args.mm
    assert mm is not None
    vma = mm.mm_mt[args.start]
    assert vma is not None
    cpages: Count = 0
    for i in range(first, last):
        va: Va = args.start + i
        pte = mm.ptes[va]
        args.src[i] = None
        args.dst[i] = None
        args.write[i] = False
        args.migrate[i] = populates(args, vma, pte)
        if args.migrate[i]:
            cpages += 1
        folio = selected(args, pte)
        if folio is not None:
            write = pte.writable
            get_page(folio)
            held = is_locked_for_us(args, folio) or folio_trylock(folio)
            if held and becomes_migration_entry(folio, mm, va):
                args.src[i] = folio
                args.migrate[i] = True
                args.write[i] = write
                cpages += 1
            else:
                if held and not is_locked_for_us(args, folio):
                    folio_unlock(folio)
                put_page(folio)
    return cpages


@atomic
def becomes_migration_entry(page: Folio, mm: Mm, va: Va) -> bool:
    """The lines of migrate_vma_collect_pmd() (mm/migrate_device.c, Linux 6.12) that replace an entry: false of a page that may be pinned, whose entry stays as it
    was."""
    dirty = mm.ptes[va].dirty
    if len(collect_forgets_dirty) > 0:
        mm.ptes[va].dirty = False
    taken = set_migration_entry(page_folio(page), page, mm, va)
    if len(collect_forgets_dirty) > 0 and not taken:
        mm.ptes[va].dirty = dirty
    return taken


def migrate_vma_collect_huge(args: MigrateVma, mm: Mm) -> Count:
    """migrate_vma_collect_pmd() (mm/migrate_device.c, Linux 6.12), where there are huge pages, of one entry of the middle level after another. A huge page
    is split for good first, and the huge zero page's entry into two; what is locked, or somebody holds, is passed over
    (migrate_vma_collect_skip()). What is being moved as a whole is waited for."""
    cpages: Count = 0
    i: Count = 0
    while i < args.npages:
        with atomic:
            va: Va = args.start + i
            stop: Count = min(args.npages, i + HPAGE_PMD_NR - va % HPAGE_PMD_NR)
            wait_until(mm.pmds[va // HPAGE_PMD_NR].kind != PmdKind.MIGRATION)
            is_huge = pmd_trans_huge(mm, va)
            large: Ref[Folio] = None
            skipped = False
            if not is_huge:
                cpages += migrate_vma_collect_pmd(args, i, stop)
            else:
                page = mm.ptes[va].frame
                assert page is not None
                if not is_zero_page(page) and folio_trylock(page_folio(page)):
                    large = page_folio(page)
                    get_page(large)
                skipped = large is None and not is_zero_page(page)
        if not is_huge:
            i = stop
        elif large is not None:
            split = split_folio(large) == 0
            with atomic:
                folio_unlock(large)
                put_page(large)
                if not split:
                    skipped = True
        elif not skipped:
            split_huge_pmd(mm, va)
        if is_huge and skipped:
            migrate_vma_collect_skip(args, i, stop)
            i = stop
    return cpages


@atomic
def migrate_vma_collect_skip(args: MigrateVma, first: Count, last: Count) -> None:
    """migrate_vma_collect_skip() (mm/migrate_device.c, Linux 6.12): pages that stay where they are."""
    for i in range(first, last):
        args.src[i] = None
        args.dst[i] = None
        args.write[i] = False
        args.migrate[i] = False


@atomic
def is_locked_for_us(args: MigrateVma, folio: Folio) -> bool:
    """Whether the fault that all this is for has locked the page already (Linux 7.2), and will unlock it."""
    return len(locks_the_device_page) > 0 and args.fault_page is folio


@atomic
def populates(args: MigrateVma, vma: Vma, pte: Pte) -> bool:
    """Whether a page is to be had where none is, or the zero page: anonymous memory alone is populated."""
    folio = pte_page(pte)
    if folio is not None:
        return is_zero_page(folio) and args.flags & MIGRATE_VMA_SELECT_SYSTEM != 0
    return pte_none(pte) and vma.vm_file is None


@atomic
def selected(args: MigrateVma, pte: Pte) -> Ref[Folio]:
    """The page of an entry, if the caller wants such: one of the system's, or one in the device's own memory."""
    folio = pte.frame
    if folio is None:
        return None
    if is_device_private_entry(pte):
        pgmap = folio.pgmap[0]
        own = pgmap is not None and pgmap.owner is args.pgmap_owner
        return folio if own and args.flags & MIGRATE_VMA_SELECT_DEVICE_PRIVATE != 0 else None
    if len(coherent_memory) > 0:
        if folio_is_device_coherent(folio):
            pgmap = folio.pgmap[0]
            own = pgmap is not None and pgmap.owner is args.pgmap_owner
            return folio if own and args.flags & MIGRATE_VMA_SELECT_DEVICE_COHERENT != 0 and pte_page(pte) is not None else None
    if args.flags & MIGRATE_VMA_SELECT_SYSTEM == 0:
        return None
    folio = vm_normal_folio(pte)
    if folio is None or (page_folio(folio).anon_vma is None and folio.mapping is None):
        return None
    return folio


def migrate_device_unmap(args: MigrateVma) -> None:
    """migrate_device_unmap() (mm/migrate_device.c, Linux 6.12): each page is taken off its list and out of every page table; what somebody
    else holds, or has taken off its list, is put back as it was."""
    npages = args.npages
    for i in range(npages):
        with atomic:
            folio = args.src[i]
            mapped = folio is not None and isolates(args, i) and folio_mapped(folio)
        if folio is not None and mapped:
            try_to_migrate(page_folio(folio))
        if folio is not None:
            migrate_vma_check_page(args, i)
    for i in range(npages):
        with atomic:
            folio = args.src[i]
            restores = folio is not None and not args.migrate[i]
        if folio is not None and restores:
            remove_migration_ptes(page_folio(folio), page_folio(folio))
            with atomic:
                args.src[i] = None
                if not is_locked_for_us(args, folio):
                    folio_unlock(folio)
                put_page(folio)


@atomic
def isolates(args: MigrateVma, i: Count) -> bool:
    """The part of migrate_device_unmap() about LRU lists, on which pages in device memory are not: the isolation's reference takes the
    place of the collection's. False: somebody has taken it off before, and the page stays."""
    page = args.src[i]
    assert page is not None
    folio = page_folio(page)
    if not folio_is_zone_device(folio):
        if not folio_isolate_lru(folio):
            args.migrate[i] = False
            return False
        put_page(folio)
    return True


@atomic
def migrate_vma_check_page(args: MigrateVma, i: Count) -> None:
    """migrate_vma_check_page() (mm/migrate_device.c, Linux 6.12): a page that is mapped still, or that somebody else holds, stays.

    Of a page in device memory one holder more is let through here; folio_migrate_mapping() notices it. A page of a folio of two pages stays.
    """
    page = args.src[i]
    assert page is not None
    folio = page_folio(page)
    if args.migrate[i]:
        extra: Count = 1
        if args.fault_page is folio:
            extra += 1
        if folio_is_zone_device(folio):
            extra += 1
        if folio.mapping is not None or folio.swapcache:
            extra += 1
        if folio_order(folio) > 0 or folio_mapped(folio) or folio.refcount > extra:
            args.migrate[i] = False
            if not folio_is_zone_device(folio):
                folio.isolated = False
