"""`check --format`: annotations at the driver's own lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_world import MY_GPU, WITHOUT_TEST, secondsight

from secondsight.cli.annotations import Annotation, github, sarif

ONLY = ("--executor", "reference", "--adversary", "exit")


def last_line(text: str) -> int:
    """The line of the driver that makes the entry which nothing takes back."""
    return next(number for number, line in enumerate(text.splitlines(), 1) if "self.page_table.map(" in line)


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    (tmp_path / "wrong.py").write_text(WITHOUT_TEST)
    return tmp_path


def test_github_has_an_annotation_below_the_text(wrong: Path) -> None:
    done = secondsight("check", "wrong.py", *ONLY, "--format", "github", cwd=wrong)
    assert done.code == 1 and done.out.startswith("MyGpu (wrong.py)")
    (line,) = [line for line in done.out.splitlines() if line.startswith("::")]
    assert line.startswith(f"::error file=wrong.py,line={last_line(WITHOUT_TEST)},title=as-if-cpu::MyGpu (exit: ")


def test_sarif_is_a_log_with_the_rule_and_the_line(wrong: Path) -> None:
    (wrong / "right.py").write_text(MY_GPU)
    done = secondsight("check", "right.py", "wrong.py", *ONLY, "--format", "sarif", cwd=wrong)
    assert (done.code, done.json["version"]) == (1, "2.1.0")
    (run,) = done.json["runs"]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == ("as-if-cpu", "error")
    place = result["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "wrong.py"}, "region": {"startLine": last_line(WITHOUT_TEST)}}
    assert run["tool"]["driver"]["rules"] == [{"id": "as-if-cpu"}]


def test_what_did_not_finish_is_a_warning(wrong: Path) -> None:
    (wrong / "right.py").write_text(MY_GPU)
    done = secondsight("check", "right.py", *ONLY, "--states", "10", "--format", "github", cwd=wrong)
    assert done.code == 3 and "::warning file=right.py,line=1,title=not-finished::MyGpu (exit" in done.out


def test_what_a_file_is_refused_for_is_annotated_line_by_line(wrong: Path) -> None:
    text = MY_GPU.replace("hmm.hmm_range_fault(", "hmm.hmm_range_falt(").replace("rng.blockable", "rng.blocks")
    (wrong / "refused.py").write_text(text)
    (wrong / "typed.py").write_text("from secondsight import Device\n\n\nclass A(Device):\n    seen: list[bool]\n    text: str\n")
    expected = {f"refused.py:{i}" for i, line in enumerate(text.splitlines(), 1) if "rng.blocks" in line or "range_falt" in line} | {"typed.py:5", "typed.py:6"}
    done = secondsight("check", "refused.py", "typed.py", *ONLY, "--format", "sarif", cwd=wrong)
    places = [one["locations"][0]["physicalLocation"] for one in done.json["runs"][0]["results"]]
    assert done.code == 2 and {f"{one['artifactLocation']['uri']}:{one['region']['startLine']}" for one in places} == expected
    done = secondsight("check", "typed.py", "--format", "github", cwd=wrong)
    assert done.code == 2 and "::error file=typed.py,line=5,title=refused::A.seen: " in done.out


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("import secondsight\n\nx = (1,\n", 3, 5, "was never closed"),
        ("def y():\n    return 1 / 0\n\ny()\n", 2, 0, "ZeroDivisionError"),
        (MY_GPU.replace("hmm.hmm_range_fault(", "hmm.hmm_range_falt("), -1, -1, "hmm_range_falt"),
    ],
)
def test_an_error_of_the_file_is_annotated_once_where_it_is(text: str, line: int, column: int, says: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(text)
    if line < 0:
        line, column = next((number, one.index("hmm.hmm_range_falt") + 1) for number, one in enumerate(text.splitlines(), 1) if says in one)
    done = secondsight("check", "bad.py", *ONLY, "--format", "github", cwd=tmp_path)
    (told,) = done.out.splitlines()
    assert done.code == 2 and says in told
    assert told.startswith(f"::error file=bad.py,line={line}{f',col={column}' * (column > 0)},title=refused::")
    sarif = secondsight("check", "bad.py", *ONLY, "--format", "sarif", cwd=tmp_path).json
    (result,) = sarif["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "bad.py"}, "region": {"startLine": line} | ({"startColumn": column} if column else {}),
    }  # fmt: skip


def test_nothing_that_has_a_meaning_there_is_left_as_it_is() -> None:
    one = Annotation(Path("a,b:c.py"), 3, "error", "r:x", "100%\nof it")
    assert github([one]) == ["::error file=a%2Cb%3Ac.py,line=3,title=r%3Ax::100%25%0Aof it"]
    assert sarif([one])["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%2Cb%3Ac.py"


@pytest.mark.parametrize("options", [["--format", "xml"], ["--format", "sarif", "--json"]])
def test_an_unknown_format_is_refused(wrong: Path, options: list[str]) -> None:
    done = secondsight("check", "wrong.py", *options, cwd=wrong)
    assert done.code == 2 and "is wanted" in done.err
