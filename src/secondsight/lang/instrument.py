"""Cutting the user's own functions at their step boundaries, for plain execution.

Each function of a program gets, while a plain run lasts, a code object compiled from its own syntax tree with calls
inserted: `step` before every statement that begins a step, `enter` and `leave` for traces, `fit` where a local, an argument
or a result has a type, `bounded` where a number may become too large, `still`, `again` and `rounds` in loops that might not end within a step. File name and line numbers stay, so tracebacks, `pdb` and coverage speak of the user's lines. Nothing is lowered here.
"""

from __future__ import annotations

import ast
import itertools
import linecache
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar
from weakref import WeakValueDictionary

from secondsight.lang import ir
from secondsight.lang.arrays import as_stored
from secondsight.lang.bits import Bits
from secondsight.lang.cuts import CutAt, cuts_of
from secondsight.lang.errors import LeftRange, ModelError, NoneFollowed, Position, TooLarge
from secondsight.lang.ir import Scalar
from secondsight.lang.lists import BoundedList
from secondsight.lang.lowering import describe
from secondsight.lang.program import Program
from secondsight.lang.runtime import runtime
from secondsight.lang.source import function_tree, position
from secondsight.lang.standins import unwrap
from secondsight.lang.support import MAX_PIECES, MAX_ROUNDS
from secondsight.lang.syntax import nodes
from secondsight.lang.types import LARGEST_NUMBER, ListType, RefType, TupleType
from secondsight.lang.verbs import atomic, require

__all__ = ["instrumented"]

_HOOKS = "__secondsight__"

LocalType = Scalar | ListType | ir.Group


class _Kinds(list[tuple[LocalType, str, Position]]):
    """The types that one cut function checks, each with the name of what has it and where."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """A function's code with its steps cut, and its types; and what it was cut out of."""

    text: ast.FunctionDef
    code: types.CodeType
    kinds: _Kinds


