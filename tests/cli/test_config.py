"""`[tool.secondsight]` in `pyproject.toml`: what `check` takes where the command line does not say."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from cli_world import HOUSE

from secondsight.cli import main
from secondsight.cli.commands.check import check
from secondsight.cli.config import KEYS, defaults
from secondsight.lang import LangError

GPU = str(HOUSE / "examples" / "my_gpu.py")


def write(folder: Path, *lines: str) -> None:
    (folder / "pyproject.toml").write_text("\n".join(["[project]", 'name = "x"', "[tool.secondsight]", *lines]), encoding="utf-8")


def test_a_project_says_what_is_checked_and_the_command_line_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, 'adversary = ["open"]', "states = 5", "bound = { frames = 8 }", 'format = "github"', 'executor = "reference"')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert main(["check", GPU]) == 3
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines() if " states " in line] == ["open"] and "::warning" in said.out
    assert said.err == f"note: adversary, states, bound, format, executor: as {tmp_path / 'pyproject.toml'} says\n"
    assert main(["check", GPU, "--adversary", "exit", "--states", "100", "--json"]) == 3
    results = json.loads(capsys.readouterr().out)["results"]
    assert {one["adversary"] for one in results} == {"exit"} and all(one["states"] >= 100 for one in results)


def test_every_key_is_an_option_of_check() -> None:
    assert {name for name, _, _ in KEYS.values()} <= set(inspect.signature(check).parameters)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ('advesary = ["open"]', "advesary is not known; there are adversary, bound"),
        ('rule = ["balance"]', "rule is not known"),
        ('adversary = "open"', 'a list of names: ["munmap", "exit"] is wanted'),
        ("bound = { frames = true }", "a table of numbers"),
        ("seconds = true", "a number is wanted"),
        ("states = 1.5", "a whole number is wanted"),
        ("full = 1", "true or false is wanted"),
        ("full = ", "it cannot be read: Invalid value"),
    ],
)
def test_what_is_no_default_is_refused(line: str, wrong: str, tmp_path: Path) -> None:
    write(tmp_path, line)
    with pytest.raises(LangError) as caught:
        defaults(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'pyproject.toml'}: [tool.secondsight]: ") and wrong in str(caught.value)


def test_a_value_that_check_refuses_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, 'adversary = ["munmapp"]')
    monkeypatch.chdir(tmp_path)
    assert main(["check", GPU]) == 2
    assert "no adversary is called 'munmapp'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[tool.other]\nx = 1", "secondsight = broken [", "# tool.secondsight"])
def test_a_project_that_says_nothing_of_it_is_left_alone(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert defaults(tmp_path) == {} and not capsys.readouterr().err
