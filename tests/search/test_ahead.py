"""Native code compiled beside the search by the reference executor: when that begins, who has it, how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import pytest

from secondsight.lang import Bounds, Machine, Record, shared
from secondsight.lang import compiler as compiler_module
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.native import Native, is_ready
from secondsight.lang.program import Program, Thread, build
from secondsight.search import Limits, Request, Verdict, auto, executors
from secondsight.search.auto import search
from secondsight.search.executors import Searches

try:
    compiler()
except CompilerMissing:
    pytest.skip("no C compiler", allow_module_level=True)

Small = Annotated[int, Bounds(0, 200)]


class Tally(Record):
    one: Small
    other: Small


tally = shared(Tally)


def adds_to_one(n: Small) -> None:
    for _ in range(n):
        tally.one += 1


def adds_to_the_other(n: Small) -> None:
    for _ in range(n):
        tally.other += 1


def program_of(n: int) -> Program:
    return build(Machine(), [Thread("one", adds_to_one, (n,)), Thread("other", adds_to_the_other, (n,))])


def test_the_search_goes_over_when_the_code_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path))
    monkeypatch.setattr(auto, "AHEAD", 1_000)
    monkeypatch.setattr(Searches, "total", 0)
    program = program_of(180)
    first = search(program, Request(executor="reference"))
    assert auto._ahead_of(program) is None  # the reference alone was asked for
    found = search(program, Request(livelock=True))
    ahead = auto._ahead_of(program)
    assert ahead is not None
    ahead.wait()
    assert ahead.is_there and auto._wait_at(program) == 0
    after = search(program, Request(livelock=True))
    assert not after.exact and is_ready(program)
    figures = {(r.verdict, r.states, r.transitions, r.depth) for r in (first, found, after)}
    assert len(figures) == 1 and after.verdict is Verdict.HOLDS


def test_what_is_small_is_not_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path))
    monkeypatch.setattr(Searches, "total", 0)
    program = program_of(21)
    assert search(program).exact
    assert search(program, Request(limits=Limits(states=300))).reason == "states"
    assert auto._ahead_of(program) is None and not list(tmp_path.rglob("*.so"))


def test_after_much_was_searched_it_waits_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Searches, "total", 0)
    program = program_of(22)
    assert auto._wait_at(program) == auto.WAIT
    Searches.total = auto.WAIT
    assert auto._wait_at(program) == auto.AHEAD


def test_what_is_worth_compiling_depends_on_what_is_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_of(24)
    assert auto._wait_at(program, lambda: 1) == auto.WORTH
    assert auto._wait_at(program, lambda: 10) == auto.WORTH // 10
    assert auto._wait_at(program, lambda: 1_000) == auto.HASTY
    assert auto._wait_at(program, lambda: 20, weight=16) == auto.WORTH * 16 // 20
    assert search(program, Request(coming=lambda: 3)).exact
    code = program.code
    assert (code.searches, code.searched > 300) == (1, True)
    code.searched = code.searches * 2_000
    assert auto._wait_at(program, lambda: 29) == auto.HASTY, "some 58,000 states"
    assert auto._wait_at(program, lambda: 31) == 0
    code.searched, code.searches = auto.WORTH - 10, 1_000
    assert auto._wait_at(program, lambda: 1) == 10
    code.searched = auto.WORTH
    assert auto._wait_at(program, lambda: 1) == 0


def test_native_code_is_made_at_once_where_much_is_coming(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path))
    monkeypatch.setattr(auto, "WORTH", 300)
    monkeypatch.setattr(auto, "HASTY", 100)
    program = program_of(25)
    small = search(program_of(26), Request(coming=lambda: 1, limits=Limits(states=200)))
    assert small.reason == "states" and not list(tmp_path.rglob("*.so"))
    result = search(program, Request(coming=lambda: 1))
    assert not result.exact and is_ready(program) and result.verdict is Verdict.HOLDS
    assert result.states == search(program, Request(executor="reference")).states


def test_what_is_searched_long_is_compiled_with_care_beside_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path))
    monkeypatch.setattr(compiler_module, "LARGE", 0)
    monkeypatch.setattr(auto, "WORTH", 10)
    monkeypatch.setattr(auto, "HASTY", 1)
    monkeypatch.setattr(executors, "LONG", 2_000)
    used: list[str] = []
    build_library = compiler_module._build
    engines: list[str] = []
    monkeypatch.setattr(compiler_module, "_build", lambda *given: (used.append(given[3]), engines.append(given[2]), build_library(*given)))
    program = program_of(40)
    figures = {
        (r.verdict, r.states, r.transitions, r.depth) for r in [search(program, Request(livelock=True, coming=lambda: 1)) for _ in range(2)]
    }
    assert used == ["-O0"] and program.code.hurried >= 2_000
    figures |= {(r.verdict, r.states, r.transitions, r.depth) for r in [search(program, Request(livelock=True, coming=lambda: 1))]}
    better = program.code.made["better"]
    better.wait()
    assert better.is_there and used == ["-O0", "-Og"]
    careful = Native(program)
    found = search(program, Request(livelock=True))
    figures.add((found.verdict, found.states, found.transitions, found.depth))
    assert used == ["-O0", "-Og"] and Native(program, hasty=True).library is careful.library
    whole = search(program, Request(executor="reference", livelock=True))
    assert figures == {(whole.verdict, whole.states, whole.transitions, whole.depth)}
    for_any_size, for_one = engines
    assert "#define ROOM 512" in for_any_size and "#define STRIDE" in for_one


ENDS = """
import sys, time
sys.path.insert(0, sys.argv[1])
import test_ahead
from secondsight.lang.ahead import Ahead
ahead = Ahead(test_ahead.program_of(23), hasty=True)
time.sleep(0.5)
assert not ahead.is_there
"""


def test_the_end_of_the_process_ends_the_compiler(tmp_path: Path) -> None:
    slow = tmp_path / "slow-cc"
    slow.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    slow.chmod(0o755)
    environment = os.environ | {"CC": str(slow), "SECONDSIGHT_CACHE": str(tmp_path / "cache")}
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", ENDS, str(Path(__file__).parent)], env=environment, check=True, timeout=50)
    assert time.monotonic() - begun < 30
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not list((tmp_path / "cache").rglob("build-*"))
