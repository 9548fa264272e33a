"""`secondsight --version`, and what a shell is told for its completion."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from secondsight.cli import main


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"secondsight {version('secondsight')}, Python 3.")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("secondsight exp", "explain"),
        ("secondsight list adv", "adversaries"),
        ("secondsight explain punch-h", "punch-hole"),
        ("secondsight new dr", "driver"),
        ("secondsight check --adv", "--adversary"),
        ("secondsight kernel se", "selftest"),
    ],
)
def test_completion(words: str, offered: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_SECONDSIGHT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert main([]) == 0
    assert offered in capsys.readouterr().out.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell(shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_SECONDSIGHT_COMPLETE", f"source_{shell}")
    assert main([]) == 0
    assert "_SECONDSIGHT_COMPLETE" in capsys.readouterr().out
