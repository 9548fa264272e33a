"""The search for a CUDA card, compiled by g++ (`bench/gpu/shim.h`): it says what ours says, and refuses what it has no room for."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
from bench.gpu.__main__ import commands
from bench.gpu.emit import emit
from bench.gpu.programs import NAMES, named

from secondsight.lang import Bounds, Machine, Record, shared, wait_until
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Verdict, breadth_first

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")

ROOM = ("--slots", "20000", "--frontier", "5000")


class World(Record):
    counted: Annotated[int, Bounds(0, 2)]


world = shared(World)


def waits() -> None:
    wait_until(world.counted == 2)


def counts_once() -> None:
    world.counted += 1


def counts() -> None:
    world.counted += 1
    world.counted += 1


def of(*functions: Callable[[], None]) -> Program:
    return build(Machine({}), [Thread(f"{i}", function) for i, function in enumerate(functions)])


def shim(program: Program, folder: Path, *more: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The search, compiled: it takes the arguments of a command line."""
    emit(program, folder)
    for command in commands(folder, "shim", "shim", ("-O0", *more)):
        subprocess.run(command, check=True)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([folder / "shim", *arguments], capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize(("name", "more"), [("mirror T", ()), ("munmap: 1 engine", ("-DLEVELS_AT_ONCE=1", "-DROOM_SHARED"))])
def test_it_counts_as_ours_does(name: str, more: tuple[str, ...], tmp_path: Path) -> None:
    program = named(name)
    ours = breadth_first(Reference(program))
    assert ours.verdict is Verdict.HOLDS
    card = shim(program, tmp_path, *more)
    numbers = ("--states", str(ours.states), "--transitions", str(ours.transitions), "--depth", str(ours.depth))
    done = card(*ROOM, *numbers)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"all states seen, nothing found: {ours.states} states" in done.stdout
    for i in (1, 3, 5):  # one number at a time that is not what comes out
        wrong = [*numbers[:i], "7", *numbers[i + 1 :]]
        assert (done := card(*ROOM, *wrong)).returncode == 1 and done.stderr.endswith("there must be 7\n")
    for room, said in ((("--slots", "100", "--frontier", "5000"), "the table of fingerprints: it is full"),
                       (("--slots", "20000", "--frontier", "20"), "the next level: it has more states")):  # fmt: skip
        assert (done := card(*room)).returncode == 2 and said in done.stderr, done.stdout + done.stderr


@pytest.mark.parametrize("deadlock", [False, True])
def test_it_breaks_what_ours_breaks_after_as_many_steps(deadlock: bool, tmp_path: Path) -> None:
    program = of(waits, counts_once) if deadlock else named("mirror T without its retry test")
    ours = breadth_first(Reference(program)).violation
    assert ours is not None and (ours.rule == "deadlock") is deadlock
    card = shim(program, tmp_path)
    done = card(*ROOM, "--broken", str(len(ours.trace)))
    assert done.returncode == 0 and f"broken: {ours.rule}" in done.stdout, done.stdout + done.stderr
    assert card(*ROOM).returncode == 1, "a broken rule that nobody foretold"
    assert card(*ROOM, "--broken", str(len(ours.trace) + 1)).returncode == 1


def test_an_error_of_the_model_is_no_verdict(tmp_path: Path) -> None:
    done = shim(of(counts, counts), tmp_path)(*ROOM)
    assert done.returncode == 1 and "not finished: error" in done.stdout and "error of the model" in done.stdout, done.stdout
    assert re.search(r"after 3 steps, at .*test_gpu_search.py:\d+", done.stdout), done.stdout


def test_names_are_of_programs_that_are_there() -> None:
    assert {"mirror F", "zero-page: two engines", "punch-hole: 3 engines"} <= NAMES.keys()
