"""mm/memory.c beside its model, on real page tables: walks and transitions agree, and what is made wrong is noticed."""

from __future__ import annotations

import pytest
from conform_walks import agreeing_sample, agreeing_walks, noticed

from secondsight.conform.targets.memory import MemoryFile

TARGET = MemoryFile()


@pytest.mark.wide
@pytest.mark.parametrize("release", ["6.12", "7.2"])
def test_random_walks_agree(release: str) -> None:
    agreeing_walks(TARGET, release)


def test_faults_and_zaps_of_every_kind_of_entry_agree() -> None:
    assert agreeing_sample(TARGET, "6.12", 16).states > 1_000


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("	if (folio && folio_test_anon(folio) &&\n	    (PageAnonExclusive", "	if (folio && 0 &&\n	    (PageAnonExclusive"),  # a page of its own is copied all the same
        pytest.param("			folio_remove_rmap_pte(old_folio, vmf->page, vma);\n", "", marks=pytest.mark.wide),  # what was copied counts as mapped still
        pytest.param(
            "			WARN_ON_ONCE(!folio_test_anon(folio));\n			rss[mm_counter(folio)]--;\n			if (is_device_private_entry(entry))\n",
            "			rss[mm_counter(folio)]--;\n",
            marks=pytest.mark.wide,
        ),  # a device-exclusive entry counts as a mapping
    ],
)
def test_what_is_made_wrong_is_noticed(was: str, now: str) -> None:
    noticed(TARGET, "6.12", was, now)
