"""Search by several machines with Ray: two local nodes, of which one is killed, or stopped, or all are left at once.

`make test-cluster` installs Ray and runs this alone: each cluster is half a dozen processes. What needs no Ray is in
test_cluster.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

if importlib.util.find_spec("ray") is None or os.environ.get("PYTEST_XDIST_WORKER"):
    if os.environ.get("SECONDSIGHT_REQUIRE_RAY"):
        raise RuntimeError("this needs Ray, and to run alone: make test-cluster")
    pytest.skip("needs Ray, and to run alone: make test-cluster", allow_module_level=True)

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from bench.mirror import CONFIGURATIONS, mirror
from ray.cluster_utils import Cluster
from test_cluster import ENDS, HOUSE, adds, assert_replays, holding, mirror_a, program_of, spins, stays, told
from test_cluster_reduced import looking

from secondsight.lang import LangError
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.scenario import load_scenarios
from secondsight.search import Limits, Progress, Request, Result, Verdict
from secondsight.search import reduced as reduced_module
from secondsight.search.cluster import cluster_search, job_of, reduced_cluster_search
from secondsight.search.cluster_ray import RayHosts, _open, hosts_at
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_search
from secondsight.world.model import program, watched

SMALL: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
SOON = 40.0
"""Seconds within which a search ends that something has happened to, on a machine with much else to do."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster(initialize_head=True, head_node_args=SMALL)
    made.add_node(**SMALL)
    yield made
    leave()
    made.shutdown()


def leave() -> None:
    for hosts in list(_open.values()):
        hosts.close()


@cache
def large() -> Native:
    """Nobody waits for the end of this one."""
    return Native(mirror(*CONFIGURATIONS["E"][:5]))


def after(states: int, happens: Callable[[], object]) -> tuple[Callable[[Progress], None], list[float]]:
    """Progress that has something happen, once, when so many states were seen; and when it did."""
    since: list[float] = []

    def on_progress(progress: Progress) -> None:
        if progress.states >= states and not since:
            since.append(time.monotonic())
            happens()

    return on_progress, since


def assert_cut(found: Result, since: list[float], within: float = SOON) -> None:
    """It was not finished, soon after something happened, and says what was seen."""
    assert since, "the search was over before anything happened"
    assert time.monotonic() - since[0] < within
    assert found.verdict is Verdict.NOT_FINISHED
    assert 300_000 <= found.states < CONFIGURATIONS["E"][5]
    assert found.transitions > found.states


# Two nodes see what one machine sees.


def test_two_nodes_take_part(cluster: Cluster) -> None:
    hosts = hosts_at(cluster.address)
    assert len(set(hosts.names)) == 2
    assert hosts.workers == [1, 1]


@pytest.mark.parametrize("exact", [False, True])
def test_the_mirror_protocol_has_the_known_counts(cluster: Cluster, exact: bool) -> None:
    found = cluster_search(mirror_a(True), cluster.address, Request(exact=exact))
    assert (found.verdict, found.states, found.transitions) == (Verdict.HOLDS, *CONFIGURATIONS["A"][5:])
    assert found.exact is exact


def test_a_broken_one_is_broken_by_as_short_a_trace(cluster: Cluster) -> None:
    found = cluster_search(mirror_a(False), cluster.address)
    assert told(found) == told(native_search(mirror_a(False), Request(workers=1)))
    assert_replays(mirror_a(False), found)


def test_livelock(cluster: Cluster) -> None:
    native = Native(program_of((spins,), (stays,), (adds, 2)))
    found, one = cluster_search(native, cluster.address, Request(livelock=True)), native_search(native, Request(livelock=True, workers=1))
    assert told(found) == told(one)
    assert found.violation is not None
    assert found.violation.rule == "livelock"
    assert_replays(native, found)


@pytest.mark.parametrize("functions, ends", ENDS)
def test_every_end(cluster: Cluster, functions: list[tuple[Any, ...]], ends: str | None) -> None:
    native = Native(program_of(*functions))
    found = cluster_search(native, cluster.address)
    assert told(found) == told(native_search(native, Request(workers=1)))
    assert (found.violation.rule if found.violation else found.reason) == ends
    assert_replays(native, found)


@pytest.mark.parametrize("name", ["punch_races", "thread_2023_sequence", "munmap_races"])
def test_outcomes(cluster: Cluster, name: str) -> None:
    made = program(load_scenarios(HOUSE / "scenarios" / f"{name}.py")[0])
    native, watch = Native(made), watched(made)
    found = cluster_search(native, cluster.address, Request(watch=watch))
    assert told(found) == told(native_search(native, Request(watch=watch, workers=1)))
    assert found.outcomes


def test_a_command_searches_on_the_cluster(cluster: Cluster) -> None:
    leave()  # the nodes' CPUs are one search's at a time

    def checked(*options: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "secondsight", "check", "examples/my_gpu.py", "--adversary", "zero-page", "--json"]
        done = subprocess.run([*command, "--executor", "native", *options], cwd=HOUSE, capture_output=True, text=True, check=True)
        data: dict[str, Any] = json.loads(done.stdout)
        return data

    def figures(data: dict[str, Any]) -> list[tuple[object, ...]]:
        return [(c["verdict"], c["states"], c["transitions"]) for c in data["results"]]

    for options in ((), ("--no-merge", "--exact")):
        assert figures(checked("--cluster", cluster.address, *options)) == figures(checked(*options))


