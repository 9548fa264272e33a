"""Every scenario in the repo, on the model: exactly the outcomes that were written down and seen on Linux 6.12."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampled import some
from secondsight.lang import LangError
from secondsight.scenario import Recorder, Scenario, ScenarioError, load_expected, load_scenarios, scenario, show_outcome
from secondsight.search import Limits, Request, Verdict
from secondsight.world.model import outcomes, program

ROOT = Path(__file__).parents[2]
FILES = sorted(
    [
        *(ROOT / "scenarios").glob("*.py"),
        *(p for p in (ROOT / "examples").glob("*.py") if p.with_suffix(".expected.json").exists()),
    ]
)
SCENARIOS = [(s, p) for p in FILES for s in load_scenarios(p)]


@pytest.mark.parametrize(("recorded", "path"), some(SCENARIOS), ids=[s.name for s, _ in SCENARIOS])
def test_the_model_has_exactly_the_expected_outcomes(recorded: Scenario, path: Path) -> None:
    result, possible = outcomes(recorded)
    assert result.verdict is Verdict.HOLDS, result
    expected = load_expected(path.with_suffix(".expected.json"))[recorded.name]
    assert {show_outcome(o) for o in possible} == {show_outcome(o) for o in expected}


def test_a_search_cut_short_says_so() -> None:
    recorded = next(s for s, _ in SCENARIOS if s.name == "remap_vs_read")
    result, _ = outcomes(recorded, request=Request(limits=Limits(states=10)))
    assert result.verdict is Verdict.NOT_FINISHED


def test_the_outcome_set_does_not_depend_on_how_the_file_was_made() -> None:
    recorded = next(s for s, _ in SCENARIOS if s.name == "punch_vs_read")
    again = Scenario.from_json(recorded.to_json())
    assert outcomes(again)[1] == outcomes(recorded)[1]


def test_a_bound_that_is_too_small_is_named() -> None:
    @scenario
    def two_pages(s: Recorder) -> None:
        a = s.mmap(pages=2)

        @s.thread
        def writer() -> None:
            s.write(a, "x")

    result, _ = outcomes(two_pages, bounds={"frames": 2})
    assert result.verdict is Verdict.NOT_FINISHED
    assert "OutOfRecords: frames (2)" in str(result.error)
    assert "raise with frames=3" in str(result.error)


@pytest.mark.parametrize(
    ("wanted", "says"), [({"frames": 99}, "frames=99: the machine can have 1 to 16"), ({"framse": 3}, "no bound framse")]
)
def test_a_bound_that_cannot_be_is_refused(wanted: dict[str, int], says: str) -> None:
    with pytest.raises(LangError, match=says):
        outcomes(SCENARIOS[0][0], bounds=wanted)


@scenario
def forks(s: Recorder) -> None:
    a = s.mmap(pages=2)
    s.write(a, "x")
    with s.fork():
        s.read(a)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"pte_markers": 1}, "forks: pte_markers=1 and userfaultfd=0: entries are marked for a userfaultfd\n  decide userfaultfd too, or leave pte_markers out"),
        ({"userfaultfd": 1}, "userfaultfd=1 and vma_flags=0"),
        ({"numa_hints": 1}, "numa_hints=1 and prot_none=0"),
        ({"huge": 1}, "huge=1 and pmds=0"),
        ({"hugetlb_private_regions": 1}, "hugetlb_private_regions=1 and hugetlb_private=0"),
        ({"memlock": 1}, "memlock=1: there are 2 processes, and each has one\n  decide memlock=2, or leave it out"),
        ({"secondary_tlbs": 1}, "secondary_tlbs=1: there are 2 processes"),
    ],
)  # fmt: skip
def test_bounds_that_do_not_fit_each_other_are_refused(wanted: dict[str, int], says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        outcomes(forks, bounds=wanted)


def test_bounds_that_fit_each_other_are_taken() -> None:
    bounds = {"pte_markers": 1, "userfaultfd": 1, "vma_flags": 1, "numa_hints": 1, "prot_none": 1, "memlock": 2}
    result, found = outcomes(forks, bounds=bounds)
    assert (result.error, found) == (None, outcomes(forks)[1])


def test_one_program_runs_every_operation() -> None:
    @scenario
    def device_and_dax(s: Recorder) -> None:
        dax = s.dax(pages=1)
        a = s.mmap(dax)
        s.write(a, "A")
        gpu = s.device()

        @s.thread
        def device() -> None:
            gpu.read(a, into="seen")
            gpu.write(a, "D")

        with s.after():
            gpu.compare(a)
            s.read(a, into="cpu")

    assert program(device_and_dax).size > 0
    result, possible = outcomes(device_and_dax)
    assert result.verdict is Verdict.HOLDS
    assert {show_outcome(o) for o in possible} == {"cpu=D, seen=A"}


def test_a_comparison_is_the_processs_own_for_it_reads_as_the_cpu_does() -> None:
    s = Recorder()
    a = s.mmap(pages=1)
    gpu = s.device()

    @s.thread
    def ends() -> None:
        s.exit()

    @s.thread
    def compares() -> None:
        gpu.compare(a, into="alike")

    _, possible = outcomes(s.scenario("compared", ""))
    assert (("alike", "exited"),) in possible
