"""Who takes part: our executors, Spin's modes, Rumur's; how each is built, run, and its output read."""

from __future__ import annotations

import json
import re
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from platform import machine
from shutil import rmtree
from typing import ClassVar

from bench.murphi import murphi
from bench.promela import promela
from bench.sizes import Size
from bench.tools import Failed, Ran, run

__all__ = ["CHECKERS", "Checker", "Figures", "Ours", "Rumur", "Spin", "number", "read_rumur", "read_spin"]

HOUSE = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Figures:
    """One full search.

    `bytes` is all the memory it used; `cpu` all processors' seconds, None where it cannot be told; `rounding` how far the number
    of transitions may be off because it was printed with few digits.
    """

    states: int
    transitions: int
    seconds: float
    bytes: int
    cpu: float | None = None
    rounding: int = 0


@dataclass(frozen=True)
class Checker(ABC):
    """A checker in one setting.

    `name`: whose it is. `reduction`: `none`, or what makes its states fewer than the full count. `exact`: it compares whole
    states or wide fingerprints, so a state that it misses is an error, not its method. `largest`: the most states that it is
    asked for, unless the size is named by the user.
    """

    name: str
    mode: str
    reduction: str
    threads: int
    largest: int
    exact: bool = True

    needs: ClassVar[tuple[str, ...]] = ()
    """The commands it cannot do without."""

    counts: ClassVar[str] = "states"
    """What its `states` are: for who runs a program anew each time, executions, and its `transitions` those that were cut short."""

    def fits(self, size: Size) -> bool:
        """Whether it can be asked this size at all."""
        return True

    @property
    def label(self) -> str:
        """The name and the mode, as the table's rows have them."""
        return f"{self.name} {self.mode}".strip()

    @property
    def title(self) -> str:
        """All of it: `Spin depth first, none, 2`."""
        return f"{self.label}, {self.reduction}, {self.threads}"

    @abstractmethod
    def build(self, size: Size, folder: Path) -> float:
        """Make it ready to search; the seconds that took. Raises `Failed`."""

    @abstractmethod
    def search(self, size: Size, folder: Path, limit: float) -> Figures | None:
        """Search everything; None if that took more than `limit` seconds. Raises `Failed`."""

    def _folder(self, size: Size, folder: Path) -> Path:
        """A folder of its own."""
        own = folder / re.sub(r"[^a-z0-9]+", "-", f"{self.label} {self.reduction} {self.threads} {size.name}".lower())
        own.mkdir(parents=True, exist_ok=True)
        return own


@dataclass(frozen=True)
class Ours(Checker):
    """An executor of ours, from Python source through the front end; in a process of its own."""

    executor: str = "native"

    def build(self, size: Size, folder: Path) -> float:
        if self.executor == "reference":
            return 0.0
        rmtree(self._cache(size, folder), ignore_errors=True)
        command = [*_OURS, "build", "--size", size.name, "--reduction", self.reduction]
        ran = run(command, HOUSE, env={"SECONDSIGHT_CACHE": self._cache(size, folder)})
        return float(json.loads(ran.output.splitlines()[-1])["seconds"])

    def search(self, size: Size, folder: Path, limit: float) -> Figures | None:
        command = [*_OURS, "search", "--size", size.name, "--executor", self.executor, "--workers", str(self.threads)]
        ran = run([*command, "--reduction", self.reduction], HOUSE, limit, {"SECONDSIGHT_CACHE": self._cache(size, folder)})
        if ran.late:
            return None
        said = json.loads(ran.output.splitlines()[-1])
        if said["verdict"] != "holds":
            raise Failed(f"{self.label}: {said['verdict']} at size {size.name}")
        return Figures(said["states"], said["transitions"], said["seconds"], said["bytes"], said["cpu"])

    def _cache(self, size: Size, folder: Path) -> str:
        return str(self._folder(size, folder).resolve())


_OURS = (sys.executable, "-m", "bench.ours")


@dataclass(frozen=True)
class Spin(Checker):
    """Spin: its verifier compiled with `defines`; `-DNCORE` splits depth-first search, `-DBFS_PAR` is parallel breadth-first."""

    defines: tuple[str, ...] = ()

    needs: ClassVar = ("spin", "gcc")

    def build(self, size: Size, folder: Path) -> float:
        own = self._folder(size, folder)
        (own / "mirror.pml").write_text(promela(size))
        first = run(["spin", "-a", "mirror.pml"], own)
        return first.seconds + run(["gcc", "-O2", "-DSAFETY", *self.defines, "-o", "pan", "pan.c"], own).seconds

    def search(self, size: Size, folder: Path, limit: float) -> Figures | None:
        own = self._folder(size, folder)
        slots = max(16, (size.states - 1).bit_length())
        arguments = [f"-w{slots}", "-n", *(["-u2"] if "-DBFS_PAR" in self.defines else ["-m100000"])]
        ran = run([own / "pan", *arguments], own, limit)
        return None if ran.late else read_spin(ran, self.threads == 1)


