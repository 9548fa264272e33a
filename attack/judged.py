"""Programs made by hand, and what the definitions of docs/language.md say of them."""

from __future__ import annotations

from attack.compare import check_batch, equal
from attack.description import Description, Thread, Tree, World
from attack.explore import explore, judge
from attack.interpreter import Interpreter

__all__ = ["JUDGED", "POLLER", "SECTION", "A", "M", "check_judged", "is_one", "put"]

A: Tree = ["get", ["cell", "a"]]
M: Tree = ["m", 0]


def is_one(value: Tree) -> Tree:
    return ["cmp", "==", value, ["int", 1]]


def put(cell: str, value: int) -> Tree:
    return ["put", ["cell", cell], ["int", value]]


READER: list[Tree] = [["forever", [["with", "read", ["rw"], [["if", is_one(A), [["return"]], []]]]]]]
POLLER: list[Tree] = [["forever", [["with", "lock", M, [["if", is_one(A), [["break"]], []]]]]]]
TRIES: list[Tree] = [["forever", [["if try", M, [["do", "unlock", M], ["break"]], []]]]]
SECTION: list[Tree] = [["do", "lock", M], put("a", 1), ["do", "unlock", M]]

JUDGED: dict[str, tuple[list[Thread], set[str]]] = {
    "a poller under a lock that another takes too": ([Thread(POLLER), Thread(SECTION)], set()),
    "a poller that nobody ends": ([Thread(POLLER)], {"livelock"}),
    "trylock that loses every time": ([Thread(TRIES), Thread([["forever", SECTION]], daemon=True)], {"livelock"}),
    "a daemon alone may go round for ever": ([Thread(SECTION), Thread(POLLER, daemon=True)], set()),
    "what a daemon does when all others have ended": ([Thread([put("b", 1)]), Thread(POLLER, daemon=True)], set()),
    "a lock handed over": (
        [Thread([["do", "lock", M], put("a", 1), ["put", ["owner", M], ["int", 2]]]), Thread([["wait", is_one(A)], ["wait", ["mine", M]], ["do", "unlock", M]])],
        set(),
    ),
    "a lock kept": ([Thread([["do", "lock", M]])], {"lock-held-at-exit"}),
    "a wait with a spinlock held": ([Thread([["with", "lock", ["spin"], [["wait", is_one(A)]]]])], {"sleep-in-atomic"}),
    "a wait for what never comes": ([Thread([["wait", is_one(A)]])], {"deadlock"}),
    "a lock and a condition in one step": (
        [Thread([["atomic", [["do", "lock", M], ["wait", is_one(A)]]], ["do", "unlock", M]]), Thread(SECTION)], set(),
    ),
    "a reader becomes a reader by downgrade": (
        [Thread([["do", "write_lock", ["rw"]], put("a", 1), ["do", "write_downgrade", ["rw"]], ["do", "read_unlock", ["rw"]]]), Thread(READER)], set(),
    ),
    "a loop that counts its rounds": ([Thread([["for", "i1", 3, [["let", "x0", ["local", "i1"]], ["put", ["cell", "a"], ["local", "x0"]]]]])], set()),
    "a choice among none": ([Thread([["choose", "x0", ["local", "x1"]], put("a", 1)])], {"model-error"}),
    "a loop in one step that does not end": (
        [Thread([["atomic", [["forever", [["if", is_one(A), [["break"]], [["continue"]]]]]]]]), Thread([put("a", 1)])], {"model-error"},
    ),
}  # fmt: skip
"""Threads, and every rule that may be told."""


def check_judged(name: str, native: bool) -> None:
    """The interpreter says what is written here, and every executor what it says."""
    threads, rules = JUDGED[name]
    description = Description(World(), threads).copy()
    equal(f"judged, {name}", sorted(rules), sorted(judge(explore(Interpreter(description), 1000)).rules), "rules:")
    check_batch([description], 1, native)
