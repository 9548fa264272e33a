"""`secondsight check` of several files and of folders: each has its turn, and the worst counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_world import MY_GPU, WITHOUT_TEST, narrow, secondsight

ONLY = ("--executor", "reference", "--adversary", "exit")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A right driver, a wrong one deeper down, and files that are none of the command's business."""
    drivers = tmp_path / "drivers"
    for path, text in {
        "a_right.py": MY_GPU,
        "deep/b_wrong.py": WITHOUT_TEST,
        "helper.py": "raise SystemExit('Not a driver: it is not even loaded')\n",
        "test_it.py": MY_GPU,
        ".hidden/c.py": MY_GPU,
        "__pycache__/d.py": MY_GPU,
    }.items():
        (drivers / path).parent.mkdir(parents=True, exist_ok=True)
        (drivers / path).write_text(text)
    return drivers


def test_a_folder_is_its_files_with_drivers_and_the_worst_counts(folder: Path) -> None:
    done = secondsight("check", folder, *ONLY)
    assert (done.code, done.err) == (1, "")
    heads = [line for line in done.out.splitlines() if line.startswith("MyGpu (") and line.endswith(".py)")]
    assert heads == ["MyGpu (a_right.py)", "MyGpu (b_wrong.py)"]
    assert narrow(done.out) and "^ as-if-cpu" in done.out
    assert secondsight("check", folder / "a_right.py", folder / "a_right.py", *ONLY).out.count("MyGpu (") == 1


def test_what_is_wrong_with_one_file_does_not_cost_the_others(folder: Path) -> None:
    bad = folder / "a_bad.py"
    bad.write_text("from secondsight import Device\nx = (\n")
    done = secondsight("check", bad, folder / "a_right.py", *ONLY, "--json")
    assert done.code == 2 and "a_bad.py:2" in done.err and "Traceback" not in done.err
    assert (done.json["kind"], done.json["exit_code"]) == ("checks", 2)
    assert [document["kind"] for document in done.json["files"]] == ["error", "check"]


def test_several_traces_replay(folder: Path) -> None:
    done = secondsight("check", folder, *ONLY, "--json")
    saved = folder / "saved.json"
    saved.write_text(done.out)
    assert "^ as-if-cpu" in secondsight("replay", saved).out


@pytest.mark.parametrize(("options", "says"), [(["--class", "MyGpu"], "one file"), (["--html", "page.html"], "one file")])
def test_what_is_for_one_file_is_refused_for_several(folder: Path, options: list[str], says: str) -> None:
    done = secondsight("check", folder, *ONLY, *options)
    assert done.code == 2 and says in done.err


def test_a_folder_without_drivers_is_refused(tmp_path: Path) -> None:
    done = secondsight("check", tmp_path)
    assert done.code == 2 and "no Python file in this folder has a driver" in done.err
