"""The kernel's own tests of HMM and udmabuf beside the scenarios of this repository, test by test.

Tools that run the tests look up `here`; docs/hmm-tests.md is the same table, to read.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TABLE", "UNKNOWN", "Here", "here"]

UNKNOWN = "not in the table"
"""What is said of a test that the table does not have: one of another release, or what a program says of itself."""


@dataclass(frozen=True)
class Here:
    """What stands here for a test: the scenario that asserts the same, by its name and its file in scenarios/, or what is
    missing for one. `note`: what else a reader may want to know."""

    scenario: str | None = None
    file: str | None = None
    missing: str | None = None
    note: str = ""

    def __str__(self) -> str:
        return f"scenario {self.scenario}" if self.scenario else f"missing: {self.missing}"


def here(program: str, test: str) -> Here | None:
    """What stands here for a test, by the name that the program prints: `hmm.hmm_device_private.open_close` (the fixture, the
    kind of the device's memory, the test), `test-1`, or `test 1` for one that did not come to print it. None: unknown."""
    return TABLE.get(program, {}).get(test.rpartition(".")[2].replace(" ", "-"))


def _hmm(scenario: str, note: str = "") -> Here:
    return Here(scenario, "hmm_tests", note=note)


def _missing(what: str, note: str = "") -> Here:
    return Here(missing=what, note=note)


TABLE: dict[str, dict[str, Here]] = {
    "udmabuf": {
        "test-1": Here("udmabuf_from_half_a_page", "udmabuf_refused"),
        "test-2": Here("udmabuf_of_half_a_page", "udmabuf_refused"),
        "test-3": Here("udmabuf_of_no_memfd", "udmabuf_refused", note="A udmabuf for their standard input."),
        "test-4": Here("udmabuf_whole_memfd", "udmabuf_tests"),
        "test-5": Here("udmabuf_list", "udmabuf_tests", note="With a hole, as the 2023 thread has it: `thread_2023_selftest`."),
        "test-6": Here("udmabuf_list_of_huge_pages", "udmabuf_tests", note="Mapped and written before the udmabuf is made."),
    },
    "hmm-tests": {
        "open_close": _hmm("hmm_open_close"),
        "anon_read": _hmm("hmm_anon_read"),
        "anon_read_prot": _hmm("hmm_anon_read_prot"),
        "anon_write": _hmm("hmm_anon_write"),
        "anon_write_prot": _hmm("hmm_anon_write_prot"),
        "anon_write_child": _hmm("hmm_anon_write_child"),
        "anon_write_child_shared": _hmm("hmm_anon_write_child_shared", "A memfd for anonymous shared memory."),
        "anon_write_huge": _hmm("hmm_anon_write_huge"),
        "anon_write_hugetlbfs": _hmm("hmm_anon_write_hugetlbfs", "A private mapping of a memfd for an anonymous one."),
        "file_read": _hmm("hmm_file_read", "A memfd for the file."),
        "file_write": _hmm("hmm_file_write", "A memfd for the file."),
        "migrate": _hmm("hmm_migrate"),
        "migrate_file_private": _hmm("hmm_migrate_file_private", "A memfd for the file."),
        "migrate_fault": _hmm("hmm_migrate_fault"),
        "migrate_release": _hmm("hmm_migrate_release", "The device is closed for theirs that stays."),
        "migrate_shared": _hmm("hmm_migrate_shared", "A memfd for anonymous shared memory. Theirs is told by an error that nothing has come, this one by the number."),
        "migrate_mixed": _hmm("hmm_migrate_mixed"),
        "migrate_multiple": _hmm("hmm_migrate_multiple", "Twice for theirs of many times."),
        "anon_read_multiple": _hmm("hmm_anon_read_multiple"),
        "anon_teardown": _hmm("hmm_anon_teardown"),
        "mixedmap": _missing("a device's file that puts pages of its own into its mapping (vm_insert_page(), VM_MIXEDMAP): here each page is anonymous or a file's"),
        "snapshot": _hmm("hmm_snapshot", "The zero page is one that may be read."),
        "compound": _hmm("hmm_compound", "A memfd of huge pages for private ones."),
        "double_map": _hmm("hmm_double_map"),
        "exclusive": _hmm("hmm_exclusive", "The device exchanges a page's value for theirs that reads it."),
        "exclusive_mprotect": _hmm("hmm_exclusive_mprotect"),
        "exclusive_cow": _hmm("hmm_exclusive_cow"),
        "hmm_gup_test": _hmm("hmm_gup", "A pin for their gup_test device."),
        "hmm_cow_in_device": _hmm("hmm_cow_in_device"),
    },
}
"""For each program its tests of Linux 6.12, in its order, by name without fixture."""
