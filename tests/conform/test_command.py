"""`secondsight conform` as a user meets it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conform_world import source_of

COMMAND = [sys.executable, "-c", "import sys; from secondsight.cli import main; sys.exit(main())", "conform"]


def conform(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, check=False, timeout=300, env={**os.environ, **environment}
    )


@pytest.mark.wide
def test_a_file_of_a_release_agrees() -> None:
    source_of("6.12")
    done = conform("linux-6.12", "--file", "mm/mmu_notifier.c", "--seconds", "1", "--no-transitions")
    assert done.returncode == 0, done.stderr
    assert "linux-6.12 mm/mmu_notifier.c" in done.stdout
    assert "agree" in done.stdout
    data = json.loads(conform("6.12", "--file", "mm/mmu_notifier.c", "--seconds", "0.5", "--no-transitions", "--json").stdout)
    assert data["kind"] == "conform"
    assert data["reports"][0]["verdict"] == "agree"
    assert data["reports"][0]["steps"] > 0


def is_comparing(pid: int) -> bool:
    """Whether the C side runs below a process."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return any(
        Path(f"/proc/{child}/comm").read_text().strip() == "conform" for child in children if Path(f"/proc/{child}").exists()
    )


@pytest.mark.wide
def test_a_sample_of_mutants_is_tried_and_counted() -> None:
    source_of("6.12")
    done = conform("linux-6.12", "--file", "lib/percpu-refcount.c", "--mutants", "c", "--sample", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"lib/percpu-refcount.c, 2 of \d+ mutants: ", done.stdout), done.stdout
    assert conform("linux-6.12", "--sample", "2").returncode == 2


def test_ctrl_c_prints_what_was_seen() -> None:
    source_of("6.12")
    command = [*COMMAND, "linux-6.12", "--file", "mm/mmu_notifier.c", "--seconds", "120"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while not is_comparing(running.pid):
            assert running.poll() is None
            time.sleep(0.1)
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        shown, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted" in shown
    assert "Traceback" not in said


def test_bad_input_is_a_message() -> None:
    done = conform("linux-5.0")
    assert (done.returncode, "no kernel linux-5.0 to compare with" in done.stderr) == (2, True)
    done = conform("--file", "mm/none.c")
    assert (done.returncode, "mm/none.c is not run beside the model" in done.stderr) == (2, True)


def test_without_a_compiler_it_says_what_to_install() -> None:
    source_of("6.12")
    done = conform("linux-6.12", "--seconds", "0", CC="/nonexistent/gcc")
    assert done.returncode == 2
    assert "compiling a kernel's file takes /nonexistent/gcc" in done.stderr
    assert "apt-get install gcc" in done.stderr


def test_without_a_package_client_it_says_so(tmp_path: Path) -> None:
    done = conform("linux-6.12", SECONDSIGHT_CACHE=str(tmp_path), PATH=str(tmp_path))
    assert done.returncode == 2
    assert "apt-get is not there" in done.stderr