# With reductions.


@pytest.mark.parametrize("right", [True, False])
def test_reductions(cluster: Cluster, right: bool) -> None:
    program = mirror_a(right).program
    one, found = reduced_search(program, Request(workers=1)).result, reduced_cluster_search(program, cluster.address)
    assert told(found) == told(one)
    assert (found.reduced, found.note) == (one.reduced, one.note)
    assert found.reduced == (("merge", "symmetry") if right else ())
    assert_replays(mirror_a(right), found)


def test_an_assumption_that_one_node_sees_broken(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduced_module, "WALKS", 0)
    begun: list[bytes] = []
    open_job = RayHosts.open
    monkeypatch.setattr(RayHosts, "open", lambda hosts, job: (begun.append(job.facts), open_job(hosts, job))[1])
    for n in (3, 4, 5):
        begun.clear()
        program = looking(n)
        found = reduced_cluster_search(program, cluster.address)
        assert told(found) == told(reduced_search(program, Request(workers=1)).result)
        assert found.reduced == ("merge",)
        assert len(set(begun)) == len(begun) > 1


# Limits.


@pytest.mark.parametrize("limits, reason", [(Limits(states=300_000), "states"), (Limits(seconds=1.5), "seconds")])
def test_limits(cluster: Cluster, limits: Limits, reason: str) -> None:
    found = cluster_search(large(), cluster.address, Request(limits=limits))
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, reason)
    assert limits.states is None or limits.states <= found.states < 1.3 * limits.states


def test_memory_is_for_all_members_of_a_machine_together(cluster: Cluster) -> None:
    found = cluster_search(large(), cluster.address, Request(limits=Limits(memory=60 << 20)))
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "memory")
    assert 30 << 20 < found.peak <= 60 << 20


def test_ctrl_c(cluster: Cluster) -> None:
    on_progress, since = after(300_000, lambda: os.kill(os.getpid(), signal.SIGINT))
    found = cluster_search(large(), cluster.address, Request(on_progress=on_progress))
    assert_cut(found, since)
    assert found.reason == "interrupted"


# What goes wrong.


def test_a_model_that_a_node_cannot_compile(cluster: Cluster) -> None:
    job = job_of(holding(), Request(), 1 << 20)
    with pytest.raises(LangError, match=r"node \S+ \(\w+\): the C compiler failed"):
        hosts_at(cluster.address).open(replace(job, text="#error not here"))
    assert cluster_search(holding(), cluster.address).verdict is Verdict.HOLDS


def test_rays_own_process_is_killed(cluster: Cluster) -> None:
    on_progress, since = after(300_000, lambda: os.kill(hosts_at(cluster.address).process.pid, signal.SIGKILL))
    found = cluster_search(large(), cluster.address, Request(on_progress=on_progress))
    assert_cut(found, since)
    assert (found.reason or "").startswith(f"lost the cluster at {cluster.address}")


def test_a_member_that_does_not_answer(cluster: Cluster) -> None:
    stopped: list[int] = []

    def stop() -> None:
        listed = subprocess.run(["ps", "-eo", "pid,command"], capture_output=True, text=True, check=True).stdout
        stopped.append(next(int(line.split()[0]) for line in listed.splitlines() if "ray::Host" in line))
        os.kill(stopped[0], signal.SIGSTOP)

    on_progress, since = after(300_000, stop)
    try:
        found = cluster_search(large(), cluster.address, Request(on_progress=on_progress), patience=5)
        assert_cut(found, since)
        assert "has not answered for 5 s" in (found.reason or "")
    finally:
        os.kill(stopped[0], signal.SIGKILL)


def test_a_node_is_killed_during_a_run_and_the_next_search_does_without_it(cluster: Cluster) -> None:
    nodes = set(hosts_at(cluster.address).names)
    victim = next(iter(cluster.worker_nodes))
    on_progress, since = after(300_000, lambda: cluster.remove_node(victim, allow_graceful=False))
    merged = Reductions(symmetry=False)
    found = reduced_cluster_search(large().program, cluster.address, Request(reductions=merged, on_progress=on_progress))
    assert_cut(found, since)
    assert found.reduced == ("merge",)
    lost = (found.reason or "").removeprefix("lost ")
    assert lost in nodes
    assert victim.node_id[:8] in lost

    whole = reduced_cluster_search(mirror_a(True).program, cluster.address)
    one = reduced_search(mirror_a(True).program).result
    assert (whole.verdict, whole.states, whole.transitions) == (Verdict.HOLDS, one.states, one.transitions)
    whole = cluster_search(mirror_a(True), cluster.address)
    assert (whole.verdict, whole.states, whole.transitions) == (Verdict.HOLDS, *CONFIGURATIONS["A"][5:])
    assert set(hosts_at(cluster.address).names) == nodes - {lost}
