"""Programs whose traces the tests look at: three threads by hand, a deadlock, a choice, and drivers of the house."""

from __future__ import annotations

from secondsight.contract import ADVERSARIES, RULES, driver_program
from secondsight.devices import Device
from secondsight.lang import U8, Machine, Mutex, Record, RwLock, atomic, choose, require, shared, shared_array, wait_until
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Result, breadth_first


class Cell(Record):
    value: U8
    lock: Mutex


class Board(Record):
    first: Cell
    second: Cell
    sum: U8
    rw: RwLock


board = shared(Board)
cells = shared_array(Cell, "cells")


def adds(amount: U8) -> None:
    """Adds to the sum without a lock."""
    seen = board.sum
    board.sum = seen + amount


def looks() -> None:
    require(board.sum != 3, "not-three", "the sum is three")


def adds_four() -> None:
    board.sum = board.sum + 4
    require(board.sum == 0, "none", "there is a sum")


def calls_adds_four() -> None:
    adds_four()


def picks() -> None:
    which = choose(len(cells))
    cells[which].value += 1
    require(cells[2].value == 0, "third-untouched", "the third cell was touched")


def first_then_second() -> None:
    with board.first.lock:
        with board.second.lock:
            board.sum += 1


def second_then_first() -> None:
    with board.second.lock:
        with board.first.lock:
            board.sum += 1


def waits_for_one() -> None:
    wait_until(cells[0].value == 1)
    board.first.value = 1


def waits_for_first() -> None:
    wait_until(board.first.value == 1)
    cells[0].value = 1


def takes(mine: U8, other: U8) -> None:
    """Takes two cells, one after the other, and lets go."""
    with atomic:
        wait_until(cells[mine].value == 0)
        cells[mine].value = 1
    with atomic:
        wait_until(cells[other].value == 0)
        cells[other].value = 1
    cells[other].value = 0
    cells[mine].value = 0


def ring() -> Program:
    return build(Machine({"cells": 3}), [Thread(f"t{i}", takes, (i, (i + 1) % 3)) for i in range(3)])


def three_threads() -> Program:
    return build(Machine({"cells": 1}), [Thread("one", adds, (1,)), Thread("two", adds, (2,)), Thread("looker", looks)])


def chooser() -> Program:
    return build(Machine({"cells": 3}), [Thread("picker", picks)])


def deadlock() -> Program:
    return build(Machine({"cells": 1}), [Thread("left", waits_for_one), Thread("right", waits_for_first)])


def lock_order() -> Program:
    return build(Machine({"cells": 1}), [Thread("left", first_then_second), Thread("right", second_then_first)])


def reads_for_long() -> None:
    with board.rw.reading():
        wait_until(board.sum != 0)


def writes() -> None:
    with board.rw.writing():
        require(board.sum != 2, "not-two", "the sum is two")


def tries_to_read() -> None:
    if board.rw.read_trylock():
        board.rw.read_unlock()
        board.sum = 1
    else:
        wait_until(board.rw.owner == 0)
        board.sum = 2


def queue() -> Program:
    return build(Machine({"cells": 1}), [Thread(f.__name__, f) for f in (reads_for_long, writes, tries_to_read)])


def driver(kind: type[Device], adversary: str) -> Program:
    """A driver against an adversary's first scenario."""
    return driver_program(kind, ADVERSARIES[adversary].scenarios[0], list(RULES.values()))


def search(program: Program) -> Result:
    return breadth_first(Reference(program))


def spins() -> None:
    """Waits for what nobody will do, by looking again and again."""
    while board.sum == 0:
        cells[0].value = 1 - cells[0].value


def livelock(*others: Thread) -> Program:
    return build(Machine({"cells": 1}), [Thread("spinner", spins), *others])
