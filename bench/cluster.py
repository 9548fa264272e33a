"""`python -m bench.cluster [--size B] [--rounds 3]`: two Ray nodes with one CPU each, on this machine, against one and two threads.

In turn, so that what else the machine does hits all alike. The nodes exchange batches through Ray as they would over a
network, so this is the price of the exchange; there is no more than this machine's memory and cores to be had. Needs the
extra `cluster`.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from statistics import median

from bench.mirror import mirror
from bench.sizes import SIZES
from secondsight.lang.native import Native
from secondsight.search import Result
from secondsight.search.cluster import cluster_search
from secondsight.search.native import native_search

ROWS = ("native, 1 thread", "native, 2 threads", "2 nodes")


def processor_time() -> float:
    """Seconds of processor time of this process and of all that it started, those of Ray included."""
    ticks, parents = os.sysconf("SC_CLK_TCK"), {}
    used = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        parents[int(folder.name)] = int(fields[1])
        used[int(folder.name)] = (int(fields[11]) + int(fields[12])) / ticks
    ours, todo = {os.getpid()}, [os.getpid()]
    for pid in todo:
        children = [child for child, parent in parents.items() if parent == pid and child not in ours]
        ours.update(children)
        todo += children
    return sum(used.get(pid, 0.0) for pid in ours)


def main() -> None:
    """See the module."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    arguments = argparse.ArgumentParser(prog="python -m bench.cluster", description="Two nodes against one machine.")
    arguments.add_argument("--size", choices=list(SIZES), default="B")
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    size = SIZES[given.size]
    native, small = Native(mirror(*size.program)), Native(mirror(*SIZES["A"].program))
    node = {"num_cpus": 1, "object_store_memory": 200 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    runs: dict[str, list[tuple[float, float, Result]]] = {row: [] for row in ROWS}
    try:
        cluster_search(small, cluster.address)  # the members start
        for _ in range(given.rounds):
            for row in ROWS:
                began, used = time.perf_counter(), processor_time()
                if row == "2 nodes":
                    result = cluster_search(native, cluster.address)
                else:
                    result = native_search(native, workers=1 + ("2" in row))
                runs[row].append((time.perf_counter() - began, processor_time() - used, result))
                if (result.states, result.transitions) != (size.states, size.transitions):
                    raise SystemExit(f"{row}: {result.states} states and {result.transitions} transitions ({result.reason})")
    finally:
        cluster.shutdown()
    print(f"size {size.name}: {size.states:,} states, load {os.getloadavg()[0]:.0f}; medians of {given.rounds} runs in turn\n")
    print("|                   | seconds | cpu s | states/s | bytes/state |")
    print("| ----------------- | ------: | ----: | -------: | ----------: |")
    for row, of in runs.items():
        seconds, used = median(r[0] for r in of), median(r[1] for r in of)
        per_state = of[0][2].peak / size.states
        print(f"| {row:<17} | {seconds:7.2f} | {used:5.2f} | {size.states / seconds:8,.0f} | {per_state:11.0f} |")


if __name__ == "__main__":
    main()
