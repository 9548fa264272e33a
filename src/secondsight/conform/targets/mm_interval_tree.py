"""mm/interval_tree.c beside `linux.mm_interval_tree`: see c/interval_tree.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from secondsight.conform.eyes import Eyes
from secondsight.conform.place import Crossing, Stop
from secondsight.conform.target import Configuration, Scene, StateDifference, Target, TargetOperation
from secondsight.conform.targets.mm_interval_tree_mutants import EQUIVALENT, EQUIVALENT_MODEL
from secondsight.lang import Array, Bounds, Machine, Record, atomic, const, shared
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.fork import vmas
from secondsight.linux.mm_interval_tree import (
    anon_vma_interval_tree_insert,
    anon_vma_interval_tree_iter_first,
    anon_vma_interval_tree_iter_next,
    anon_vma_interval_tree_remove,
    vma_interval_tree_insert,
    vma_interval_tree_insert_after,
    vma_interval_tree_iter_first,
    vma_interval_tree_iter_next,
    vma_interval_tree_remove,
)
from secondsight.linux.mm_types import AddressSpace, AnonVma, Pgoff

__all__ = ["MmIntervalTreeFile"]

VMAS, PAGES, THREADS = 6, 8, 3


class Op(IntEnum):
    """What a thread does; the numbers are those of c/interval_tree.c."""

    INSERT = 0
    INSERT_AFTER = 1
    REMOVE = 2
    FIND = 3
    ANON_INSERT = 4
    ANON_REMOVE = 5
    ANON_FIND = 6


Number = Annotated[int, Bounds(0, 100)]
InOrder = Annotated[int, Bounds(0, 7**6)]
"""Numbers of vmas, plus 1, in the order in which they come: the digits of a number."""

operation = const("conform.operation", Op)
first = const("conform.first", Number)
second = const("conform.second", Number)


class Results(Record):
    """What each thread's last operation returned."""

    of: Array[InOrder, Literal[3]]


class World(Record):
    """The vmas of one file, and of one anon_vma."""

    file: AddressSpace
    anon: AnonVma


results = shared(Results)
world = shared(World)


@atomic
def find(begin: Pgoff, last: Pgoff) -> InOrder:
    """The vmas that map any of the pages, in the order in which they come."""
    ret: InOrder = 0
    vma = vma_interval_tree_iter_first(world.file, begin, last)
    while vma is not None:
        ret = ret * 7 + vmas.index(vma) + 1
        vma = vma_interval_tree_iter_next(vma, begin, last)
    return ret


@atomic
def find_anon(index: Pgoff) -> InOrder:
    """The vmas of the anon_vma that have the address, in the order in which they come."""
    ret: InOrder = 0
    vma = anon_vma_interval_tree_iter_first(world.anon, index, index)
    while vma is not None:
        ret = ret * 7 + vmas.index(vma) + 1
        vma = anon_vma_interval_tree_iter_next(vma, index, index)
    return ret


@atomic
def operate(op: Op, one: Number, other: Number) -> InOrder:
    """One call, under the tree's lock."""
    if op == Op.INSERT:
        vma_interval_tree_insert(vmas[one], world.file)
    elif op == Op.INSERT_AFTER:
        vma_interval_tree_insert_after(vmas[one], vmas[other])
    elif op == Op.REMOVE:
        vma_interval_tree_remove(vmas[one], world.file)
    elif op == Op.FIND:
        return find(one, other)
    elif op == Op.ANON_INSERT:
        anon_vma_interval_tree_insert(vmas[one], world.anon)
    elif op == Op.ANON_REMOVE:
        anon_vma_interval_tree_remove(vmas[one], world.anon)
    else:
        return find_anon(one)
    return 0


def script(thread: Number, at: Number, end: Number) -> None:
    """What a thread does: the operations from `at` to before `end`."""
    while at < end:
        ret = operate(operation[at], first[at], second[at])
        results.of[thread] = ret
        at += 1


