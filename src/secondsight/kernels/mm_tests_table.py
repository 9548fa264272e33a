"""The kernel's own tests of memory (tools/testing/selftests/mm, Linux 6.12) beside the scenarios of this repository, test by test.

Their programs are not run here; docs/mm-tests.md is this table, to read.
"""

from __future__ import annotations

from secondsight.kernels.selftest_table import Here

__all__ = ["MM_TESTS", "ON_MEMORY"]

_SIZES = Here(missing="page tables of more than one level: the test is about which of them are moved whole, by the alignment of both places")
_BYTES = Here(missing="addresses inside a page")
_IO_URING = "A pin for their fixed buffer of io_uring."
_TWO_PAGES = "A huge page of two pages."
_HOLD = "A pin for theirs that only takes a reference (vmsplice)."
_FILE_SYSTEMS = "file systems other than that of memfds"


def _of(file: str, scenario: str, note: str = "") -> Here:
    return Here(scenario, file, note=note)


def _mremap(scenario: str, note: str = "") -> Here:
    return _of("mremap_tests", scenario, note)


def _cow(scenario: str, note: str = "") -> Here:
    return _of("cow_tests", scenario, note)


def _longterm(scenario: str, note: str = "") -> Here:
    return _of("gup_longterm", scenario, note)


def _uffd(scenario: str, note: str = "") -> Here:
    return _of("uffd_tests", scenario, note)


