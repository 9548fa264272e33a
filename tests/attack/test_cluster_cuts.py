"""Searches on a Ray cluster, of which a process is killed at some moment: `make test-cluster`; `make attack` has more of them."""

from __future__ import annotations

import os

import pytest
from attack.cluster_cuts import has_ray, run_cluster_cuts
from attack.cuts import Cuts

if not has_ray() or os.environ.get("PYTEST_XDIST_WORKER"):
    if os.environ.get("SECONDSIGHT_REQUIRE_RAY"):
        raise RuntimeError("this needs Ray, and to run alone: make test-cluster")
    pytest.skip("needs Ray, and to run alone: make test-cluster", allow_module_level=True)


def test_nothing_that_is_cut_short_on_a_cluster_holds() -> None:
    done = run_cluster_cuts(Cuts(seed=2, moments=4))
    assert done.failures == []
    assert done.untidy == []
    assert done.done == 4
