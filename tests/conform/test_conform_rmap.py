"""mm/rmap.c beside its model, on the page tables of two processes: walks and transitions agree, and what is made wrong is noticed."""

from __future__ import annotations

from itertools import islice

import pytest
from conform_walks import agreeing_walks
from conform_world import source_of

from secondsight.conform.build import build
from secondsight.conform.mutants import mutants_of_c
from secondsight.conform.side import Side
from secondsight.conform.story import tell
from secondsight.conform.targets.rmap import RmapFile
from secondsight.conform.walk import Beside, Tally

TARGET = RmapFile()


@pytest.mark.wide
@pytest.mark.parametrize("release", [pytest.param("6.1", marks=pytest.mark.wide), "6.12", pytest.param("7.2", marks=pytest.mark.wide)])
def test_random_walks_agree(release: str) -> None:
    agreeing_walks(TARGET, release)


@pytest.mark.parametrize("release", ["6.12", "7.2"])
def test_every_transition_of_the_bounded_configurations_agrees(release: str) -> None:
    """Among them: a folio that is mapped no more when its lock can be had; one that was written, and is pinned; one that MADV_FREE has marked, and is held."""
    with Side(build(TARGET, source_of(release))) as side:
        tally = Tally()
        for configuration in islice(TARGET.bounded(release), 0, None, 1 if release == "6.12" else 3):
            Beside(TARGET, side, release).all_transitions(configuration, tally, careful=True)
        assert tally.disagreement is None, tell(TARGET, f"linux-{release}", tally.disagreement)
    assert tally.states > 2_000
    assert not tally.cut


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("ref_count == 1 + map_count", "ref_count == map_count"),  # what MADV_FREE has marked is never dropped
        pytest.param("	if (!folio_mapped(folio))\n		return 0;\n\n	mapping", "	mapping", marks=pytest.mark.wide),  # somebody walks over a file's page that nothing maps
        pytest.param("			entry = pte_wrprotect(entry);\n			entry = pte_mkclean(entry);", "			entry = pte_mkclean(entry);", marks=pytest.mark.wide),  # it may be written still
        pytest.param("if (is_writable_device_private_entry(entry))", "if (0)", marks=pytest.mark.wide),  # a page in device memory may not be written afterwards
    ],
)
def test_what_is_made_wrong_is_noticed(was: str, now: str) -> None:
    """In the bounded configurations: walks seldom come to what MADV_FREE has marked."""
    source = source_of("6.12")
    text = (source.tree / TARGET.file).read_text()
    assert was in text
    with Side(build(TARGET, source, text.replace(was, now))) as side:
        tally = Tally()
        for configuration in TARGET.bounded("6.12"):
            Beside(TARGET, side, "6.12").all_transitions(configuration, tally, careful=True)
            if tally.disagreement is not None:
                break
        assert tally.disagreement is not None


def test_mutants_that_are_listed_as_equivalent_exist() -> None:
    text = (source_of("6.12").tree / TARGET.file).read_text()
    assert set(TARGET.equivalent) <= {mutant.name for mutant in mutants_of_c(text, TARGET.functions)}
