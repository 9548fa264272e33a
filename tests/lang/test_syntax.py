"""Walking syntax trees: the same nodes in the same order as `ast.walk`, and every function that it finds."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from secondsight.lang import syntax

FILES = sorted(Path(syntax.__file__).parent.glob("s*.py"))
EVERY_SUITE = """
def one():
    with a as b:
        try:
            def two(): pass
        except E:
            def three(): pass
        else:
            def four(): pass
        finally:
            async def five():
                def six(): pass
    match x:
        case 1:
            for y in z:
                def seven(): pass
            else:
                class C:
                    @decorated
                    def eight(self): return lambda: 0
"""


@pytest.mark.parametrize("text", [EVERY_SUITE, *(file.read_text() for file in FILES)], ids=["every suite", *(file.stem for file in FILES)])
def test_nodes_and_definitions_are_those_that_ast_walk_finds(text: str) -> None:
    tree = ast.parse(text)
    assert syntax.nodes(tree) == list(ast.walk(tree))
    assert set(syntax.definitions(tree)) == {node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
