"""The front end's groups of scalars: lists on the stack, tuples, and `Value`s; how they are assigned, passed on and returned."""

from __future__ import annotations

import ast
from abc import abstractmethod

from secondsight.lang import ir
from secondsight.lang.blocks import BlockLowering
from secondsight.lang.errors import OutOfRecords, Position
from secondsight.lang.lowering import Bundle, Items, ListLocal, Lvalue, SeveralResults, describe
from secondsight.lang.types import BOOL, IntType, ListType, RefType, TupleType, ValueType

__all__ = ["SeveralLowering"]


class SeveralLowering(BlockLowering):
    """Lowers what assigns, or returns, several scalars at once."""

    # Groups.

    def group_of(self, kind: TupleType | ValueType | ListType) -> ir.Group:
        """The scalars that a tuple, a `Value` or a list has, by name."""
        match kind:
            case TupleType():
                parts = [(str(i), part) for i, part in enumerate(kind.parts)]
            case ValueType():
                parts = list(self.value_fields(kind.value).items())
            case ListType():
                most = self.frontend.machine.bound(kind.size)
                parts = [("len", IntType(0, most)), *((str(i), kind.element) for i in range(most))]
        return ir.Group(tuple((name, part) for name, part in parts if isinstance(part, (IntType, RefType))), kind)

    def room_for(self, name: str, group: ir.Group, node: ast.AST, fixed: bool = False) -> list[ir.Var]:
        """The variables of a local, or a parameter, that is a list or a `Value`."""
        form = group.form
        if name in self.vars:
            raise self.refuse(node, f"{name} is {self.vars[name].type} elsewhere, and here {form}", "another name")
        if isinstance(form, ListType):
            if name in self.bundles:
                raise self.refuse(node, f"{name} is a Value elsewhere", "another name")
            if name not in self.lists:
                made = [ir.Var(f"{name}.{part}", kind) for part, kind in group.parts]
                self.lists[name] = ListLocal(form, made[0], made[1:], fixed)
            known = self.lists[name]
            if known.kind != form:
                raise self.refuse(node, f"{name} is {known.kind} elsewhere, and here {form}", "another name")
            if known.fixed and not fixed:
                raise self.refuse(node, f"{name} is a parameter, and a list: the caller's own", "another name")
            return [known.length, *known.items]
        assert isinstance(form, ValueType)
        if name in self.lists:
            raise self.refuse(node, f"{name} is a list elsewhere", "another name")
        if name not in self.bundles:
            self.bundles[name] = (form.value, {part: ir.Var(f"{name}.{part}", kind) for part, kind in group.parts})
        cls, parts = self.bundles[name]
        if cls is not form.value:
            raise self.refuse(node, f"{name} is a {cls.__name__} elsewhere", "another name")
        return list(parts.values())

    # Assignment.

    def assign_outcome(self, target: ast.expr, outcome: SeveralResults, where: Position) -> None:
        """`x = f()`, where `f` returns a list or a `Value`."""
        if isinstance(outcome.group.form, TupleType):
            raise self.refuse(target, f"a tuple as one thing: it has {len(outcome.group.parts)} parts", "x, y = f(...)")
        if not isinstance(target, ast.Name):
            raise self.refuse(target, f"{outcome.group} assigned to a place in the state", "x = f(...), and then its parts")
        self.finish(where, [ir.Unpack(self.room_for(target.id, outcome.group, target), outcome.value, where)])

    def assign_list(self, target: ast.Name, kind: ListType, elements: list[ast.expr], where: Position) -> None:
        """`x = []`, `x = [a, b]`."""
        group = self.group_of(kind)
        length, *items = self.room_for(target.id, group, target)
        if len(elements) > len(items):
            raise self.refuse(target, f"{len(elements)} elements in {kind}", f"at most {len(items)}, or a larger bound")
        values = [self.fit(self.expr(e), kind.element, e) for e in elements]  # type: ignore[arg-type]
        given: list[ir.Expr] = [ir.Constant(len(values), IntType(len(values), len(values))), *values]
        given += [self.nothing(kind)] * (len(items) - len(values))
        self.finish(where, [ir.Unpack([length, *items], ir.Pack(given, group), where)])

    def nothing(self, kind: ListType) -> ir.Expr:
        """What lies behind the last element of a list."""
        element = kind.element
        assert isinstance(element, (IntType, RefType))
        return ir.Constant(element.zero if isinstance(element, IntType) else 0, element)

    def assign_tuple(self, node: ast.stmt, target: ast.Tuple | ast.List, value: ast.expr, where: Position) -> None:
        """`x, y = f()`, `a, b = b, a`, `self.a, b = 1, 2`: all values are there before the first is assigned."""
        names = target.elts
        if any(isinstance(t, (ast.Tuple, ast.List, ast.Starred)) for t in names):
            raise self.refuse(node, "a tuple within a tuple, or *names", "one name for each part")
        whole: ir.Expr
        if isinstance(value, ast.Tuple):
            if len(value.elts) != len(names):
                raise self.refuse(node, f"{len(value.elts)} values for {len(names)} names", "as many as there are names")
            values = [self.expr(part) for part in value.elts]
            kinds = [v.type for v in values]
            form = TupleType(tuple(kinds))
            whole = ir.Pack(values, ir.Group(tuple((str(i), k) for i, k in enumerate(kinds)), form))
        else:
            lowered = self.lower(value)
            if not (isinstance(lowered, SeveralResults) and isinstance(lowered.group.form, TupleType)):
                raise self.refuse(value, f"{describe(value)} assigned to several names at once", "a call that returns a tuple, or a, b = x, y")
            if len(lowered.group.parts) != len(names):
                raise self.refuse(node, f"{lowered.group} for {len(names)} names", f"{len(lowered.group.parts)} names")
            kinds, whole = [kind for _, kind in lowered.group.parts], lowered.value
            values = [ir.Local(ir.Var(f"part{i}", kind)) for i, kind in enumerate(kinds)]
        targets: list[ir.Var] = []
        all_names = all(isinstance(one, ast.Name) for one in names)
        after: list[ir.Stmt] = []
        for one, given in zip(names, values, strict=True):
            var = self.local_for(one, given) if isinstance(one, ast.Name) else None
            kind = given.type
            if not all_names or var is None or var in targets or (isinstance(kind, RefType) and kind != var.type):
                self.hidden += 1
                kept = ir.Var(f"part{self.hidden}", kind)
                targets.append(kept)
                if var is None:
                    after.append(self.store(self.place(one), ir.Local(kept), one, where))
                else:
                    after.append(ir.SetVar(var, self.fit(ir.Local(kept), var.type, one), where))
            else:
                targets.append(var)
        self.finish(where, [ir.Unpack(targets, whole, where), *after])

    @abstractmethod
    def store(self, place: Lvalue, value: ir.Expr, node: ast.expr, where: Position) -> ir.Stmt:
        """A store, with its type checked."""

    # Lists.

    def own_list(self, node: ast.expr) -> Items | None:
        """The list that an expression names, if it is one."""
        lowered = self.lower(node) if isinstance(node, ast.Name) and node.id in self.lists else None
        return lowered if isinstance(lowered, Items) else None

    def changed(self, items: Items, node: ast.AST) -> ListLocal:
        """A list that is about to be changed."""
        known = self.lists[items.name]
        if known.fixed:
            raise self.refuse(node, f"{items.name} is a parameter, and a list: the caller's own", "a list that this function returns")
        return known

    def append(self, node: ast.Call, items: Items, where: Position) -> None:
        """`x.append(value)`."""
        self.counted(node, 1, 1, "x.append(value)")
        known = self.changed(items, node)
        element, most = known.kind.element, len(known.items)
        assert isinstance(element, (IntType, RefType))
        value = self.fit(self.expr(node.args[0]), element, node.args[0])
        length, room = ir.Local(known.length), ir.Constant(most, IntType(most, most))
        made: list[ir.Stmt] = []
        if not isinstance(value, (ir.Local, ir.Constant)):
            self.hidden += 1
            kept = ir.Var(f"added{self.hidden}", element)
            made.append(ir.SetVar(kept, value, where))
            value = ir.Local(kept)
        elif isinstance(value.type, IntType) and isinstance(element, IntType):
            value = ir.Fits(value, items.name, where, element)
            if not (element.low <= value.value.type.low and value.value.type.high <= element.high):  # type: ignore[union-attr]
                made.append(ir.Eval(value, where))
        if isinstance(known.kind.size, str):
            full = ir.Require(ir.Constant(0, BOOL), OutOfRecords.rule, known.kind.size, where)
            made.append(ir.If(ir.Compare("==", length, room), [full], []))
        more = ir.Binary("+", length, ir.Constant(1, IntType(1, 1)), IntType(1, most + 1), where)
        if isinstance(known.kind.size, str):
            more.type = IntType(1, max(1, most))
        longer = ir.Var(f"len({items.name})", IntType(0, most))
        made.append(ir.SetVar(longer, more, where))
        made.append(ir.SetItem(known.items, length, room, value, items.name, where))
        made.append(ir.SetVar(known.length, ir.Local(longer), where))
        self.finish(where, made)

    def set_item(self, target: ast.Subscript, items: Items, value: ir.Expr, where: Position) -> None:
        """`x[i] = value`."""
        known = self.changed(items, target)
        element = known.kind.element
        assert isinstance(element, (IntType, RefType))
        index = self.integer(target.slice)
        fitting = self.fit(value, element, target)
        self.finish(where, [ir.SetItem(known.items, index, ir.Local(known.length), fitting, items.name, where)])

    # Results.

    def returned(self, node: ast.Return, group: ir.Group, where: Position) -> ir.Expr:
        """What `return value` returns, in a function whose result is a group."""
        assert node.value is not None
        form, value = group.form, node.value
        if isinstance(form, TupleType) and isinstance(value, ast.Tuple):
            if len(value.elts) != len(form.parts):
                raise self.refuse(node, f"{len(value.elts)} values where {form} is wanted", f"{len(form.parts)} values")
            return ir.Pack([self.fit(self.expr(v), k, v) for v, (_, k) in zip(value.elts, group.parts, strict=True)], group)
        if isinstance(form, ListType) and isinstance(value, ast.List):
            values = [self.fit(self.expr(v), k, v) for v, (_, k) in zip(value.elts, group.parts[1:], strict=False)]
            if len(values) < len(value.elts):
                raise self.refuse(node, f"{len(value.elts)} elements in {form}", "a larger bound")
            length = ir.Constant(len(values), IntType(len(values), len(values)))
            return ir.Pack([length, *values, *([self.nothing(form)] * (len(group.parts) - 1 - len(values)))], group)
        lowered = self.lower(value)
        if isinstance(lowered, SeveralResults) and lowered.group == group:
            return lowered.value
        if isinstance(lowered, Bundle) and isinstance(form, ValueType) and lowered.value is form.value:
            return ir.Pack([lowered.parts[name] for name, _ in group.parts], group)
        if isinstance(lowered, Items) and isinstance(form, ListType) and lowered.kind == form:
            if self.lists[lowered.name].fixed:
                raise self.refuse(node, f"{lowered.name} is a parameter, and a list: the caller has it already", "a list of this function's own")
            return ir.Pack([lowered.length, *lowered.items], group)
        raise self.refuse(value, f"{self.tree.name} returns {form}", f"a value of that type, not {describe(value)}")

    def return_group(self, node: ast.Return, group: ir.Group, where: Position) -> None:
        """`return value`, in a function whose result is a group: computed before the with-blocks are left."""
        value = self.returned(node, group, where)
        if self.exits:
            self.hidden += 1
            kept = [ir.Var(f"returned{self.hidden}.{name}", kind) for name, kind in group.parts]
            self.finish(where, [ir.Unpack(kept, value, where)])
            self.leave(0)
            self.out.append(ir.Return(ir.Pack([ir.Local(v) for v in kept], group), where))
        else:
            self.finish(where, [ir.Return(value, where)])
