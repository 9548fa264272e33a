"""`secondsight check` and `replay`, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_world import MY_GPU, WITHOUT_TEST, Done, narrow, secondsight


@pytest.fixture
def right(tmp_path: Path) -> Path:
    path = tmp_path / "right.py"
    path.write_text(MY_GPU)
    return path


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.py"
    path.write_text(WITHOUT_TEST)
    return path


def test_a_right_driver_holds(right: Path) -> None:
    done = secondsight("check", right, "--adversary", "munmap", "--adversary", "exit")
    assert done.code == 0
    assert [line.split()[:2] for line in done.out.splitlines()[1:3]] == [["munmap", "holds"], ["exit", "holds"]]
    (unseen,) = [line for line in done.out.splitlines() if line.startswith("  did not run: right.py:")]
    assert "elif not self.lock.trylock():" in unseen, "the OOM reaper was not asked for"
    assert narrow(done.out)
    assert done.err == ""


def test_what_a_verdict_rests_on_is_in_the_json(right: Path) -> None:
    right.write_text(MY_GPU.replace("def fault(", "def faultt("))
    done = secondsight("check", right, "--adversary", "munmap", "--rule", "isolation", "--json")
    assert done.code == 0
    assert not any(result["accessed"] for result in done.json["results"])
    rests = done.json["rests_on"]["MyGpu"]
    assert rests["adversaries"]["munmap"] == {"touched": False, "called": True, "silent": ["isolation"]}
    assert rests["unseen"][0]["method"] == "MyGpu.faultt"


def test_a_device_that_gets_at_no_page_does_not_simply_hold(right: Path) -> None:
    right.write_text(MY_GPU.replace("def fault(", "def faultt("))
    done = secondsight("check", right, "--adversary", "munmap", "--rule", "isolation")
    assert "munmap             holds: no page accessed" in done.out
    assert "isolation never looked: munmap" in done.out
    done = secondsight("check", right, "--adversary", "munmap")
    assert (done.code, "failed where a CPU's would not have failed" in " ".join(done.out.split())) == (1, True)


def test_an_error_in_the_driver_comes_with_the_way_there(right: Path) -> None:
    """An error number that is taken for a page: the index outside an array is in a file of ours, the call is the driver's."""
    right.write_text(MY_GPU.replace("            if pfn < 0:\n                return pfn\n", ""))
    done = secondsight("check", right, "--adversary", "munmap")
    assert done.code == 2
    assert "    devices/device.py:" in done.out and "(is it -EFAULT?)" in done.out
    lines = [line.strip() for line in done.out.splitlines()]
    (end,) = [number for number, line in enumerate(lines) if line == "^ bad-index"]
    assert lines[end - 1].startswith("page_table.map(va=1, pfn=-EFAULT)") and "right.py:" in lines[end - 1]
    again = secondsight("replay", right, "munmap:reads", lines[-1].split()[-1])
    assert "^ bad-index" in again.out
    (beside,) = [line for line in secondsight("check", right, "--adversary", "munmap", "--format", "github").out.splitlines() if line.startswith("::")]
    assert beside.startswith("::error ") and "title=bad-index" in beside and "line=1," not in beside


def test_a_rule_of_the_files_own_is_watched_and_replayed(right: Path) -> None:
    right.write_text(
        MY_GPU
        + "from secondsight.lang import require, rule\nfrom secondsight.linux.device import device_access\n"
        + "from secondsight.linux.mm_types import Driver, Folio\n\n\n"
        + '@rule("first-page", on=device_access)\ndef mine(device: Driver, va: Va, frame: Folio, write: bool) -> None:\n'
        + '    """The last page is left alone."""\n    require(va == 0, "first-page", "the last page was used")\n'
    )
    done = secondsight("check", right, "--adversary", "munmap", "--rule", "first-page", "--json")
    assert done.code == 1
    assert {r["broken"]["rule"] for r in done.json["results"] if r["broken"]} == {"first-page"}
    saved = right.with_suffix(".json")
    saved.write_text(done.out)
    assert "rule: first-page (right.py)" in secondsight("replay", saved).out


def test_what_did_not_run_is_said_of_where_it_holds_if_something_is_broken(tmp_path: Path) -> None:
    never_waits = WITHOUT_TEST.replace("elif not self.lock.trylock():", "elif True:")  # the reaper is sent away, so it breaks nothing
    (tmp_path / "driver.py").write_text(never_waits)
    lines = secondsight("check", "driver.py", "--adversary", "munmap", "--adversary", "oom-reaper", cwd=tmp_path).out.splitlines()
    assert "broken" in lines[1] and "holds" in lines[2] and lines[3] == "  where it holds (oom-reaper):"
    assert any(line.startswith("  did not run: driver.py:") for line in lines[4:])


def test_a_wrong_driver_is_broken_with_a_trace_for_a_mail(wrong: Path) -> None:
    done = secondsight("check", wrong, "--adversary", "munmap")
    assert done.code == 1
    assert narrow(done.out)
    assert "MyGpu (munmap: reads): stale access" in done.out
    assert "rule: as-if-cpu (contract/coherence.py)" in done.out
    assert "MyGpu.invalidate(" in done.out
    assert "wrong.py:" in done.out
    assert "^ as-if-cpu" in done.out
    assert done.err == ""


def test_a_rule_narrows_what_is_watched(wrong: Path) -> None:
    done = secondsight("check", wrong, "--adversary", "munmap", "--rule", "isolation", "--json")
    assert {tuple(result["rules"]) for result in done.json["results"]} == {("isolation",)}


