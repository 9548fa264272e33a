"""What is left on a real terminal, after everything: verdicts, and no bar; at several widths, and on one that can do nothing."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyte
import pytest
from cli_world import MY_GPU, WITHOUT_TEST, narrow, secondsight

from secondsight import contract
from secondsight.cli import common, main
from secondsight.search import Progress

checked_by_the_contract = contract.check

CHECK = ("--executor", "reference", "--adversary", "part", "--adversary", "open")


def _checks_and_says_so(*arguments: Any) -> Iterator[Any]:
    """`contract.check`, whose searches tell how far they are, however short they are."""
    for checked in checked_by_the_contract(*arguments):
        arguments[4](checked.scenario, Progress(1, 1, 1, 1, 1.0))
        yield checked


def on_terminal(arguments: list[str], folder: Path, columns: int, term: str = "xterm") -> tuple[int, str]:
    """Run a command on a pseudo-terminal, its bar shown from the beginning; the exit code and all that it wrote."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ["TERM"] = term
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            os.environ.pop(name, None)
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))  # pytest has put its own there
        common._SHOW_AFTER = 0.0
        contract.check = _checks_and_says_so
        code = 99
        try:
            code = main(arguments)
        finally:
            os._exit(code)
    written = b""
    while True:
        try:
            piece = os.read(master, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        written += piece
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), written.decode()


def left(written: str, columns: int) -> list[str]:
    """The lines that stand on the screen in the end."""
    screen = pyte.Screen(columns, 200)
    pyte.Stream(screen).feed(written)
    return [line.rstrip() for line in screen.display if line.strip()]


@pytest.mark.parametrize("columns", [40, 100])
def test_no_bar_is_left_nor_glued_to_a_verdict(columns: int, tmp_path: Path) -> None:
    (tmp_path / "my_gpu.py").write_text(MY_GPU)
    code, written = on_terminal(["check", "my_gpu.py", *CHECK], tmp_path, columns)
    assert code == 0
    assert "part: the first page: 1 states" in written and "open: beside" in written, "there was no bar"
    lines = left(written, columns)
    assert lines[0] == "MyGpu (my_gpu.py)"
    assert [line.split()[0] for line in lines if "holds" in line] == ["part", "open"]
    assert not any("page: 1 states" in line or "━" in line for line in lines)


def test_a_terminal_that_can_do_nothing_gets_no_bar(tmp_path: Path) -> None:
    (tmp_path / "my_gpu.py").write_text(MY_GPU)
    code, written = on_terminal(["check", "my_gpu.py", *CHECK], tmp_path, 80, term="dumb")
    assert code == 0
    assert "\x1b" not in written and "frontier" not in written
    assert written.startswith("MyGpu (my_gpu.py)") and "\n\n" not in written.replace("\r", "")


def test_what_a_bar_is_not_drawn_beside() -> None:
    """Results that go through a pipe: less and tee write on the same terminal."""
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as pipe, open(os.devnull, "w") as file:
        assert common._is_pipe(pipe)
        assert not common._is_pipe(file)




@pytest.mark.parametrize(("columns", "wide"), [(40, 40), (80, 80), (120, 120), (200, 132)])
def test_a_trace_is_as_wide_as_the_terminal_up_to_a_limit(columns: int, wide: int, tmp_path: Path) -> None:
    (tmp_path / "my_gpu.py").write_text(WITHOUT_TEST)
    code, written = on_terminal(["check", "my_gpu.py", "--executor", "reference", "--adversary", "exit"], tmp_path, columns)
    assert code == 1
    lines = left(written, columns)
    assert next(line for line in lines if "exit: " in line).startswith("MyGpu (exit: ")
    assert columns > 40 or {"cpu:", "device:"} <= set(lines)  # there is no room for columns
    placed = [line for line in lines if "my_gpu.py:" in line]
    assert placed and all(len(line) == wide for line in placed)
    assert next(len(line) for line in lines if " states " in line) == wide
    assert "\x1b[1;31m" in written and re.search(r"\x1b\[1;31m *\^ as-if-cpu\x1b\[0m", written)


def test_a_pipe_gets_a_mail_without_colours(tmp_path: Path) -> None:
    (tmp_path / "my_gpu.py").write_text(WITHOUT_TEST)
    done = secondsight("check", "my_gpu.py", "--executor", "reference", "--adversary", "exit", cwd=tmp_path)
    assert narrow(done.out) and "\x1b" not in done.out
