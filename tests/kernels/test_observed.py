"""Every scenario in the repo, on the real kernel: what is observed is among what is written as possible."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sampled import some
from secondsight.kernels import VM, Kernel, KernelError, observe
from secondsight.kernels.real_device import needs_device_pages, needs_module, needs_movable
from secondsight.kernels.run import Observation
from secondsight.scenario import (
    Outcome,
    Recorder,
    Scenario,
    load_expected,
    load_scenarios,
    scenario,
    show_outcome,
)

REPO = Path(__file__).parents[2]
FILES = [*sorted((REPO / "scenarios").glob("*.py")), REPO / "examples" / "hole_refilled.py"]
SCENARIOS = [(path, found) for path in FILES for found in load_scenarios(path)]


def shown(outcomes: frozenset[Outcome]) -> list[str]:
    return sorted(show_outcome(outcome) for outcome in outcomes)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_expected_outcomes_fit_their_scenarios(path: Path) -> None:
    expected = load_expected(path.with_suffix(".expected.json"))
    scenarios = {found.name: found for found in load_scenarios(path)}
    assert list(expected) == list(scenarios)
    for name, outcomes in expected.items():
        assert outcomes
        automatic = {place.name for place in scenarios[name].places() if place.op.into is None}
        for outcome in outcomes:
            names = {key for key, _ in outcome}
            assert set(scenarios[name].outcomes) <= names
            assert names - set(scenarios[name].outcomes) <= automatic


@pytest.mark.parametrize(("path", "recorded"), some(SCENARIOS, first=1), ids=[found.name for _, found in SCENARIOS])
def test_observed_is_possible(path: Path, recorded: Scenario, request: pytest.FixtureRequest) -> None:
    possible = load_expected(path.with_suffix(".expected.json"))[recorded.name]
    vm: VM = request.getfixturevalue("module_vm" if needs_module(recorded) and not needs_movable(recorded) else "vm")
    if needs_device_pages(recorded):
        with pytest.raises(KernelError, match="has no device-private and device-exclusive pages"):  # other releases have: tests/kernels/test_releases.py
            vm.observe(recorded, runs=1)
        return
    runs = 40 if recorded.threads else 10  # without threads there is one outcome
    seen = vm.observe(recorded, runs=runs)
    assert sum(seen.outcomes.values()) == seen.runs == runs
    assert not shown(frozenset(seen.outcomes) - possible)


def test_races_show_more_than_one_outcome(vm: VM) -> None:
    """The pauses do their work: in 200 runs every outcome of a small race comes up."""
    path = REPO / "scenarios" / "munmap_races.py"
    recorded = next(found for found in load_scenarios(path) if found.name == "remap_vs_read")
    seen = vm.observe(recorded, runs=200)
    assert shown(frozenset(seen.outcomes)) == shown(load_expected(path.with_suffix(".expected.json"))[recorded.name])


@pytest.mark.wide
def test_two_hundred_runs_take_well_below_two_seconds(vm: VM, record_property: Callable[[str, object], None]) -> None:
    recorded = load_scenarios(REPO / "examples" / "hole_refilled.py")[0]
    seconds = min(vm.observe(recorded, runs=200).seconds for _ in range(3))
    record_property("kernel: seconds for 200 runs", f"{seconds:.2f}")
    assert seconds < 10  # about half a second on an idle machine


def test_boot_to_first_outcome(kernel_6_12: Kernel, record_property: Callable[[str, object], None]) -> None:
    recorded = load_scenarios(REPO / "examples" / "hole_refilled.py")[0]
    start = time.monotonic()
    seen = observe(recorded, Kernel.from_path(kernel_6_12.image), runs=1)
    seconds = time.monotonic() - start
    record_property("kernel: seconds from QEMU's start to the first outcome", f"{seconds:.1f}")
    assert seen.runs == 1
    assert seen.kernel_release == kernel_6_12.release
    assert seconds < 60  # about 3 s on an idle machine


def test_progress_reports_what_was_seen_so_far(vm: VM) -> None:
    recorded = load_scenarios(REPO / "examples" / "hole_refilled.py")[0]
    reports: list[Observation] = []
    vm.observe(recorded, runs=60, progress=reports.append)
    assert [report.runs for report in reports] == [25, 50, 60]


def test_an_access_that_faults_ends_neither_its_thread_nor_the_others(vm: VM) -> None:
    @scenario
    def faults(s: Recorder) -> None:
        gone, a = s.mmap(pages=1), s.mmap(pages=1)
        s.munmap(gone)

        @s.thread
        def one() -> None:
            s.write(gone, "x")
            s.read(gone, into="fault")
            s.write(a, "b")

        @s.thread
        def two() -> None:
            s.munmap(gone, into="two")

        with s.after():
            s.read(a, into="after")

    seen = vm.observe(faults, runs=20)
    assert [dict(outcome) for outcome in seen.outcomes] == [
        {"one[0].write": "SIGSEGV", "fault": "SIGSEGV", "two": "ok", "after": "b"}
    ]


def test_the_most_that_a_scenario_may_hold(vm: VM) -> None:
    """64 operations, 7 threads (what comes after is one), a list of 8 ranges: recorder and agent have the same limits."""

    @scenario
    def largest(s: Recorder) -> None:
        fd = s.memfd_create(pages=16, seals="shrink")
        a = s.mmap(fd)
        s.write(a, "a")
        d = s.mmap(s.udmabuf_create_list([(fd, page, 2) for page in range(8)]))

        def body() -> None:
            for _ in range(9 + (number < 2)):
                s.read(d + 15)

        for number in range(6):
            body.__name__ = f"t{number}"
            s.thread(body)

        with s.after():
            s.munmap(d)
            s.read(a + 15, into="last")
            s.read(d + 15, into="gone")

    assert sum(1 for _ in largest.places()) == 64
    seen = vm.observe(largest, runs=5)
    assert [dict(outcome) for outcome in seen.outcomes] == [{"last": "a", "gone": "SIGSEGV"}]
