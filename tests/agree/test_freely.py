"""Free runs beside what is possible, and the cells of tables that they are made of: with a kernel that is a stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from secondsight.agree.confirm import Confirmed
from secondsight.agree.freely import run_freely
from secondsight.cases import TABLES, Cell, FreeRun, Kernels
from secondsight.cli import main
from secondsight.cli.confirming import _lacks
from secondsight.cli.settle import _mark, _question
from secondsight.kernels import Kernel
from secondsight.kernels.jobs import Observation
from secondsight.scenario import Outcome, Recorder, Scenario, scenario
from secondsight.scenario.schedule import CannotForce
from secondsight.search import Result, Verdict


class Shows:
    """A kernel that shows one outcome."""

    def __init__(self, **outcome: str) -> None:
        self.outcome: Outcome = tuple(sorted(outcome.items()))

    def observe(self, scenario: Scenario, runs: int = 1) -> Observation:
        return Observation(scenario.name, {self.outcome: runs}, runs, "6.12.0", 0.0)


@scenario
def races(s: Recorder) -> None:
    """A store, and a load beside it."""
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def cpu() -> None:
        s.write(a, "b")

    @s.thread
    def other() -> None:
        s.read(a, into="seen")


@scenario
def on_the_model_only(s: Recorder) -> None:
    s.page_is_young(s.mmap(pages=1), into="had")


def test_what_is_seen_must_be_possible_and_have_the_property() -> None:
    assert isinstance(races, Scenario) and isinstance(on_the_model_only, Scenario)
    found = run_freely(Shows(seen="b"), races, lambda outcome: outcome["seen"] in "ab", runs=3)
    assert found.verdict is Confirmed.CONFIRMED and found.free and found.why == "it ran freely 3 times: 1 of 2 possible outcomes, and no other"
    assert run_freely(Shows(seen="x"), races).verdict is Confirmed.REFUTED
    wrong = run_freely(Shows(seen="b"), races, lambda outcome: outcome["seen"] == "b")
    assert wrong.verdict is Confirmed.CANNOT and "does not ask what the cell does" in wrong.why
    assert run_freely(Shows(had="ok"), on_the_model_only).verdict is Confirmed.CANNOT


def test_a_cell_is_a_question_if_it_is_asked_for() -> None:
    table = TABLES["2023-06-pins"]
    holds = Result(Verdict.HOLDS, 1, 1, 1, 0.0)
    asked = _question(table, Cell("folios", "reboot", holds), True)
    assert isinstance(asked, FreeRun) and _question(table, Cell("folios", "reboot", holds), False) is None
    assert _question(table, Cell("each frame", "sub-pages", None), True) is None
    assert isinstance(_question(table, Cell("address", "VFIO", holds), True), CannotForce)
    found = run_freely(Shows(seen="b"), races)  # type: ignore[arg-type]
    assert _mark(found) == "ran so"


def test_what_a_kernel_lacks_is_said(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("CONFIG_UDMABUF=y\n")
    kernel = Kernel("linux-6.12", tmp_path / "vmlinuz", "6.12.0")
    assert _lacks(kernel, Kernels(since=(6, 11), abilities=("udmabuf",))) is None
    assert "this one is newer" in str(_lacks(kernel, Kernels(before=(6, 11))))
    assert "this one is older" in str(_lacks(kernel, Kernels(since=(7, 0))))
    assert "is without memory offline" in str(_lacks(kernel, Kernels(abilities=("udmabuf", "memory offline"))))


def test_one_kernel_is_asked_in_one_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settle", "2023-06-pins", "--on", "linux-6.12", "--confirm", "linux-6.12"]) == 2
    assert "leave out --confirm" in " ".join(capsys.readouterr().err.replace("│", "").split())
