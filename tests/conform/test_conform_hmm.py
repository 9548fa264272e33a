"""mm/hmm.c beside its model, on real page tables: walks and transitions agree, and what is made wrong is noticed."""

from __future__ import annotations

from itertools import islice

import pytest
from conform_world import source_of

from secondsight.conform.build import build
from secondsight.conform.mutants import mutants_of_c
from secondsight.conform.run import ConformReport, run
from secondsight.conform.side import Side
from secondsight.conform.story import tell
from secondsight.conform.targets.hmm import HmmFile
from secondsight.conform.walk import Beside, Tally

TARGET = HmmFile()


@pytest.mark.parametrize("release", ["6.1", "6.12", "7.2"])
def test_random_walks_agree(release: str) -> None:
    source = source_of(release)
    report = run(TARGET, source.release, build(TARGET, source), seconds=120, most_steps=5_000, transitions=False)
    assert report.disagreement is None, tell(TARGET, source.release, report.disagreement)
    assert report.steps >= 5_000
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


def mutated(was: str, now: str) -> ConformReport:
    """What comes of the C with another text at one place."""
    source = source_of("6.12")
    text = (source.tree / TARGET.file).read_text()
    assert text.count(was) == 1
    return run(TARGET, source.release, build(TARGET, source, text.replace(was, now)), seconds=120, transitions=False, most_steps=20_000, small=False)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("fault_flags |= FAULT_FLAG_WRITE;", ";"),  # handle_mm_fault() is called for reading
        ("return -EBUSY;\n\t\tret = walk_page_range", "ret = 0;\n\t\tret = walk_page_range"),
        ("VM_FAULT_ERROR)", "VM_FAULT_SIGBUS)"),  # the C is given the kernel's VM_FAULT_SIGSEGV
    ],
)  # fmt: skip
def test_what_is_made_wrong_is_noticed(was: str, now: str) -> None:
    report = mutated(was, now)
    assert report.disagreement is not None


def test_a_function_that_no_stub_stands_for_is_named_when_it_is_called() -> None:
    report = mutated("pte_t pte = ptep_get(ptep);", "pte_t pte = ptep_get(ptep); migration_entry_wait(walk->mm, pmdp, addr);")
    assert report.disagreement is not None
    assert "migration_entry_wait is called, which no stub stands for in hmm_vma_handle_pte" in report.disagreement.c


def test_mutants_that_are_listed_as_equivalent_exist() -> None:
    text = (source_of("6.12").tree / TARGET.file).read_text()
    mutants = {mutant.name for mutant in mutants_of_c(text, TARGET.functions)}
    assert set(TARGET.equivalent) <= mutants
    assert len(mutants - set(TARGET.equivalent)) >= 80
