"""What the tests of the commands share: running one, and drivers that are right and wrong."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fork_server import Server

HOUSE = Path(__file__).parent.parent.parent
MY_GPU = (HOUSE / "examples" / "my_gpu.py").read_text()
TEST = """                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
"""
WITHOUT_TEST = MY_GPU.replace(TEST, "")
assert WITHOUT_TEST != MY_GPU

BIG = """
from secondsight.scenario import Recorder, scenario

@scenario
def big(s: Recorder) -> None:
    a = s.mmap(pages=3)

    def body(first: str, second: str) -> None:
        s.write(a, first)
        s.madvise_dontneed(a)
        s.read(a, into=first)
        s.write(a + 1, second)
        s.madvise_dontneed(a + 1)
        s.read(a + 1, into=second)

    @s.thread
    def one() -> None:
        body("a", "b")

    @s.thread
    def two() -> None:
        body("c", "d")

    @s.thread
    def three() -> None:
        body("e", "f")
"""
"""A scenario with far more states than any test waits for."""


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@cache
def server() -> Server:
    return Server()


def secondsight(*arguments: str | Path, cwd: Path | None = None, typed: str = "") -> Done:
    """Run a command as in a process of its own."""
    return Done(*server().run([str(one) for one in arguments], cwd, typed))


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "secondsight", *map(str, arguments)]


def narrow(text: str) -> bool:
    """Whether every line fits into a mail."""
    return all(len(line) <= 80 for line in text.splitlines())
