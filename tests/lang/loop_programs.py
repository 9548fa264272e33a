"""Small programs that go round: retry loops, polling, locks taken and tried, waits, daemons. As source text, from `draw(n)`."""

from __future__ import annotations

from collections.abc import Callable

HEADER = """
from __future__ import annotations
from typing import Annotated
from secondsight.lang import *

Bit = Annotated[int, Bounds(0, 2)]

class Gate(Record):
    lock: Mutex
    more: Mutex
    rw: RwLock
    a: Bit
    b: Bit

gate = shared(Gate)

def flip(by: Bit) -> Bit:
    old = gate.a
    gate.a = (old + by) % 3
    return old

@atomic
def claim(value: Bit) -> bool:
    if gate.b != 0:
        return False
    gate.b = value
    return True

def spin(value: Bit) -> None:
    while gate.b != value:
        pass
"""


class LoopWriter:
    """Writes one program of `threads` functions `thread0` and so on; `draw(n)` is any of 0..n-1."""

    def __init__(self, draw: Callable[[int], int]) -> None:
        self.draw = draw
        self.names = 0

    def pick(self, *options: str) -> str:
        return options[self.draw(len(options))]

    def test(self) -> str:
        field, other = self.pick("gate.a", "gate.b"), self.pick("0", "1", "2", "0", "1", "gate.b")
        return f"{field} {self.pick('==', '!=')} {other}"

    def simple(self) -> list[str]:
        """One or two statements without a loop."""
        self.names += 1
        got = f"got{self.names}"
        return [
            [f"gate.{self.pick('a', 'b')} = {self.pick('0', '1', '2', '(gate.a + 1) % 3', '1 - min(gate.b, 1)')}"],
            [f"wait_until({self.test()})"],
            ["with gate.lock:", f"    gate.a = {self.pick('0', '1', '2')}"],
            [f"with gate.rw.{self.pick('reading', 'writing')}():", f"    gate.b = {self.pick('0', '1', '2')}"],
            [f"{got} = gate.lock.trylock()", f"if {got}:", "    gate.lock.unlock()"],
            [f"{got} = flip({self.pick('0', '1', '2')})"],
            [f"if claim({self.pick('1', '2')}):", "    gate.b = 0"],
            ["with atomic:", f"    wait_until({self.test()})", f"    gate.b = {self.pick('0', '1', '2')}"],
            [f"{got} = choose(2)", f"gate.a = {got}"],
            self.tried("gate.rw", self.pick("read", "write"), got, [f"    gate.b = {self.pick('0', '1', '2')}"]),
            ["gate.rw.write_lock()", f"gate.a = {self.pick('0', '1')}", "gate.rw.write_downgrade()", "gate.rw.read_unlock()"],
            self.at_once(),
        ][self.draw(12)]

    def tried(self, lock: str, how: str, got: str, then: list[str]) -> list[str]:
        """A lock that is taken if it can be had."""
        return [f"{got} = {lock}.{how}_trylock()", f"if {got}:", *then, f"    {lock}.{how}_unlock()"]

    def at_once(self) -> list[str]:
        """A lock and a condition, or two locks, in one step."""
        first, unlock, then = [
            ("gate.lock.lock()", "gate.lock.unlock()", f"wait_until({self.test()})"),
            ("gate.rw.write_lock()", "gate.rw.write_unlock()", f"gate.b = {self.pick('0', '1', '2')}"),
            ("gate.lock.lock()", "gate.lock.unlock()", "gate.more.lock()"),
        ][self.draw(3)]
        more = ["gate.more.unlock()"] if "more" in then else []
        return ["with atomic:", f"    {first}", f"    {then}", f"gate.a = {self.pick('0', '1', '2')}", *more, unlock]

    def retry(self) -> list[str]:
        """A loop that goes round until something holds."""
        self.names += 1
        got = f"got{self.names}"
        body = self.simple() if self.draw(2) else []
        leave = [
            [f"if {self.test()}:", "    break"],
            [f"{got} = gate.lock.trylock()", f"if {got}:", "    gate.lock.unlock()", "    break"],
            ["with gate.lock:", f"    if {self.test()}:", "        break"],
            [f"if claim({self.pick('1', '2')}):", "    break"],
            [f"{got} = flip(1)", f"if {got} == {self.draw(3)}:", "    break"],
            [f"{got} = choose(2)", f"if {got} == 1:", "    break"],
            ["with gate.rw.reading():", f"    if {self.test()}:", "        break"],
            ["with gate.more:", f"    if {self.test()}:", "        break"],
            [*self.tried("gate.rw", self.pick("read", "write"), got, ["    gate.b = 1"]), f"if {got}:", "    break"],
            ["with gate.lock:", "    gate.b = 1", "    gate.b = 0", f"    if {self.test()}:", "        break"],
        ][self.draw(10)]
        parts = [*leave, *body] if self.draw(2) else [*body, *leave]
        if self.draw(6) == 0:
            return [f"while {self.test()}:", *indented(self.simple())]
        if self.draw(8) == 0:
            return [f"spin({self.pick('0', '1')})"]
        return ["while True:", *indented(parts)]

    def body(self) -> list[str]:
        lines: list[str] = []
        for _ in range(1 + self.draw(2)):
            form = self.draw(8)
            if form < 4:
                lines += self.simple()
            elif form < 7:
                lines += self.retry()
            else:
                lines += ["for _ in range(2):", *indented(self.retry() if self.draw(2) else self.simple())]
        return lines

    def program(self, threads: int) -> str:
        text = HEADER
        for i in range(threads):
            body = self.body()
            if self.draw(5) == 0:
                body = ["while True:", *indented(body)]
            text += "\n".join(["", f"def thread{i}() -> None:", *indented(body), ""])
        return text


def indented(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]
