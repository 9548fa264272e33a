"""Checkers that are no packages, and take part where somebody has built them: TLC, LTSmin, GenMC and Nidhugg."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.checkers import Checker, Figures, number
from bench.pins import INVARIANT, pins
from bench.sizes import ONE_PAGE, SIZES, Size
from bench.threads import threads
from bench.tla import CONFIGURATION, MODULE, tla
from bench.tools import Failed, Ran, called, run, variable

__all__ = ["PEERS", "Ltsmin", "Stateless", "Tlc", "absent", "read_genmc", "read_ltsmin", "read_nidhugg", "read_tlc"]

MEMORY = 8 * 2**30
"""Bytes that one of them may take."""


def _command(name: str) -> list[str]:
    words = called(name)
    if words is None:
        raise Failed(f"{name} is not there")
    return words


@dataclass(frozen=True)
class Peer(Checker):
    """Somebody who is no package: `source` says what is to be built, or got, and how its command is started."""

    source: ClassVar[str]


@dataclass(frozen=True)
class Tlc(Peer):
    """TLC, breadth first: it interprets the module, so nothing is built."""

    needs: ClassVar = ("tlc",)
    source: ClassVar = "a script that starts java with tla2tools.jar and the class tlc2.TLC"

    def build(self, size: Size, folder: Path) -> float:
        own = self._folder(size, folder)
        (own / f"{MODULE}.tla").write_text(tla(size))
        (own / f"{MODULE}.cfg").write_text(CONFIGURATION)
        return 0.0

    def search(self, size: Size, folder: Path, limit: float) -> Figures | None:
        own = self._folder(size, folder)
        options = ["-workers", str(self.threads), "-metadir", "states", "-config", f"{MODULE}.cfg", f"{MODULE}.tla"]
        ran = run([*_command("tlc"), *options], own, limit, memory=MEMORY)
        return None if ran.late else read_tlc(ran)


def read_tlc(ran: Ran) -> Figures:
    """What TLC printed. It counts the initial state as generated. Raises `Failed` for an error or an unfinished search."""
    if "No error has been found" not in ran.output:
        raise Failed(f"TLC did not finish:\n{ran.output[-2000:]}")
    row = r"^(\d+) states generated, (\d+) distinct states found, 0 states left on queue"
    generated, distinct = int(number(row, ran.output)), int(number(row, ran.output, 2))
    return Figures(distinct, generated - 1, ran.seconds, ran.peak, ran.cpu)


@dataclass(frozen=True)
class Ltsmin(Peer):
    """LTSmin's multi-core tool, on a model in C through its interface PINS. Its headers are beside the command's folder."""

    needs: ClassVar = ("pins2lts-mc", "gcc")
    source: ClassVar = (
        "LTSmin (tried: later than 3.0.2), installed with its headers: they are in ../include of the command's folder"
    )

    def build(self, size: Size, folder: Path) -> float:
        own = self._folder(size, folder)
        (own / "mirror.c").write_text(pins(size))
        headers = Path(_command("pins2lts-mc")[0]).resolve().parent.parent / "include"
        return run(["gcc", "-O3", "-shared", "-fPIC", "-I", headers, "-o", "mirror.so", "mirror.c"], own).seconds

    def search(self, size: Size, folder: Path, limit: float) -> Figures | None:
        own = self._folder(size, folder)
        slots = max(16, (size.states - 1).bit_length() + 1)
        options = [f"--procs={self.threads}", "--strategy=bfs", "--state=tree", f"-s{slots}", f"--invariant={INVARIANT}"]
        ran = run([*_command("pins2lts-mc"), *options, own / "mirror.so"], own, limit, memory=MEMORY, codes=(0, 1))
        return None if ran.late else read_ltsmin(ran)


def read_ltsmin(ran: Ran) -> Figures:
    """What LTSmin printed. Raises `Failed` for a state that breaks the invariant or an unfinished search."""
    if re.search(r"\b(?:violations?|errors?|abort(?:ed|ing)?|full)\b", ran.output, re.IGNORECASE):
        raise Failed(f"LTSmin did not finish:\n{ran.output[-2000:]}")
    row = r"Explored (\d+) states (\d+) transitions"
    states, transitions = int(number(row, ran.output)), int(number(row, ran.output, 2))
    return Figures(states, transitions, ran.seconds, ran.peak, ran.cpu)


@dataclass(frozen=True)
class Stateless(Peer):
    """Who runs the program of threads once for each of its executions that differ, under sequential consistency."""

    options: tuple[str, ...] = ()

    counts: ClassVar = "executions"

    def fits(self, size: Size) -> bool:
        return size.pages == 1

    def build(self, size: Size, folder: Path) -> float:
        own = self._folder(size, folder)
        (own / "mirror.c").write_text(threads(size))
        return 0.0

    def search(self, size: Size, folder: Path, limit: float) -> Figures | None:
        own = self._folder(size, folder)
        ran = run([*_command(self.needs[0]), *self.options, "mirror.c"], own, limit, memory=MEMORY)
        return None if ran.late else self.read(ran)

    @abstractmethod
    def read(self, ran: Ran) -> Figures:
        """Its figures, from what it printed."""


@dataclass(frozen=True)
class GenMC(Stateless):
    """GenMC."""

    needs: ClassVar = ("genmc",)
    source: ClassVar = "GenMC (tried: 0.10.3)"

    def read(self, ran: Ran) -> Figures:
        return read_genmc(ran)


@dataclass(frozen=True)
class Nidhugg(Stateless):
    """Nidhugg, by its script for C."""

    needs: ClassVar = ("nidhuggc",)
    source: ClassVar = "Nidhugg (tried: the sources of April 2026, 0.4)"

    def read(self, ran: Ran) -> Figures:
        return read_nidhugg(ran)


def _executions(ran: Ran, name: str, counted: str, blocked: str) -> Figures:
    if "No errors were detected" not in ran.output:
        raise Failed(f"{name} did not finish:\n{ran.output[-2000:]}")
    cut = sum(int(n) for n in re.findall(blocked, ran.output))
    return Figures(int(number(counted, ran.output)), cut, ran.seconds, ran.peak, ran.cpu)


def read_genmc(ran: Ran) -> Figures:
    """What GenMC printed: complete executions, and those that end where a thread waits. Raises `Failed` for an error."""
    return _executions(ran, "GenMC", r"complete executions explored: (\d+)", r"blocked executions seen: (\d+)")


def read_nidhugg(ran: Ran) -> Figures:
    """What Nidhugg printed, likewise."""
    return _executions(ran, "Nidhugg", r"Trace count: (\d+)", r"blocked trace count: (\d+)")


PEERS: tuple[Peer, ...] = (
    Tlc("TLC", "", "none", 1, SIZES["A"].states),
    Tlc("TLC", "", "none", 2, SIZES["A"].states),
    Ltsmin("LTSmin", "", "none", 1, SIZES["B"].states),
    Ltsmin("LTSmin", "", "none", 2, SIZES["B"].states),
    GenMC("GenMC", "", "partial order", 1, ONE_PAGE["M"].states, options=("--sc", "--disable-estimation")),
    Nidhugg("Nidhugg", "", "partial order", 1, ONE_PAGE["M"].states, options=("-O1", "--", "--sc", "--optimal")),
)
"""Those of them that are asked, in the table's order."""


def absent() -> tuple[list[str], str]:
    """The commands of theirs that are not there, and how each can be had, for the user; nothing if all are."""
    rows = {c.needs[0]: c.source for c in PEERS if called(c.needs[0]) is None}
    if not rows:
        return [], ""
    said = [f"  {name}: {source}; on the path, or its command in {variable(name)}" for name, source in rows.items()]
    return list(rows), "\n".join(["left out, as they are no packages; who has built them can have them take part:", *said, ""])
