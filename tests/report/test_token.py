"""A trace as a token: it comes back whole, from every kind of end, and is refused where it does not fit."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from secondsight.cli import main
from secondsight.contract import ADVERSARIES, driver_program, rules_for
from secondsight.contract.check import Checked, check
from secondsight.contract.lessons import RULES_BROKEN
from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror, MirrorWithoutTest
from secondsight.devices.small import AsksAgainForEver, FaultsUnderItsLock
from secondsight.lang import LangError
from secondsight.lang.reference import Reference
from secondsight.report import replay_command, token_of, violation_of

HOUSE = Path(__file__).parents[2]
MY_GPU = (HOUSE / "examples" / "my_gpu.py").read_text()
TEST = """                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
"""
ENDS: dict[str, tuple[type[Device], str]] = {
    "as-if-cpu": (MirrorWithoutTest, "munmap"),
    "livelock": (AsksAgainForEver, "munmap"),
    "deadlock": (FaultsUnderItsLock, "punch-hole"),
}


def broken(driver: type[Device], adversary: str) -> Checked:
    return next(checked for checked in check(driver, [adversary]) if checked.result.violation is not None)


@pytest.mark.parametrize("rule", ENDS)
def test_every_end_comes_back(rule: str) -> None:
    checked = broken(*ENDS[rule])
    program = checked.rebuild()
    assert checked.result.violation is not None
    violation = checked.result.violation.untangle(Reference(program))
    token = token_of(program, violation)
    assert token is not None and len(token) <= 24
    again = violation_of(checked.rebuild(), token)
    assert (again.rule, again.message, again.loop) == (violation.rule, violation.message, violation.loop)
    assert again.trace == violation.trace
    assert violation_of(program, token.upper()) == again


def test_a_slip_of_the_pen_is_seen() -> None:
    checked = broken(MirrorWithoutTest, "munmap")
    program = checked.rebuild()
    assert checked.result.violation is not None
    token = token_of(program, checked.result.violation)
    assert token is not None
    draw = random.Random(1)
    for _ in range(60):
        at = draw.randrange(len(token))
        other = draw.choice([letter for letter in "0123456789abcdefghjkmnpqrstvwxyz" if letter != token[at]])
        with pytest.raises(LangError, match="copy it again"):
            violation_of(program, token[:at] + other + token[at + 1 :])
    for wrong in ("", token[:-1], token[1:], token + "0", "u", "é"):
        with pytest.raises(LangError, match="copy it again"):
            violation_of(program, wrong)


def test_another_program_is_told() -> None:
    checked = broken(MirrorWithoutTest, "munmap")
    assert checked.result.violation is not None
    token = token_of(checked.rebuild(), checked.result.violation)
    assert token is not None
    for driver, scenario in ((Mirror, 0), (MirrorWithoutTest, 2), (MirrorWithoutTest, 3)):
        other = driver_program(driver, ADVERSARIES["munmap"].scenarios[scenario], rules_for(driver))
        with pytest.raises(LangError, match="does not fit"):
            violation_of(other, token)


def test_a_long_command_has_two_lines() -> None:
    assert replay_command("a.py", "munmap: reads", "abc", {}) == "secondsight replay a.py munmap:reads abc"
    command = replay_command("a folder/a.py", "munmap-mmap: two engines", "abc", {"bound": ["frames=8", "pages=12"], "rule": []})
    assert command == "secondsight replay 'a folder/a.py' munmap-mmap:two-engines --bound frames=8 \\\n    --bound pages=12 abc"
    far = f"/{'folder/' * 12}a.py"
    assert replay_command(far, "munmap: reads", "abc", {}) == "secondsight replay a.py munmap:reads abc"


def test_the_line_under_a_trace_replays_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_gpu.py").write_text(MY_GPU.replace(TEST, ""))
    assert main(["check", "my_gpu.py", "--adversary", "munmap"]) == 1
    out = capsys.readouterr().out
    command = out.splitlines()[-1].split()
    assert command[:4] == ["secondsight", "replay", "my_gpu.py", "munmap:reads"]
    assert main(command[1:]) == 0
    replayed = capsys.readouterr().out
    for line in re.findall(r"^.*(?:my_gpu\.py:\d+|\^ as-if-cpu|CPU: .*)$", out, re.MULTILINE):
        assert line.strip() in replayed
    assert main([*command[1:], "--pdb", "99"]) == 2
    (tmp_path / "my_gpu.py").write_text("# a comment does not change it\n" + MY_GPU.replace(TEST, ""))
    assert main(command[1:]) == 0
    (tmp_path / "my_gpu.py").write_text(MY_GPU)
    capsys.readouterr()
    assert main(command[1:]) == 2
    said = capsys.readouterr().err
    assert "the driver was edited since" in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["my_gpu.py", "munmap:reads"], "its token"),
        (["my_gpu.py", "munmap:bogus", "0"], "munmap:reads"),
        (["my_gpu.py", "munmap:reads", "0"], "copy it again"),
        (["my_gpu.py", "munmap:reads", "0", "--rule", "bogus"], "no rule is called"),
        (["my_gpu.py", "munmap:reads", "0", "--class", "Bogus"], "has no driver Bogus"),
        (["my_gpu.py", "munmap:reads", "0", "--bound", "bogus=1"], "there is no bound bogus"),
        (["none.py", "munmap:reads", "0"], "no such file"),
        (["2019-08-hmm", "bogus:munmap", "0"], "today-loop:munmap"),
        (["2019-08-hmm", "today-loop:munmap", "0"], "copy it again"),
        (["2019-08-hmm", "today-loop:munmap", "0", "--class", "X"], "a table's cell has its own"),
        (["trace.json", "--class", "X"], "are for a token"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_fit_is_refused(
    arguments: list[str], wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_gpu.py").write_text(MY_GPU)
    assert main(["replay", *arguments]) == 2
    assert " ".join(wrong.split()) in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_cells_trace_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settle", "2019-08-hmm", "--trace", "today no test:munmap"]) == 1
    command = capsys.readouterr().out.replace("\\\n", " ").splitlines()[-1].split()
    assert command[:4] == ["secondsight", "replay", "2019-08-hmm", "today-no-test:munmap"]
    assert main(command[1:]) == 0
    assert "^ as-if-cpu" in capsys.readouterr().out


def test_the_lessons_cover_the_ends() -> None:
    assert set(ENDS) <= {rule for rule, *_ in RULES_BROKEN}