class MmIntervalTreeFile(Target):
    """mm/interval_tree.c."""

    file = "mm/interval_tree.c"
    model = "mm_interval_tree.py"
    c = "interval_tree.c"
    linked = ("lib/rbtree.c",)
    functions = (
        "vma_interval_tree_insert", "vma_interval_tree_insert_after", "vma_interval_tree_remove", "vma_interval_tree_iter_first",
        "vma_interval_tree_iter_next", "anon_vma_interval_tree_insert", "anon_vma_interval_tree_remove", "anon_vma_interval_tree_iter_first",
        "anon_vma_interval_tree_iter_next", "vma_start_pgoff", "vma_last_pgoff", "avc_start_pgoff", "avc_last_pgoff",
    )  # fmt: skip
    model_functions = (*functions, "following", "at_index")
    boundaries = (
        Crossing("script", "results.of[thread] = ret", Stop("result")),
        Crossing("script", "ret = operate(", Stop("one")),
    )
    merged: ClassVar[Mapping[Stop, str]] = {}
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    differences = (
        StateDifference(
            "vma_interval_tree_insert_after() of a vma with more pages than the one that it comes behind",
            "the kernel then leaves the largest page of the subtrees above as it was, and does not find the new one by the pages that only it has. "
            "Its one caller, fork, copies a vma whole; the model finds it always",
            "neither",
        ),
        StateDifference(
            "private mappings of files",
            "the kernel keeps the vmas of an anon_vma by the file's page that each begins with, the model by address. They are the same for "
            "anonymous memory that has not moved, and only such is here; of another the model finds the same vmas by another key",
            "neither",
        ),
    )

    equivalent: ClassVar[Mapping[str, str]] = EQUIVALENT
    equivalent_model: ClassVar[Mapping[str, str]] = EQUIVALENT_MODEL

    def draw(self, source: random.Random, release: str) -> Configuration:
        shapes: list[tuple[int, int, int]] = []
        for _ in range(VMAS):
            shapes.append(source.choice(shapes) if shapes and source.random() < 0.3 else _shape(source))
        cuts = [0, *sorted(source.choices(range(VMAS + 1), k=THREADS - 1)), VMAS]
        threads = tuple(tuple(_operations(source, shapes, range(begin, end))) for begin, end in pairwise(cuts) if begin < end)
        return Configuration(tuple(number for shape in shapes for number in shape), threads)

    def bounded(self, release: str) -> Iterator[Configuration]:
        insert, after, remove, find, anon_insert, anon_remove, anon_find = Op
        for pages in ((1, 4, 2, 1, 3, 1), (2, 2, 2, 2, 2, 2)):
            setup = tuple(number for start, more in zip((0, 2, 2, 4, 1, 3), pages, strict=True) for number in (start, more, start))
            yield Configuration(
                setup,
                (
                    (task(insert, 0), task(insert, 1), task(remove, 0), task(find, 2, 7)),
                    (task(insert, 2), task(insert, 3), task(remove, 2)),
                    (task(insert, 4), task(insert, 5), task(find, 0, 4)),
                ),
            )
            yield Configuration(
                setup,
                (
                    (task(anon_insert, 0), task(anon_insert, 1), task(anon_remove, 0), task(anon_find, 3)),
                    (task(anon_insert, 2), task(anon_insert, 3), task(anon_remove, 2)),
                    (task(anon_insert, 4), task(anon_insert, 5), task(anon_find, 1)),
                ),
            )
        twins = (0, 3, 2, 0, 1, 2, 4, 2, 2, 4, 2, 2, 1, 1, 0, 2, 4, 4)
        yield Configuration(
            twins,
            (
                (task(insert, 0), task(after, 1, 0), task(find, 4, 4), task(remove, 0)),
                (task(insert, 2), task(after, 3, 2), task(remove, 3)),
                (task(insert, 4), task(insert, 5), task(find, 3, 6)),
            ),
        )

        below = (1, 6, 1, 0, 1, 0, 3, 1, 3, 2, 1, 2, 1, 6, 1, 5, 1, 5)  # the copy comes deep below its original
        built = (task(insert, 0), task(insert, 1), task(insert, 2), task(insert, 3), task(insert, 5), task(after, 4, 0))
        yield Configuration(below, ((*built, task(find, 6, 6), task(remove, 0), task(find, 2, 2)), (task(find, 6, 6), task(find, 0, 7))))

    def scene(self, configuration: Configuration) -> Scene:
        setup = configuration.setup
        tasks = [task for thread in configuration.threads for task in thread]
        data: dict[str, list[int]] = {
            "conform.operation": [Op(task.code) for task in tasks],
            "conform.first": [task.arguments[0] for task in tasks],
            "conform.second": [task.arguments[1] for task in tasks],
        }
        machine = Machine(bounds=bounds(pages=PAGES, vmas=VMAS, anon_vmas=1, file_pages=PAGES), data=data)
        with machine:
            for i in range(VMAS):
                vmas[i].vm_start, pages, vmas[i].vm_pgoff = setup[i * 3 : i * 3 + 3]
                vmas[i].vm_end = vmas[i].vm_start + pages
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                threads.append(Thread(f"thread {number}", script, (number, at, at + len(thread))))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (script,)))
            return Scene(program, _look(program, len(threads)))


