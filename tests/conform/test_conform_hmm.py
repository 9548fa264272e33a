"""mm/hmm.c beside its model, on real page tables: walks and transitions agree, and what is made wrong is noticed."""

from __future__ import annotations

from itertools import islice

import pytest
from conform_world import source_of

from secondsight.conform.build import build
from secondsight.conform.run import Report, run
from secondsight.conform.side import Side
from secondsight.conform.story import tell
from secondsight.conform.targets.hmm import HmmFile
from secondsight.conform.walk import Beside, Tally

TARGET = HmmFile()


@pytest.mark.parametrize("release", ["6.1", "6.12", "7.2"])
def test_random_walks_agree(release: str) -> None:
    source = source_of(release)
    report = run(TARGET, source.release, build(TARGET, source), seconds=2, transitions=False)
    assert report.disagreement is None, tell(TARGET, source.release, report.disagreement)
    assert report.steps > 500
    assert set(report.walks.broken) <= set(TARGET.rules)


def test_every_request_for_every_kind_of_page_agrees() -> None:
    source = source_of("6.12")
    with Side(build(TARGET, source)) as side:
        tally = Tally()
        for configuration in islice(TARGET.bounded("6.12"), 0, None, 16):
            Beside(TARGET, side, "6.12").all_transitions(configuration, tally)
        assert tally.disagreement is None, tell(TARGET, "linux-6.12", tally.disagreement)
    assert tally.states > 1_000
    assert not tally.cut


def mutated(was: str, now: str) -> Report:
    """What comes of the C with another text at one place."""
    source = source_of("6.12")
    text = (source.tree / TARGET.file).read_text()
    assert text.count(was) == 1
    return run(TARGET, source.release, build(TARGET, source, text.replace(was, now)), seconds=20, transitions=False, most_steps=20_000, small=False)


@pytest.mark.parametrize(
    ("was", "now", "what"),
    [
        ("fault_flags |= FAULT_FLAG_WRITE;", ";", "the states differ"),  # handle_mm_fault() is called for reading
        ("return -EBUSY;\n\t\tret = walk_page_range", "ret = 0;\n\t\tret = walk_page_range", "the thread is at another place"),  # nobody looks at the number
        ("hmm_vma_walk->last = addr;\n\n\tif (required", "if (required", "the states differ"),  # what was written is read as a request
        ("(VM_IO | VM_PFNMAP)", "VM_IO", "the states differ"),
        ("*hmm_pfn = pte_pfn(pte) | cpu_flags;", "*hmm_pfn = (pte_pfn(pte) + 1) | cpu_flags;", "the states differ"),
    ],
)  # fmt: skip
def test_what_is_made_wrong_is_noticed(was: str, now: str, what: str) -> None:
    report = mutated(was, now)
    assert report.disagreement is not None
    assert report.disagreement.what == what


def test_what_the_kernel_calls_and_no_stub_stands_for_is_named() -> None:
    report = mutated("pte_t pte = ptep_get(ptep);", "pte_t pte = ptep_get(ptep); migration_entry_wait(walk->mm, pmdp, addr);")
    assert report.disagreement is not None
    assert "migration_entry_wait is called, which no stub stands for in hmm_vma_handle_pte" in report.disagreement.c


def test_what_a_function_of_another_file_returns_reaches_the_c() -> None:
    """VM_FAULT_SIGBUS and VM_FAULT_SIGSEGV are errors of the model's; the C has the kernel's bits of them."""
    report = mutated("VM_FAULT_ERROR)", "VM_FAULT_SIGSEGV)")
    assert report.disagreement is not None
    report = mutated("VM_FAULT_ERROR)", "VM_FAULT_SIGBUS)")
    assert report.disagreement is not None
