"""`secondsight claim FILE --driver D`: what it prints, its exit codes, its JSON."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from secondsight.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
GPU = str(EXAMPLES / "my_gpu.py")
READS = ["--driver", GPU, "--scenario", "munmap:reads"]
LINES = "cpu                 device\n---                 ------\n                    fault()\nzap_pte_range()\n"


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    return tmp_path / "mail.txt"


def test_possible(mail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mail.write_text(LINES)
    assert main(["claim", str(mail), *READS]) == 0
    out = capsys.readouterr().out
    assert out.startswith("possible: ")
    assert re.findall(r"^ +(\d+) ", out, re.MULTILINE) == ["3", "4"]
    assert main(["claim", str(mail), *READS, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["kind"], document["verdict"], document["driver"]) == ("claim", "possible", "MyGpu")
    (one,) = document["scenarios"]
    assert (one["lines"], one["of"], one["possible"]["breaks"], one["possible"]["titles"]) == (2, 2, None, {})
    assert [(e["thread"], e["line"]) for e in one["possible"]["run"] if e["line"]] == [("device", 3), ("cpu", 4)]


def test_a_printed_trace_comes_back_with_the_command_that_replays_it(mail: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    driver = tmp_path / "untested.py"
    driver.write_text((EXAMPLES / "my_gpu.py").read_text().replace("if mn.mmu_interval_read_retry(self.notifier, seq):", "if seq == 0:"))
    assert main(["check", str(driver), "--adversary", "madvise-dontneed"]) == 1
    printed = capsys.readouterr().out
    first = printed[printed.index("MyGpu (madvise-dontneed: ") :]
    mail.write_text(first[: first.index("secondsight replay")])
    assert main(["claim", str(mail), "--driver", str(driver)]) == 0
    out = capsys.readouterr().out
    assert "as-if-cpu" in out and "MyGpu, madvise-dontneed: reads; " in " ".join(out.split())
    replays = out[out.index("secondsight replay") :].replace("\\\n", "").split()
    assert main([*replays[1:2], str(driver), *replays[3:]]) == 0
    assert "as-if-cpu" in capsys.readouterr().out


def test_impossible(mail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mail.write_text(LINES + "                    page_table.map()\n")
    assert main(["claim", str(mail), *READS]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "it stops at line 5: page_table.map() line 5 never comes after line 4: in every run that has both it comes before it" in out
    assert main(["claim", str(mail), *READS, "--json"]) == 1
    stop = json.loads(capsys.readouterr().out)["scenarios"][0]["stop"]
    assert (stop["line"], stop["text"], len(stop["reasons"]) > 1) == (5, "page_table.map()", True)


def test_all_scenarios_of_an_adversary(mail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mail.write_text("closer\n------\nclose_device()\nread()\n")
    assert main(["claim", str(mail), "--driver", GPU, "--adversary", "close"]) == 1
    out = capsys.readouterr().out
    assert "in 2 scenarios" in out and "close: beside munmap and 1 more cannot have it: closer never comes to line 4: read()" in " ".join(out.split())


def test_no_thread_does_it(mail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mail.write_text("closer\n------\nread()\n")
    assert main(["claim", str(mail), "--driver", GPU, "--scenario", "close:beside-munmap"]) == 1
    assert "closer never comes to line 3: read()" in capsys.readouterr().out


def test_not_finished(mail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mail.write_text(LINES + "                    page_table.map()\n")
    assert main(["claim", str(mail), *READS, "--seconds", "0"]) == 3
    assert "not all states were seen (seconds)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("fautl()\n", READS, "mail.txt:1: fautl()\n  no function and no statement of MyGpu's program is like it; the nearest: fault"),
        ("", READS, "there is no line of an interleaving in it"),
        ("fault()\n", ["--driver", GPU, "--scenario", "munmap:sleeps"], "no adversary has a scenario munmap:sleeps; is it munmap:reads or "),
        ("fault()\n", ["--driver", GPU, "--adversary", "nobody"], "no adversary is called 'nobody'"),
        ("fault()\n", ["--driver", GPU, "--class", "Other"], "has no driver Other; it has MyGpu"),
    ],
)
def test_bad_input(mail: Path, text: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    mail.write_text(text)
    assert main(["claim", str(mail), *options]) == 2
    assert message in capsys.readouterr().err


def test_what_is_no_file_and_what_comes_through_a_pipe(mail: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claim", str(mail), *READS]) == 2
    assert "mail.txt: No such file or directory" in capsys.readouterr().err
    mail.write_bytes(b"\xff\xfe")
    assert main(["claim", str(mail), *READS]) == 2
    assert "mail.txt is not a text" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO(LINES))
    assert main(["claim", "-", *READS]) == 0


def test_a_tables_cell_is_asked_too(mail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settle", "2026-two", "--trace", "begins all:reaper"]) == 1
    printed = capsys.readouterr().out
    mail.write_text(printed[: printed.index("secondsight replay")])
    assert main(["claim", str(mail), "--table", "2026-two", "--cell", "begins:reap"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("possible:") and "2026-two-passes, begins all:reaper; " in " ".join(out.split())
    assert "secondsight replay 2026-two-passes" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--driver or --table: one of them is wanted"),
        (["--driver", GPU, "--table", "2026-two"], "one of them is wanted"),
        (["--driver", GPU, "--cell", "x:y"], "--cell is not for a driver"),
        (["--table", "2026-two", "--adversary", "munmap"], "--adversary is not for a table"),
        (["--table", "2026-two", "--cell", "x:y"], "there is no cell x:y"),
        (["--table", "bogus"], "there is no table bogus"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_a_driver_or_a_table(options: list[str], message: str, mail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mail.write_text(LINES)
    assert main(["claim", str(mail), *options]) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
