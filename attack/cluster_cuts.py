"""Searches on a Ray cluster cut short: one of its processes, the search's own, or the one between them is killed at any moment.

The law is that of `cuts`. The cluster is one of two nodes on this machine; after the death of one of its processes a new one is begun.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attack.cuts import Cuts, descendants, judge, kill, start, victim, whole_search

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

__all__ = ["has_ray", "run_cluster_cuts"]

SIZE = 70
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


def has_ray() -> bool:
    """Whether Ray is installed."""
    return importlib.util.find_spec("ray") is not None


def run_cluster_cuts(cuts: Cuts, say: Callable[[str], None] = print) -> Cuts:
    """So many moments, or as many as there is time for."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    chance, end = random.Random(f"cluster/{cuts.seed}"), time.monotonic() + cuts.seconds
    if not cuts.moments:
        return cuts
    cluster: Cluster | None = None
    known: dict[bool, tuple[int, float]] = {}
    try:
        while cuts.done < cuts.moments and time.monotonic() < end:
            cluster = cluster or begun()
            right = chance.random() < 0.5
            if right not in known:
                known[right] = measured(right, str(cluster.address))
            if cluster_cut(cuts, cluster, chance, right, *known[right]):
                shut(cluster)
                cluster = None
            cuts.done += 1
    except KeyboardInterrupt:
        say("interrupted: what was found until now stands")
    finally:
        if cluster is not None:
            shut(cluster)
    for text in cuts.failures:
        say(f"FAILURE: {text}")
    return cuts


def measured(right: bool, address: str) -> tuple[int, float]:
    """The states and the seconds of a search that nobody cuts, the second time, when all that can be kept is kept."""
    whole_search("cluster", right, SIZE, address)
    return whole_search("cluster", right, SIZE, address)


def begun() -> Cluster:
    """A cluster of two nodes."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args=NODE)
    made.add_node(**NODE)
    return made


def shut(cluster: Cluster) -> None:
    """End a cluster of which something may be dead already."""
    with contextlib.suppress(Exception):
        cluster.shutdown()


def cluster_cut(cuts: Cuts, cluster: Cluster, chance: random.Random, right: bool, states: int, takes: float) -> bool:
    """One search, cut; whether the cluster is no more what it was. `states`, `takes`: of a search that nobody cuts."""
    what = chance.choice(["the search", "its driver", "a member", "a member", "a node", "the head's node", "the head's store of facts"])
    send = "KILL" if what.startswith("the head") else chance.choice(["INT", "TERM", "KILL", "KILL"])
    at = chance.uniform(0, takes * 1.1)
    aimed: list[int] | None = None

    def happens(process: int) -> None:
        nonlocal aimed
        aimed = processes(what, cluster, process)
        if aimed:
            kill(chance.choice(aimed), send)

    label = f"cluster, {'right' if right else 'wrong'} program, {send} to {what} after {at:.3f} s"
    ended = start([*victim("cluster", right, SIZE), str(cluster.address)], at, happens)
    cuts.count(f"cluster: {send} to {what}" if aimed else "cluster: over before the cut" if aimed is None else f"cluster: {what} is not there")
    judge(cuts, label, ended, right, states)
    if "Traceback" in ended.err:
        cuts.untidy.append(f"{label}: {ended.err.strip().splitlines()[-1][:200]}")
    return bool(aimed) and what not in ("the search", "its driver")


def processes(what: str, cluster: Cluster, search: int) -> list[int]:
    """Who may be killed."""
    nodes = [cluster.head_node, *cluster.worker_nodes]
    raylets = [info.process.pid for node in nodes for info in node.all_processes["raylet"]]
    if what == "the search":
        return [search]
    if what == "its driver":
        return [p for p in descendants(search) if b"cluster_driver" in command(p)]
    if what == "a member":
        return [p for raylet in raylets for p in descendants(raylet) if command(p).startswith(b"ray::Host")]
    if what == "the head's store of facts":
        return [info.process.pid for info in cluster.head_node.all_processes["gcs_server"]]
    return raylets[:1] if what == "the head's node" else raylets[1:]


def command(process: int) -> bytes:
    """A process's command line; empty if it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def main() -> int:
    """`python -m attack.cluster_cuts SEED MOMENTS SECONDS`: these cuts alone."""
    cuts = run_cluster_cuts(Cuts(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
    print(cuts.shown())
    return 1 if cuts.failures else 0


if __name__ == "__main__":
    sys.exit(main())
