"""Where the bytes of a state go: `python -m bench.vector [PROGRAM...]` prints a table for each of the driver programs of `bench.drivers`.

Of each declaration of shared state, and of each thread's region, its bytes, the bits that its numbers need, and the bits that are not the
same in all of the states that are seen breadth first, up to so many.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from bench.drivers import PROGRAMS
from bench.table import table
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.lang.types import ArrayType, IntType, RecordType, RefType, Type

__all__ = ["HEADS", "parts", "varying"]

HEADS = ("part", "bytes", "bits needed", "bits that vary")
MOST = 20_000


def varying(program: Program, most: int = MOST) -> bytes:
    """Of each bit of a state whether it is not the same in all that are seen, breadth first, up to `most` of them."""
    reference = Reference(program)
    seen, todo, varies = {reference.initial}, [reference.initial], 0
    first = int.from_bytes(reference.initial, "big")
    for state in todo:
        for step in reference.successors(state):
            if step.state is not None and step.state not in seen and len(seen) < most:
                seen.add(step.state)
                todo.append(step.state)
                varies |= int.from_bytes(step.state, "big") ^ first
    return varies.to_bytes(program.size, "big")


def parts(program: Program, varies: bytes) -> Iterator[tuple[str, int, int, int]]:
    """Each part of a state: what it is, its bytes, the bits that its numbers need, and those that vary."""
    layout = program.layout

    def needed(kind: Type) -> int:
        if isinstance(kind, (IntType, RefType)):
            return layout.bits(kind)
        if isinstance(kind, RecordType):
            return sum(needed(inner) for inner in layout.parts(kind.record).values())
        assert isinstance(kind, ArrayType)
        return layout.machine.bound(kind.size) * (needed(kind.element) + 2 * kind.pool)

    def bits_of(begin: int, end: int) -> int:
        return int.from_bytes(varies[begin:end], "big").bit_count()

    for declaration in layout.declarations:
        begin, size = layout.base[declaration], layout.size(declaration.kind)
        if size:
            yield f"{declaration.name}: {declaration.kind}", size, needed(declaration.kind), bits_of(begin, begin + size)
    for thread, base in zip(program.threads, program.bases, strict=True):
        yield f"thread {thread.name}", program.region, 8 * program.region, bits_of(base, base + program.region)
    spare = program.code.capacity - len(program.threads)
    if spare:
        yield f"room for {spare} more", spare * program.region, 0, 0


def main() -> None:
    """Print the tables."""
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"of: {', '.join(PROGRAMS)}")
    command.add_argument("--states", type=int, default=MOST, help="how many states are looked at")
    asked = command.parse_args()
    for name in asked.programs or PROGRAMS:
        program = PROGRAMS[name]()
        rows = list(parts(program, varying(program, asked.states)))
        whole = ("all", *(sum(row[i] for row in rows) for i in (1, 2, 3)))  # type: ignore[misc]
        print(f"\n{name}: {program.size} bytes\n")
        print(table(HEADS, [dict(zip(HEADS, map(str, row), strict=True)) for row in (*rows, whole)]))


if __name__ == "__main__":
    main()
