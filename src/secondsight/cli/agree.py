"""`secondsight agree`: thousands of scenarios that nobody wrote, on the model and on real kernels, compared."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.table import Table

from secondsight.agree.campaign import CampaignProgress, run_campaign, shrink_findings
from secondsight.agree.generate import KINDS, DrawnKind
from secondsight.agree.source import source_of
from secondsight.agree.store import AGREES, DIED, DISAGREES, NO_VERDICT, REFUSED, Campaign, CampaignStore, KeptResult, Totals
from secondsight.cli.common import BROKEN, HOLDS, NOT_FINISHED, Running, show, warn, width, write_json
from secondsight.kernels import Kernel, KernelError
from secondsight.kernels.ability import abilities
from secondsight.kernels.cache import cache_folder
from secondsight.scenario import show_value

__all__ = ["agree"]

SHOWN = 5  # findings of a campaign


def agree(
    on: str | None, runs: int, seed: int, kinds: str, boots: int | None, seconds: float | None, db: Path | None, json: bool
) -> int:
    """Run what is asked for, and tell what is recorded; the exit code."""
    wanted = _kinds(kinds)
    path = db or cache_folder() / "agree.sqlite"
    with CampaignStore(path) as store:
        campaigns: list[Campaign] = []
        kernels = [Kernel.find(name) for name in dict.fromkeys((on or "").split(",")) if name]
        if not kernels and not store.totals():
            raise typer.BadParameter(f"nothing is recorded in {path}: give --on KERNEL to run something")
        todo = [(kernel, kind) for kernel in kernels for kind in wanted]
        stopped: BaseException | None = None
        with Running() as running:
            for kernel, kind in todo:
                if kind in ("forced", "driven", "rare") and "device" not in abilities(kernel):
                    warn(f"{kernel.name} cannot run {kind} scenarios: secondsight.ko is for kernels that this tool boots")
                    continue
                if kind == "migrating" and not {"device", "exclusive"} <= set(abilities(kernel)):
                    warn(f"{kernel.name} cannot run migrating scenarios: it has no memory of a device's own (CONFIG_DEVICE_PRIVATE), or is not booted by this tool")
                    continue
                campaigns.append(store.campaign(kernel.name, kernel.release, kind, seed))
                try:
                    _run(store, kernel, kind, seed, runs, boots or os.cpu_count() or 1, seconds, running)
                except (KeyboardInterrupt, KernelError) as error:
                    stopped = error  # to be raised when what is recorded was told
                    break
        found = [one for one in store.totals() if not kernels or one.campaign in campaigns]
        results = {one.campaign: store.results(one.campaign, _NOT_AGREED) for one in found}
        if json:
            write_json({"file": str(path), "campaigns": [_as_json(one, results[one.campaign]) for one in found]})
        else:
            _print(found, results)
            print(f"recorded in {path}")
    if stopped is not None:
        raise stopped
    if any(one.verdicts.keys() & {DISAGREES, DIED, REFUSED} for one in found):
        return BROKEN
    done = {one.campaign: one.scenarios for one in found}
    missing = any(done.get(campaign, 0) < runs for campaign in campaigns)
    return NOT_FINISHED if missing or any(NO_VERDICT in one.verdicts for one in found) else HOLDS


_NOT_AGREED = (DISAGREES, DIED, REFUSED, NO_VERDICT)


def _kinds(text: str) -> list[DrawnKind]:
    wanted: list[DrawnKind] = [kind for kind in KINDS if kind in text.split(",")]
    unknown = [name for name in text.split(",") if name not in KINDS]
    if unknown or not wanted:
        raise typer.BadParameter(f"--kinds {text}: there are {', '.join(KINDS)}")
    return wanted


def _run(
    store: CampaignStore, kernel: Kernel, kind: DrawnKind, seed: int, runs: int, boots: int, seconds: float | None, running: Running
) -> None:
    running.say(f"booting {kernel.name}")

    def on_progress(now: CampaignProgress) -> None:
        rate = 60 * now.fresh / now.seconds if now.seconds else 0
        text = f"{kernel.name}, {kind}: {now.done:,} of {now.total:,} scenarios, {rate:,.0f} a minute, {now.disagree} not agreeing"
        running.say(text, now.done, now.total)

    campaign = run_campaign(store, kernel, kind, seed, runs, boots, seconds, on_progress)
    shrink_findings(store, campaign, kernel)


# For people.


def _print(found: list[Totals], results: dict[Campaign, list[KeptResult]]) -> None:
    for release, seed in dict.fromkeys((one.campaign.release, one.campaign.seed) for one in found):
        show(f"Linux {release}, seed {seed}", style="bold")
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, width=width(), padding=(0, 2, 0, 0))
        table.add_column("kind", ratio=1)
        for name in ("scenarios", "runs", "agree", "disagree", "died", "no verdict"):
            table.add_column(name, justify="right")
        for one in found:
            if (one.campaign.release, one.campaign.seed) == (release, seed):
                counts = Counter(one.verdicts)
                wrong = counts[DISAGREES] + counts[REFUSED]
                numbers = (one.scenarios, one.runs, counts[AGREES], wrong, counts[DIED], counts[NO_VERDICT])
                table.add_row(one.campaign.kind, *(f"{n:,}" for n in numbers))
        show(table)
        print()
    for campaign, findings in results.items():
        _print_findings(campaign, findings)


def _print_findings(campaign: Campaign, findings: list[KeptResult]) -> None:
    """One of each signature, those that were made small first."""
    signatures = Counter(one.finding.signature for one in findings if one.finding and one.verdict != NO_VERDICT)
    for signature, count in signatures.most_common(SHOWN):
        same = [one for one in findings if one.finding and one.finding.signature == signature]
        one = min(same, key=lambda result: (result.finding is None or not result.finding.shrunk, result.number))
        assert one.finding is not None
        print(f"\n{campaign.release}: {one.verdict}: {signature} ({count} scenario{'s' if count > 1 else ''})")
        number = f"scenario {one.number} of seed {campaign.seed}, {campaign.kind}" + (", made small" if one.finding.shrunk else "")
        print(source_of(one.finding.scenario, f"{number}\n{one.finding.answers}"))
        if one.finding.console:
            print(one.finding.console)
    if len(signatures) > SHOWN:
        print(f"... and {len(signatures) - SHOWN} more kinds of finding")


# For machines.


def _as_json(one: Totals, findings: list[KeptResult]) -> dict[str, Any]:
    campaign = one.campaign
    data: dict[str, Any] = {"kernel": campaign.kernel, "release": campaign.release, "kind": campaign.kind, "seed": campaign.seed}
    data |= {"scenarios": one.scenarios, "runs": one.runs, "verdicts": one.verdicts, "findings": []}
    for result in findings:
        if result.finding is not None:
            found = result.finding
            entry: dict[str, Any] = {"number": result.number, "verdict": result.verdict, "signature": found.signature}
            entry |= {"answers": found.answers, "kernel": [_words(outcome) for outcome in result.seen]}
            entry |= {"source": source_of(found.scenario), "console": found.console}
            data["findings"].append(entry)
    return data


def _words(outcome: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return {name: show_value(value) for name, value in outcome}
