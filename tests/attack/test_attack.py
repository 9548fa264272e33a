"""The attack, briefly: every law on some generated programs, what becomes of one that fails, searches cut short at some moments.

`make attack` is the campaign.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from attack.campaign import Campaign, Finding, batch_of, run_campaign
from attack.compare import Failure, Tally, check_batch, has_compiler
from attack.cuts import Cuts, run_cuts, whole_search
from attack.description import Description, Thread, World, lines_of, walk
from attack.draw import FAMILIES
from attack.draw_parts import FEATURES
from attack.explore import components, explore
from attack.interpreter import Interpreter
from attack.judged import JUDGED, POLLER, SECTION, A, M, check_judged, is_one, put
from attack.mutants import SOURCE, Copy, mutants_of, reasons
from attack.shrink import shrink

from attack import cuts as cuts_module
from secondsight.lang import cfg
from secondsight.lang.locks import Mutex


@pytest.mark.parametrize("name", JUDGED)
def test_what_the_interpreter_says(name: str) -> None:
    check_judged(name, native=False)


def test_parts_of_a_graph_are_those_with_a_cycle() -> None:
    graph = explore(Interpreter(Description(World(), [Thread(POLLER), Thread(SECTION)])), 1000)
    parts = components(graph, set(range(len(graph.states))))
    assert parts
    for part in parts:
        for n in part:
            assert any(to in part for to in graph.targets[n])


# The laws.


def test_every_executor_says_what_the_interpreter_says() -> None:
    tally = Tally()
    for number in range(2):
        check_batch(batch_of(11, number), number, native=False, tally=tally)
    if has_compiler():
        check_batch(batch_of(11, 2)[:8], 2, native=True, tally=tally)
    assert tally.programs > 25
    assert min(tally.kinds.get(kind, 0) for kind in ("holds", "deadlock")) > 0


@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_a_queue_that_only_shared_code_has() -> None:
    """Alone the writer stands in no queue, for there is one reader; in code shared with a program of two a trace leads into it."""
    one = [Thread([["do", "write_lock", ["rw"]], ["do", "write_unlock", ["rw"]]]), Thread([["do", "read_lock", ["rw"]], ["wait", is_one(A)], ["do", "read_unlock", ["rw"]]])]
    two = [Thread([["do", "read_lock", ["rw"]], ["do", "read_unlock", ["rw"]]])] * 2
    tally = check_batch([Description(World(), threads).copy() for threads in (one, two)], 1, native=True)
    assert (tally.kinds["deadlock"], tally.kinds["holds"]) == (1, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_laws_hold_for_programs_of_a_family(family: str) -> None:
    number = next(i for i in range(9) if len(batch_of(12, i, family)) > 1 and batch_of(12, i)[0].world.interchangeable)
    some = batch_of(12, number, family)[:6]
    assert check_batch(some, number, native=has_compiler() and family in ("renaming", "counting")).programs >= 4


def test_programs_of_every_kind_are_drawn() -> None:
    drawn: set[str] = set()
    for number in range(12):
        for description in batch_of(5, number):
            for body in description.bodies():
                drawn |= {str(node[0]) for line in body for node in walk(line)}
    assert drawn >= {
        "try", "if try", "with", "atomic", "wait", "choose", "choose item", "alloc", "free", "owner", "readers", "mine", "index", "each",
        "count", "call", "forever", "seen", "node lock", "box lock", "spin", "rw", "slot", "next", "return", "break", "continue",
        "list", "append", "over", "put element", "exchange", "put call", "length", "element", "sum",
    }  # fmt: skip
    assert len(FEATURES) > 10


@pytest.mark.wide
def test_a_failing_program_is_kept_made_small_and_replayed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`live_across` forgets locals: the step after a call reads zeros."""
    monkeypatch.setattr(cfg.Flow, "live_across", lambda *a: set())
    said: list[str] = []
    run_campaign(Campaign(4, 60.0, native=False, folder=tmp_path, batches=8, most=1, shrinking=10.0), said.append)
    kept = list(tmp_path.glob("*.json"))
    assert kept
    smallest = min((Finding.from_json(json.loads(path.read_text())) for path in kept), key=lambda f: f.description.size)
    assert sum(len(body) for whole in smallest.description.bodies() for body in lines_of(whole)) <= 9
    again: list[str] = []
    found = run_campaign(Campaign(4, 60.0, native=False, folder=tmp_path, batches=0), again.append)
    assert len(found.findings) == len(kept)
    assert again[0].startswith("still fails")
    monkeypatch.undo()
    found = run_campaign(Campaign(4, 60.0, native=False, folder=tmp_path, batches=0), again.append)
    assert not found.findings
    assert not list(tmp_path.iterdir())


def test_a_lock_with_another_meaning_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    description = Description(World(), [Thread([["if try", M, [["do", "unlock", M]], []]]), Thread(SECTION)]).copy()
    check_batch([description], 1, native=False)
    held = Interpreter(description)
    assert held.start_error == ""
    monkeypatch.setattr("attack.interpreter.trylock", lambda state, me, key: False)
    with pytest.raises(Failure, match=r"steps|shared state|step boundaries"):
        check_batch([description], 1, native=False)
    assert Mutex.__name__ == "Mutex"


def test_shrinking_keeps_what_fails() -> None:
    whole = batch_of(11, 0)[0]

    def fails(description: Description) -> bool:
        return any(node[0] == "put" for body in description.bodies() for line in body for node in walk(line))

    small = shrink(Description(whole.world, [Thread([["if", is_one(A), [put("b", 2), ["wait", is_one(A)]], []], *SECTION])]).copy(), fails, 10.0)
    assert [thread.body for thread in small.threads] == [[put("a", 1)]] or small.size <= 4


# Mutants.


def test_a_mutant_is_noticed_in_a_copy(tmp_path: Path) -> None:
    """A mutex that a thread which holds it takes again."""
    changes = [m for m in mutants_of("front end", "lang/locks.py") if m.before == "if self.owner != 0:" and m.rule == "test negated"]
    assert changes
    copy = Copy(tmp_path, tmp_path / "cache")
    assert copy.run([0], 11, 120.0, native=False)["law"] == ""
    (tmp_path / "secondsight" / "lang" / "locks.py").write_text(changes[0].text)
    assert copy.run([0, 1, 2, 3], 11, 120.0, native=False)["law"] in ("shared state", "steps", "rules", "step boundaries")


def test_mutants_of_c_change_one_line_or_two() -> None:
    made = mutants_of("movers", "search/movers.c")
    whole = (SOURCE / "search" / "movers.c").read_text().splitlines()
    assert len({m.key for m in made}) > 100
    for mutant in made:
        assert 1 <= sum(a != b for a, b in zip(whole, mutant.text.splitlines(), strict=True)) <= 2


def test_the_table_says_of_each_mutant_what_became_of_it() -> None:
    text = (SOURCE.parents[1] / "docs" / "mutants.md").read_text()
    caught, same, left = map(int, re.findall(r"mutants: (\d+) caught, (\d+) equivalent, (\d+) not caught", text)[0])
    assert caught + same + left >= 60
    assert left == text.count("**not caught**")
    assert left == 0
    for reason in reasons().values():
        assert len(reason) > 20


# Cuts.


@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_nothing_that_is_cut_short_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts_module, "METHODS", {"two workers": 40, "merge": 40, "to a file": 40})
    done = run_cuts(Cuts(seed=3, moments=6, commands=False))
    assert done.failures == []
    assert done.done == 6
    assert whole_search("two workers", True, 40)[0] == 41**3
