"""`python -m attack`: generated programs against an interpreter of our own, and searches that are cut short; see `make attack`."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

from attack.campaign import Campaign, run_campaign


def main() -> int:
    """The command; 1 if a law does not hold."""
    parser = argparse.ArgumentParser(prog="attack", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="what is drawn; by default another one each time")
    parser.add_argument("--seconds", type=float, default=1200.0, help="how long (default: 20 minutes)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a CPU)")
    parser.add_argument("--batches", type=int, default=None, help="programs: so many batches of 24, and no more")
    parser.add_argument("--no-native", action="store_true", help="the reference alone: nothing is compiled")
    parser.add_argument("--keep", type=Path, default=None, help="where failing programs are kept (default: the cache folder)")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    campaign = Campaign(seed, asked.seconds, max(1, asked.jobs), not asked.no_native, asked.keep, asked.batches)
    from attack.campaign import kept_folder

    campaign.folder = asked.keep or kept_folder()
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:  # thousands of libraries that nobody wants again
        os.environ["SECONDSIGHT_CACHE"] = folder
        run_campaign(campaign, lambda text: print(text, flush=True))
    tally = campaign.tally
    print(f"\n{tally.programs:,} programs, {tally.states:,} states, {tally.searches:,} searches; {len(campaign.findings)} failures")
    for name, count in sorted({**tally.kinds, **{f"left out: {k}": v for k, v in tally.skipped.items()}}.items()):
        print(f"  {count:7,}  {name}")
    return 1 if campaign.findings else 0


if __name__ == "__main__":
    sys.exit(main())
