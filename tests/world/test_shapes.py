"""Programs of one shape share their code, and nothing else: rounding changes no graph, a library serves whoever's turn it is."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from secondsight.contract import ADVERSARIES, check, driver_program
from secondsight.contract.adversaries import adversaries_for
from secondsight.devices.mirror import Mirror, MirrorWithoutTest
from secondsight.lang import LangError, compiler
from secondsight.lang.native import Native, is_ready
from secondsight.lang.reference import Reference
from secondsight.scenario import Scenario, load_scenarios
from secondsight.scenario.data import Outcome
from secondsight.search import Limits, Request, Verdict, auto, breadth_first
from secondsight.search.auto import why_not_native
from secondsight.search.native import native_search
from secondsight.world import encoder
from secondsight.world.model import outcomes, program

HOUSE = Path(__file__).parents[2]
has_compiler = pytest.mark.skipif(why_not_native() is not None, reason="no C compiler")


def scenarios(file: str) -> list[Scenario]:
    return load_scenarios(HOUSE / "scenarios" / f"{file}.py")


def pairs() -> list[Scenario]:
    """Scenarios with two threads and one page: of one shape."""
    return [
        s for s in scenarios("dontneed_races") + scenarios("munmap_races") if s.threads and program(s).machine.bound("pages") == 1
    ]


def graph(scenario: Scenario) -> tuple[object, ...]:
    result, seen = outcomes(scenario, request=Request(executor="reference"))
    return result.verdict, result.states, result.transitions, result.depth, seen


@pytest.mark.parametrize("file", ["punch_races", "ends", "thread_2023_selftest"])
def test_rounding_changes_no_graph(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rounded = [graph(s) for s in scenarios(file)]
    for sizes in ((), (encoder._LARGE,)):
        monkeypatch.setattr(encoder, "_SIZES", sizes)
        assert [graph(s) for s in scenarios(file)] == rounded


@pytest.mark.parametrize(("driver", "adversary"), [(Mirror, "dax-teardown"), (MirrorWithoutTest, "munmap")])
def test_rounding_changes_no_graph_of_a_driver(driver: type[Mirror], adversary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def graphs() -> list[tuple[object, ...]]:
        found = [breadth_first(Reference(driver_program(driver, s))) for s in ADVERSARIES[adversary].scenarios]
        return [(r.verdict, r.states, r.transitions, r.depth, r.violation and len(r.violation.trace)) for r in found]

    rounded = graphs()
    monkeypatch.setattr(encoder, "_DRIVEN", ())
    assert graphs() == rounded


def test_a_bound_that_the_user_gives_is_kept() -> None:
    scenario = scenarios("punch_races")[0]
    assert program(scenario).machine.bound("frames") == 8
    assert program(scenario, wanted={"frames": 12, "files": 1}).machine.bound("frames") == 12
    with pytest.raises(LangError, match="there is no bound results"):
        program(scenario, wanted={"results": 1})
    with pytest.raises(LangError, match="frames"):  # while it is set up
        program(scenario, wanted={"frames": 2})


def test_another_shape_has_other_code() -> None:
    first, other = pairs()[0], scenarios("punch_races")[0]
    code = program(first).code
    assert program(first).code is code
    assert program(pairs()[1]).code is code
    different = [program(first, wanted={"frames": 9}), program(first, holds=True), program(other)]
    different += [driver_program(Mirror, ADVERSARIES["munmap"].scenarios[0])]
    assert len({id(p.code) for p in different} | {id(code)}) == 5


@has_compiler
@pytest.mark.wide
def test_programs_that_share_a_library_take_turns() -> None:
    """Step by step in turn, in threads, in processes: each has its own results."""
    shared = pairs()
    natives = [Native(program(s)) for s in shared]
    assert len({id(n.library) for n in natives}) == 1
    ways = [n.thread_successors(n.initial, i) for n in natives for i in range(2)]
    alone = [list(Native(n.program).thread_successors(n.initial, i)) for n in natives for i in range(2)]
    in_turn: list[list[object]] = [[] for _ in ways]
    for _ in range(5):
        for row, way in zip(in_turn, ways, strict=True):
            row += [s for s in [next(way, None)] if s is not None]
    assert in_turn == alone
    expected = [outcomes(s, request=Request(executor="reference"))[1] for s in shared]
    assert len(set(expected)) > 1
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(native_outcomes, shared * 3)) == expected * 3
    with get_context("fork").Pool(2) as processes:
        assert processes.map(native_outcomes, shared * 3) == expected * 3
        processes.close()  # a process that is terminated while it takes work was waited for, for ever
        processes.join()


def native_outcomes(scenario: Scenario) -> frozenset[Outcome]:
    return outcomes(scenario, request=Request(executor="native"))[1]


@has_compiler
@pytest.mark.skipif(os.environ.get("SECONDSIGHT_CONTRACT") != "all", reason="make tables runs it")
def test_a_driver_is_compiled_once_for_each_set_of_families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path))
    built: list[str] = []
    build = compiler._build

    def count(text: str, *how: Any) -> None:
        built.append(text)
        build(text, *how)

    monkeypatch.setattr(compiler, "_build", count)
    done = list(check(Mirror, request=Request(executor="native", limits=Limits(states=50))))
    assert len(done) == sum(len(a.scenarios) for a in adversaries_for(Mirror).values())
    # The process's own memory; that and memfds; either with mprotect; device memory; reclaim and migration; an exclusive
    # device beside it; a userfaultfd; memfds and two processes; fork; huge pages, and those with MADV_COLLAPSE, or that are moved, or split; mappings
    # that move, and those whose memory was written; locked pages that are moved; a file system's
    # files; a process that ends, whose memory's last user may be the driver, alone or beside another; files that are cut, with mappings behind their end and without;
    # two devices; memory that is short, and with a memfd's pages; a memfd's pages in swap; NUMA balancing; soft-dirty pages of a file;
    # a memfd of huge pages under a device; memory that nobody may read.
    assert len(built) == len(set(built)) == 31


@has_compiler
def test_a_thread_that_is_not_there_has_ended() -> None:
    """Room for four threads, three of them used."""
    made = driver_program(Mirror, ADVERSARIES["exit"].scenarios[3])
    assert (len(made.threads), made.code.capacity) == (3, 4)
    slow, fast = breadth_first(Reference(made)), native_search(Native(made), Request(workers=1))
    assert (fast.verdict, fast.states, fast.transitions) == (Verdict.HOLDS, slow.states, slow.transitions)


@has_compiler
@pytest.mark.wide
def test_compiled_code_that_is_there_is_used_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path))  # another run of this test has left it in the user's
    made = driver_program(Mirror, ADVERSARIES["munmap"].scenarios[0], bounds={"frames": 11})
    monkeypatch.setattr(auto, "SWITCH", 700)
    assert not is_ready(made)
    assert [auto.search(made, Request(limits=Limits(states=500))).exact for _ in range(3)] == [True, False, False]
    assert is_ready(made)
    other = driver_program(MirrorWithoutTest, ADVERSARIES["munmap"].scenarios[0], bounds={"frames": 11})
    assert not is_ready(other)
