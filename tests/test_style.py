"""The source itself: ruff and mypy --strict have nothing to say, and no file has grown too long to read."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from slow_first import SLOW

HOUSE = Path(__file__).parent.parent


@pytest.mark.parametrize("tool", [["ruff", "check", "."], ["mypy"]], ids=["ruff", "mypy"])
def test_tools_are_silent(tool: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *tool], cwd=HOUSE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(HOUSE))
        for path in (HOUSE / "src").rglob("*.py")
        if ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert not silent


def test_the_slow_tests_that_begin_first_are_there() -> None:
    assert [name for name in SLOW if not (HOUSE / "tests" / name).exists()] == []
