"""`check --watch`: a change is seen, and Ctrl-C ends it."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from cli_world import MY_GPU, WITHOUT_TEST, command


def test_a_driver_is_checked_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "my_gpu.py"
    file.write_text(MY_GPU)
    words = command("check", "my_gpu.py", "--watch", "--executor", "reference", "--adversary", "exit")
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert "holds" in _up_to_watching(running)
            file.write_text(WITHOUT_TEST)
            assert "^ as-if-cpu" in _up_to_watching(running)
        finally:
            running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130


def _up_to_watching(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    seen = ""
    for line in running.stdout:
        seen += line
        if line.startswith("(watching"):
            return seen
    raise AssertionError(f"it has ended: {seen}")
