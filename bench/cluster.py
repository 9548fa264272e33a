"""`python -m bench.cluster [--size B] [--rounds 3]`: two Ray nodes with one CPU each, on this machine, against one and two threads.

`--reductions none merge all`: which of these to compare. In turn, so that what else the machine does hits all alike. The
nodes exchange batches through Ray as they would over a network, so this is the price of the exchange; there is no more than
this machine's memory and cores to be had. Needs the extra `cluster`.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from statistics import median

from bench.mirror import mirror
from bench.sizes import SIZES
from bench.tools import stat_fields
from secondsight.lang.movers import Reductions
from secondsight.search import Limits, Request, Result
from secondsight.search.cluster import reduced_cluster_search
from secondsight.search.reduced import reduced_search

WHO = ("1 thread", "2 threads", "2 nodes")
HOW = {
    "none": Reductions.none(),
    "merge": Reductions(symmetry=False),
    "all": Reductions(),
}


def processor_time() -> float:
    """Seconds of processor time of this process and of all that it started, those of Ray included."""
    ticks, parents = os.sysconf("SC_CLK_TCK"), {}
    used = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = stat_fields(folder / "stat")
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
    arguments.add_argument("--reductions", choices=list(HOW), nargs="+", default=["none", "merge"])
    given = arguments.parse_args()
    size = SIZES[given.size]
    program, one = mirror(*size.program), Limits(states=1)
    node = {"num_cpus": 1, "object_store_memory": 200 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    rows = [(how, who) for how in given.reductions for who in WHO]
    runs: dict[tuple[str, str], list[tuple[float, float, Result]]] = {row: [] for row in rows}
    try:
        for how in given.reductions:  # the members start, and everybody compiles
            reduced_search(program, Request(reductions=HOW[how], limits=one))
            reduced_cluster_search(program, cluster.address, Request(reductions=HOW[how], limits=one))
        for _ in range(given.rounds):
            for how, who in rows:
                began, used = time.perf_counter(), processor_time()
                if who == "2 nodes":
                    result = reduced_cluster_search(program, cluster.address, Request(reductions=HOW[how]))
                else:
                    result = reduced_search(program, Request(reductions=HOW[how], workers=int(who[0]))).result
                runs[how, who].append((time.perf_counter() - began, processor_time() - used, result))
                known = runs[how, WHO[0]][0][2]
                counts = (size.states, size.transitions) if how == "none" else (known.states, known.transitions)
                if (result.states, result.transitions) != counts:
                    raise SystemExit(f"{how}, {who}: {result.states} states, {result.transitions} transitions ({result.reason})")
    finally:
        cluster.shutdown()
    print(f"size {size.name}, load {os.getloadavg()[0]:.0f}; medians of {given.rounds} runs in turn\n")
    print("| reductions | who       | states     | seconds | cpu s | bytes/state |")
    print("| ---------- | --------- | ---------: | ------: | ----: | ----------: |")
    for (how, who), of in runs.items():
        seconds, used = median(r[0] for r in of), median(r[1] for r in of)
        states, peak = of[0][2].states, of[0][2].peak
        print(f"| {how:<10} | {who:<9} | {states:10,} | {seconds:7.2f} | {used:5.2f} | {peak / states:11.0f} |")


if __name__ == "__main__":
    main()
