"""What a driver's verdicts rest on, beside the verdicts: for people, and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secondsight.contract import Rests

__all__ = ["rests_to_json", "told_rests"]

_MOST_LINES = 8


def told_rests(rests: Rests) -> list[str]:
    """What is to be said beside *holds*, in lines; nothing where everything was seen to happen."""
    told = []
    by_what: dict[str, list[str]] = {}
    for adversary, reach in rests.reach.items():
        if not reach.touched:
            by_what.setdefault("the device touched no page", []).append(adversary)
        if not reach.called:
            by_what.setdefault("no callback of the driver was called", []).append(adversary)
        for rule in reach.silent:
            by_what.setdefault(f"{rule} never looked", []).append(adversary)
    told += [f"{what}: {', '.join(adversaries)}" for what, adversaries in by_what.items()]
    shown = rests.unseen[:_MOST_LINES]
    told += [f"did not run: {Path(line.file).name}:{line.number}: {line.text}" for line in shown]
    if len(rests.unseen) > len(shown):
        told.append(f"did not run: {len(rests.unseen) - len(shown)} places more (--json has them all)")
    if told:
        told.append(f"(seen in {rests.runs} interleavings that were watched; a rare one may do more)")
    return told


def rests_to_json(rests: Rests) -> dict[str, Any]:
    """The same as data; see docs/json.md."""
    return {
        "runs": rests.runs,
        "adversaries": {name: {"touched": r.touched, "called": r.called, "silent": list(r.silent)} for name, r in rests.reach.items()},
        "unseen": [
            {"file": Path(line.file).name, "line": line.number, "text": line.text, "method": line.method} for line in rests.unseen
        ],
    }
