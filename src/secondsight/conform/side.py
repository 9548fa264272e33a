"""The C side: a process that runs the kernel's file, and the batches of commands that it is sent (see c/runtime.c)."""

from __future__ import annotations

import bisect
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from secondsight.conform.errors import ConformError
from secondsight.conform.place import Crossing, Stop

__all__ = ["SideAnswer", "SideDied", "Side", "Symbols"]

NOWHERE = 0
"""The number of a kind of place that there is none of."""


class Symbols:
    """Where the functions of a conformer lie."""

    def __init__(self, program: Path) -> None:
        listed = subprocess.run(["nm", "-n", str(program)], capture_output=True, text=True, check=True).stdout
        found = [line.split() for line in listed.splitlines()]
        text = sorted((int(line[0], 16), line[2]) for line in found if len(line) == 3 and line[1] in "tTwW")
        self.starts, self.names = [at for at, _ in text], [name for _, name in text]
        self.ranges: dict[str, tuple[int, int]] = {}
        for i, name in enumerate(self.names[:-1]):
            end = next((at for at in self.starts[i + 1 :] if at > self.starts[i]), self.starts[i] + 1)
            self.ranges[name] = self.starts[i], end

    def function(self, address: int) -> str:
        """The function that an address lies in; "" for none."""
        at = bisect.bisect_right(self.starts, address) - 1
        return self.names[at] if address and at >= 0 else ""


@dataclass(frozen=True)
class SideAnswer:
    """What the C did in a step: see c/runtime.c."""

    which: int
    place: str
    passed: str
    enabled: str
    warnings: int
    look: str


class SideDied(Exception):
    """The C side ended: a signal, a BUG_ON, a stub that is not there."""

    def __init__(self, reason: str, function: str) -> None:
        self.reason, self.function = reason, function
        super().__init__(f"{reason}{f' in {function}' if function else ''}")


class Side:
    """A running conformer. Use as a context manager, or call `close`."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.symbols = Symbols(program)
        self.kinds: dict[str, int] = {"": NOWHERE}
        self.process: subprocess.Popen[bytes] | None = None
        self.new_kinds: list[str] = []

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *why: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
            self.process = None

    def wanted(self, boundary: Crossing) -> str:
        """The part of a `go` command that says where a thread has to come to: of several places, those in functions that this release has."""
        there = [stop for stop in boundary.stops if stop is None or not stop.function or stop.function in self.symbols.ranges]
        return " ".join(self._stop(stop) for stop in (there if any(there) else boundary.stops))

    def _stop(self, stop: Stop | None) -> str:
        if stop is None:
            return f"{NOWHERE} 0 0"
        if stop.kind not in self.kinds:
            self.kinds[stop.kind] = len(self.kinds)
            self.new_kinds.append(f"kind {self.kinds[stop.kind]} {stop.kind}")
        low, high = self.symbols.ranges.get(stop.function, (0, 0)) if stop.function else (0, 0)
        if stop.function and not high:
            raise ConformError(
                f"the kernel's file has no function {stop.function}, which the table of places names",
                "it was renamed or made inline in this release: correct the target's `boundaries`",
            )
        return f"{self.kinds[stop.kind]} {low:x} {high:x}"

    def place(self, text: str) -> Stop | None:
        """A place as an answer writes it."""
        kind, _, address = text.partition("@")
        if not kind:
            return None
        return Stop(kind, "" if kind == "result" else self.symbols.function(int(address, 16)))

    def run(self, commands: Iterable[str], answers: int) -> list[SideAnswer | SideDied]:
        """Send a batch; its answers. Where the process ended before the last of them, a `SideDied` is the last."""
        if self.process is None:
            self.process = subprocess.Popen([str(self.program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            kinds = [f"kind {number} {kind}" for kind, number in self.kinds.items()]
        else:
            kinds = self.new_kinds
        self.new_kinds = []
        assert self.process.stdin is not None and self.process.stdout is not None
        text = "\n".join([*kinds, *commands, ".", ""])
        found: list[SideAnswer | SideDied] = []
        try:
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()
            for _ in range(answers):
                answer = self._answer(self.process.stdout)
                found.append(answer)
                if isinstance(answer, SideDied):
                    self.close()
                    break
        except BrokenPipeError:
            found.append(self._ended())
        return found

    def _answer(self, pipe: IO[bytes]) -> SideAnswer | SideDied:
        line = pipe.readline().decode()
        if not line.endswith("\n"):
            return self._ended()
        last = line[:-1].rpartition("died\t")
        if last[1]:  # perhaps in the middle of an answer
            reason, address = last[2].split("\t")
            return SideDied(reason, self.symbols.function(int(address, 16)))
        parts = line[:-1].split("\t", 5)
        return SideAnswer(int(parts[0]), parts[1], parts[2], parts[3], int(parts[4]), parts[5])

    def _ended(self) -> SideDied:
        assert self.process is not None
        status = self.process.wait()
        self.close()
        return SideDied(f"the process ended with status {status}", "")
