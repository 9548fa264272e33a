"""The front end's statements, step boundaries included: assignments, calls, branches, returns. Loops and `with` are in `lang.blocks`."""

from __future__ import annotations

import ast
import functools
import operator
from types import CodeType
from typing import Any

from secondsight.lang import ir, tree
from secondsight.lang.assigned import first_unassigned
from secondsight.lang.blocks import ends
from secondsight.lang.errors import LangError, OutOfRecords, Position, Refused
from secondsight.lang.facts import meaning_of, parameters_of
from secondsight.lang.functions import is_marker
from secondsight.lang.locks import operation, spin_until, stand_in_queue
from secondsight.lang.lowering import Bundle, Items, Lvalue, SeveralResults, describe
from secondsight.lang.machines import SWITCHES
from secondsight.lang.several import SeveralLowering
from secondsight.lang.source import line_of
from secondsight.lang.types import BOOL, ArrayType, IntType, ListType, RecordType, RefType, TupleType, ValueType, resolve
from secondsight.lang.verbs import atomic, hold_point, out_of_records, require, wait_until

__all__ = ["StatementLowering"]

_INSTEAD: dict[type[ast.stmt], tuple[str, str]] = {
    ast.Try: ("try", "return error numbers, as the kernel does"),
    ast.TryStar: ("try", "return error numbers, as the kernel does"),
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


_SAFE = (ir.Local, ir.Constant, ir.Compare, ir.Logic, ir.Unary)
"""Expressions on locals that cannot fail."""


def _decided(test: ir.Expr, only: dict[str, tuple[int, ...]]) -> bool | None:
    """The truth of a test on constants alone, such as the size of an array, or on a table of which is known what may be in it;
    None: it depends on more."""
    match test:
        case ir.Compare(op=op, left=ir.TableItem(table=table), right=right) if table in only:
            b = _number(right)
            found = set() if b is None else {bool(_COMPARE[op](a, b)) for a in only[table]}
            return found.pop() if len(found) == 1 else None
        case ir.Constant(value=value):
            return bool(value)
        case ir.Compare(op=op, left=left, right=right):
            a, b = _number(left), _number(right)
            return None if a is None or b is None else bool(_COMPARE[op](a, b))
        case ir.Logic(op=op, items=items):  # what comes first decides, if it is known: what is asked after that is not asked
            for item in items:
                known = _decided(item, only)
                if known is None or known == (op == "or"):
                    return known
            return op == "and"
    return None


def _number(value: ir.Expr) -> int | None:
    """What a sum of constants comes to."""
    match value:
        case ir.Constant(value=number):
            return number
        case ir.Binary(op="+", left=left, right=right):
            a, b = _number(left), _number(right)
            return None if a is None or b is None else a + b
    return None


_COMPARE = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class StatementLowering(SeveralLowering):
    """Lowers one function instance."""

    def whole(self, is_atomic: bool) -> ir.Function:
        """The whole function. Raises `Widened` if it must be lowered again."""
        made = self.function
        made.atomic = is_atomic
        self.depth = 1 if is_atomic else 0
        self._signature()
        self._body(made.body)
        if made.result is None:
            made.body.append(ir.Return(None, made.where))
        elif not ends(made.body):
            raise self.refuse(self.tree, f"{self.tree.name} may end without returning a value", "a return on every path")
        made.locals = {n: v.type for n, v in self.vars.items() if n not in self.own}
        made.locals |= {n: known.kind for n, known in self.lists.items()}
        stmts = list(tree.statements(made.body))
        made.yields = any(isinstance(s, (ir.Boundary, ir.YieldCall)) for s in stmts)
        made.touches = bool(getattr(made.source, "__atomic__", False)) or any(stmt_touches(s) for s in stmts)
        made.effects = made.yields or any(
            isinstance(s, (ir.Store, ir.Free, ir.Wait)) or any(tree.effects(e) for e in tree.expressions(s)) for s in stmts
        )
        made.mutates = made.effects and any(
            isinstance(s, (ir.Store, ir.Free)) or any(tree.mutates(e) for e in tree.expressions(s)) for s in stmts
        )
        return made

    # Signature.

    def _signature(self) -> None:
        arguments, source = self.tree.args, self.source
        if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs:
            raise self.refuse(self.tree, "*args, **kwargs, keyword-only or positional-only parameters", "plain parameters")
        noted = dict(self.frontend.reads)
        for decorator in self.tree.decorator_list:
            known, value = self.static(decorator.func if isinstance(decorator, ast.Call) else decorator)
            if not (
                known and (value in (atomic, operation) or is_marker(value) or getattr(value, "__name__", "") in ("rule", "tracepoint"))
            ):
                raise self.refuse(decorator, "a decorator other than @atomic, @rule, @tracepoint", "a plain function")
        self.frontend.reads = noted  # the function is what the decorator has made of it; the files that are read are in the key
        try:
            hints = self.frontend.hints(source)
        except Exception as error:
            raise self.refuse(self.tree, f"an annotation has no meaning: {error}", "import or define the name") from None
        for i, argument in enumerate(arguments.args):
            if i == 0 and self.receiver is not None:
                self.bind_parameter(argument.arg, RefType(self.receiver, nullable=False))
                continue
            if argument.arg not in hints:
                overridden = self.overridden(argument.arg)
                raise self.refuse(
                    argument, f"parameter {argument.arg} has no annotation", f"{argument.arg}: {overridden or 'U8 (or another type)'}"
                )
            kind = self.type_of(argument, hints[argument.arg])
            if kind is None or isinstance(kind, (RecordType, ArrayType, TupleType)):
                raise self.refuse(argument, f"a parameter cannot be {kind}", "pass a record and take its array there")
            self.bind_parameter(argument.arg, kind)
        if "return" not in hints:
            raise self.refuse(
                self.tree, f"{self.tree.name} has no return annotation", "-> None, or -> the type of what it returns"
            )
        result = self.type_of(self.tree, hints["return"])
        if isinstance(result, (ArrayType, RecordType)):
            raise self.refuse(
                self.tree, f"a function cannot return {result}", "return an integer, a reference, a Value, a tuple or a List"
            )
        self.function.result = self.group_of(result) if isinstance(result, (ValueType, TupleType, ListType)) else result

    def overridden(self, parameter: str) -> str:
        """The annotation that a parameter has in the method which this one overrides, as text."""
        for cls in self.receiver.__mro__[1:] if self.receiver is not None else ():
            method = vars(cls).get(self.tree.name)
            annotation = getattr(method, "__annotations__", {}).get(parameter)
            if annotation is not None:
                return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
        return ""

    def _body(self, out: list[ir.Stmt]) -> None:
        """Lower the body. Every local must have a value wherever it is read; what is outside the language before that comes first."""

        def constant(node: ast.AST) -> int | None:
            known, value = self.static(node)
            return int(value) if known and isinstance(value, int) else None

        unassigned = first_unassigned(self.tree, constant)
        try:
            self.block(self.tree.body, out)
        except Refused as error:
            if unassigned is None or (error.where.file, error.where.line) <= (self.file, unassigned.lineno):
                raise
        if unassigned is not None:
            raise self.refuse(
                unassigned, f"{unassigned.id} may have no value here: some path leads here without an assignment",
                f"{unassigned.id} = ... first (with a type: {unassigned.id}: U8 = 0)",
            ) from None  # fmt: skip

    def type_of(self, node: ast.AST, annotation: Any) -> Any:
        """`types.resolve` with the place of the annotation in the error."""
        try:
            return self.frontend.machine.sized(resolve(annotation))
        except LangError as error:
            raise self.refuse(node, str(error), "a type of the language") from None

    def bind_parameter(self, name: str, kind: Any) -> None:
        """Make a parameter: a variable, or one for each field of a `Value`."""
        if isinstance(kind, ValueType):
            parts = {}
            for field, inner in self.value_fields(kind.value).items():
                var = ir.Var(f"{name}.{field}", inner)
                self.function.params.append(var)
                parts[field] = var
            self.bundles[name] = (kind.value, parts)
        elif isinstance(kind, ListType):
            self.function.params += self.room_for(name, self.group_of(kind), self.tree, fixed=True)
        else:
            var = ir.Var(name, kind)
            self.vars[name] = var
            self.function.params.append(var)

    # Statements.

    def finish(self, where: Position, made: list[ir.Stmt], always: bool = False) -> None:
        """Append statements made from one source statement, after its step boundary and the call it makes."""
        call, self.pending = self.pending, None
        touching = always or any(stmt_touches(s) for s in tree.statements(made))
        if not self.depth:
            if call is not None:
                if touching and call.leads:
                    self.after_call(call, made, where)
                    return
                if touching:
                    raise Refused(where, line_of(where), f"this statement calls {call.function.name}, which can be interrupted, and touches shared "
                                  "state besides", "two statements: x = the call, then the rest")  # fmt: skip
                if any(tree.touches(a) for a in call.arguments):
                    self.out.append(ir.Boundary(where))
                self.out.append(call)
            elif touching:
                self.out.append(ir.Boundary(where))
        self.out += made

    def after_call(self, call: ir.YieldCall, made: list[ir.Stmt], where: Position) -> None:
        """A statement that begins with a call which can be interrupted, and touches shared state then: in a step of its own."""
        if any(tree.touches(a) for a in call.arguments):
            self.out.append(ir.Boundary(where))
        self.out.append(call)
        if call.target is not None and isinstance(call.target.type, ir.Group):
            assert isinstance(made[0], ir.Unpack)
            self.out.append(made.pop(0))
        elif call.target is not None and call.target.transient:
            self.hidden += 1
            call.target.transient, call.target.name = False, f"result{self.hidden}"
        self.out += [ir.Boundary(call.where, "after"), *made]

    def statement(self, node: ast.stmt) -> None:
        """Lower one source statement."""
        where = self.where(node)
        self.pending, self.leading = None, leading_call(node)
        match node:
            case ast.Pass() | ast.Expr(value=ast.Constant()):
                return
            case ast.Expr(value=ast.Call() as call):
                self.call_statement(call, where)
            case ast.Expr():
                self.lower(node.value)
                raise self.refuse(node, f"{describe(node.value)}: a value that nothing uses", "x = ..., or nothing")
            case ast.Assign(targets=[target], value=value):
                self.assign(node, target, value, where)
            case ast.AnnAssign(target=ast.Name() as target, value=value) if value is not None:
                self.annotated(target, node.annotation, value, where)
            case ast.AugAssign():
                self.augmented(node, where)
            case ast.If():
                before = self.naming(node.test)
                test = self.truth(node.test)
                decided = _decided(test, self.frontend.machine.only)
                if decided is not None:  # by the bounds: what these bounds leave out is no part of the program
                    self.finish(where, before)
                    self.block(node.body if decided else node.orelse, self.out)
                    return
                branch = ir.If(test, [], [])
                self.finish(where, [*before, branch])
                self.block(node.body, branch.then)
                self.block(node.orelse, branch.other)
                if not branch.then and not branch.other and all(isinstance(e, _SAFE) for e in tree.walk(branch.test)):
                    self.out.remove(branch)  # around a hold point: its locals need not live for it
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
                literal = isinstance(node.msg, ast.Constant) and isinstance(node.msg.value, str)
                message = node.msg.value if literal else _text(node.test)  # type: ignore[union-attr]
                if node.msg is not None and not literal:
                    raise self.refuse(node.msg, "an assert's message that is computed", "a constant text")
                self.finish(where, [ir.Require(self.truth(node.test), "assertion", str(message), where)])
            case ast.Assign():
                raise self.refuse(node, "assignment to several targets", "one assignment a statement")
            case ast.AnnAssign(target=ast.Name() as target):
                raise self.refuse(node, "an annotation without a value", self.begun(target.id, node.annotation))
            case ast.AnnAssign():
                raise self.refuse(
                    node, "an annotation without a value, or on a field", "x: U8 = 0; fields are annotated in the class"
                )
            case _:
                what, instead = _INSTEAD.get(type(node), (type(node).__name__, "see docs/language.md for what is"))
                raise self.refuse(node, f"{what} is not in the language", instead)

    def call_statement(self, node: ast.Call, where: Position) -> None:
        """A call for its effect: verbs, tracepoints, inlined or whole functions."""
        known, callee = self.static(node.func)
        if known and callee is require:
            given = self.given(node, ["condition", "rule", "message"], "require")
            if not {"condition", "rule"} <= set(given):
                raise self.refuse(node, "require without a condition or a rule's name", "require(cond, 'rule', 'message')")
            name = self.text(given["rule"])
            message = self.text(given["message"]) if "message" in given else name
            self.finish(where, [ir.Require(self.truth(given["condition"]), name, message or name, where)])
        elif known and callee is out_of_records:
            self.counted(node, 1, 1, "out_of_records('frames')")
            bound = self.text(node.args[0])
            self.frontend.machine.bound(bound)
            self.finish(where, [ir.Require(ir.Constant(0, BOOL), OutOfRecords.rule, bound, where)])
        elif known and (callee is wait_until or callee is spin_until):
            self.counted(node, 1, 1, "wait_until(cond)")
            test = self.pure(self.truth(node.args[0]), node.args[0], "as the condition of a wait")
            self.finish(where, [ir.Wait(test, callee is wait_until, self.operation is not None, where)], always=True)
        elif known and callee is stand_in_queue:
            return  # the call of the lock's function did it: `BlockLowering.take_in_turn`
        elif known and callee is hold_point:
            self.hold(node, where)
        elif isinstance(node.func, ast.Attribute) and (items := self.own_list(node.func.value)) is not None:
            if node.func.attr != "append":
                raise self.refuse(node, f"{describe(node)}: not something a list can do here", "x.append(value), x[i] = value, x = []")
            self.append(node, items, where)
        elif known and getattr(callee, "__tracepoint__", False):
            self.finish(where, self.fire(node, callee, where), always=True)
        elif (
            isinstance(node.func, ast.Attribute)
            and node.func.attr == "free"
            and (found := self.pool_of(node.func.value)) is not None
        ):
            self.counted(node, 1, 1, "pool.free(record)")
            element = found.type.element  # type: ignore[union-attr]
            assert isinstance(element, RecordType)
            record = self.fit(self.expr(node.args[0]), RefType(element.record, False), node.args[0])
            self.finish(where, [ir.Free(found, record, where)])
        elif known and self.builtin(node, callee) is not None:
            raise self.refuse(node, f"{describe(node)}: a value that nothing uses", "x = ..., or nothing")
        else:
            made = self.effect(node, where)
            self.finish(where, made)

    def hold(self, node: ast.Call, where: Position) -> None:
        """`hold_point("name")`: a step boundary, in a program that has them; within another's atomic step it is nothing."""
        self.counted(node, 1, 1, 'hold_point("name")')
        name = self.text(node.args[0])
        if self.depth > int(self.function.atomic) or getattr(self.source, "__atomic__", False):
            raise self.refuse(node, "a hold point inside an atomic step", "before or after the step")
        if self.frontend.holds and not self.depth:
            self.out.append(ir.Boundary(where, hold=name))

    def fire(self, node: ast.Call, callee: Any, where: Position) -> list[ir.Stmt]:
        """A tracepoint: the rules attached to it, with its arguments."""
        made: list[ir.Stmt] = []
        original = callee.__wrapped__
        names = list(parameters_of(original))
        missing = [n for n in names if n not in self.given(node, names, callee.__name__)]
        if missing:
            raise self.refuse(node, f"{callee.__name__} needs {', '.join(missing)}", f"({', '.join(names)})")
        switched = SWITCHES.name in self.frontend.machine.data
        for number, rule in enumerate(self.frontend.rules):
            if getattr(rule, "__on__", None) is callee:
                probe = self.frontend.instance(rule, None, True, where)
                self.same_parameters(node, rule, original)
                arguments = [self.pure(a, node, "as a tracepoint's argument") for a in self.arguments(node, probe, [], callee)]
                fired: ir.Stmt = ir.Eval(ir.Call(probe, arguments, IntType(0, 0)), where)
                if switched:
                    self.frontend.table(SWITCHES, where)
                    place = ir.Constant(number, IntType(number, number))
                    fired = ir.If(ir.TableItem(SWITCHES.name, place, BOOL, where), [fired], [])
                made.append(fired)
        if not made or switched:  # in CPython the arguments are evaluated all the same
            for argument in [*node.args, *(k.value for k in node.keywords)]:
                lowered = self.lower(argument)
                values = list(lowered.parts.values()) if isinstance(lowered, Bundle) else [self.scalar(lowered, argument)]
                for value in values:
                    if not isinstance(value, (ir.Local, ir.Constant)):
                        made.append(ir.Eval(self.pure(value, argument, "as a tracepoint's argument"), where))
        return made

    def same_parameters(self, node: ast.AST, rule: Any, tracepoint: Any) -> None:
        """Refuse a rule whose parameters are not those of its tracepoint."""
        mine, its = (list(self.frontend.hints(f)) for f in (rule, tracepoint))
        if mine != its:
            raise self.refuse(
                node,
                f"the rule {rule.__name__} takes ({', '.join(mine)})",
                f"the parameters of its tracepoint: ({', '.join(its)})",
            )

    def text(self, node: ast.expr) -> str:
        """A constant string."""
        known, value = self.static(node)
        if not known or not isinstance(value, str):
            raise self.refuse(node, "not a constant text", "a string in quotes: a trace shows the values")
        return value

    def assign(self, node: ast.stmt, target: ast.expr, value: ast.expr, where: Position) -> None:
        """`x = value`, `record.field = value`, `array[i] = value`."""
        if isinstance(target, (ast.Tuple, ast.List)):
            self.assign_tuple(node, target, value, where)
        elif isinstance(target, ast.Name) and isinstance(value, ast.List) and target.id in self.lists:
            self.assign_list(target, self.lists[target.id].kind, value.elts, where)
        elif isinstance(target, ast.Name):
            lowered = self.lower_value(value)
            if isinstance(lowered, SeveralResults):
                self.assign_outcome(target, lowered, where)
                return
            if isinstance(lowered, Items):
                raise self.refuse(value, f"a second name for the list {lowered.name}", "a list of its own, filled in a loop")
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
            made = self.expr(value)
            items = self.own_list(target.value) if isinstance(target, ast.Subscript) else None
            if isinstance(target, ast.Subscript) and items is not None:
                self.set_item(target, items, made, where)
                return
            self.finish(where, [self.store(self.place(target), made, target, where)])
        else:
            raise self.refuse(node, "assignment to several names at once", "one assignment a statement")

    def store(self, place: Lvalue, value: ir.Expr, node: ast.expr, where: Position) -> ir.Stmt:
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
            hint = meaning_of(compiled(annotation), self.source)
        except Exception as error:
            raise self.refuse(annotation, f"the annotation is not defined: {error}", "a type of the language") from None
        kind = self.type_of(annotation, hint)
        self.frontend.annotations[self.source, _text(annotation)] = repr(resolve(hint))
        if isinstance(kind, ListType) and isinstance(value, ast.List):
            self.assign_list(target, kind, value.elts, where)
            return
        if isinstance(kind, (ListType, ValueType)):
            lowered = self.lower(value)
            if isinstance(lowered, SeveralResults) and lowered.group == self.group_of(kind):
                self.assign_outcome(target, lowered, where)
                return
            if isinstance(lowered, Bundle) and isinstance(kind, ValueType) and lowered.value is kind.value:
                self.assign_bundle(target, lowered, where)
                return
            raise self.refuse(value, f"{describe(value)} where {kind} is wanted", "[], [a, b], or a call that returns one")
        if not isinstance(kind, (IntType, RefType)):
            raise self.refuse(annotation, f"a local cannot be {kind}", "an integer type, Ref[Record], or List[Frame, 'pages']")
        if target.id in self.bundles or target.id in self.lists:
            raise self.refuse(target, f"{target.id} is a Value or a list elsewhere", "another name")
        var = self.vars.setdefault(target.id, ir.Var(target.id, kind))
        if var.type != kind:
            raise self.refuse(target, f"{target.id} is {var.type} elsewhere", "the annotation where it is first assigned")
        self.declared.add(target.id)
        self.finish(where, [ir.SetVar(var, self.fit(self.expr(value), var.type, value), where)])

    def begun(self, name: str, annotation: ast.expr) -> str:
        """How a local is begun that was given a type alone."""
        try:
            kind = resolve(meaning_of(compiled(annotation), self.source))
        except Exception:
            return f"{name}: U8 = 0"
        if isinstance(kind, ArrayType):
            element = annotation.slice.elts[0] if isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple) else None
            text = "T" if element is None else ast.unparse(element)
            return f"an Array is in a record; on the stack, {name}: List[{text}, {kind.size!r}] = []"
        value = "[]" if isinstance(kind, ListType) else "None" if isinstance(kind, RefType) else "0"
        return f"{name}: {ast.unparse(annotation)} = {value}"

    def assign_bundle(self, target: ast.Name, bundle: Bundle, where: Position) -> None:
        """`range = Range(...)`: one local for each field."""
        if target.id in self.vars or target.id in self.lists:
            raise self.refuse(target, f"{target.id} is no Value elsewhere", "another name")
        if target.id not in self.bundles:
            kinds = self.value_fields(bundle.value)
            self.bundles[target.id] = (bundle.value, {f: ir.Var(f"{target.id}.{f}", kinds[f]) for f in kinds})
        cls, parts = self.bundles[target.id]
        if cls is not bundle.value:
            raise self.refuse(target, f"{target.id} is a {cls.__name__} elsewhere", "another name")
        read = {n.var for e in bundle.parts.values() for n in tree.walk(e) if isinstance(n, ir.Local)}
        made: list[ir.Stmt] = []
        values = dict(bundle.parts)
        if read & set(parts.values()):  # rng = Range(rng.end, rng.start): all are computed before one is set
            for field, var in parts.items():
                kept = ir.Var(f"{var.name}.new{self.hidden}", var.type)
                made.append(ir.SetVar(kept, values[field], where))
                values[field] = ir.Local(kept)
        self.finish(where, [*made, *(ir.SetVar(var, values[f], where) for f, var in parts.items())])

    def augmented(self, node: ast.AugAssign, where: Position) -> None:
        """`x += 1`: one statement, so one step."""
        if isinstance(node.target, ast.Name):
            before = self.expr(ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target))
            value = self.arithmetic(node, node.op, before, self.expr(node.value))
            var = self.local_for(node.target, value)
            self.finish(where, [ir.SetVar(var, self.fit(value, var.type, node), where)])
        else:
            place = self.place(node.target)
            added = self.pure(self.expr(node.value), node.value, "in an augmented assignment")
            for part in tree.addr_parts(place.addr):
                self.pure(part, node.target, "in the target of an augmented assignment")
            value = self.arithmetic(node, node.op, self.scalar(place, node.target), added)
            self.finish(where, [self.store(place, value, node.target, where)])

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
        if isinstance(result, ir.Group):
            self.return_group(node, result, where)
            return
        value = self.fit(self.expr(node.value), result, node.value)
        if not self.exits:
            self.finish(where, [ir.Return(value, where)])
            return
        if not isinstance(value, ir.Constant):
            self.hidden += 1
            kept = ir.Var(f"returned{self.hidden}", result)
            self.finish(where, [ir.SetVar(kept, value, where)])
            value = ir.Local(kept)
        self.leave(0)
        self.out.append(ir.Return(value, where))


