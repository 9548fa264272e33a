"""The executors by the command line: the same answer, and readable C."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from secondsight.cli import main
from secondsight.search.executors import FEW, NARROWING

ROOT = Path(__file__).parents[2]
GPU = ROOT / "examples" / "my_gpu.py"
PLAIN = ("--no-merge", "--no-symmetry")


@dataclass
class Done:
    """What the command did, in this process: nothing is loaded or lowered anew for each."""

    returncode: int
    stdout: str
    stderr: str


def secondsight(*arguments: str) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(arguments))
    return Done(code, out.getvalue(), err.getvalue())


def test_every_executor_gives_the_same_result() -> None:
    results = []
    for executor in ("reference", "native", "auto"):
        done = secondsight("check", str(GPU), "--adversary", "oom-reaper", "--json", "--executor", executor, *PLAIN)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["results"]
        results.append([(r["scenario"], r["verdict"], r["states"], r["transitions"]) for r in found])
    assert results[0] == results[1] == results[2]


def results_of(driver: Path, *options: str, adversary: str = "munmap") -> list[dict[str, Any]]:
    done = secondsight("check", str(driver), "--adversary", adversary, "--json", "--executor", "native", *options)
    assert done.returncode in (0, 1, 3), done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["results"]
    return found


def test_reductions_can_be_turned_off_one_by_one() -> None:
    plain, merged, every = (results_of(GPU, *options, adversary="zero-page") for options in (PLAIN, ["--no-symmetry"], []))
    assert [r["verdict"] for r in plain] == [r["verdict"] for r in merged] == [r["verdict"] for r in every]
    large = [n for n, r in enumerate(plain) if r["states"] > NARROWING]
    assert 0 < len(large) < len(plain)
    for n, (one, other, least) in enumerate(zip(plain, merged, every, strict=True)):
        if n in large:
            assert (one["reduced"], other["reduced"], least["reduced"]) == ([], ["merge"], ["merge", "symmetry"])
            assert least["states"] <= other["states"] < one["states"]
        else:
            assert one["states"] <= FEW and one["states"] == other["states"] == least["states"]
            assert one["reduced"] == other["reduced"] == least["reduced"] == []
    done = secondsight("check", str(GPU), "--adversary", "zero-page", "--executor", "native")
    assert "holds (reduced)" in done.stdout


def without_test(folder: Path) -> Path:
    """The example's driver without the two lines that look for an invalidation."""
    lines = GPU.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if "mmu_interval_read_retry" in line)
    path = folder / "my_gpu.py"
    path.write_text("".join(lines[:at] + lines[at + 2 :]))
    return path


@pytest.mark.wide
def test_other_ways_through_the_states(tmp_path: Path) -> None:
    broken = without_test(tmp_path)
    ways = (["--depth-first", "500"], ["--walks", "3000", "--seed", "7"], ["--preemptions", "2"], ["--collect"], ["--exact"], ["--workers", "1"])
    for options in ways:
        found = results_of(broken, *options)
        assert {r["broken"]["rule"] for r in found if r["broken"]} == {"as-if-cpu"}, options
    deep = results_of(GPU, "--depth-first", "500")
    assert {(r["verdict"], r["reason"]) for r in deep} == {("holds", None)}
    one = secondsight("check", str(GPU), "--adversary", "munmap", "--preemptions", "1")
    assert one.returncode == 3 and "not finished (reduced): preemptions" in one.stdout
    assert "what was not finished holds with up to 1 preemption (" in one.stdout
    bounded = results_of(GPU, "--preemptions", "1")
    assert {(r["verdict"], r["reason"], r["preemptions"]) for r in bounded} == {("not finished", "preemptions", 1)}
    both = secondsight("check", str(GPU), "--depth-first", "5", "--walks", "5")
    assert both.returncode == 2 and "one way through the states" in both.stderr


def test_an_unknown_executor_is_refused() -> None:
    done = secondsight("check", str(GPU), "--executor", "abacus")
    assert done.returncode == 2
    assert "auto, reference, native" in done.stderr


def test_the_c_text_names_what_it_came_from() -> None:
    done = secondsight("compile", str(GPU), "--show")
    assert done.returncode == 0, done.stderr
    assert "my_gpu.py:" in done.stdout
    assert "mmu_interval_read_begin" in done.stdout


def test_compiling_says_what_it_made() -> None:
    done = secondsight("compile", str(GPU))
    assert done.returncode == 0, done.stderr
    assert "MyGpu:" in done.stdout
    assert "bytes a state" in done.stdout


@pytest.mark.parametrize("arguments", [["--class", "Nobody"], ["--adversary", "nobody"]])
def test_compile_names_what_is_missing(arguments: list[str]) -> None:
    done = secondsight("compile", str(GPU), *arguments)
    assert done.returncode == 2
    assert "nobody" in done.stderr.lower()
