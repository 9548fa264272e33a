"""All that a text is refused for is told at once: the first first, each line once, and nothing that only follows from another."""

from __future__ import annotations

from typing import Any

import pytest
from models import FIRST, PRELUDE, model, module_of, program
from test_refused import BODIES, refused

from secondsight.lang import LangError, Refused
from secondsight.lang.errors import MOST_TOLD


def all_refusals(text: str) -> tuple[list[Refused], str]:
    """The refusals, the first first, and how they are told."""
    with module_of(PRELUDE + text) as module:
        with pytest.raises(Refused) as caught:
            program(module, ("main",))
        return [caught.value, *caught.value.find_others()], caught.value.whole()


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_every_form_is_refused_beside_all_others() -> None:
    bodies = {body: word for body, word in BODIES.items() if body != "main()"}  # a second way into one function is no recursion
    functions = [f"def f{i}() -> None:\n    {body}\n" for i, body in enumerate(bodies)]
    calls = "".join(f"    f{i}()\n" for i in range(len(bodies)))
    all_of_them, whole = all_refusals("".join(functions) + "def main() -> None:\n" + calls)
    at, found = FIRST, []
    for text, word in zip(functions, bodies.values(), strict=True):
        end = at + text.count("\n")
        found.append([one for one in all_of_them if at <= one.where.line < end])
        assert any(word.lower() in str(one).lower() for one in found[-1]), text
        at = end
    assert all_of_them[0] is found[0][0] and all_of_them[1:] == sorted(all_of_them[1:], key=lambda one: one.where.line)
    assert whole.endswith(f"and {len({(o.wrong, o.instead) for o in all_of_them}) - MOST_TOLD} more")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # what follows from another is not told
        ("def main() -> None:\n    x = nothing\n    world.n = x\n    y = x + 1\n    world.n = y\n    world.nope = 1", [2, 6]),
        ("def main() -> None:\n    x = helper(1)\n    world.n = x\ndef helper(a) -> int:\n    return a", [4]),
        ("def main() -> None:\n    if world.nope:\n        x = 1\n    else:\n        world.nope = 2\n    x = 1\n    world.n = x", [2, 5]),
        ("def main() -> int:\n    world.nope = 1\n    return nothing", [2, 3]),
        ("def main() -> int:\n    try:\n        return 1\n    finally:\n        pass", [2]),
        # one a line, and of functions that are reached in several ways once
        ("def main() -> None:\n    world.n = nothing + also", [2]),
        ("def main() -> None:\n    helper()\n    with atomic:\n        helper()\ndef helper() -> None:\n    world.nope = 1", [6]),
        # within what is refused itself
        ("def main() -> None:\n    for a, b, c in items:\n        world.nope = 1\n        break\n    with world:\n        world.nope = 2", [2, 3, 5, 6]),
        ("def main() -> None:\n    while world.nope:\n        with world.lock:\n            if world.n:\n                continue\n            world.nope = 1", [2, 6]),
        # locks and loops are as they were
        ("def main() -> None:\n    with world.lock:\n        for i in range(3):\n            with world.nope:\n                pass\n        world.nope = 1\n    world.nope = 2", [4, 6, 7]),
        # a local whose type comes out late
        ("def main() -> None:\n    world.nope = 1\n    x = 1\n    x = world.n * 1000\n    world.nope = x", [2, 5]),
    ],
)  # fmt: skip
def test_what_is_told_of_several(text: str, expected: list[int]) -> None:
    assert [one.where.line - FIRST + 1 for one in all_refusals(text)[0]] == expected


def test_an_unknown_name_is_told_once_with_all_its_lines() -> None:
    (error, *_), whole = all_refusals("def main() -> None:\n    world.n = nothing\n    helper()\n    world.n = nothing\n\ndef helper() -> None:\n    world.n = nothing")
    assert whole.count("nothing is not defined") == 1
    assert whole.startswith(str(error)) and whole.endswith(f"also in lines {FIRST + 3}, {FIRST + 6}")


def test_a_name_that_is_not_there_is_told_its_neighbours() -> None:
    text = "from secondsight.linux import hmm\nimport secondsight.linux.mmu_notifier as mn\ndef main() -> None:\n    {}\n"
    for line, instead in [
        ("hmm.hmm_range_faultt()", "hmm.hmm_range_fault, or"),
        ("world.n = mn.owner", "mn.owners"),
        ("hmm.mmu_interval_read_begin()", "from secondsight.linux.mmu_notifier import mmu_interval_read_begin"),
        ("hmm.nothing_like_it()", "secondsight list functions"),
        ("wordl.n = 1", "world, or import it"),
        ("itmes()", "items, or import it"),
    ]:
        assert refused(text.format(line)).instead.startswith(instead) or instead in refused(text.format(line)).instead


def test_all_fields_outside_the_language_are_told() -> None:
    def told(fields: str) -> list[Any]:
        with pytest.raises(LangError) as caught, model(f"class Bad(Record):\n{fields}\nbad = shared(Bad)\ndef main() -> None:\n    bad.n = 1"):
            pass
        return [part.split(": ")[1] for part in str(caught.value).split("\n\n")]

    assert told("    x: float\n    n: int\n    y: str\n    z: None") == ["Bad.x", "Bad.y", "Bad.z"]