class _Hooks:
    """What instrumented code calls; `kinds` are the types that `fit` checks, by the number of the cut function and their place in it."""

    step = staticmethod(runtime.step)
    after = staticmethod(runtime.after)
    enter = staticmethod(runtime.enter)
    leave = staticmethod(runtime.leave)
    atomic = atomic
    require = staticmethod(require)
    kinds: ClassVar[WeakValueDictionary[int, _Kinds]] = WeakValueDictionary()

    waiting: ClassVar[dict[int, tuple[Any, CutAt, types.CodeType, dict[Any, _Cut]]]] = {}

    @classmethod
    def first(cls, number: int, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """The first call of a function: it is cut, and called."""
        function, where, code, cuts = cls.waiting[number]
        traced = sys.gettrace()
        sys.settrace(None)  # it is the runs that are watched: that would make this twice as long
        try:
            function.__code__ = code  # which says where its text is
            cuts[function] = _cut_of(function, where)
            function.__code__ = cuts[function].code
        finally:
            sys.settrace(traced)
        return function(*args, **named)

    @classmethod
    def fit(cls, value: Any, number: int, place: int) -> Any:
        """`value` as a local, argument or result of a declared type holds it; raises the language's named errors."""
        return fitted(value, *cls.kinds[number][place])

    @staticmethod
    def bounded(value: Any, name: str, line: int, column: int, file: str) -> Any:
        """The result of arithmetic, if that is a number of the language."""
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            raise TooLarge(name, Position(file, line, column))
        return value

    # Loops. `cut`: outside of atomic blocks some of its rounds have a step boundary; then those without one are counted over
    # the whole step, else the rounds of one run of the loop are. So do all executors, and end with the same error.

    @staticmethod
    def still(rounds: int, cut: bool, line: int, column: int, file: str) -> int:
        """Where a round of a `while` begins; `rounds` went before."""
        if cut and not runtime.atomic_depth:
            return rounds
        if rounds >= MAX_ROUNDS:
            raise ModelError(f"a loop without a step boundary went round {MAX_ROUNDS} times", Position(file, line, column))
        return rounds + 1

    @staticmethod
    def again(before: int, line: int, column: int, file: str) -> int:
        """Where a loop that is cut comes back to its head; `before`: how often control was there."""
        if before and not runtime.atomic_depth:
            if runtime.rounds >= MAX_PIECES:
                raise ModelError(f"a loop without a step boundary went round {MAX_PIECES} times", Position(file, line, column))
            runtime.rounds += 1
        return before + 1

    @classmethod
    def rounds(cls, items: Iterable[Any], line: int, column: int, file: str) -> Iterator[Any]:
        """What a `for` loop that is cut goes over."""
        before = cls.again(0, line, column, file)
        for item in items:
            yield item
            before = cls.again(before, line, column, file)


def fitted(value: Any, kind: LocalType, name: str, where: Position) -> Any:
    """`value` as something of a type holds it."""
    if isinstance(kind, ListType):
        if isinstance(value, BoundedList) and value.kind == kind:
            return value
        return BoundedList(kind, runtime.machine.bound(kind.size), name, value)
    if isinstance(kind, ir.Group):
        if isinstance(kind.form, ListType):
            return fitted(value, kind.form, name, where)
        if isinstance(kind.form, TupleType):
            return tuple(fitted(part, one, name, where) for part, (_, one) in zip(value, kind.parts, strict=True))
        return value
    if isinstance(kind, RefType):
        value = unwrap(value)
        if value is None and not kind.nullable:
            raise NoneFollowed(name, where)
        if value is not None and not isinstance(value, kind.record):
            raise ModelError(f"{name} is a record of another class", where)
        return value
    if kind.display == "bits" and isinstance(value, (set, frozenset)):
        value = Bits(value)
    if isinstance(value, int) and not kind.low <= value <= kind.high:
        raise LeftRange(name, int(value), kind.low, kind.high, where)
    return as_stored(kind, value)


@contextmanager
def instrumented(program: Program, when_called: bool = False) -> Iterator[None]:
    """Within the block every function of the program is cut at its step boundaries; `when_called`: each when it is called first, from
    one frame more. Then nothing may be lowered within, nor anybody look at whole stacks.
    """
    kept: list[tuple[Any, types.CodeType]] = []
    waiting: list[int] = []
    cuts: dict[Any, _Cut] = program.code.keep("instrumented", dict)
    try:
        for function, where in cuts_of(program).items():
            kept.append((function, function.__code__))
            function.__globals__[_HOOKS] = _Hooks
            if function in cuts:
                function.__code__ = cuts[function].code
            elif when_called and not function.__code__.co_freevars:
                waiting.append(next(_numbers))
                _Hooks.waiting[waiting[-1]] = function, where, function.__code__, cuts
                function.__code__ = _first.__code__.replace(co_consts=(None, waiting[-1]))
            else:
                cuts[function] = _cut_of(function, where)
                function.__code__ = cuts[function].code
        yield
    finally:
        for function, code in kept:
            function.__code__ = code
            function.__globals__.pop(_HOOKS, None)
        for number in waiting:
            _Hooks.waiting.pop(number, None)


def _first(*args: Any, **named: Any) -> Any:
    """What a function is until it is called, with its number as the constant."""
    return __secondsight__.first(0, args, named)  # type: ignore[name-defined]  # noqa: F821  a name of the function's own module


_known: dict[Any, _Cut] = {}
"""What was cut, for other programs that have the function with the same types and steps; the oldest goes first."""
_MOST_KNOWN = 1_000
_numbers = itertools.count()


def _key(function: Any, where: CutAt) -> Any:
    """All that a cut function depends on: its text by its identity, which is kept; its code may be one that was cut."""
    return id(function_tree(function)), function.__code__.co_freevars, function.__qualname__, getattr(function, "__atomic__", False), where


def _cut_of(function: Any, where: CutAt) -> _Cut:
    """A function, cut."""
    key = _key(function, where)
    known = _known.pop(key, None)
    if known is None:
        text = function_tree(function)
        cutter = _Cutter(function, where)
        known = _Cut(text, _cut(function, text, cutter, where.wide), cutter.kinds)
    _known[key] = known
    while len(_known) > _MOST_KNOWN:
        del _known[next(iter(_known))]
    return known


class _Bounder(ast.NodeTransformer):
    """Inserts the checks of one function's arithmetic. What begins at the same place and cannot be too large is checked in vain."""

    def __init__(self, cutter: _Cutter, wide: frozenset[Position]) -> None:
        self.cutter, self.wide = cutter, wide

    def bounded(self, node: ast.expr) -> ast.expr:
        where, name = position(self.cutter.file, node), describe(node)
        self.generic_visit(node)
        return self.checked(node, where, name) if where in self.wide else node

    def checked(self, value: ast.expr, where: Position, name: str) -> ast.expr:
        """The value, if that is a number of the language."""
        return self.cutter.call("bounded", value, value, ast.Constant(name), *_told(where))

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        return self.bounded(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        return self.bounded(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        """`x += 1` as `x = x + 1`: the result is checked before it is stored, and the target is one that may be evaluated twice."""
        where, name = position(self.cutter.file, node), describe(node)
        self.generic_visit(node)
        if where not in self.wide:
            return node
        before = _copied(node.target)
        before.ctx = ast.Load()
        value = _place(ast.BinOp(before, node.op, node.value), node)
        return _place(ast.Assign([node.target], self.checked(value, where, name)), node)


def _told(where: Position) -> list[ast.expr]:
    """A position as arguments of a hook."""
    return [ast.Constant(where.line), ast.Constant(where.column), ast.Constant(where.file)]


class _Inside(ast.NodeTransformer):
    """Inserts what belongs into an expression; see `_Cutter.inside`."""

    def __init__(self, cutter: _Cutter) -> None:
        self.cutter = cutter
        self.done: set[tuple[int, int]] = set()

    def visit_Call(self, node: ast.Call) -> ast.expr:
        at = (node.lineno, node.col_offset + 1)
        wanted = at in self.cutter.afters and at not in self.done
        self.done.add(at)  # of several that begin here the outermost is meant
        self.generic_visit(node)
        return self.cutter.call("after", node, node, ast.Constant(at[0]), ast.Constant(at[1])) if wanted else node

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.expr:
        self.generic_visit(node)
        kind = self.cutter.scalars.get(node.target.id)
        if kind is not None:
            node.value = self.cutter.fit(node.value, kind, node.target.id, node)
        return node


class _Cutter(ast.NodeTransformer):
    """Inserts the calls into one function."""

    def __init__(
        self,
        function: Any,
        where: CutAt,
    ) -> None:
        self.afters = where.afters
        self.names = True  # whether an expression may set a local
        self.file, self.name = function.__code__.co_filename, function.__name__
        self.places, self.scalars, self.result, self.cut = where.places, dict(where.locals), where.result, where.loops
        self.loops = 0
        self.number, self.kinds = next(_numbers), _Kinds()
        _Hooks.kinds[self.number] = self.kinds

    def call(self, name: str, at: ast.AST, *arguments: ast.expr) -> ast.Call:
        """A call of a hook."""
        end: int = at.lineno  # type: ignore[attr-defined]  # a call of an attribute is at the line where that ends
        hook = _place(ast.Attribute(_place(ast.Name(_HOOKS, _LOAD), at, end), name, _LOAD), at, end)
        for node in arguments:
            if not hasattr(node, "lineno"):  # else it was written by the user, or made by another call of this
                for below in [node] if isinstance(node, (ast.Constant, ast.Name)) else nodes(node):
                    _place(below, at, end)
        return _place(ast.Call(hook, list(arguments), []), at)

    def fit(self, value: ast.expr, kind: LocalType, name: str, at: ast.AST) -> ast.Call:
        """The value, checked against a type."""
        self.kinds.append((kind, name, position(self.file, at)))
        return self.call("fit", at, value, ast.Constant(self.number), ast.Constant(len(self.kinds) - 1))

    def step(self, node: ast.stmt) -> ast.Call:
        """The call that ends a step and begins the next."""
        return self.call("step", node, ast.Constant(node.lineno), ast.Constant(node.col_offset + 1))

    def suite(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """A list of statements with the steps before them."""
        out: list[ast.stmt] = []
        for node in body:
            self.inside(node)
            begins = (node.lineno, node.col_offset + 1) in self.places
            if begins and not isinstance(node, ast.While):
                out.append(_place(ast.Expr(self.step(node)), node))
            if isinstance(node, ast.While):
                out += self.while_loop(node)
                continue
            out.append(self.visit(node))
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                out.append(self.again(node.target, node))
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], (ast.Tuple, ast.List)):
                out += [self.again(name, node) for name in node.targets[0].elts if isinstance(name, ast.Name)]
        return out

    @property
    def changes_expressions(self) -> bool:
        """Whether something may be inserted in the midst of an expression: else those that there are can be taken as they are."""
        return bool(self.afters) or self.names

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """What a statement has in it; those that have no statements are passed by."""
        return node if isinstance(node, _HAS_NO_SUITE) else super().generic_visit(node)

    def inside(self, statement: ast.stmt) -> None:
        """Insert what belongs into a statement's own expressions: the steps behind calls, the types of `:=`."""
        if not self.changes_expressions:
            return
        for name, part in ast.iter_fields(statement):
            if isinstance(part, ast.expr):
                setattr(statement, name, _Inside(self).visit(part))

    def again(self, target: ast.Name, node: ast.stmt) -> ast.stmt:
        """`x = fit(x)`: for what sets a local otherwise than by an assignment."""
        kind = self.scalars.get(target.id)
        if kind is None:
            return _place(ast.Pass(), node)
        read = _place(ast.Name(target.id, ast.Load()), node)
        name = _place(ast.Name(target.id, ast.Store()), node)
        return _place(ast.Assign([name], self.fit(read, kind, target.id, node)), node)

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        (target,) = node.targets
        kind = self.scalars.get(target.id) if isinstance(target, ast.Name) else None
        if kind is not None and isinstance(target, ast.Name):
            node.value = self.fit(node.value, kind, target.id, node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        kind = self.scalars.get(node.target.id) if isinstance(node.target, ast.Name) else None
        if kind is not None and node.value is not None and isinstance(node.target, ast.Name):
            node.value = self.fit(node.value, kind, node.target.id, node)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.Expr:
        message = node.msg or ast.Constant(ast.unparse(node.test))
        return _place(ast.Expr(self.call("require", node, node.test, ast.Constant("assertion"), message)), node)

    def visit_If(self, node: ast.If) -> ast.If:
        node.body, node.orelse = self.suite(node.body), self.suite(node.orelse)
        return node

    def visit_For(self, node: ast.For) -> ast.For:
        where = position(self.file, node)
        node.body = self.suite(node.body)
        if where in self.cut:
            node.iter = self.call("rounds", node.iter, node.iter, *_told(where))
        names = node.target.elts if isinstance(node.target, ast.Tuple) else [node.target]
        node.body[:0] = [self.again(name, node) for name in names if isinstance(name, ast.Name) and name.id in self.scalars]
        return node

    def visit_With(self, node: ast.With) -> ast.With:
        node.body = self.suite(node.body)
        return node

    def while_loop(self, node: ast.While) -> list[ast.stmt]:
        """A `while`, and before it what counts its rounds."""
        where = position(self.file, node)
        cut = where in self.cut
        rounds, heads = (f"{_HOOKS}{what}{self.loops}" for what in ("rounds", "heads"))
        self.loops += 1
        node.body = self.suite(node.body)
        begins = self.call("still", node, ast.Name(rounds, ast.Load()), ast.Constant(cut), *_told(where))
        node.body.insert(0, self.sets(rounds, begins, node))
        before: list[ast.stmt] = [self.sets(rounds, ast.Constant(0), node)]
        if (node.lineno, node.col_offset + 1) in self.places:
            node.test = _place(ast.BoolOp(ast.Or(), [self.step(node), node.test]), node.test)
        if cut:
            before.append(self.sets(heads, ast.Constant(0), node))
            counted = self.call("again", node, ast.Name(heads, ast.Load()), *_told(where))
            again = _place(ast.NamedExpr(_place(ast.Name(heads, ast.Store()), node), counted), node)
            node.test = _place(ast.BoolOp(ast.And(), [again, node.test]), node)  # it is never 0
        return [*before, node]

    def sets(self, name: str, value: ast.expr, at: ast.AST) -> ast.stmt:
        """A local of ours gets a value."""
        made: ast.stmt = ast.Assign([ast.Name(name, ast.Store())], value)
        for node in nodes(made):
            _place(node, at)
        return made

    def visit_Return(self, node: ast.Return) -> ast.Return:
        if node.value is not None and self.result is not None:
            node.value = self.fit(node.value, self.result, f"the result of {self.name}", node)
        node.value = self.call("leave", node, *([node.value] if node.value is not None else []))
        return node


def _cut(function: Callable[..., Any], text: ast.FunctionDef, cutter: _Cutter, wide: frozenset[Position]) -> types.CodeType:
    """The function's code with its steps cut."""
    assert isinstance(function, types.FunctionType)
    lines = linecache.getlines(cutter.file)[text.lineno - 1 : text.end_lineno]
    cutter.names = any(":=" in line for line in lines)
    tree = _copied(text, whole=bool(wide) or cutter.changes_expressions)
    tree.args = _copied(text.args)
    if wide:
        _Bounder(cutter, wide).visit(tree)
    tree.returns = None  # decorators stay (the module is never run): the code object starts at their line
    for argument in tree.args.args:
        argument.annotation = None
    defaults, tree.args.defaults = tree.args.defaults, []
    body = cutter.suite(tree.body)
    names = [a.arg for a in tree.args.args]
    here: ast.AST = tree.body[0]
    known = ast.Dict([ast.Constant(n) for n in names], [ast.Name(n, ast.Load()) for n in names])
    enter = ast.Expr(cutter.call("enter", here, ast.Constant(function.__qualname__), known))
    leave = ast.Expr(cutter.call("leave", tree.body[-1]))
    fits = [f for n in names if isinstance(f := cutter.again(ast.Name(n, ast.Store()), tree), ast.Assign)]
    whole: list[ast.stmt] = [*fits, _place(enter, here), *body, _place(leave, tree.body[-1])]
    if getattr(function, "__atomic__", False):
        hook = _place(ast.Attribute(_place(ast.Name(_HOOKS, _LOAD), here), "atomic", _LOAD), here)
        whole = [_place(ast.With([ast.withitem(hook)], whole), here)]
    tree.body = whole
    tree.args.defaults = defaults
    module: ast.Module = ast.Module([tree], [])
    free = function.__code__.co_freevars
    if free:
        outer = ast.FunctionDef(
            "outer", ast.arguments([], [_place(ast.arg(n), tree) for n in free], None, [], [], None, []), [tree], [], None, None
        )
        module = ast.Module([_place(outer, tree)], [])
    flags = function.__code__.co_flags & (0xFFF << 17)
    code = compile(module, function.__code__.co_filename, "exec", flags=flags, dont_inherit=True)
    made = _find(code, function.__name__)
    return made.replace(co_qualname=function.__qualname__)


_LOAD = ast.Load()
_OUTSIDE = (ast.stmt, ast.excepthandler, ast.match_case)
_HAS_NO_SUITE = (ast.Expr, ast.AugAssign, ast.Pass, ast.Break, ast.Continue, ast.Raise, ast.Delete)

SomeNode = TypeVar("SomeNode", bound=ast.AST)


def _place(node: SomeNode, at: Any, end: int | None = None) -> SomeNode:
    """Give a new node the place of another, as `ast.copy_location` does; `end`: the line where it ends, if that is another."""
    if node._attributes:
        node.__dict__.update(
            lineno=at.lineno, col_offset=at.col_offset, end_lineno=end or at.end_lineno, end_col_offset=at.end_col_offset
        )  # fmt: skip
    return node


def _copied(node: Any, whole: bool = True) -> Any:
    """A tree of its own, as `copy.deepcopy` makes it in many times the time; not `whole`: its statements alone, with the same expressions.

    What has no place, as operators, is shared.
    """
    made = node.__class__()
    parts = made.__dict__
    parts.update(node.__dict__)
    for name in node._fields:
        part = parts.get(name)
        if part.__class__ is list:
            parts[name] = [_copied(one, whole) if isinstance(one, ast.AST if whole else _OUTSIDE) else one for one in part]
        elif whole and isinstance(part, ast.AST) and (part._fields or part._attributes):
            parts[name] = _copied(part)
    return made


def _find(code: types.CodeType, name: str) -> types.CodeType:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            if constant.co_name == name:
                return constant
            if constant.co_name == "outer":
                return _find(constant, name)
    raise AssertionError(f"{name} was not compiled")
