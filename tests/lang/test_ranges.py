"""Ranges of results: whatever numbers go in, the result lies inside; a check left out by mistake would be a wrong verdict."""

from __future__ import annotations

import operator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from secondsight.lang import I16, U8, U16, Array, Machine, Record, Ref, shared_array
from secondsight.lang.layout import Layout
from secondsight.lang.ranges import of_operation
from secondsight.lang.types import IntType

OPERATIONS: dict[str, Any] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv, "%": operator.mod,
    "<<": operator.lshift, ">>": operator.rshift, "&": operator.and_, "|": operator.or_, "^": operator.xor,
}  # fmt: skip


@st.composite
def inside(draw: st.DrawFn) -> tuple[IntType, int]:
    low, high = sorted((draw(st.integers(-70, 70)), draw(st.integers(-70, 70))))
    return IntType(low, high), draw(st.integers(low, high) | st.sampled_from([low, high]))


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(sorted(OPERATIONS)), inside(), inside())
def test_a_result_lies_in_the_range_of_its_operation(name: str, left: tuple[IntType, int], right: tuple[IntType, int]) -> None:
    (a, x), (b, y) = left, right
    if (name in ("//", "%") and y == 0) or (name in ("<<", ">>") and not 0 <= y <= 64):
        return  # an error when it is run
    found = of_operation(name, a, b)
    assert found.low <= OPERATIONS[name](x, y) <= found.high


class Leaf(Record):
    small: U8
    wide: U16
    signed: I16 = -3


class Tree(Record):
    leaves: Array[Leaf, 3]
    refs: Array[Ref[Leaf], 2]
    up: Ref[Tree]


forest = shared_array(Tree, "forest")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.data())
def test_a_machine_is_the_same_after_encoding_and_decoding(size: int, data: st.DataObject) -> None:
    machine = Machine({"forest": size})
    with machine:
        assert len(forest) == size
        layout = Layout(machine)
        fresh = layout.encode()
        for _ in range(6):
            tree, other = (forest[data.draw(st.integers(0, size - 1))] for _ in range(2))
            leaf = other.leaves[data.draw(st.integers(0, 2))]
            leaf.wide, leaf.signed = data.draw(st.integers(0, 65535)), data.draw(st.integers(-32768, 32767))
            tree.refs[1], tree.up = leaf, other
        state = layout.encode()
        assert layout.ref_width == (1 if len(layout.records) <= 255 else 2)
        shown = list(layout.fields(state))
        layout.decode(fresh)
        assert layout.encode() == fresh
        layout.decode(state)
        assert layout.encode() == state
        assert list(layout.fields(layout.encode())) == shown
