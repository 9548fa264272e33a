"""Cutting the user's own functions at their step boundaries, for plain execution.

Each function of a program gets, while a plain run lasts, a code object compiled from its own syntax tree with calls
inserted: `step` before every statement that begins a step, `enter` and `leave` for traces. File name and line numbers
stay, so tracebacks, `pdb` and coverage speak of the user's lines. Nothing is lowered here.
"""

from __future__ import annotations

import ast
import copy
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from secondsight.lang import ir
from secondsight.lang.errors import LangError
from secondsight.lang.program import Program
from secondsight.lang.runtime import runtime
from secondsight.lang.source import function_tree
from secondsight.lang.verbs import atomic

__all__ = ["instrumented"]

_HOOKS = "__secondsight__"


class _Hooks:
    """What instrumented code calls."""

    step = staticmethod(runtime.step)
    enter = staticmethod(runtime.enter)
    leave = staticmethod(runtime.leave)
    atomic = atomic


@contextmanager
def instrumented(program: Program) -> Iterator[None]:
    """Within the block every function of the program is cut at its step boundaries."""
    kept: list[tuple[Any, types.CodeType]] = []
    try:
        for function, places in _boundaries(program).items():
            kept.append((function, function.__code__))
            function.__globals__[_HOOKS] = _Hooks
            function.__code__ = _cut(function, places)
        yield
    finally:
        for function, code in kept:
            function.__code__ = code


def _boundaries(program: Program) -> dict[Any, set[tuple[int, int]]]:
    """The statements, by line and column, at which steps begin in each source function."""
    found: dict[Any, set[tuple[int, int]]] = {}
    made: dict[Any, set[tuple[int, int]]] = {}
    for instance in program.frontend.instances.values():
        if instance.source is None:
            continue
        places = {
            (s.where.line, s.where.column)
            for s in ir.statements(instance.body)
            if isinstance(s, ir.Boundary) and s.kind == "statement"
        }
        found.setdefault(instance.source, set()).update(places)
        if not instance.atomic and made.setdefault(instance.source, places) != places:
            raise LangError(
                f"{instance.where}: {instance.name} has its steps at other statements for another class; "
                "give the two classes functions of their own"
            )
    return found


class _Cutter(ast.NodeTransformer):
    """Inserts the calls into one function."""

    def __init__(self, places: set[tuple[int, int]]) -> None:
        self.places = places

    def _call(self, name: str, at: ast.AST, *arguments: ast.expr) -> ast.Call:
        hook = ast.Attribute(ast.Name(_HOOKS, ast.Load()), name, ast.Load())
        call = ast.copy_location(ast.Call(hook, list(arguments), []), at)
        for node in ast.walk(call):
            if not hasattr(node, "lineno"):
                ast.copy_location(node, at)
        return call

    def _step(self, node: ast.stmt) -> ast.Call:
        return self._call("step", node, ast.Constant(node.lineno), ast.Constant(node.col_offset + 1))

    def suite(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """A list of statements with the steps before them."""
        out: list[ast.stmt] = []
        for node in body:
            begins = (node.lineno, node.col_offset + 1) in self.places
            if begins and not isinstance(node, ast.While):
                out.append(ast.copy_location(ast.Expr(self._step(node)), node))
            out.append(self.visit(node))
        return out

    def visit_If(self, node: ast.If) -> ast.If:
        node.body, node.orelse = self.suite(node.body), self.suite(node.orelse)
        return node

    def visit_For(self, node: ast.For) -> ast.For:
        node.body = self.suite(node.body)
        return node

    def visit_With(self, node: ast.With) -> ast.With:
        node.body = self.suite(node.body)
        return node

    def visit_While(self, node: ast.While) -> ast.While:
        node.body = self.suite(node.body)
        if (node.lineno, node.col_offset + 1) in self.places:
            node.test = ast.copy_location(ast.BoolOp(ast.Or(), [self._step(node), node.test]), node.test)
        return node

    def visit_Return(self, node: ast.Return) -> ast.Return:
        node.value = self._call("leave", node, *([node.value] if node.value is not None else []))
        return node


def _cut(function: Callable[..., Any], places: set[tuple[int, int]]) -> types.CodeType:
    """The function's code with its steps cut."""
    assert isinstance(function, types.FunctionType)
    tree = copy.deepcopy(function_tree(function))
    tree.decorator_list = []
    tree.returns = None
    for argument in tree.args.args:
        argument.annotation = None
    cutter = _Cutter(places)
    body = cutter.suite(tree.body)
    names = [a.arg for a in tree.args.args]
    here: ast.AST = tree.body[0]
    known = ast.Dict([ast.Constant(n) for n in names], [ast.Name(n, ast.Load()) for n in names])
    enter = ast.Expr(cutter._call("enter", here, ast.Constant(function.__qualname__), known))
    leave = ast.Expr(cutter._call("leave", tree.body[-1]))
    whole: list[ast.stmt] = [ast.copy_location(enter, here), *body, ast.copy_location(leave, tree.body[-1])]
    if getattr(function, "__atomic__", False):
        hook = ast.Attribute(ast.Name(_HOOKS, ast.Load()), "atomic", ast.Load())
        whole = [ast.copy_location(ast.With([ast.withitem(hook)], whole), here)]
    tree.body = whole
    module: ast.Module = ast.Module([tree], [])
    free = function.__code__.co_freevars
    if free:
        outer = ast.FunctionDef(
            "outer", ast.arguments([], [ast.arg(n) for n in free], None, [], [], None, []), [tree], [], None, None
        )
        module = ast.Module([ast.copy_location(outer, tree)], [])
    ast.fix_missing_locations(module)
    flags = function.__code__.co_flags & (0xFFF << 17)
    code = compile(module, function.__code__.co_filename, "exec", flags=flags, dont_inherit=True)
    made = _find(code, function.__name__)
    return made.replace(co_firstlineno=function.__code__.co_firstlineno, co_qualname=function.__qualname__)


def _find(code: types.CodeType, name: str) -> types.CodeType:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            if constant.co_name == name:
                return constant
            if constant.co_name == "outer":
                return _find(constant, name)
    raise AssertionError(f"{name} was not compiled")
