"""mm/migrate.c beside its model, on the page tables of two processes: walks and transitions agree, and what is made wrong is noticed."""

from __future__ import annotations

import pytest
from conform_walks import agreeing_sample, agreeing_walks
from conform_world import source_of

from secondsight.conform.build import build
from secondsight.conform.mutants import mutants_of_c
from secondsight.conform.side import Side
from secondsight.conform.targets.migrate import MigrateFile
from secondsight.conform.walk import Beside, Tally

TARGET = MigrateFile()


@pytest.mark.wide
@pytest.mark.parametrize("release", TARGET.releases)
def test_random_walks_agree(release: str) -> None:
    agreeing_walks(TARGET, release)


@pytest.mark.parametrize(("release", "every"), [("6.12", 4), pytest.param("6.12", 1, marks=pytest.mark.wide), pytest.param("7.2", 1, marks=pytest.mark.wide), pytest.param("6.1", 1, marks=pytest.mark.wide)])
def test_every_transition_of_the_bounded_configurations_agrees(release: str, every: int) -> None:
    """Among them: a folio that nothing maps, whose vmas nobody walks over; one that is held, pinned, locked or written; two that are moved at a time."""
    tally = agreeing_sample(TARGET, release, every)
    assert tally.states > 8_000 // every // 2


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("if (folio_ref_count(src) != expected_count)", "if (0)"),  # one that is held is moved
        pytest.param("	} else if (folio_mapped(src)) {", "	} else {", marks=pytest.mark.wide),  # what nothing maps is walked over
        pytest.param("	if (folio_test_swapcache(folio))\n		folio_clear_swapcache(folio);", "", marks=pytest.mark.wide),  # the old one seems to be in the swap cache still
        pytest.param("	folio_unlock(dst);\n	set_page_owner", "	set_page_owner", marks=pytest.mark.wide),  # the new one stays locked
    ],
)
def test_what_is_made_wrong_is_noticed(was: str, now: str) -> None:
    assert is_noticed("6.12", was, now)


def test_what_is_copied_from_another_folio_is_noticed() -> None:
    assert is_noticed("6.1", "folio_copy(newfolio, folio);", "folio_copy(newfolio, newfolio);")


def is_noticed(release: str, was: str, now: str) -> bool:
    """Whether a file in which something else stands disagrees."""
    source = source_of(release)
    text = (source.tree / TARGET.file).read_text()
    assert was in text
    with Side(build(TARGET, source, text.replace(was, now))) as side:
        tally = Tally()
        for configuration in TARGET.bounded(release):
            Beside(TARGET, side, release).all_transitions(configuration, tally, careful=True)
            if tally.disagreement is not None:
                break
        return tally.disagreement is not None


def test_mutants_that_are_listed_as_equivalent_exist() -> None:
    text = (source_of("6.12").tree / TARGET.file).read_text()
    assert set(TARGET.equivalent) <= {mutant.name for mutant in mutants_of_c(text, TARGET.functions)}
