"""Forms of generated programs that are written otherwise first, or call by number: `generated.Writer` draws them with the others."""

from __future__ import annotations

from typing import Any

__all__ = ["BY_NUMBER", "Forms"]

BY_NUMBER = '''
choices = const("choices", Annotated[int, Bounds(0, 2)])
BY_NUMBER = Functions[object]("BY_NUMBER")

@marker
def by_number(function: object) -> object:
    BY_NUMBER.add(function)
    return function

@by_number
def stays(n: Small) -> Small:
    return n % 4

@by_number
def turns(n: Small) -> Small:
    world.turn = (world.turn + 1) % 3
    nodes[1].small = n % 3
    return 2

@by_number
def adds_up(n: Small) -> Small:
    with atomic:
        world.total = (world.total + n) % 100
        small = nodes[0].small
    return (small + 1) % 4
'''
"""Text for the header: functions that a table names."""


class Forms:
    """What `Writer` has, and these add to."""

    draw: Any
    pick: Any
    chance: Any
    small: Any
    number: Any
    nested: Any
    fresh: Any
    index: Any
    node: Any

    def by_number(self, scope: Any) -> list[str]:
        """A call of whichever function the table says."""
        name = self.fresh()
        line = f"{name} = BY_NUMBER[choices[{self.index(scope, 3)}]]({self.small(scope, True, 1)})"
        scope.ints.append(name)
        return [line]

    def matched(self, scope: Any) -> list[str]:
        """`match` over constants, with a guard or a last case for the rest."""
        lines = [f"match {self.pick('world.turn', f'{self.node(scope)}.slot.kind', self.number(scope, True, 0))}:"]
        enum = lines[0].endswith("kind:")
        for value in ("0", "1 | 2") if not enum else ("Kind.A", "Kind.B | Kind.C"):
            guard = f" if {self.number(scope, True, 0)} > 1" if self.chance(20) else ""
            lines += ["    " + line for line in self.nested(f"case {value}{guard}:", scope)]
        if self.chance(60):
            lines += ["    " + line for line in self.nested("case _:", scope)]
        return lines

    def both(self, scope: Any) -> list[str]:
        """Two blocks in one `with`."""
        return self.nested(f"with {self.pick('world.lock, nodes[0].lock', 'nodes[1].lock, atomic', 'world.rw.reading(), fasts[0].lock')}:", scope, locked=True)  # type: ignore[no-any-return]

    def stacked(self, scope: Any) -> list[str]:
        """A record as on the stack: freed on every way out."""
        name = self.fresh()
        body = self.nested(f"with jobs.on_stack() as {name}:", scope, jobs=[*scope.jobs, name] if self.chance(30) else list(scope.jobs))
        return [body[0], f"    {name}.left = {self.small(scope, True, 1)}", *body[1:]]
