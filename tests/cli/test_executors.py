"""The executors by the command line: the same answer, and readable C."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GPU = ROOT / "examples" / "my_gpu.py"


def secondsight(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "secondsight", *arguments], capture_output=True, text=True, check=False)


def test_every_executor_gives_the_same_result() -> None:
    results = []
    for executor in ("reference", "native", "auto"):
        done = secondsight("check", str(GPU), "--adversary", "oom-reaper", "--json", "--executor", executor)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["results"]
        results.append([(r["scenario"], r["verdict"], r["states"], r["transitions"]) for r in found])
    assert results[0] == results[1] == results[2]


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
