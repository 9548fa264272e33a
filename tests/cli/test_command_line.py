"""The command line as a whole: `--version`, `--help`, what a shell is told for its completion, Ctrl-C while it begins."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_world import HOUSE, Done, command, secondsight

from secondsight.agree import generate
from secondsight.cli import commands, main
from secondsight.cli.commands import COMMANDS, Listed, known
from secondsight.kernels import BUILDABLE, GETTABLE, sources
from secondsight.report import catalog
from secondsight.search import strategy


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


def test_no_help_loads_anything_of_the_model() -> None:
    script = (
        "import sys; from secondsight.cli import main; words = [[], *([w] for w in sys.argv[1:]), *(['kernel', w] for w in ('get', 'list'))];"
        "codes = [main([*some, '--help']) for some in words] + [main(['--version'])];"
        "loaded = [m for m in sys.modules if m.startswith('secondsight.') and not m.startswith(('secondsight.cli', 'secondsight.lang'))];"
        "sys.exit(f'{codes} {loaded}' if any(codes) or loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script, *COMMANDS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"Usage: secondsight {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(("word", "said"), [("chek", "is it check?"), ("explian", "is it explain"), ("zzz", "there are: check, compare,")])
def test_a_misspelt_command_is_told_its_neighbours(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word, "x"]) == 2
    assert f"there is no command {word}; {said}" in " ".join(capsys.readouterr().err.split())


def test_the_readme_says_which_commands_have_no_json() -> None:
    def alone(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        for word in command.list_commands(None) if hasattr(command, "list_commands") else ():
            yield from alone(command.get_command(None, word), f"{name} {word}".strip())
        if not hasattr(command, "list_commands"):
            yield name, command

    every = list(alone(typer.main.get_command(commands.app), ""))
    silent = {name for name, one in every if not any("--json" in option.opts for option in one.params)}
    (sentence,) = re.findall(r"Those that only write a file have none: (.*)\.", (HOUSE / "README.md").read_text())
    assert silent == set(re.findall(r"`([a-z ]+)`", sentence)) and len(every) > 15


def test_what_help_says_without_loading_it_is_so() -> None:
    assert known.RELEASES == sources.RELEASES == tuple(GETTABLE)
    assert tuple(name.removesuffix("-own") for name in BUILDABLE) == known.BUILDABLE
    assert known.AGREE_KINDS == generate.KINDS
    assert tuple(catalog.KINDS) == known.THING_KINDS
    assert (known.DEEPEST, known.MOST_PREEMPTIONS) == (strategy.DEEPEST, strategy.MOST_PREEMPTIONS)


def test_ctrl_c_while_a_command_is_loaded_is_an_interruption(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "import_module", interrupted)
    monkeypatch.setattr(commands, "COMMANDS", {"late": Listed("late", "late", "")})
    assert main(["late"]) == 130
    assert capsys.readouterr().err == "secondsight: interrupted\n"


@pytest.mark.parametrize("words", [["run", "none.py"], ["list", "rules"], ["check", "-", "--json"]])
def test_the_server_of_these_tests_answers_as_a_process_of_its_own(words: list[str], tmp_path: Path) -> None:
    alone = subprocess.run(command(*words), cwd=tmp_path, input="", capture_output=True, text=True, check=False)
    assert secondsight(*words, cwd=tmp_path) == Done(alone.returncode, alone.stdout, alone.stderr)
