"""`secondsight conform`: the kernel's own C beside the model, step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import secondsight
from secondsight.cli.common import BROKEN, HOLDS, INTERRUPTED, Running, warn, write_json
from secondsight.conform.build import build
from secondsight.conform.errors import ConformError
from secondsight.conform.fates import Fate, fates
from secondsight.conform.mutants import mutants_of_c, mutants_of_model, sample
from secondsight.conform.run import ConformReport, run
from secondsight.conform.story import tell
from secondsight.conform.target import Target
from secondsight.conform.targets import TARGETS
from secondsight.kernels.sources import RELEASES, KernelSource, get_source
from secondsight.report import SCHEMA

__all__ = ["conform"]


def conform(
    releases: list[str] | None, file: list[str] | None, seconds: float, seed: int, transitions: bool, mutants: str | None, most: int | None, as_json: bool
) -> int:
    """Compare, or try the mutants, and tell it; the exit code."""
    chosen = _targets(file)
    if mutants not in (None, "c", "model"):
        raise ConformError(f"--mutants {mutants}", "c: of the kernel's C; model: of the model")
    if most is not None and mutants is None:
        raise ConformError("--sample without --mutants", "add --mutants c or --mutants model: mutants are what is sampled")
    sources: list[KernelSource] = []
    for release in _releases(releases):
        with Running() as running:
            sources.append(get_source(release, lambda what, done, total: running.say(what, done, total or None)))
    if mutants is not None:
        return _mutants(chosen, sources, mutants, most)
    reports: list[ConformReport] = []
    stories: list[str] = []
    for source in sources:
        for target in chosen:
            if not _is_of(target, source):
                continue
            name = f"{source.release} {target.file}"
            with Running() as running:
                running.say(f"{name}: compiling")
                program = build(target, source)
                report = run(
                    target, source.release, program, seconds, seed, transitions,
                    lambda text, name=name: running.say(f"{name}: {text}"),  # type: ignore[misc]
                )  # fmt: skip
            reports.append(report)
            if not as_json:
                print(_line(report), flush=True)
            if report.disagreement is not None:
                stories.append(tell(target, report.release, report.disagreement))
            if report.interrupted:
                break
        if reports and reports[-1].interrupted:
            break
    if as_json:
        write_json({"schema": SCHEMA, "kind": "conform", "reports": [_data(report) for report in reports]})
    else:
        for story in stories:
            print(f"\n{story}")
    if not reports:
        warn("secondsight: none of these files is compared with these releases")
    return INTERRUPTED if any(r.interrupted for r in reports) else BROKEN if stories else HOLDS


def _is_of(target: Target, source: KernelSource) -> bool:
    """Whether a target is compared with a release."""
    return source.release.removeprefix("linux-") in target.releases


def _mutants(targets: Sequence[Target], sources: Sequence[KernelSource], of: str, most: int | None) -> int:
    """Try the mutants of each target, or `most` of them; the exit code. Those of the model are tried beside each release until they are noticed."""
    survivors = 0
    for target in targets:
        beside = [source for source in sources if _is_of(target, source)]
        for those in [beside] if of == "model" else [[source] for source in beside]:
            found, is_all = _fates(target, those, of, most) if those else ([], True)
            survivors += sum(fate.fate == "survives" for fate in found)
            if not is_all:
                return INTERRUPTED
    return BROKEN if survivors else HOLDS


def _fates(target: Target, sources: Sequence[KernelSource], of: str, most: int | None) -> tuple[list[Fate], bool]:
    """Try the mutants of a target; a line for each that is not noticed, and one for all. And whether that is all: no Ctrl-C."""
    releases = ", ".join(source.release for source in sources)
    if of == "c":
        mutants = mutants_of_c((sources[0].tree / target.file).read_text(), target.functions)
    else:
        linux, functions = Path(secondsight.__file__).parent / "linux", target.model_functions or target.functions
        mutants = [m for file in (target.model, *target.parts) for m in mutants_of_model((linux / file).read_text(), functions, file)]
    there_are = len(mutants)
    mutants = mutants if most is None else sample(mutants, most)
    whose = target.file if of == "c" else f"linux/{target.model}"
    with Running() as running:

        def look(done: int, fate: Fate) -> None:
            running.say(f"{releases} {whose}: {done} of {len(mutants)} mutants", done, len(mutants))

        found = fates(target, sources, mutants, of == "model", look)
    for fate in found:
        if fate.fate in ("survives", "equivalent"):
            print(
                f"  {fate.fate}: {fate.mutant.name} (line {fate.mutant.line}){f': {fate.how}' if fate.how else f': {fate.mutant.was}'}"
            )
    count = Counter(fate.fate for fate in found)
    steps = sorted(fate.steps for fate in found if fate.fate == "noticed") or [0]
    cut = "" if len(found) == len(mutants) else f" (interrupted after {len(found)} of {len(mutants)})"
    cut += "" if len(mutants) == there_are else f", {len(mutants)} of {there_are} mutants"
    print(
        f"{releases} {whose}{cut}: {count['noticed']} of {len(found) - count['no program']} mutants noticed (half of them within "
        f"{steps[len(steps) // 2]:,} steps, all within {steps[-1]:,}), {count['equivalent']} equivalent, {count['survives']} survive; "
        f"{count['no program']} more are no program",
        flush=True,
    )
    return found, len(found) == len(mutants)


def _targets(files: Sequence[str] | None) -> list[Target]:
    made = [target() for target in TARGETS]
    known = {target.file: target for target in made}
    for name in files or ():
        if name not in known:
            raise ConformError(f"{name} is not run beside the model", f"there are: {', '.join(known)}")
    return [known[name] for name in files] if files else made


def _releases(names: Sequence[str] | None) -> list[str]:
    found: list[str] = []
    for name in names or ["linux-6.12"]:
        if name == "all":
            found += RELEASES
        elif name.removeprefix("linux-") in RELEASES:
            found.append(name.removeprefix("linux-"))
        else:
            raise ConformError(
                f"no kernel {name} to compare with", f"there are: {', '.join(f'linux-{r}' for r in RELEASES)}, all"
            )
    return list(dict.fromkeys(found))


def _line(report: ConformReport) -> str:
    walks, every = report.walks, report.every
    words = [f"{walks.steps:,} steps of {walks.walks:,} walks"] if walks.walks else []
    if every.walks:
        words.append(
            f"{every.steps:,} transitions of {every.states:,} states in {every.walks} configurations{', some cut' if every.cut else ''}"
        )
    verdict = "differ" if report.disagreement else "interrupted" if report.interrupted else "agree"
    return f"{report.release:10} {report.file:26} {verdict}\n{'':11}{'; '.join(words) or 'nothing compared'}"


def _data(report: ConformReport) -> dict[str, Any]:
    found = report.disagreement
    return {
        "release": report.release,
        "file": report.file,
        "verdict": "differ" if found else "interrupted" if report.interrupted else "agree",
        "walks": report.walks.walks,
        "steps": report.walks.steps,
        "configurations": report.every.walks,
        "states": report.every.states,
        "transitions": report.every.steps,
        "cut": report.every.cut,
        "disagreement": None if found is None else {
            "what": found.what,
            "configuration": {"setup": found.configuration.setup, "threads": [[str(o) for o in t] for t in found.configuration.threads]},
            "schedule": [[thread, list(choices)] for thread, choices in found.schedule],
            "before": found.before,
            "model": found.model,
            "c": found.c,
        },
    }  # fmt: skip