def number(pattern: str, text: str, group: int = 1) -> str:
    """What a group of the pattern matches in a program's output. Raises `Failed` if the pattern is not there."""
    found = re.search(pattern, text, re.MULTILINE)
    if not found:
        raise Failed(f"no {pattern!r} in:\n{text[-2000:]}")
    return found.group(group)


def read_spin(ran: Ran, alone: bool = True) -> Figures:
    """What Spin's verifier printed. It counts the initial state as a transition; memory is what it says, shared memory too.

    Raises `Failed` for an error in the model or an unfinished search.
    """
    if int(number(r"errors: (\d+)", ran.output)) or "Search not completed" in ran.output or "max search depth" in ran.output:
        raise Failed(f"Spin did not finish:\n{ran.output[-2000:]}")
    stored, matched = (number(rf"^ *([\d.e+]+) states, {word}", ran.output) for word in ("stored", "matched"))
    if "e" in stored:
        raise Failed(f"Spin counts {stored} states, with too few digits to compare")
    rounding = 10 ** (len(str(int(float(matched)))) - 8) if "e" in matched else 0
    transitions = int(stored) + int(float(matched)) - 1
    memory = sum(float(m) for m in re.findall(r"([\d.]+)\s+total (?:actual|shared) memory usage", ran.output))
    return Figures(int(stored), transitions, ran.seconds, int(memory * 2**20), ran.cpu if alone else None, rounding)


@dataclass(frozen=True)
class Rumur(Checker):
    """Rumur, breadth first; `symmetry` is its own word for how scalarsets are treated."""

    symmetry: str = "off"

    needs: ClassVar = ("rumur", "gcc")

    def build(self, size: Size, folder: Path) -> float:
        own = self._folder(size, folder)
        (own / "mirror.m").write_text(murphi(size))
        options = ["--symmetry-reduction", self.symmetry, "--deadlock-detection", "off", "--threads", str(self.threads)]
        first = run(["rumur", *options, "--output", "mirror.c", "mirror.m"], own)
        native = ["-march=native", *(["-mcx16"] if machine() in ("x86_64", "AMD64") else [])]
        command = ["gcc", "-O3", *native, "-pthread", "-o", "mirror", "mirror.c", "-latomic"]
        return first.seconds + run(command, own).seconds

    def search(self, size: Size, folder: Path, limit: float) -> Figures | None:
        own = self._folder(size, folder)
        ran = run([own / "mirror"], own, limit)
        return None if ran.late else read_rumur(ran)


def read_rumur(ran: Ran) -> Figures:
    """What Rumur's verifier printed. Raises `Failed` for an error in the model or an unfinished search."""
    if "No error found" not in ran.output:
        raise Failed(f"Rumur did not finish:\n{ran.output[-2000:]}")
    states = int(number(r"^\s*(\d+) states, \d+ rules fired", ran.output))
    transitions = int(number(r"^\s*\d+ states, (\d+) rules fired", ran.output))
    return Figures(states, transitions, ran.seconds, ran.peak, ran.cpu)


_FULL = ("-DNOREDUCE",)
_MANY = ("-DNCORE=2", "-DVMAX=64", "-DMEMLIM=8000")
ANY, MIDDLE, LITTLE, SMALL = 10**12, 50_000_000, 10_000_000, 1_000_000

CHECKERS: tuple[Checker, ...] = (
    Ours("native", "", "none", 1, ANY),
    Ours("native", "", "none", 2, ANY),
    Ours("native", "", "frames", 1, ANY),
    Ours("native", "", "all", 1, ANY),
    Ours("native", "", "all", 2, ANY),
    Spin("Spin", "depth first", "none", 1, ANY, defines=_FULL),
    Spin("Spin", "depth first", "none", 2, MIDDLE, defines=(*_FULL, *_MANY)),
    Spin("Spin", "breadth first", "none", 2, MIDDLE, exact=False, defines=(*_FULL, "-DBFS_PAR")),
    Spin("Spin", "depth first", "partial order", 1, ANY),
    Spin("Spin", "depth first", "partial order", 2, MIDDLE, defines=_MANY),
    Spin("Spin", "breadth first", "partial order", 2, MIDDLE, exact=False, defines=("-DBFS_PAR",)),
    Rumur("Rumur", "", "none", 1, LITTLE),
    Rumur("Rumur", "", "none", 2, LITTLE),
    Rumur("Rumur", "", "frames", 1, ANY, symmetry="heuristic"),
    Rumur("Rumur", "", "frames", 2, MIDDLE, symmetry="heuristic"),
    Ours("reference", "", "none", 1, SMALL, executor="reference"),
)
"""Everybody, in the table's order."""
