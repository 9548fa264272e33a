"""The front end: from the model's source to the checked program.

`Frontend.instance` lowers one function for one receiver class, either with its step boundaries or, within an atomic
step, without. Statements are here, expressions in `lang.expressions`. Everything outside the language is refused with
`Refused`: file, line, column, the source line, what is wrong and what to write instead.
"""

from __future__ import annotations

import ast
import typing
from collections.abc import Callable, Iterable
from typing import Any

from secondsight.lang import ir
from secondsight.lang.errors import LangError, OutOfRecords, Position, Refused
from secondsight.lang.expressions import Bundle, ExpressionLowering, Place, describe
from secondsight.lang.locks import Lock, RwLock
from secondsight.lang.records import Machine, Record
from secondsight.lang.source import function_tree, line_of, position
from secondsight.lang.types import BOOL, ArrayType, IntType, RecordType, RefType, ValueType, resolve
from secondsight.lang.verbs import atomic, out_of_records, require, wait_until

__all__ = ["Frontend"]

_INSTEAD = {
    ast.Try: ("try", "return error numbers, as the kernel does"),
    ast.Raise: ("raise", "require(cond, 'rule', 'message'), or return an error number"),
    ast.Match: ("match", "if/elif"),
    ast.Delete: ("del", "assign None or 0"),
    ast.Global: ("global", "state in a record declared with shared()"),
    ast.Nonlocal: ("nonlocal", "state in a record declared with shared()"),
    ast.Import: ("import inside a function", "import at the top of the file"),
    ast.ImportFrom: ("import inside a function", "import at the top of the file"),
    ast.FunctionDef: ("a nested function", "a function at module level"),
    ast.AsyncFunctionDef: ("async", "a plain function: every thread of the model is one already"),
    ast.ClassDef: ("a class inside a function", "a class at module level"),
    ast.AsyncFor: ("async for", "for"),
    ast.AsyncWith: ("async with", "with"),
}


class Frontend:
    """Lowers functions for one machine (its bounds, pools and rules); instances are made once and shared."""

    def __init__(self, machine: Machine, rules: Iterable[Callable[..., Any]] = ()) -> None:
        self.machine = machine
        self.rules = list(rules)
        self.instances: dict[tuple[Any, type[Record] | None, bool], ir.Function] = {}
        self.dispatched: dict[type[Record], list[type[Record]]] = {}
        self.stack: list[tuple[Any, type[Record] | None, bool]] = []

    def instance(
        self, function: Any, receiver: type[Record] | None, is_atomic: bool, where: Position | None = None
    ) -> ir.Function:
        """The lowered form of `function`; made when first asked for. Raises `Refused` for recursion."""
        is_atomic = is_atomic or bool(getattr(function, "__atomic__", False))
        key = (function, receiver, is_atomic)
        if any(k[0] is function and k[1] is receiver for k in self.stack):
            chain = " -> ".join(k[0].__qualname__ for k in [*self.stack, key])
            at = where or Position(function.__code__.co_filename, function.__code__.co_firstlineno, 1)
            raise Refused(at, line_of(at), f"recursion: {chain}", "a loop: every thread's place must be of a fixed size")
        if key not in self.instances:
            self.stack.append(key)
            try:
                self.instances[key] = FunctionLowering(self, function, receiver, is_atomic).whole()
            finally:
                self.stack.pop()
        return self.instances[key]

    def concretes(self, record: type[Record]) -> list[type[Record]]:
        """The classes, `record` itself or below it, of which this machine has records."""
        found: dict[type[Record], None] = {}

        def visit(kind: Any) -> None:
            if isinstance(kind, ArrayType):
                visit(kind.element)
            elif isinstance(kind, RecordType):
                if issubclass(kind.record, record):
                    found[kind.record] = None
                for inner in kind.record.fields().values():
                    visit(inner)

        declarations = [*self.machine.pools.values(), *self.machine._states]
        for declaration in declarations:
            visit(declaration.kind)
        return list(found)

    def dispatch(self, record: type[Record], name: str, is_atomic: bool, where: Position) -> ir.Function:
        """A method called through a reference: the one of the record's own class."""
        concretes = self.dispatched[record] = self.concretes(record)
        if not concretes:
            concretes = [record]
        if len(concretes) == 1:
            return self.instance(getattr(concretes[0], name), concretes[0], is_atomic, where)
        key = ((record, name), None, is_atomic)
        if key in self.instances:
            return self.instances[key]
        targets = [(cls, self.instance(getattr(cls, name), cls, is_atomic, where)) for cls in concretes]
        first = targets[0][1]
        params = [ir.Var(v.name, RefType(record, False) if i == 0 else v.type) for i, v in enumerate(first.params)]
        made = ir.Function(f"{record.__name__}.{name}", None, record, is_atomic, params, first.result, where)
        made.yields = any(t.yields for _, t in targets)
        made.touches = any(t.touches for _, t in targets)
        made.chooses = any(t.chooses for _, t in targets)
        made.blocks = any(t.blocks for _, t in targets)
        arguments: list[ir.Expr] = [ir.Local(v) for v in params]
        for cls, target in targets:
            branch: list[ir.Stmt] = []
            result = None if target.result is None else ir.Var("result", target.result, transient=target.yields)
            if target.yields:
                branch.append(ir.YieldCall(result, target, arguments, where))
                branch.append(ir.Return(None if result is None else ir.Local(result), where))
            elif result is None:
                call = ir.Call(target, arguments, IntType(0, 0))
                branch += [ir.Eval(call, where), ir.Return(None, where)]
            else:
                branch.append(ir.Return(ir.Call(target, arguments, result.type), where))
            made.body.append(ir.If(ir.ClassIs(ir.Local(params[0]), cls), branch, []))
        self.instances[key] = made
        return made


