"""A short campaign on the real kernel: drawn scenarios, on it and on the model. `make agree` runs a longer one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from secondsight.agree.campaign import examine
from secondsight.agree.generate import DrawnKind, scenario_of
from secondsight.agree.sides import Booted
from secondsight.agree.source import source_of
from secondsight.agree.store import AGREES
from secondsight.cli import main
from secondsight.kernels import VM, Kernel
from secondsight.linux import memfd
from secondsight.scenario import Recorder, scenario

SEED = int(os.environ.get("SECONDSIGHT_AGREE_SEED", "20261121"))


@pytest.fixture(scope="module")
def booted(vm: VM) -> Booted:
    """The boot that all these tests share."""
    return Booted(vm.kernel, vm=vm)


@pytest.mark.parametrize(("kind", "count"), [("sequential", 80), pytest.param("free", 8, marks=pytest.mark.wide)])
def test_drawn_scenarios_agree(kind: DrawnKind, count: int, booted: Booted) -> None:
    drawn = {number: booted.fitted(scenario_of(kind, SEED, number)) for number in range(count)}
    results = examine(booted, drawn, kind)
    assert [one.number for one in results] == list(range(count))
    wrong = [one.finding for one in results if one.finding is not None]
    assert not wrong, f"seed {SEED}: {wrong[0].signature}\n{source_of(wrong[0].scenario, wrong[0].answers)}"


def test_a_fault_of_the_model_is_seen(booted: Booted, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the checks of F_ADD_SEALS taken out of the model, the kernel says otherwise within a few hundred scenarios."""
    monkeypatch.setattr(memfd, "memfd_seals_problem", lambda file, seals: 0)
    drawn = {number: booted.fitted(scenario_of("sequential", SEED, number)) for number in range(100)}
    wrong = [one for one in examine(booted, drawn, "sequential") if one.verdict != AGREES]
    assert {one.finding.signature for one in wrong if one.finding} >= {"add_seals: model ok, kernel -EPERM"}


def test_a_scenario_without_operations_runs_too(booted: Booted) -> None:
    """All that a scenario does falls away on a kernel that has no device for it."""

    @scenario
    def nothing(s: Recorder) -> None: ...

    (result,) = examine(booted, {0: nothing}, "free")
    assert (result.verdict, result.finding) == (AGREES, None)


@pytest.mark.wide
def test_a_guest_that_dies_costs_one_scenario(kernel_6_12: Kernel) -> None:
    @scenario
    def nothing_much(s: Recorder) -> None:
        s.read(s.mmap(pages=1), into="seen")

    with Booted(kernel_6_12, answer_seconds=20) as machine:
        answers = machine.answers([nothing_much] * 3, 1)
        assert not next(answers)[1].died
        assert machine._vm is not None
        machine._vm._guest.send("crash\n")
        later = [seen for _, seen in answers]
        died = [seen for seen in later if seen.died]
        assert len(later) == 2
        assert len(died) <= 1  # the crash may come behind what was sent ahead
        if not died:
            (_, lost), (_, fine) = machine.answers([nothing_much] * 2, 1)
            assert "panicked" in lost.died
            assert "Kernel panic" in lost.console
            assert list(fine.outcomes.values()) == [1]


@pytest.mark.wide
def test_the_command(kernel_6_12: Kernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "agree.sqlite"
    options = ["--kinds", "sequential", "--boots", "1", "--seed", str(SEED + 1), "--db", str(path)]
    assert main(["agree", "--on", "linux-6.12", "--runs", "150", *options]) == 0
    told = capsys.readouterr().out
    assert kernel_6_12.release in told
    assert "150" in told
    assert main(["agree", "--on", "linux-6.12", "--runs", "200", *options, "--seconds", "0"]) == 3
