"""The kernel's own tests of HMM and udmabuf, and the scenarios that assert the same, in one boot of a kernel of our own.

Their C sources lie in the kernel's entry, as its packaged source has them; they are compiled here when
they are wanted, run by the agent, and their verdicts read from what they print. Before them the same guest runs
the scenarios that stand in `selftest_table`, on secondsight.ko's device: each observed outcome must be one that the
model gives. When the guest dies, what ran before is kept, and the rest says why it did not run.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from secondsight.devices.coherent_gpu import CoherentGpu
from secondsight.devices.device import Device
from secondsight.kernels.catalog import Kernel, selftest_sources
from secondsight.kernels.errors import KernelError
from secondsight.kernels.initramfs import compiler
from secondsight.kernels.run import VM, boot
from secondsight.kernels.selftest_table import TABLE
from secondsight.kernels.tap import NOT_RUN, TapVerdict, verdicts
from secondsight.scenario import Scenario, load_scenarios, show_outcome
from secondsight.scenario.shipped import shipped_file
from secondsight.search import Verdict as Searched
from secondsight.world.model import outcomes

__all__ = ["AGREES", "DIFFERS", "PROGRAMS", "Ours", "SelftestReport", "our_scenarios", "run_in", "selftest"]

PROGRAMS = {
    "udmabuf": "tools/testing/selftests/drivers/dma-buf/udmabuf.c",
    "hmm-tests": "tools/testing/selftests/mm/hmm-tests.c",
}
"""The test programs, and their sources in the kernel's source."""

MEMORY, LESS_MEMORY = 2944, 512
"""What the guest has, in MiB, besides the memory of the coherent devices: one test of udmabuf wants 2 GiB of huge pages, and does not run with
less. With more, QEMU's machine would have a part of it above 4 GiB."""

RUNS = 25
"""How often each of our scenarios runs."""

AGREES, DIFFERS = "agrees", "differs"
COHERENTLY = ", with coherent memory"
"""Behind the name of a scenario that ran with such a device."""

OnLine = Callable[[str, str], None]  # what is running, and the line that it has just printed


@dataclass(frozen=True)
class Ours:
    """What a scenario of ours said on the guest: `agrees` (every outcome observed is one that the model gives), `differs`, or
    `not run`; `said` is the outcome that is not, or why it did not run."""

    scenario: str
    verdict: str
    said: str = ""


@dataclass(frozen=True)
class SelftestReport:
    """What the kernel's own tests said, in their order, and what ours did; `output` is everything that each program printed.

    `boots`: the kernel's mark of each boot in which any of it ran, asked after each part: there is
    one, for all runs in one.
    `died`: why the guest did, with the end of its console; "" when it did not.
    """

    kernel_release: str
    verdicts: tuple[TapVerdict, ...]
    output: dict[str, str]
    seconds: float
    ours: tuple[Ours, ...] = ()
    boots: tuple[str, ...] = ()
    died: str = ""


def selftest(kernel: Kernel, progress: OnLine | None = None, boot_seconds: float = 60) -> SelftestReport:
    """Compile the kernel's own tests and run them, after the scenarios that assert the same, on a kernel that has them.
    Raises KernelError: it has none, they or the module do not compile, or the guest does not come up."""
    sources = selftest_sources(kernel)
    with tempfile.TemporaryDirectory() as folder:
        programs = [_compiled(sources, name, Path(folder)) for name in PROGRAMS]
        guest = boot(kernel, module=True, boot_seconds=boot_seconds, programs=programs, memory=_memory(), coherent=True)
    with guest:
        ours = our_scenarios()
        return run_in(guest, ours, progress, [scenario for scenario in ours if _moves(scenario)])


