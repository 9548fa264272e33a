"""The model answers as the release that it is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secondsight.agree.judge import ask
from secondsight.cli import main
from secondsight.scenario import Recorder, load_scenarios, scenario, show_outcome

FOUND = Path(__file__).parents[2] / "scenarios" / "found_by_agreement.py"


@pytest.mark.parametrize(("release", "left"), [("6.1", "SIGSEGV"), ("6.12", "a"), ("7.2", "a")])
def test_run_as_a_release(release: str, left: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(FOUND), "--release", release, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    one = next(found for found in told["scenarios"] if found["name"] == "sealed_file_mapped_over")
    assert one["possible"][0]["after_future"] == left
    assert one["possible"][0]["after_sealed"] == "a"
    two = next(found for found in told["scenarios"] if found["name"] == "sealed_file_beside_itself")
    assert two["possible"] == [{"mapped": "ok" if release == "6.1" else "-EPERM", "wrote": "ok", "beside": "0"}]


def test_a_release_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(FOUND), "--release", "newest"]) == 2
    assert "no kernel release" in capsys.readouterr().err


def test_with_threads_too() -> None:
    @scenario
    def raced(s: Recorder) -> None:
        a = s.mmap(pages=1)
        future = s.memfd_create(pages=1, seals="future_write")

        @s.thread
        def cpu() -> None:
            s.mmap(future, at=a, into="mapped")

        @s.thread
        def other() -> None:
            s.read(a, into="seen")

    for release, seen in (("6.1.0-56-amd64", {"0", "SIGSEGV"}), (None, {"0"})):
        assert {dict(outcome)["seen"] for outcome in ask(raced, release).possible} == {show if show != "0" else "\0" for show in seen}
    assert {show_outcome(outcome) for outcome in ask(raced).possible} == {"mapped=-EPERM, seen=0"}
    assert len(load_scenarios(FOUND)) == 12
