"""mm/gup.c beside its model, on real page tables: walks and transitions agree, and what is made wrong is noticed."""

from __future__ import annotations

from itertools import islice

import pytest
from conform_walks import agreeing_transitions, agreeing_walks, noticed
from conform_world import source_of

from secondsight.conform.build import build
from secondsight.conform.mutants import mutants_of_c
from secondsight.conform.run import run
from secondsight.conform.side import Side
from secondsight.conform.story import tell
from secondsight.conform.targets.gup import GupFile
from secondsight.conform.targets.gup_world import Op
from secondsight.conform.walk import Beside, Tally

TARGET = GupFile()


@pytest.mark.parametrize("release", ["6.1", "6.12", "7.2"])
def test_random_walks_agree(release: str) -> None:
    agreeing_walks(TARGET, release)


def test_every_call_for_every_kind_of_page_agrees() -> None:
    with Side(build(TARGET, source_of("6.12"))) as side:
        tally = Tally()
        for configuration in islice(TARGET.bounded("6.12"), 0, None, 16):
            Beside(TARGET, side, "6.12").all_transitions(configuration, tally)
        assert tally.disagreement is None, tell(TARGET, "linux-6.12", tally.disagreement)
    assert tally.states > 1_000
    assert not tally.cut


@pytest.mark.parametrize("release", ["6.12", pytest.param("7.2", marks=pytest.mark.wide)])
def test_pins_of_a_memfds_folios_agree(release: str) -> None:
    """Pages that are there, holes, a place behind the end; beside who pins the same, fills a hole, or maps them no more."""
    of_memfd = [number for number, one in enumerate(TARGET.bounded(release)) if any(task.code == Op.PIN_MEMFD for thread in one.threads for task in thread)]
    assert len(of_memfd) >= 10
    for which in of_memfd:
        agreeing_transitions(TARGET, release, which)


COMPLETED = "		return -EAGAIN;\n	}\n\n	if (ret & VM_FAULT_ERROR) {\n		int err = vm_fault_to_errno(ret, flags);"
GET = "	if (flags & FOLL_GET)\n		folio_ref_add(folio, refs"


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("			       FOLL_PIN | FOLL_TOUCH | FOLL_REMOTE))", "			       FOLL_PIN | FOLL_REMOTE))"),  # no page is marked dirty
        pytest.param("} else if (pte_special(pte))", "} else if (0)", marks=pytest.mark.wide),  # the zero page is had without the lock
        pytest.param("				if (try_grab_folio(folio, 1, FOLL_PIN)) {", "				if (try_grab_folio(folio, 1, FOLL_GET)) {", marks=pytest.mark.wide),  # a memfd's folio is held only
        pytest.param(COMPLETED, COMPLETED.replace("-EAGAIN", "0"), marks=pytest.mark.wide),  # a lock that was given up counts as held
    ],
)
def test_what_is_made_wrong_is_noticed(was: str, now: str) -> None:
    noticed(TARGET, "6.12", was, now)


def test_a_field_that_comes_several_times_is_shown_where_it_differs() -> None:
    source = source_of("6.12")
    text = (source.tree / TARGET.file).read_text()
    report = run(TARGET, source.release, build(TARGET, source, text.replace(GET, GET + " + 1")), seconds=60, transitions=False, most_steps=5_000, small=False)
    assert report.disagreement is not None
    assert "  frame" in tell(TARGET, "linux-6.12", report.disagreement)


def test_mutants_that_are_listed_as_equivalent_exist() -> None:
    text = (source_of("6.12").tree / TARGET.file).read_text()
    assert set(TARGET.equivalent) <= {mutant.name for mutant in mutants_of_c(text, TARGET.functions)}