class FunctionLowering(ExpressionLowering):
    """Lowers the statements of one function instance."""

    def __init__(self, frontend: Frontend, function: Any, receiver: type[Record] | None, is_atomic: bool) -> None:
        self.tree = function_tree(function)
        super().__init__(frontend, function, self.tree)
        self.receiver = receiver
        self.depth = 1 if is_atomic else 0
        self.out: list[ir.Stmt] = []
        self.exits: list[Callable[[], None]] = []
        self.loops: list[int] = []
        self.function = ir.Function(
            f"{receiver.__name__}.{function.__name__}" if receiver else function.__name__,
            function, receiver, is_atomic, [], None, position(self.file, self.tree),
        )  # fmt: skip

    # Signature.

    def whole(self) -> ir.Function:
        """The whole function."""
        made = self.function
        self._signature()
        body = self.tree.body
        self.block(body, made.body)
        if made.result is None:
            made.body.append(ir.Return(None, made.where))
        elif falls_through(made.body):
            raise self.refuse(self.tree, f"{self.tree.name} may end without returning a value", "a return on every path")
        all_statements = list(ir.statements(made.body))
        made.yields = any(isinstance(s, (ir.Boundary, ir.YieldCall)) for s in all_statements)
        found = [e for s in all_statements for x in ir.expressions(s) for e in ir.walk(x)]
        calls = [e.function for e in found if isinstance(e, ir.Call)]
        calls += [s.function for s in all_statements if isinstance(s, ir.YieldCall)]
        made.touches = (
            bool(getattr(made.source, "__atomic__", False))
            or any(isinstance(s, (ir.Store, ir.Free, ir.Wait)) for s in all_statements)
            or any(ir.touches(x) for s in all_statements for x in ir.expressions(s))
        )
        made.blocks = any(isinstance(s, ir.Wait) for s in all_statements) or any(f.blocks for f in calls)
        made.chooses = any(isinstance(e, (ir.Choose, ir.ChooseWhere)) for e in found) or any(f.chooses for f in calls)
        return made

    def _signature(self) -> None:
        arguments, source = self.tree.args, self.source
        if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs:
            raise self.refuse(self.tree, "*args, **kwargs and keyword-only parameters", "plain parameters")
        for decorator in self.tree.decorator_list:
            known, value = self.static(decorator.func if isinstance(decorator, ast.Call) else decorator)
            if not (known and (value is atomic or getattr(value, "__name__", "") in ("rule", "tracepoint"))):
                raise self.refuse(decorator, "a decorator other than @atomic, @rule, @tracepoint", "a plain function")
        try:
            hints = typing.get_type_hints(source, include_extras=True)
        except NameError as error:
            raise self.refuse(self.tree, f"an annotation is not defined: {error}", "import the name") from None
        for i, argument in enumerate(arguments.args):
            if i == 0 and self.receiver is not None:
                self.bind_parameter(argument.arg, RefType(self.receiver, nullable=False))
                continue
            if argument.arg not in hints:
                raise self.refuse(
                    argument, f"parameter {argument.arg} has no annotation", f"{argument.arg}: U8 (or another type)"
                )
            kind = self.type_of(argument, hints[argument.arg])
            if kind is None or isinstance(kind, (RecordType, ArrayType)):
                raise self.refuse(argument, f"a parameter cannot be {kind}", "pass a record and take its array there")
            self.bind_parameter(argument.arg, kind)
        if "return" not in hints:
            raise self.refuse(
                self.tree, f"{self.tree.name} has no return annotation", "-> None, or -> the type of what it returns"
            )
        result = self.type_of(self.tree, hints["return"])
        if isinstance(result, (ValueType, ArrayType, RecordType)):
            raise self.refuse(
                self.tree, f"a function cannot return {result}", "return an integer or a reference; pass a record to fill in"
            )
        self.function.result = result

    def type_of(self, node: ast.AST, annotation: Any) -> Any:
        """`types.resolve` with the place of the annotation in the error."""
        try:
            return resolve(annotation)
        except LangError as error:
            raise self.refuse(node, str(error), "a type of the language") from None

    def bind_parameter(self, name: str, kind: Any) -> None:
        """Make a parameter: a variable, or one for each field of a `Value`."""
        if isinstance(kind, ValueType):
            parts = {}
            for field, inner in kind.fields:
                var = ir.Var(f"{name}.{field}", inner)
                self.function.params.append(var)
                parts[field] = var
            self.bundles[name] = (kind.value, parts)
        else:
            var = ir.Var(name, kind)
            self.vars[name] = var
            self.function.params.append(var)

    # Statements.

    def block(self, nodes: list[ast.stmt], out: list[ir.Stmt]) -> None:
        """Lower statements into `out`."""
        saved, self.out = self.out, out
        for node in nodes:
            self.statement(node)
        self.out = saved

    def finish(self, where: Position, made: list[ir.Stmt], always: bool = False) -> None:
        """Append statements made from one source statement, after its step boundary and the call it makes."""
        call, self.pending = self.pending, None
        touching = always or any(stmt_touches(s) for s in ir.statements(made))
        if not self.depth:
            if call is not None:
                if touching:
                    raise Refused(where, line_of(where), f"this statement calls {call.function.name}, which can be interrupted, and touches shared "
                                  "state besides", "two statements: x = the call, then the rest")  # fmt: skip
                if any(ir.touches(a) for a in call.arguments):
                    self.out.append(ir.Boundary(where))
                self.out.append(call)
            elif touching:
                self.out.append(ir.Boundary(where))
        self.out += made

    def statement(self, node: ast.stmt) -> None:
        """Lower one source statement."""
        where = position(self.file, node)
        self.pending = None
        match node:
            case ast.Pass():
                return
            case ast.Expr(value=ast.Constant()):
                return
            case ast.Expr(value=ast.Call() as call):
                self.call_statement(call, where)
            case ast.Assign(targets=[target], value=value):
                self.assign(node, target, value, where)
            case ast.AnnAssign(target=ast.Name() as target, value=value) if value is not None:
                self.annotated(target, node.annotation, value, where)
            case ast.AugAssign():
                self.augmented(node, where)
            case ast.If():
                test = self.truth(node.test)
                branch = ir.If(test, [], [])
                self.finish(where, [branch])
                self.block(node.body, branch.then)
                self.block(node.orelse, branch.other)
            case ast.While():
                self.while_loop(node, where)
            case ast.For():
                self.for_loop(node, where)
            case ast.With():
                self.with_block(node, where)
            case ast.Return():
                self.return_statement(node, where)
            case ast.Break() | ast.Continue():
                self.leave(self.loops[-1])
                self.out.append(ir.Break() if isinstance(node, ast.Break) else ir.Continue())
            case ast.Assert():
                message = (
                    node.msg.value
                    if isinstance(node.msg, ast.Constant) and isinstance(node.msg.value, str)
                    else ast.unparse(node.test)
                )
                self.finish(where, [ir.Require(self.truth(node.test), "assertion", message, where)])
            case _:
                for kind, (what, instead) in _INSTEAD.items():
                    if isinstance(node, kind):
                        raise self.refuse(node, f"{what} is not in the language", instead)
                if isinstance(node, ast.Assign):
                    raise self.refuse(node, "assignment to several targets", "one assignment a statement")
                if isinstance(node, ast.AnnAssign):
                    raise self.refuse(
                        node, "an annotation without a value, or on a field", "x: U8 = 0; fields are annotated in the class"
                    )
                raise self.refuse(node, f"{type(node).__name__} is not in the language", "see docs/language.md for what is")

    def call_statement(self, node: ast.Call, where: Position) -> None:
        """A call for its effect: verbs, tracepoints, inlined or whole functions."""
        known, callee = self.static(node.func)
        if known and callee is require:
            name, message = (self.text(a) for a in (*node.args[1:], *([node.args[1]] if len(node.args) == 2 else [])))
            self.finish(where, [ir.Require(self.truth(node.args[0]), name, message, where)])
        elif known and callee is out_of_records:
            bound = self.text(node.args[0])
            self.finish(where, [ir.Require(ir.Constant(0, BOOL), OutOfRecords.rule, bound, where)])
        elif known and (callee is wait_until or getattr(callee, "__name__", "") == "spin_until"):
            self.finish(where, [ir.Wait(self.truth(node.args[0]), callee is wait_until, where)], always=True)
        elif known and getattr(callee, "__tracepoint__", False):
            made: list[ir.Stmt] = []
            for rule in self.frontend.rules:
                if getattr(rule, "__on__", None) is callee:
                    probe = self.frontend.instance(rule, None, True, where)
                    arguments = self.arguments(node, probe, [], callee)
                    made.append(ir.Eval(ir.Call(probe, arguments, IntType(0, 0)), where))
            self.finish(where, made, always=True)
        elif (
            isinstance(node.func, ast.Attribute)
            and node.func.attr == "free"
            and (found := self.pool_of(node.func.value)) is not None
        ):
            self.finish(where, [ir.Free(found, self.expr(node.args[0]), where)])
        else:
            made = self.effect(node, where)
            self.finish(where, made)

    def text(self, node: ast.expr) -> str:
        """A constant string."""
        known, value = self.static(node)
        if not known or not isinstance(value, str):
            raise self.refuse(node, "not a constant text", "a string in quotes: a trace shows the values")
        return value

    def assign(self, node: ast.stmt, target: ast.expr, value: ast.expr, where: Position) -> None:
        """`x = value`, `record.field = value`, `array[i] = value`."""
        if isinstance(target, ast.Name):
            lowered = self.lower_value(value)
            if isinstance(lowered, Bundle):
                self.assign_bundle(target, lowered, where)
                return
            made = self.scalar(lowered, value)
            var = self.local_for(target, made)
            if self.pending is not None and isinstance(made, ir.Local) and made.var is self.pending.target:
                if var.type == made.type and not self.depth:
                    self.pending.target = var
                    self.finish(where, [])
                    return
            self.finish(where, [ir.SetVar(var, self.fit(made, var.type, value), where)])
        elif isinstance(target, (ast.Attribute, ast.Subscript)):
            place = self.place(target)
            self.finish(where, [self.store(place, self.expr(value), target, where)])
        else:
            raise self.refuse(node, "assignment to several names at once", "one assignment a statement")

    def store(self, place: Place, value: ir.Expr, node: ast.expr, where: Position) -> ir.Stmt:
        """A store, with its type checked."""
        kind = place.addr.type
        if not isinstance(kind, (IntType, RefType)):
            raise self.refuse(
                node, f"{describe(node)} is {kind}: it cannot be assigned as a whole", "assign its fields or elements"
            )
        return ir.Store(place.addr, self.fit(value, kind, node), where)

    def annotated(self, target: ast.Name, annotation: ast.expr, value: ast.expr, where: Position) -> None:
        """`x: U8 = value`."""
        try:
            hint = eval(ast.unparse(annotation), self.source.__globals__)
        except Exception as error:
            raise self.refuse(annotation, f"the annotation is not defined: {error}", "a type of the language") from None
        kind = self.type_of(annotation, hint)
        if not isinstance(kind, (IntType, RefType)):
            raise self.refuse(annotation, f"a local cannot be {kind}", "an integer type or Ref[Record]")
        if target.id not in self.vars:
            self.vars[target.id] = ir.Var(target.id, kind)
        var = self.vars[target.id]
        self.finish(where, [ir.SetVar(var, self.fit(self.expr(value), var.type, value), where)])

    def assign_bundle(self, target: ast.Name, bundle: Bundle, where: Position) -> None:
        """`range = Range(...)`: one local for each field."""
        if target.id not in self.bundles:
            kinds = bundle.value.value_fields()
            self.bundles[target.id] = (bundle.value, {f: ir.Var(f"{target.id}.{f}", kinds[f]) for f in kinds})
        _, parts = self.bundles[target.id]
        self.finish(where, [ir.SetVar(parts[f], bundle.parts[f], where) for f in parts])

    def augmented(self, node: ast.AugAssign, where: Position) -> None:
        """`x += 1`: one statement, so one step."""
        if isinstance(node.target, ast.Name):
            var = self.vars.get(node.target.id)
            if var is None:
                raise self.refuse(node, f"{node.target.id} has no value yet", f"{node.target.id} = ... first")
            value = self.arithmetic(node, node.op, ir.Local(var), self.expr(node.value))
            self.finish(where, [ir.SetVar(var, self.fit(value, var.type, node), where)])
        else:
            place = self.place(node.target)
            value = self.arithmetic(node, node.op, self.scalar(place, node.target), self.expr(node.value))
            self.finish(where, [self.store(place, value, node.target, where)])

    def while_loop(self, node: ast.While, where: Position) -> None:
        """`while test:` tests before every round; a test that touches shared state is a step of its own."""
        if node.orelse:
            raise self.refuse(node, "while ... else", "a flag and an if")
        loop = ir.While(ir.Constant(1, IntType(0, 1, "bool")), [], [], where)
        test = self.truth(node.test)
        if self.pending is not None:
            raise self.refuse(
                node.test, "a while test that calls a function which can be interrupted", "while True: and an if with break"
            )
        self.loops.append(len(self.exits))
        if ir.touches(test) and not self.depth:
            saved, self.out = self.out, loop.body
            self.finish(where, [ir.If(ir.Unary("not", test, IntType(0, 1, "bool")), [ir.Break()], [])])
            self.out = saved
        else:
            loop.test = test
        self.out.append(loop)
        self.block(node.body, loop.body)
        self.loops.pop()

    def for_loop(self, node: ast.For, where: Position) -> None:
        """`for i in range(...)` and `for record in array`."""
        if node.orelse or not isinstance(node.target, ast.Name):
            raise self.refuse(node, "for ... else, or several loop variables", "one variable, and a flag")
        name = node.target.id
        known, callee = self.static(node.iter.func) if isinstance(node.iter, ast.Call) else (False, None)
        if known and callee is range:
            assert isinstance(node.iter, ast.Call)
            start, stop, stride = self.range_of(node.iter)
            assert isinstance(start.type, IntType) and isinstance(stop.type, IntType)
            low, high = start.type.low, max(stop.type.high, start.type.low)
            if stride < 0:
                low, high = min(stop.type.low, start.type.high), start.type.high
            counter_type = IntType(low, high)
        else:
            place = self.lower_value(node.iter)
            if not (
                isinstance(place, Place)
                and isinstance(place.addr.type, ArrayType)
                and isinstance(place.addr.type.element, RecordType)
            ):
                raise self.refuse(
                    node.iter, "a loop over something else than range(...) or an array of records", "for i in range(len(a)): a[i]"
                )
            count = self.frontend.machine.bound(place.addr.type.size)
            start, stop, stride = ir.Constant(0, IntType(0, 0)), ir.Constant(count, IntType(count, count)), 1
            counter_type = IntType(0, count)
        own = isinstance(node.iter, ast.Call) and known and not self.used_outside(name, node)
        self.hidden += 1
        limit: ir.Expr = stop
        setup: list[ir.Stmt] = []
        if not isinstance(stop, ir.Constant):
            bound = ir.Var(f"{name}.stop{self.hidden}", stop.type)
            setup.append(ir.SetVar(bound, stop, where))
            limit = ir.Local(bound)
        if own:
            counter = self.vars.get(name) or ir.Var(name, counter_type)
            if isinstance(counter.type, IntType):
                counter.type = IntType(min(counter.type.low, counter_type.low), max(counter.type.high, counter_type.high))
            self.vars[name] = counter
        else:
            counter = ir.Var(f"{name}.place{self.hidden}", counter_type)
        setup.append(ir.SetVar(counter, start, where))
        self.finish(where, setup)
        loop = ir.While(ir.Compare("<" if stride > 0 else ">", ir.Local(counter), limit), [], [], where)
        loop.step.append(
            ir.SetVar(
                counter,
                ir.Binary("+", ir.Local(counter), ir.Constant(stride, IntType(stride, stride)), counter_type, where),
                where,
            )
        )
        if not own:
            if isinstance(node.iter, ast.Call) and known:
                value: ir.Expr = ir.Local(counter)
                kind: Any = counter_type
            else:
                assert isinstance(place, Place)
                array = place.addr.type
                assert isinstance(array, ArrayType)
                index = ir.Local(ir.Var(counter.name, IntType(0, count - 1)))
                index.var = counter
                step = ir.IndexStep(index, array, describe(node.iter), where)
                kind = RefType(array.element.record, False)  # type: ignore[union-attr]
                value = ir.AddressOf(place.addr.then(step, array.element, where), kind)
            var = self.vars.get(name)
            if var is None:
                var = self.vars[name] = ir.Var(name, kind)
            loop.body.append(ir.SetVar(var, self.fit(value, var.type, node), where))
        self.out.append(loop)
        self.loops.append(len(self.exits))
        self.block(node.body, loop.body)
        self.loops.pop()

    def used_outside(self, name: str, loop: ast.For) -> bool:
        """Whether a loop variable is assigned in the loop or used anywhere else: then it cannot be the counter itself."""
        inside = {id(n) for n in ast.walk(loop)}
        for other in ast.walk(self.tree):
            if isinstance(other, ast.Name) and other.id == name:
                if id(other) not in inside:
                    return True
                if isinstance(other.ctx, ast.Store) and other is not loop.target:
                    return True
        return name in self.vars and self.vars[name] in self.function.params

    def with_block(self, node: ast.With, where: Position) -> None:
        """`with atomic:`, `with lock:`, `with lock.reading():`."""
        if len(node.items) != 1 or node.items[0].optional_vars is not None:
            raise self.refuse(node, "with several things, or with ... as", "one with inside another")
        what = node.items[0].context_expr
        known, value = self.static(what)
        if known and value is atomic:
            if not self.depth:
                self.out.append(ir.Boundary(where))
            self.depth += 1
            self.block(node.body, self.out)
            self.depth -= 1
            return
        take, release = "lock", "unlock"
        target = what
        if (
            isinstance(what, ast.Call)
            and isinstance(what.func, ast.Attribute)
            and what.func.attr in ("reading", "writing")
            and not what.args
        ):
            take, release = ("read_lock", "read_unlock") if what.func.attr == "reading" else ("write_lock", "write_unlock")
            target = what.func.value
        lock = self.expr(target)
        if not (isinstance(lock.type, RefType) and issubclass(lock.type.record, Lock if take == "lock" else RwLock)):
            raise self.refuse(
                what,
                f"with something else than atomic or a lock ({describe(what)})",
                "with self.lock:, with rw.reading():, with atomic:",
            )
        held = lock
        prologue: list[ir.Stmt] = []
        if ir.touches(lock):
            self.hidden += 1
            kept = ir.Var(f"held{self.hidden}", RefType(lock.type.record, False))
            prologue = [ir.SetVar(kept, self.fit(lock, kept.type, what), where)]
            held = ir.Local(kept)
        self.finish(where, [*prologue, *self.method_effect(held, take, where)], always=True)

        def leave() -> None:
            if not self.depth:
                self.out.append(ir.Boundary(where, "leave"))
            self.out += self.method_effect(held, release, where)

        self.exits.append(leave)
        self.block(node.body, self.out)
        self.exits.pop()
        if not ends(self.out):
            leave()

    def leave(self, down_to: int) -> None:
        """Leave the with-blocks entered since, innermost first."""
        kept = self.exits
        for i in range(len(kept) - 1, down_to - 1, -1):
            self.exits = kept[:i]
            kept[i]()
        self.exits = kept

    def return_statement(self, node: ast.Return, where: Position) -> None:
        """`return value`: the value is computed before the with-blocks are left."""
        result = self.function.result
        if node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None and result is None):
            if result is not None:
                raise self.refuse(node, f"{self.tree.name} returns {result}", "return a value")
            self.leave(0)
            self.out.append(ir.Return(None, where))
            return
        if result is None:
            raise self.refuse(node, f"{self.tree.name} is annotated -> None", "give it the type of what it returns")
        value = self.fit(self.expr(node.value), result, node.value)
        if self.exits and not isinstance(value, ir.Constant):
            self.hidden += 1
            kept = ir.Var(f"returned{self.hidden}", result)
            self.finish(where, [ir.SetVar(kept, value, where)])
            value = ir.Local(kept)
            self.leave(0)
            self.out.append(ir.Return(value, where))
        else:
            if self.exits:
                self.leave(0)
                self.out.append(ir.Return(value, where))
            else:
                self.finish(where, [ir.Return(value, where)])


def stmt_touches(stmt: ir.Stmt) -> bool:
    """Whether a statement (not those inside it) touches shared state."""
    return isinstance(stmt, (ir.Store, ir.Free, ir.Wait)) or any(ir.touches(e) for e in ir.expressions(stmt))


def ends(body: list[ir.Stmt]) -> bool:
    """Whether control never leaves the end of a body."""
    if not body:
        return False
    last = body[-1]
    match last:
        case ir.Return() | ir.Break() | ir.Continue():
            return True
        case ir.If():
            return ends(last.then) and ends(last.other)
        case ir.While():
            forever = isinstance(last.test, ir.Constant) and last.test.value == 1
            return forever and not has_break(last.body)
    return False


def falls_through(body: list[ir.Stmt]) -> bool:
    """Whether a function may reach the end of its body."""
    return not ends(body)


def has_break(body: list[ir.Stmt]) -> bool:
    """Whether a `break` of this loop (not of one inside) occurs."""
    for stmt in body:
        if isinstance(stmt, ir.Break):
            return True
        if isinstance(stmt, ir.If) and (has_break(stmt.then) or has_break(stmt.other)):
            return True
    return False