def run_in(vm: VM, scenarios: Sequence[Scenario], progress: OnLine | None = None, coherent: Sequence[Scenario] = ()) -> SelftestReport:
    """Run our scenarios, those of `coherent` with a device of coherent memory, then the programs, on a booted kernel that has them."""
    tell = progress or (lambda what, line: None)
    start = time.monotonic()
    ours: list[Ours] = []
    found: list[TapVerdict] = []
    output: dict[str, list[str]] = {}
    boots: dict[str, None] = {}
    died = ""
    try:
        for scenario in scenarios:
            tell("scenario", scenario.name)
            ours.append(_ours(vm, scenario))
        for scenario in coherent:
            tell("scenario", f"{scenario.name}{COHERENTLY}")
            ours.append(_ours(vm, scenario, CoherentGpu))
        boots[vm.boot_id()] = None
        for name in PROGRAMS:
            output[name] = []
            ended = vm.run_program(name, _heard(name, output[name], tell))
            found += verdicts(name, output[name], ended)
            boots[vm.boot_id()] = None
    except KernelError as error:
        died = str(error)
        names = [scenario.name for scenario in scenarios] + [f"{scenario.name}{COHERENTLY}" for scenario in coherent]
        ours += [Ours(name, NOT_RUN, error.reason) for name in names[len(ours) :]]
        found += _cut_off(output, {one.program for one in found}, error.reason)
    seconds = time.monotonic() - start
    return SelftestReport(vm.release, tuple(found), {n: "\n".join(lines) for n, lines in output.items()}, seconds, tuple(ours), tuple(boots), died)


def _heard(program: str, lines: list[str], tell: OnLine) -> Callable[[str], None]:
    """What to do with each line of a program."""

    def hear(line: str) -> None:
        lines.append(line)
        tell(program, line)

    return hear


def _moves(scenario: Scenario) -> bool:
    """Whether a device of the scenario takes pages into its memory."""
    return any(place.op.kind == "device_migrate" for place in scenario.places())


def _ours(vm: VM, scenario: Scenario, driver: type[Device] | None = None) -> Ours:
    """What a scenario does on the guest, beside what the model says that it can do there. Raises KernelError: the guest died."""
    name = scenario.name if driver is None else f"{scenario.name}{COHERENTLY}"
    result, possible = outcomes(scenario, driver, release=vm.release)
    if result.verdict is not Searched.HOLDS:
        return Ours(name, NOT_RUN, f"the model's own answer: {result.verdict.value}")
    seen = vm.observe(scenario, RUNS) if driver is None else vm.observe(scenario, RUNS, driver=driver)
    impossible = sorted(show_outcome(outcome) for outcome in set(seen.outcomes) - possible)
    return Ours(name, DIFFERS if impossible else AGREES, "; ".join(impossible))


def _cut_off(output: dict[str, list[str]], done: set[str], reason: str) -> Iterator[TapVerdict]:
    """The verdicts of the programs that did not come to their end, or not to their beginning."""
    for name in PROGRAMS:
        if name in done:
            continue
        if name in output:
            yield from verdicts(name, output[name], reason)
        else:
            yield TapVerdict(name, "the whole program", NOT_RUN, reason)


def our_scenarios() -> list[Scenario]:
    """The scenarios of the table, each once, in its order."""
    wanted = {row.scenario: row.file for rows in TABLE.values() for row in rows.values() if row.scenario and row.file}
    loaded = {file: {s.name: s for s in load_scenarios(shipped_file(file))} for file in dict.fromkeys(wanted.values())}
    return [loaded[file][name] for name, file in wanted.items()]


def _compiled(sources: Path, name: str, folder: Path) -> Path:
    """A test program, static, against the kernel's own interface."""
    made = folder / name
    include = ["-isystem", str(sources / "usr/include"), "-I", str(sources)]
    command = [compiler(), "-static", "-O2", "-pthread", "-D_GNU_SOURCE=", *include, "-o", str(made), str(sources / PROGRAMS[name])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"the kernel's test {name} does not compile: {' '.join(command)}", done.stderr.strip()[-2000:])
    return made


def _memory() -> int:
    """What the guest can have on this machine, without using up what it has."""
    free = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return MEMORY if free and int(free[1]) >> 10 >= 2 * MEMORY else LESS_MEMORY
