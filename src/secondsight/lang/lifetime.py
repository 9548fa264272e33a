"""What a program may free, and where it must look whether that has happened: the rule `use-after-free`.

A record of a pool has a byte that says whether it was freed (`lang.layout`). Where a field is read or written that can lie in
such a record, the rendered text looks at the byte. A program that frees nothing looks nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from secondsight.lang import ir, tree
from secondsight.lang.layout import Layout
from secondsight.lang.program import Program
from secondsight.lang.records import Record
from secondsight.lang.standins import Shared
from secondsight.lang.types import ArrayType, RecordType, RefType, Type

__all__ = ["Lifetimes", "lifetimes_of", "used_name"]

_LOOK = """\
/* Look whether the record in which a place lies was freed, or one around it. */
static inline i64 uf(ss_x *x, const u8 *s, i64 place, i32 site)
{
	for (i64 at = FREED_AT[place]; at; at = FREED_AT[at])
		if (s[RD(at)] == WAS_FREED) {
			fail(x, AFTER_FREE, site, 0, 0, 0);
			break;
		}
	return place;
}"""


class Lifetimes:
    """For each byte of the shared state the byte that says whether its record was freed; 0: that cannot be. Empty: nothing is freed."""

    def __init__(self, layout: Layout, functions: Iterable[ir.Function]) -> None:
        self.layout = layout
        freed = {stmt.pool.type for f in functions for stmt in tree.statements(f.body) if isinstance(stmt, ir.Free)}
        self.freed_at: tuple[int, ...] = ()
        self._classes: dict[type[Record], bool] = {}
        if freed:
            self.freed_at = self._places(freed)

    def _places(self, freed: set[Type]) -> tuple[int, ...]:
        layout = self.layout
        found = [0] * layout.shared_size

        def visit(kind: Type, at: int) -> None:
            if isinstance(kind, RecordType):
                for name, inner in layout.parts(kind.record).items():
                    visit(inner, at + layout.offset(kind.record, name))
            elif isinstance(kind, ArrayType):
                stride, count = layout.size(kind.element), layout.machine.bound(kind.size)
                for i in range(count if isinstance(kind.element, RecordType) else 0):
                    if kind in freed:
                        used = layout.used_base(at, kind) + i
                        found[at + i * stride : at + (i + 1) * stride] = [used] * stride
                    visit(kind.element, at + i * stride)

        for declaration in layout.declarations:
            visit(declaration.kind, layout.base[declaration])
        return tuple(found)

    def watches(self, addr: ir.Addr) -> bool:
        """Whether what lies at a place can be in a record that was freed."""
        if not self.freed_at:
            return False
        root = addr.root
        if isinstance(root, ir.AddressOf):
            return self.watches(root.addr)
        if isinstance(root, Shared):
            base = self.layout.base[root]
            return bool(addr.path) and any(self.freed_at[base : base + self.layout.size(root.kind)])
        assert isinstance(root.type, RefType)
        record = root.type.record
        if record not in self._classes:
            self._classes[record] = any(self.freed_at[at] for at in self.layout.instances_below(record))
        return self._classes[record]

    def c_text(self) -> list[str]:
        """The table, and the function that looks, as C text."""
        if not self.freed_at:
            return []
        return [f"static SS_WHERE const u16 FREED_AT[] = {{ {', '.join(map(str, self.freed_at))} }};", _LOOK]


def lifetimes_of(program: Program) -> Lifetimes:
    """What a program may free."""
    linked = program.code.linked
    return program.code.keep("lifetimes", lambda: Lifetimes(linked.layout, linked.frontend.instances.values()))


def used_name(addr: ir.Addr) -> str:
    """The field, or the array of an element, that is used."""
    last = addr.path[-1]
    return f"{last.record.__name__}.{last.name}" if isinstance(last, ir.FieldStep) else f"{last.name.rpartition('.')[2]}[...]"