def task(op: Op, one: int, other: int = 0) -> TargetOperation:
    """An operation of a thread."""
    return TargetOperation(op, op.name.lower(), (one, other))


def _shape(source: random.Random) -> tuple[int, int, int]:
    """Where a vma begins, how many pages it has, and which page of its file it begins with."""
    start = source.randrange(PAGES - 1)
    return start, source.randint(1, PAGES - start), source.choice([start, start, source.randrange(PAGES)])


def _operations(source: random.Random, shapes: list[tuple[int, int, int]], mine: range) -> Iterator[TargetOperation]:
    """What one thread does with vmas of its own; in the anon_vma are those whose place in memory is that in their file."""
    there: set[int] = set()
    anonymous: set[int] = set()
    for _ in range(source.randint(4, 4 + 3 * len(mine))):
        one, index = source.choice(mine), source.randrange(PAGES)
        if source.random() < 0.35:
            yield task(Op.ANON_FIND, index) if source.random() < 0.4 else task(Op.FIND, index, source.randrange(index, PAGES))
        elif shapes[one][0] == shapes[one][2] and source.random() < 0.5:
            yield task(Op.ANON_REMOVE if one in anonymous else Op.ANON_INSERT, one)
            anonymous ^= {one}
        else:
            before = [other for other in sorted(there) if shapes[other][2] == shapes[one][2] and shapes[other][1] >= shapes[one][1]]
            if one not in there and before and source.random() < 0.7:
                yield task(Op.INSERT_AFTER, one, source.choice(before))
            else:
                yield task(Op.REMOVE if one in there else Op.INSERT, one)
            there ^= {one}


def _look(program: Program, threads: int) -> Callable[[bytes], str]:
    """The look that c/interval_tree.c has."""
    eyes = Eyes(program)
    of = eyes.array(results, "of")[:threads]
    numbers = {eyes.offset(vma): i for i, vma in enumerate(vmas)}
    shared_next = {offset: eyes.field(vmas[i], "shared") for offset, i in numbers.items()}
    anon_next = {offset: eyes.array(vmas[i], "anon_next")[0] for offset, i in numbers.items()}
    trees = (("file", eyes.field(world.file, "i_mmap"), shared_next), ("anon", eyes.field(world.anon, "rb_root"), anon_next))

    def look(state: bytes) -> str:
        text = "".join(f"{read(state)} " for read in of)
        for name, root, following in trees:
            text += f"{name}="
            at = root(state)
            while at:
                text += f":{numbers[at]}"
                at = following[at](state)
            text += " "
        return text.rstrip()

    return look
