"""However many rules are broken, none is dropped: each is told if all are wanted, and the same one by every executor if not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from generated import module_of

from secondsight.lang import Machine
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Request, breadth_first
from secondsight.search.cluster import search_by
from secondsight.search.cluster_levels import LocalHosts
from secondsight.search.native import native_search
from secondsight.search.strategy import BreadthFirst, DepthFirst

COUNT = 150
RULES = [f"r{COUNT - i:03}" for i in range(COUNT)]
"""In the order in which they are tried: the first by name comes last."""


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    lines = ["from secondsight.lang import choose, require", "def run() -> None:", f"    n = choose({COUNT})"]
    for i, rule in enumerate(RULES):
        lines += [f"    if n == {i}:", f"        require(False, {rule!r}, 'it is {i}')"]
    with module_of("\n".join(lines) + "\n") as module:
        yield build(Machine({}), [Thread("t", module.run)])


@pytest.mark.parametrize("workers", [1, 2])
def test_every_rule_is_collected(program: Program, workers: int) -> None:
    for strategy in (BreadthFirst(), DepthFirst()):
        found = native_search(Native(program), Request(collect=True, workers=workers, strategy=strategy))
        assert sorted(v.rule for v in found.violations) == sorted(RULES)
        assert all(v.trace.steps[0].choices == (RULES.index(v.rule),) for v in found.violations)


def test_every_executor_tells_the_first_by_name(program: Program) -> None:
    first = breadth_first(Reference(program)).violation
    assert first is not None
    assert first.rule == min(RULES)
    for workers in (1, 2):
        assert native_search(Native(program), Request(workers=workers)).violation == first


@pytest.mark.parametrize("collect", [False, True])
def test_members_of_a_cluster_drop_none(program: Program, collect: bool) -> None:
    native = Native(program)
    hosts = LocalHosts(2, 1)
    try:
        result = search_by(hosts, native, Request(lock_order=False, collect=collect), 1 << 16)[0]
    finally:
        hosts.end()
    assert sorted(v.rule for v in result.violations) == (sorted(RULES) if collect else [min(RULES)])