def test_a_class_is_picked(right: Path) -> None:
    right.write_text(
        MY_GPU + "\n\nclass Other(MyGpu):\n    def invalidate(self, rng: mn.Range, seq: int) -> bool:\n"
        "        return MyGpu.invalidate(self, rng, seq)\n"
    )
    done = secondsight("check", right, "--class", "Other", "--adversary", "exit")
    assert done.code == 0
    assert "Other" in done.out and "MyGpu" not in done.out


def test_a_limit_is_not_finished(right: Path) -> None:
    done = secondsight("check", right, "--adversary", "munmap-mmap", "--states", "1000")
    assert done.code == 3
    assert "not finished: states" in done.out


def test_json_has_every_result(wrong: Path) -> None:
    done = secondsight("check", wrong, "--adversary", "munmap", "--json")
    assert done.code == 1
    data = done.json
    assert (data["kind"], data["schema"], data["verdict"]) == ("check", 1, "broken")
    for result in data["results"]:
        assert result["verdict"] == "broken"
        assert result["broken"]["rule"] == "as-if-cpu"
        trace = result["trace"]
        assert {step["thread"] for step in trace["steps"]} <= set(trace["threads"])
        assert len(trace["states"]) == len(trace["steps"]) - 1


def test_an_unchanged_check_answers_from_what_was_kept_and_says_so(right: Path) -> None:
    only = ("check", right, "--adversary", "open")
    assert "kept" not in secondsight(*only).out
    done = secondsight(*only)
    assert (done.code, done.err) == (0, "")
    assert "open               holds (kept)" in done.out
    assert done.out.splitlines()[-1] == "note: kept: nothing has changed since that was searched (--again: anew)"
    assert {result["kept"] for result in secondsight(*only, "--json").json["results"]} == {True}
    assert {result["kept"] for result in secondsight(*only, "--json", "--again").json["results"]} == {False}
    right.write_text(right.read_text().replace("return 0", "return 0  # as it should"))
    assert "kept" not in secondsight(*only).out


# Replaying.


@pytest.fixture
def saved(wrong: Path) -> Path:
    path = wrong.with_suffix(".json")
    path.write_text(secondsight("check", wrong, "--adversary", "munmap", "--json").out)
    return path


def test_a_saved_trace_replays(saved: Path) -> None:
    done = secondsight("replay", saved)
    assert done.code == 0
    assert narrow(done.out)
    assert "^ as-if-cpu" in done.out


def test_a_saved_trace_stops_in_pdb_at_a_step(saved: Path) -> None:
    last = min(len(r["trace"]["steps"]) for r in json.loads(saved.read_text())["results"])
    done = secondsight("replay", saved, "--pdb", str(last - 1), typed="where\nc\n")
    assert done.code == 0
    assert "wrong.py" in done.out
    assert secondsight("replay", saved, "--pdb", str(last), typed="q\n").code == 0
    assert secondsight("replay", saved, "--pdb", str(last + 1)).code == 2


def test_a_trace_of_an_edited_driver_says_so(saved: Path, wrong: Path) -> None:
    wrong.write_text(MY_GPU)
    done = secondsight("replay", saved)
    assert done.code == 2
    assert "edited" in done.err
    refused(done)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"kind": "trace"}', '{"kind": "trace", "schema": 99}', "\x00", '{"trace": {"kind": "trace", "schema": 1}}'],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(text)
    refused(secondsight("replay", path))


# Bad input.


def refused(done: Done) -> None:
    """Exit code 2, a message on stderr, and nobody's traceback."""
    assert done.code == 2, done
    assert done.err.strip()
    assert "Traceback" not in done.err + done.out


def test_no_such_file(tmp_path: Path) -> None:
    done = secondsight("check", tmp_path / "none.py")
    refused(done)
    assert "none.py" in done.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = (", "driver.py:1"),
        ("x = 1", "no driver"),
        ("import os\n\nos.environ['SURELY_NOT_SET']\n", "driver.py:3"),
        ("raise SystemExit(0)", "SystemExit"),
        (MY_GPU.replace("            if pfn < 0:", "            seen = {}\n            if pfn < 0:"), "instead:"),
        (MY_GPU.replace("-> bool:", "-> str:"), "driver.py"),
    ],
    ids=["syntax error", "no driver", "an error of the file's own", "exit", "a refused construct", "a refused type"],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "driver.py"
    path.write_text(text)
    done = secondsight("check", path, "--adversary", "munmap")
    refused(done)
    assert says in done.err


@pytest.mark.parametrize(
    "options",
    [
        ["--adversary", "bogus"],
        ["--rule", "bogus"],
        ["--class", "Bogus"],
        ["--bound", "frames"],
        ["--bound", "bogus=3"],
        ["--bound", "frames=1", "--adversary", "munmap"],
        ["--memory", "much"],
        ["--states", "0"],
        ["--bogus"],
    ],
    ids=" ".join,
)
def test_a_bad_option_is_refused(right: Path, options: list[str]) -> None:
    refused(secondsight("check", right, *options))


def test_a_bound_that_is_too_small_is_named(right: Path) -> None:
    done = secondsight("check", right, "--adversary", "munmap-mmap", "--bound", "frames=2")
    assert done.code == 2
    assert "frames" in done.out + done.err
    assert "raise" in done.out + done.err
