"""`python -m attack`: generated programs against an interpreter of our own, and searches that are cut short. See `make attack`.

Four fifths of the time are the programs', the rest the cuts'; where Ray is installed, a half of it those on a cluster. Ctrl-C ends the part that is at work, and a second one the rest.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

from attack.campaign import Campaign, kept_folder, run_campaign
from attack.cluster_cuts import has_ray, run_cluster_cuts
from attack.cuts import Cuts, run_cuts
from attack.draw import FAMILIES


def main() -> int:
    """The command; 1 if a law does not hold."""
    parser = argparse.ArgumentParser(prog="attack", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="what is drawn; by default another one each time")
    parser.add_argument("--seconds", type=float, default=1200.0, help="how long (default: 20 minutes)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a CPU)")
    parser.add_argument("--batches", type=int, default=None, help="programs: so many batches of 24, and no more")
    parser.add_argument("--family", choices=FAMILIES, default="", help="programs of this kind alone")
    parser.add_argument("--cuts", type=int, default=50, help="moments at which searches are cut short (default: 50)")
    parser.add_argument("--cluster-cuts", type=int, default=50, help="the same on a local cluster, if Ray is installed (default: 50)")
    parser.add_argument("--no-native", action="store_true", help="the reference alone: nothing is compiled")
    parser.add_argument("--keep", type=Path, default=None, help="where failing programs are kept (default: the cache folder)")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    share = 0.8 if asked.cuts else 1.0
    campaign = Campaign(seed, share * asked.seconds, max(1, asked.jobs), not asked.no_native, asked.keep, asked.batches, asked.family)
    campaign.folder = asked.keep or kept_folder()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    on_cluster = Cuts(seed, asked.cluster_cuts if asked.cuts and has_ray() else 0, (1 - share) / 2 * asked.seconds)
    cuts = Cuts(seed, asked.cuts, (1 - share) * asked.seconds - (on_cluster.seconds if on_cluster.moments else 0))
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:  # thousands of libraries that nobody wants again
        os.environ["SECONDSIGHT_CACHE"] = folder
        run_campaign(campaign, say)
        if campaign.native and asked.cuts:
            run_cuts(cuts, say)
            run_cluster_cuts(on_cluster, say)
    tally = campaign.tally
    print(f"\n{tally.programs:,} programs, {tally.states:,} states, {tally.searches:,} searches; {len(campaign.findings)} failures")
    for name, count in sorted({**tally.kinds, **{f"left out: {k}": v for k, v in tally.skipped.items()}}.items()):
        print(f"  {count:7,}  {name}")
    for some in (cuts, on_cluster):
        if some.done:
            print(some.shown())
    return 1 if campaign.findings or cuts.failures or on_cluster.failures else 0


def say(text: str) -> None:
    """Print a line now."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
