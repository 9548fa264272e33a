"""`secondsight mutants FILE`: a driver with one thing changed, again and again: does any adversary notice?"""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from secondsight.cli.common import BROKEN, HOLDS, INTERRUPTED, NOT_FINISHED, Running, show, width, write_json
from secondsight.lang import LangError
from secondsight.report import SCHEMA
from secondsight.search.request import Request

if TYPE_CHECKING:
    from secondsight.contract.driver_mutants import Trial

__all__ = ["mutants"]


def mutants(
    file: Path, request: Request, driver: list[str] | None, adversary: list[str] | None, by_hand: dict[str, int], as_json: bool
) -> int:
    """Try the mutants of a file's drivers, and tell it; the exit code."""
    from secondsight import contract
    from secondsight.contract.check import pick
    from secondsight.contract.driver_mutants import driver_mutants, holds, try_mutant

    there = {kind.__name__: kind for kind in contract.load_drivers(file, driver)}
    for name in driver or ():
        if name not in there:
            raise LangError(f"{file} has no driver {name}; it has {', '.join(there)}")
    pick("adversary", contract.EVERY_ADVERSARY, adversary)
    kinds = [kind for name, kind in there.items() if not driver or name in driver]
    todo = [(kind, mutant) for kind in kinds for mutant in driver_mutants(kind)]
    trials: list[Trial] = []
    interrupted = False
    with Running() as running:
        try:
            for kind in kinds:
                running.say(f"{kind.__name__} as it is")
                if not holds(kind, adversary, request.but(kept=True), by_hand):
                    show(f"{file.name}: {kind.__name__}: not finished as it is; what is changed in it says nothing")
                    return NOT_FINISHED
            for number, (kind, mutant) in enumerate(todo):
                running.say(f"{mutant.name} ({number} of {len(todo)})", number, len(todo))
                trials.append(try_mutant(kind, mutant, adversary, request, by_hand))
                if trials[-1].by.endswith("interrupted"):
                    trials.pop()
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            interrupted = True
    if as_json:
        write_json({"schema": SCHEMA, "kind": "mutants", "file": str(file), "untried": len(todo) - len(trials), "mutants": [_as_json(t) for t in trials]})
    else:
        _show(file, trials, len(todo))
    fates = {trial.fate for trial in trials}
    return INTERRUPTED if interrupted else BROKEN if "survives" in fates else NOT_FINISHED if "not finished" in fates else HOLDS


def _show(file: Path, trials: list[Trial], several: int) -> None:
    """The figures, who noticed what, and each mutant that nobody noticed."""
    fates = [trial.fate for trial in trials]
    untried = f", {several - len(trials)} not tried" if several > len(trials) else ""
    kinds = ", ".join(f"{fates.count(fate)} {fate}" for fate in ("broken", "refused", "idle", "not finished", "survives") if fate in fates)
    show(f"{file.name}: {several} mutants{': ' if kinds else ''}{kinds}{untried}", style="bold")
    by: dict[str, int] = {}
    for trial in trials:
        if trial.fate == "broken":
            by[trial.by] = by.get(trial.by, 0) + 1
    for name, number in sorted(by.items(), key=lambda one: -one[1]):
        show(f"  {name:<40} {number:>4}")
    for trial in trials:
        if trial.fate in ("survives", "not finished"):
            one = trial.mutant
            said = f": {trial.by}" if trial.by else ""
            show(fill(f"{one.name} ({file.name}:{one.line}, {one.statement}) {trial.fate}{said}", width(), subsequent_indent="  "))


def _as_json(trial: Trial) -> dict[str, Any]:
    one = trial.mutant
    return {"name": one.name, "line": one.line, "rule": one.rule, "statement": one.statement, "fate": trial.fate, "by": trial.by}