MM_TESTS: dict[str, dict[str, Here]] = {
    "mremap_test": {
        "mremap - Source and Destination Regions Overlapping": _mremap("mremap_overlapping"),
        "mremap - Destination Address Misaligned (1KB-aligned)": _BYTES,
        "mremap - Source Address Misaligned (1KB-aligned)": _BYTES,
        "8KB mremap - Source PTE-aligned, Destination PTE-aligned": _mremap("mremap_two_pages", "A memfd for anonymous shared memory."),
        "2MB mremap - Source 1MB-aligned, Destination PTE-aligned": _SIZES,
        "2MB mremap - Source 1MB-aligned, Destination 1MB-aligned": _SIZES,
        "4MB mremap - Source PMD-aligned, Destination PTE-aligned": _SIZES,
        "4MB mremap - Source PMD-aligned, Destination 1MB-aligned": _SIZES,
        "4MB mremap - Source PMD-aligned, Destination PMD-aligned": _SIZES,
        "2GB mremap - Source PUD-aligned, Destination PTE-aligned": _SIZES,
        "2GB mremap - Source PUD-aligned, Destination 1MB-aligned": _SIZES,
        "2GB mremap - Source PUD-aligned, Destination PMD-aligned": _SIZES,
        "2GB mremap - Source PUD-aligned, Destination PUD-aligned": _SIZES,
        "5MB mremap - Source 1MB-aligned, Destination 1MB-aligned": _SIZES,
        "5MB mremap - Source 1MB-aligned, Dest 1MB-aligned with 40MB Preamble": _mremap(
            "mremap_beside_a_preamble", "A page for their 40 MB; which page tables are moved whole is not told apart."
        ),
        "1GB mremap - Source PTE-aligned, Destination PTE-aligned": _SIZES,
        "1GB mremap - Source PMD-aligned, Destination PMD-aligned": _SIZES,
        "1GB mremap - Source PUD-aligned, Destination PUD-aligned": _SIZES,
        "mremap expand merge": _mremap("mremap_expand_merge", "That it is one mapping shows in how it moves, where theirs reads /proc/self/maps."),
        "mremap expand merge offset": _mremap("mremap_expand_merge_offset", "As the one before."),
        "mremap mremap move within range": _mremap("mremap_within_range", "Two pages for their blocks of two halves."),
        "mremap move 1mb from start at 1MB+256KB aligned src": _SIZES,
    },
    "cow": {
        "Basic COW after fork()": _cow("cow_after_fork"),
        "Basic COW after fork() with mprotect() optimization": _cow("cow_after_fork_and_mprotect"),
        "vmsplice() + unmap in child": _cow("cow_child_keeps", _HOLD),
        "vmsplice() + unmap in child with mprotect() optimization": _cow("cow_child_keeps_and_mprotect", _HOLD),
        "vmsplice() before fork(), unmap in parent after fork()": _cow("cow_parent_keeps_before_fork", _HOLD),
        "vmsplice() + unmap in parent after fork()": _cow("cow_parent_keeps_after_fork", _HOLD),
        "R/O-mapping a page registered as iouring fixed buffer": _cow("cow_fixed_buffer_and_mprotect", _IO_URING),
        "fork() with an iouring fixed buffer": _cow("cow_fixed_buffer_and_fork", _IO_URING),
        "R/O GUP pin on R/O-mapped shared page": _cow("cow_locked_read_pin_of_shared"),
        "R/O GUP-fast pin on R/O-mapped shared page": _cow("cow_read_pin_of_shared"),
        "R/O GUP pin on R/O-mapped previously-shared page": _cow("cow_locked_read_pin_of_previously_shared"),
        "R/O GUP-fast pin on R/O-mapped previously-shared page": _cow("cow_read_pin_of_previously_shared"),
        "R/O GUP pin on R/O-mapped exclusive page": _cow("cow_locked_read_pin_of_exclusive"),
        "R/O GUP-fast pin on R/O-mapped exclusive page": _cow("cow_read_pin_of_exclusive"),
        "Basic COW after fork() when collapsing before fork()": _cow("cow_collapsed_before_fork", _TWO_PAGES),
        "Basic COW after fork() when collapsing after fork() (fully shared)": Here(missing="what 6.12 does not do: MADV_COLLAPSE is refused there, for nothing may be written"),
        "Basic COW after fork() when collapsing after fork() (lower shared)": _cow("cow_collapsed_lower_shared", _TWO_PAGES),
        "Basic COW after fork() when collapsing after fork() (upper shared)": _cow("cow_collapsed_upper_shared", _TWO_PAGES),
        "Basic COW": _cow("cow_not_anonymous"),
        "R/O longterm GUP pin": _cow("cow_locked_read_pin_not_anonymous"),
        "R/O longterm GUP-fast pin": _cow("cow_read_pin_not_anonymous"),
    },
    "gup_longterm": {
        "R/W longterm GUP pin in MAP_SHARED file mapping": _longterm("longterm_shared"),
        "R/W longterm GUP-fast pin in MAP_SHARED file mapping": _longterm("longterm_shared"),
        "R/O longterm GUP pin in MAP_SHARED file mapping": _longterm("longterm_shared"),
        "R/O longterm GUP-fast pin in MAP_SHARED file mapping": _longterm("longterm_shared", "Of huge pages: `longterm_huge`."),
        "R/W longterm GUP pin in MAP_PRIVATE file mapping": _longterm("longterm_private"),
        "R/W longterm GUP-fast pin in MAP_PRIVATE file mapping": _longterm("longterm_private"),
        "R/O longterm GUP pin in MAP_PRIVATE file mapping": _longterm("longterm_private"),
        "R/O longterm GUP-fast pin in MAP_PRIVATE file mapping": _longterm("longterm_private"),
        "io_uring fixed buffer with MAP_SHARED file mapping": _longterm("longterm_shared", _IO_URING),
        "io_uring fixed buffer with MAP_PRIVATE file mapping": _longterm("longterm_private", _IO_URING),
    },
    "uffd-unit-tests": {
        "register-ioctls": _uffd("uffd_register_ioctls_tests"),
        "zeropage": _uffd("uffd_zeropage_tests"),
        "move": _uffd("uffd_move_tests"),
        "move-pmd": Here(missing="UFFDIO_MOVE of huge pages"),
        "move-pmd-split": Here(missing="UFFDIO_MOVE of huge pages"),
        "wp-fork": _uffd("uffd_wp_fork_tests", "Of a memfd, shared and private: `uffd_wp_fork_memfd_tests`, `uffd_wp_fork_private_memfd_tests`."),
        "wp-fork-with-event": _uffd(
            "uffd_wp_fork_with_event_tests", "Of a memfd: `uffd_wp_fork_with_event_memfd_tests`, `uffd_wp_fork_with_event_private_memfd_tests`."
        ),
        "wp-fork-pin": _uffd("uffd_wp_fork_pin_tests", "Of a memfd: `uffd_wp_fork_pin_memfd_tests`."),
        "wp-fork-pin-with-event": _uffd("uffd_wp_fork_pin_with_event_tests", "Of a memfd: `uffd_wp_fork_pin_with_event_memfd_tests`."),
        "wp-unpopulated": _uffd("uffd_wp_unpopulated_tests"),
        "minor": _uffd("uffd_minor_tests"),
        "minor-wp": _uffd("uffd_minor_wp_tests"),
        "minor-collapse": Here(missing="MADV_COLLAPSE of a memfd"),
        "sigbus": _uffd("uffd_sigbus_tests"),
        "sigbus-wp": _uffd("uffd_sigbus_wp_tests", "Of private memory."),
        "events": _uffd("uffd_events_tests", "Of private memory."),
        "events-wp": _uffd("uffd_events_wp_tests", "Of private memory."),
        "poison": _uffd("uffd_poison_tests", "Of a memfd: `uffd_poison_memfd_tests`."),
    },
}
"""For each program its tests of Linux 6.12, in its order, by the name in its source."""

ON_MEMORY: dict[str, str] = {
    "cow": (
        "The first fourteen run *with base page* and *with swapped out base page*, as their scenarios do. Missing: huge pages, whole and in parts, and "
        "hugetlb. The last three run with the zero page and with a memfd, as theirs do. Missing: the huge zero page, memfds of huge pages, "
        f"{_FILE_SYSTEMS}."
    ),
    "gup_longterm": f"With memfds. Missing: {_FILE_SYSTEMS}, where a pin for writing of shared memory must be refused.",
    "uffd-unit-tests": "With private memory and memfds, as the test has it. Missing: shared anonymous memory and hugetlb.",
}
"""What memory a program's tests run with, and ours."""
