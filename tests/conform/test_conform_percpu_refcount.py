"""lib/percpu-refcount.c beside its model."""

from __future__ import annotations

import pytest
from conform_walks import agreeing_transitions, agreeing_walks, noticed

from secondsight.conform.targets.percpu_refcount import PercpuRefcountFile
from secondsight.lang import Machine
from secondsight.lang.errors import RuleBroken
from secondsight.linux import bounds
from secondsight.linux.memremap import get_dev_pagemap, memremap_pages, put_dev_pagemap
from secondsight.linux.page_alloc import mem_init


@pytest.mark.parametrize("release", PercpuRefcountFile.releases)
def test_walks_of_takers_and_a_kill_agree(release: str) -> None:
    agreeing_walks(PercpuRefcountFile(), release)


def test_every_transition_of_two_kills_agrees() -> None:
    assert agreeing_transitions(PercpuRefcountFile(), "6.12", 6).broken["refcount"] > 20


@pytest.mark.parametrize(
    ("was", "now"),
    [("ref->percpu_count_ptr |= __PERCPU_REF_DEAD;", ";"), ("count += *per_cpu_ptr(percpu_count, cpu);", ";")],
    ids=["it is killed and lives on", "a CPU's counter is forgotten"],
)
def test_a_change_is_noticed(was: str, now: str) -> None:
    noticed(PercpuRefcountFile(), "6.12", was, now)


def test_the_initial_reference_is_dropped_by_the_kill_alone() -> None:
    machine = Machine(bounds=bounds(pagemaps=1, file_pages=1))
    with machine:
        mem_init()
        pgmap = memremap_pages(1)
        frame = pgmap.pages[0]
        assert frame is not None
        assert get_dev_pagemap(frame) is not None
        put_dev_pagemap(pgmap)
        with pytest.raises(RuleBroken, match="refcount"):
            put_dev_pagemap(pgmap)
