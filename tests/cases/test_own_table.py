"""A table of one's own: what it says must be of its rows and columns, and what it asks of a kernel is asked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from secondsight.agree.confirm import Confirmation, Confirmed
from secondsight.cases import FreeRun, Question
from secondsight.cases.own import load_tables
from secondsight.cli import main, settle
from secondsight.devices.mirror import MirrorWithoutTest
from secondsight.kernels import Kernel
from secondsight.lang import LangError


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The table that `secondsight new table mine` writes."""
    monkeypatch.chdir(tmp_path)
    assert main(["new", "table", "mine"]) == 0
    capsys.readouterr()
    return (tmp_path / "mine.py").read_text()


@pytest.mark.parametrize(
    ("changed", "to", "reason"),
    [
        ('("without the test", "munmap"): Verdict.BROKEN', '("without test", "munmap"): Verdict.BROKEN', "expected names a row 'without test'"),
        ('("without the test", "munmap"): Verdict.BROKEN', '("without the test", "unmap"): Verdict.BROKEN', "expected names a column 'unmap'"),
        ('("without the test", "munmap"): Verdict.HOLDS', '("no test", "munmap"): Verdict.HOLDS', "the claim 'The test is not needed.' names a row 'no test'"),
        ('Heading("DONTNEED"', 'Heading("munmap"', "two columns are called munmap"),
        ("    program=program,", '    program=program, goes_on=frozenset({"munmpa"}),', "goes_on names a column 'munmpa'"),
    ],
)  # fmt: skip
def test_what_names_no_row_and_no_column_is_refused(text: str, changed: str, to: str, reason: str, tmp_path: Path) -> None:
    """Else it would be said of nothing: the cell that was meant could change its verdict, and nobody would hear of it."""
    assert changed in text
    path = tmp_path / "wrong.py"
    path.write_text(text.replace(changed, to))
    with pytest.raises(LangError, match=re.escape(reason)):
        load_tables(path)


def test_a_verdict_that_has_changed_is_told(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(text.replace('("without the test", "munmap"): Verdict.BROKEN', '("without the test", "munmap"): Verdict.HOLDS'))
    assert main(["settle", "mine.py"]) == 1
    assert "without the test, munmap: broken, though it was reviewed as holds" in capsys.readouterr().out


def test_a_kernel_is_asked_about_its_cells(text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Both drivers are the real device's. A table without such questions says that it has none."""
    asked: dict[str, object] = {}

    class Asks:
        def __enter__(self) -> Asks:
            return self

        def __exit__(self, *_why: object) -> None:
            return None

        def __call__(self, label: str, question: object) -> Confirmation:
            asked[label] = question
            return Confirmation(Confirmed.CANNOT, getattr(question, "why", "there is no kernel here"))

    monkeypatch.setattr(settle, "asking", lambda _kernel: Asks())
    monkeypatch.setattr(settle, "could_be_asked", lambda _on: None)
    monkeypatch.setattr(Kernel, "find", lambda _name: None)
    assert main(["settle", "mine.py", "--on", "linux-7.2"]) == 0
    assert all(isinstance(asked[f"with the test, {column}"], FreeRun) for column in ("munmap", "DONTNEED"))
    for column in ("munmap", "DONTNEED"):
        question = asked[f"without the test, {column}"]
        assert isinstance(question, Question) and question.driver is not None and question.driver.__name__ == MirrorWithoutTest.__name__
    Path("mine.py").write_text(text.replace("    on_kernel=on_kernel,\n", ""))
    capsys.readouterr()
    assert main(["settle", "mine.py", "--confirm", "linux-7.2"]) == 0
    assert "the table has no scenario of it that a kernel could run" in " ".join(capsys.readouterr().out.split())