def leading_call(node: ast.stmt) -> ast.AST | None:
    """The call that a statement evaluates before anything else, if it does."""
    at: ast.AST | None = None
    match node:
        case ast.Assign() | ast.AnnAssign() | ast.Return():
            at = node.value
        case ast.If() | ast.While() | ast.Assert():
            at = node.test
    while True:
        match at:
            case ast.Compare() | ast.BinOp():
                at = at.left
            case ast.UnaryOp():
                at = at.operand
            case ast.NamedExpr():
                at = at.value
            case ast.BoolOp():
                at = at.values[0]
            case ast.IfExp():
                at = at.test
            case ast.Call(func=ast.Name(id="int" | "bool" | "abs"), args=[inner]):
                at = inner
            case ast.Call():
                return at
            case _:
                return None


@functools.cache
def compiled(annotation: ast.expr) -> CodeType:
    """An annotation's code."""
    return compile(ast.Expression(annotation), "<annotation>", "eval")


@functools.cache
def _text(node: ast.AST) -> str:
    """What stands in the source, near enough."""
    return ast.unparse(node)


def stmt_touches(stmt: ir.Stmt) -> bool:
    """Whether a statement (not those inside it) touches shared state."""
    return isinstance(stmt, (ir.Store, ir.Free, ir.Wait)) or any(tree.touches(e) for e in tree.expressions(stmt))
