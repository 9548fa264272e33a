"""What depends on a function's source alone, worked out once however often the function is lowered."""

from __future__ import annotations

import ast
import functools
import inspect
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from secondsight.lang.syntax import nodes

__all__ = ["Facts", "facts_of", "hints_of", "meaning_of", "names_inside", "parameters_of"]


@dataclass(eq=False, slots=True)
class Facts:
    """The names, loops and generators of a function's tree; `scoped` are the loop variables of generators, no locals of it."""

    names: dict[str, list[ast.Name]] = field(default_factory=dict)
    loops: list[ast.For] = field(default_factory=list)
    generators: list[ast.GeneratorExp] = field(default_factory=list)
    scoped: set[ast.AST] = field(default_factory=set)
    stored: frozenset[str] = frozenset()


@functools.cache
def facts_of(tree: ast.FunctionDef) -> Facts:
    """The facts of a function."""
    found = Facts()
    for node in nodes(tree):
        match node:
            case ast.Name():
                found.names.setdefault(node.id, []).append(node)
            case ast.For():
                found.loops.append(node)
            case ast.GeneratorExp():
                found.generators.append(node)
            case ast.comprehension():
                found.scoped |= {n for n in nodes(node.target) if isinstance(n, ast.Name)}
    found.stored = frozenset(
        name
        for name, uses in found.names.items()
        if any(isinstance(n.ctx, (ast.Store, ast.Del)) and n not in found.scoped for n in uses)
    )
    return found


@functools.cache
def names_inside(node: ast.AST) -> frozenset[ast.AST]:
    """The names anywhere under a node; of a loop, those in its body."""
    parts: list[Any] = list(node.body) if isinstance(node, ast.For) else [node]
    return frozenset(n for part in parts for n in nodes(part) if isinstance(n, ast.Name))


def hints_of(function: types.FunctionType) -> dict[str, Any]:
    """The annotations of a function, evaluated now: what their names stand for may have been replaced.

    As typing.get_type_hints(), which compiles every text anew.
    """
    space = inspect.unwrap(function).__globals__
    hints = {name: eval(_compiled(a), space) if isinstance(a, str) else a for name, a in function.__annotations__.items()}
    if any(isinstance(hint, str) or "ForwardRef" in repr(hint) for hint in hints.values()):
        return typing.get_type_hints(function, include_extras=True)
    return {name: type(None) if hint is None else hint for name, hint in hints.items()}


@functools.cache
def _compiled(annotation: str) -> types.CodeType:
    return compile(annotation, "<annotation>", "eval")


def meaning_of(annotation: str | types.CodeType, function: types.FunctionType) -> Any:
    """What the annotation of a local means within a function."""
    closure = dict(inspect.getclosurevars(function).nonlocals) if function.__closure__ else {}
    hint = eval(annotation, function.__globals__, closure)
    return eval(hint, function.__globals__, closure) if isinstance(hint, str) else hint


def parameters_of(function: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function (of the one that a tracepoint wraps), with their present defaults."""
    function = getattr(function, "__wrapped__", function)
    defaults = getattr(function, "__defaults__", None) or ()
    try:
        return _parameters(function, tuple((type(value), value) for value in defaults))
    except TypeError:  # a default that has no hash
        return inspect.signature(function).parameters


@functools.lru_cache(maxsize=4096)
def _parameters(function: Any, _defaults: tuple[tuple[type, object], ...]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters
