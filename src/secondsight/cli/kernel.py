"""`secondsight kernel`: real kernels to run scenarios on."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.table import Table

from secondsight.agree.selftest import AGREES, DIFFERS, SelftestReport, selftest
from secondsight.cli.common import BAD_INPUT, BROKEN, HOLDS, Running, show, warn, width, write_json
from secondsight.kernels import BUILDABLE, GETTABLE, HOST, Kernel, KernelError, build, get
from secondsight.kernels.ability import ABILITIES, abilities
from secondsight.kernels.catalog import get_modules
from secondsight.kernels.selftest_table import UNKNOWN, here
from secondsight.kernels.tap import FAIL, TapVerdict
from secondsight.report import SCHEMA

__all__ = ["catalog", "fetch", "find_kernel", "make", "selftests"]


def fetch(name: str, kernel: Path | None, headers: Path | None) -> None:
    """Fetch a kernel, or look whether one of the user's own can be used."""
    if kernel is not None:
        found = Kernel.from_path(kernel, headers)
    else:
        with Running() as running:

            def tell(what: str, done: int, total: int) -> None:
                running.say(_megabytes(what, done, total), done, total or None)

            found = get(name, tell)
            get_modules(found, tell)
    print(f"{found.name}: Linux {found.release}\n{found.image}")


def make(name: str) -> None:
    """Build a kernel."""

    def tell(what: str, done: int, total: int) -> None:
        steps = f"{what}: {done:,} of about {total:,} steps" if what == "building" else _megabytes(what, done, total)
        running.say(steps, done, total or None)

    with Running() as running:
        found = build(name, tell)
    print(f"{found.name}: Linux {found.release}\n{found.image}")


def catalog(as_json: bool) -> None:
    """Print the kernels that there can be."""
    found = [_entry(name, known.command) for name, known in {**GETTABLE, **BUILDABLE}.items()]
    found.append(_entry(HOST, "it is running"))
    if as_json:
        write_json({"schema": SCHEMA, "kind": "kernels", "kernels": found})
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, width=width(), padding=(0, 2, 0, 0))
    for column, wide in (("kernel", True), ("release", True), ("can run", False)):
        table.add_column(column, no_wrap=wide, ratio=None if wide else 1)
    for one in found:
        table.add_row(one["name"], one["release"] or "not here", ", ".join(one["can_run"]) if one["release"] else one["get"])
    show(table)
    for one in found:
        if one["problem"]:
            warn(f"{one['name']}: {one['problem']}\n  run: {one['get']}")
    print("\nA kernel of your own: --kernel PATH [--headers DIR]")
    print("\n".join(f"{name}: {meaning}" for name, meaning in ABILITIES.items()))


def selftests(name: str, as_json: bool) -> int:
    """Run the kernel's own tests on it, and tell it; the exit code."""
    with Running() as running:
        report = selftest(Kernel.find(name), lambda program, line: running.say(f"{program}: {line}"))
    failed = report.died or any(found.verdict == FAIL for found in report.verdicts) or any(one.verdict == DIFFERS for one in report.ours)
    if as_json:
        found = [{**asdict(verdict), "here": _here(verdict), "ours": _ours(report, verdict)} for verdict in report.verdicts]
        scenarios = [asdict(one) for one in report.ours]
        data = {"schema": SCHEMA, "kind": "selftest", "kernel": report.kernel_release, "boots": list(report.boots), "tests": found}
        write_json({**data, "scenarios": scenarios, "died": report.died or None, "output": report.output})
    else:
        _print_report(report)
    return BROKEN if failed else HOLDS


def _here(verdict: TapVerdict) -> str:
    return str(here(verdict.program, verdict.name) or UNKNOWN)


def _ours(report: SelftestReport, verdict: TapVerdict) -> str | None:
    """What the scenario beside a test did in the report's boot; None: there is none, or it was not asked."""
    row = here(verdict.program, verdict.name)
    return next((one.verdict for one in report.ours if row is not None and one.scenario == row.scenario), None)


def _print_report(report: SelftestReport) -> None:
    for (program, fixture), verdicts in groupby(report.verdicts, lambda one: (one.program, one.name.rpartition(".")[0])):
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, width=width(), padding=(0, 2, 0, 0))
        for column, wide in ((fixture or program, True), ("verdict", True), ("here", False)):
            table.add_column(column, no_wrap=wide, ratio=None if wide else 1, overflow="fold")
        for one in verdicts:
            did = _ours(report, one)
            table.add_row(one.name.rpartition(".")[2], one.verdict, _here(one) + (f": {did}" if did else ""))
        show(table)
        print()
    for said in dict.fromkeys((one.verdict, one.said) for one in report.verdicts if one.said):
        names = [one.name for one in report.verdicts if (one.verdict, one.said) == said]
        print(f"{said[0]}: {names[0] if len(names) == 1 else f'{len(names)} tests'}: {said[1]}")
    for ours in report.ours:
        if ours.said:
            show(f"scenario {ours.scenario}: {ours.verdict}: {ours.said}", style="bold red" if ours.verdict == DIFFERS else None)
    theirs, own = (Counter(one.verdict for one in ran) for ran in (report.verdicts, report.ours))
    print(f"\nLinux {report.kernel_release}: {_counted(theirs)}, {report.seconds:.0f} s")
    print(f"beside them {sum(own.values())} scenarios: {_counted(own)}; {_boots(report)}")
    if report.died:
        show(f"the guest died: {report.died}", style="bold red")


def _counted(counts: Counter[str]) -> str:
    plural = {AGREES: "agree", DIFFERS: "differ"}
    return ", ".join(f"{n} {plural.get(verdict, verdict)}" for verdict, n in counts.items())


def _boots(report: SelftestReport) -> str:
    if not report.boots:
        return "the guest died before it was asked which boot it is"
    many = "in one boot" if len(report.boots) == 1 else f"in {len(report.boots)} boots"
    return f"all of it {many} ({', '.join(report.boots)})"


def _entry(name: str, command: str) -> dict[str, Any]:
    """What there is to say of a kernel; `problem` when it is here and cannot be used."""
    entry: dict[str, Any] = {"name": name if name == HOST else f"linux-{name}", "release": None, "image": None, "can_run": [], "problem": None, "get": command}
    try:
        found = Kernel.find(name)
    except KernelError as error:
        if "is not here" not in error.reason:
            entry["problem"] = error.reason
    else:
        entry |= {"release": found.release, "image": str(found.image) if found.image else None, "can_run": abilities(found)}
    return entry


def _megabytes(what: str, done: int, total: int) -> str:
    return f"{what}: {done / 1e6:.1f} of {total / 1e6:.1f} MB" if total else what


def find_kernel(name: str | None, path: Path | None, headers: Path | None = None) -> Kernel | None:
    """The kernel that `--on` or `--kernel` (with `--headers`) asks for; None when neither is given."""
    if headers is not None and path is None:
        warn("--headers DIR belongs to --kernel PATH, which is not given")
        raise typer.Exit(BAD_INPUT)
    if path is not None:
        return Kernel.from_path(path, headers)
    return Kernel.find(name) if name is not None else None
