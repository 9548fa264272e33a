"""drivers/dma-buf/udmabuf.c beside `linux.udmabuf`: see c/udmabuf.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Annotated, ClassVar, Literal

from secondsight.conform.eyes import Eyes
from secondsight.conform.place import Crossing, Stop
from secondsight.conform.target import Configuration, Scene, StateDifference, Target, TargetOperation
from secondsight.conform.targets.udmabuf_mutants import EQUIVALENT, EQUIVALENT_MODEL
from secondsight.lang import Array, Bounds, Machine, Record, Ref, atomic, const, shared
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.dma_buf import attachments, dma_buf_fput
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.memfd import memfd_create
from secondsight.linux.memory import VM_FAULT_NOPAGE
from secondsight.linux.mm_types import Count, Mm
from secondsight.linux.mmap import link_new_vma
from secondsight.linux.page_alloc import frames, mem_init, page_to_pfn, put_page
from secondsight.linux.shmem import (
    F_SEAL_FUTURE_WRITE,
    F_SEAL_GROW,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    ShmemFile,
    shmem_files,
    shmem_get_folio,
)
from secondsight.linux.udmabuf import Udmabuf, create_items, udmabuf_create, udmabuf_create_list, udmabufs

__all__ = ["UdmabufFile"]

FILES, PAGES, BUFFERS, FRAMES, ENTRIES, THREADS = 2, 2, 3, 12, 3, 3


class Op(IntEnum):
    """What a thread does; the numbers are those of c/udmabuf.c."""

    CREATE = 0
    CREATE_LIST = 1
    RELEASE = 2
    MAP = 3
    FAULT = 4
    PUNCH = 5
    SEAL = 6
    BEGIN = 7
    END = 8


Number = Annotated[int, Bounds(0, 100)]
Value = Annotated[int, Bounds(-200, 70000)]

operation = const("conform.operation", Op)
first = const("conform.first", Number)
second = const("conform.second", Number)
third = const("conform.third", Number)
fourth = const("conform.fourth", Number)


class World(Record):
    """What each thread's last operation returned, and the buffers."""

    of: Array[Value, Literal[3]]
    buffers: Array[Ref[Udmabuf], Literal[3]]


world = shared(World)


def create(at: Number, file: Ref[ShmemFile]) -> Value:
    """Make a buffer, unless there is one of that number."""
    number = first[at]
    taken = world.buffers[number] is not None
    if taken:
        return 1
    if operation[at] == Op.CREATE:
        ret = udmabuf_create(file, third[at], fourth[at])
    else:
        ret = udmabuf_create_list(second[at])
    with atomic:
        if ret >= 0:
            world.buffers[number] = udmabufs[ret]
    return ret if ret < 0 else 0


@atomic
def map_all(buffer: Udmabuf) -> Value:
    """An importer's look at the buffer: the numbers of its frames, a hexadecimal digit each."""
    attach = attachments.alloc()
    buffer.map_dma_buf(attach)
    ret: Value = 0
    for i in range(buffer.nr_pages - 1, -1, -1):
        frame = attach.sgt[i]
        assert frame is not None
        ret = ret * 16 + page_to_pfn(frame)
    attachments.free(attach)
    return ret


@atomic
def one(mm: Mm, at: Number) -> Value:
    """What happens in one step to a buffer or to a page of a memfd; 1: it has no meaning now."""
    op = operation[at]
    if op == Op.PUNCH:
        file = shmem_files[first[at]]
        folio = file.pages[second[at]]
        if folio is None:
            return 1
        file.pages[second[at]] = None
        put_page(folio)
        return 0
    buffer = world.buffers[first[at]]
    if buffer is None:
        return 1
    if op == Op.RELEASE:
        world.buffers[first[at]] = None
        dma_buf_fput(buffer)
        return 0
    if op == Op.MAP:
        return map_all(buffer)
    if op == Op.BEGIN:
        return buffer.begin_cpu_access(True)
    if op == Op.END:
        return buffer.end_cpu_access(True)
    return 0 if buffer.fault(mm, third[at], second[at], 0) == VM_FAULT_NOPAGE else 1


def seal(file: ShmemFile, at: Number) -> None:
    """Add seals, as memfd_add_seals() does where it need not wait."""
    file.i_rwsem.write_lock()
    file.seals |= second[at]
    file.i_rwsem.write_unlock()


def script(mm: Mm, thread: Count, at: Number, end: Number) -> None:
    """What a thread does: the operations from `at` to before `end`."""
    while at < end:
        op = operation[at]
        ret: Value = 0
        if op == Op.CREATE:
            file: Ref[ShmemFile] = None
            if second[at] < FILES:
                file = shmem_files[second[at]]
            ret = create(at, file)
        elif op == Op.CREATE_LIST:
            ret = create(at, None)
        elif op == Op.SEAL:
            seal(shmem_files[first[at]], at)
        else:
            ret = one(mm, at)
        world.of[thread] = ret
        at += 1


UNPIN, MADE = Stop("unpin"), Stop("made")


class UdmabufFile(Target):
    """drivers/dma-buf/udmabuf.c."""

    file = "drivers/dma-buf/udmabuf.c"
    model = "udmabuf.py"
    c = "udmabuf.c"
    linked = ("lib/list_debug.c",)
    releases = ("6.12", "7.2")
    functions = (
        "udmabuf_create", "udmabuf_pin_folios", "check_memfd_seals", "add_to_unpin_list", "unpin_all_folios", "export_udmabuf",
        "release_udmabuf", "get_sg_table", "put_sg_table", "map_udmabuf", "unmap_udmabuf", "begin_cpu_udmabuf", "end_cpu_udmabuf",
        "udmabuf_vm_fault",
    )  # fmt: skip
    model_functions = (
        "check_memfd_seals", "udmabuf_create", "udmabuf_create_list", "udmabuf_pin_folios", "udmabuf_add_folio", "udmabuf_insert", "release_udmabuf",
        "begin_cpu_udmabuf", "end_cpu_udmabuf",
    )  # fmt: skip
    boundaries = (
        Crossing("script", "world.of[thread] = ret", Stop("result")),
        Crossing("script", "ret = one(", Stop("one")),
        Crossing("create", "taken = ", Stop("create")),
        Crossing("create", "with atomic: if ret >= 0", MADE),
        Crossing("udmabuf_create", "with atomic: if size == 0", Stop("ioctl")),
        Crossing("udmabuf_create_list", "with atomic: if are_too_many(", Stop("ioctl")),
        Crossing("udmabuf_create_list", "with atomic: memfd = create_items", Stop("fget")),
        Crossing("udmabuf_pin_folios", "with atomic: memfd.i_rwsem.read_lock()", Stop("down_read")),
        Crossing("udmabuf_pin_folios", "udmabuf_add_folio(", Stop("pin_folio")),
        Crossing("udmabuf_pin_folios", "memfd.i_rwsem.read_unlock()", Stop("up_read")),
        Crossing("udmabuf_create", "release_udmabuf(ubuf)", UNPIN, (MADE,)),
        Crossing("udmabuf_create_list", "release_udmabuf(ubuf)", UNPIN, (MADE,)),
        Crossing("seal", "file.i_rwsem.write_lock()", Stop("down_write")),
        Crossing("seal", "file.seals |= ", Stop("written")),
        Crossing("seal", "file.i_rwsem.write_unlock()", Stop("up_write")),
    )
    merged: ClassVar[Mapping[Stop, str]] = {
        Stop("fget"): "the file descriptor is looked up; nobody closes or replaces it here",
        Stop("ioctl"): "our own place before the call, where that refuses a size of nothing at once",
        UNPIN: "each page is given back on its own; in between somebody could see the first ones free and the others not, as he could "
        "see all of them held, or none, a moment earlier or later",
    }
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    differences = (
        StateDifference(
            "memfd_pin_folios(), memfd_fcntl(), dma_buf_export(), vmf_insert_pfn()",
            "functions of other files: stubs with the meaning that the model's own have; each page is pinned in a step of its own",
            "neither",
        ),
        StateDifference(
            "udmabuf_vm_fault() in Linux 7.2",
            "it enters every page of the mapping at once; the model, and 6.12, one. It is not compared there: nobody who reads memory "
            "can tell",
            "neither",
        ),
        StateDifference(
            "cache_sgt_mapping",
            "gone in Linux 7.2, where a device that asks twice is given two tables of the same pages; the pages are pinned all the same",
            "neither",
        ),
        StateDifference("Linux 6.1", "pins page by page with shmem_read_mapping_page(), and without the inode lock; the packaged kernel has no udmabuf", "may hide"),
        StateDifference("limits of size and of the list, hugetlb memfds, folios of several pages", "not in the model", "may hide"),
    )

    equivalent: ClassVar[Mapping[str, str]] = EQUIVALENT
    equivalent_model: ClassVar[Mapping[str, str]] = EQUIVALENT_MODEL

    def definitions(self, release: str) -> tuple[str, ...]:
        return ("SS_WRITTEN_IS_A_PLACE",)

    def draw(self, source: random.Random, release: str) -> Configuration:
        setup = []
        for _ in range(FILES):
            seals = source.choice([F_SEAL_SHRINK] * 6 + [0, F_SEAL_SHRINK | F_SEAL_WRITE, F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE, F_SEAL_SHRINK | F_SEAL_GROW])
            setup += [seals, *(int(source.random() < 0.6) for _ in range(PAGES))]
        for _ in range(2):
            setup += [source.choice([0, 0, 1, 1, FILES]), *source.choice(RANGES)]
        kinds = [Op.RELEASE, Op.RELEASE, Op.MAP, Op.MAP, Op.PUNCH, Op.PUNCH, Op.SEAL, Op.BEGIN, Op.END] + ([Op.FAULT] if release == "6.12" else [])
        threads = []
        for number in range(source.randint(2, THREADS)):
            operations = []
            for _ in range(source.randint(1, 5)):
                if source.random() < 0.4:
                    offset, size = source.choice(RANGES)
                    operations.append(task(Op.CREATE, number, source.choice([0, 0, 1, 1, FILES]), offset, size))
                    if source.random() < 0.4:
                        operations[-1] = task(Op.CREATE_LIST, number, source.choice([0, 1, 2, 2, 2]))
                    continue
                operations.append(self._other(source, source.choice(kinds)))
            threads.append(tuple(operations))
        return Configuration(tuple(setup), tuple(threads))

    def _other(self, source: random.Random, op: Op) -> TargetOperation:
        if op == Op.PUNCH:
            return task(op, source.randrange(FILES), source.randrange(PAGES))
        if op == Op.SEAL:
            return task(op, source.randrange(FILES), source.choice([F_SEAL_SHRINK, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_GROW]))
        if op == Op.FAULT:
            return task(op, source.randrange(BUFFERS), source.randrange(3), source.randrange(ENTRIES))
        return task(op, source.randrange(BUFFERS))

    def bounded(self, release: str) -> Iterator[Configuration]:
        full, half, sealed = (F_SEAL_SHRINK, 1, 1), (F_SEAL_SHRINK, 1, 0), (F_SEAL_SHRINK | F_SEAL_WRITE, 1, 1)
        both, wrong, none = (0, 0, 2, 1, 1, 1), (0, 0, 2, 1, 1, 2), (0, 0, 1, FILES, 0, 1)
        one, other, listed = task(Op.CREATE, 0, 0, 0, 2), task(Op.CREATE, 1, 1, 1, 1), task(Op.CREATE_LIST, 2, 2)
        punch, late, seals = task(Op.PUNCH, 0, 1), task(Op.PUNCH, 1, 1), task(Op.SEAL, 0, F_SEAL_WRITE)
        maps = tuple(task(Op.MAP, number) for number in range(BUFFERS))
        leaves = tuple(task(Op.RELEASE, number) for number in range(BUFFERS))
        yield Configuration((*half, *full, *both), ((one, maps[0], leaves[0]), (punch, punch), (seals,)))
        yield Configuration((*half, *half, *both), ((listed, maps[2], leaves[2]), (punch, late), (other, leaves[1])))
        yield Configuration((*full, *half, *wrong), ((listed, maps[2]), (one, leaves[0]), (late,)))
        yield Configuration((*half, *sealed, *both), ((listed, maps[2]), (punch, seals), (other, maps[1])))
        yield Configuration((*half, *full, *none), ((listed, one, leaves[0]), (punch,), (maps[0], task(Op.CREATE, 1, FILES, 0, 1))))
        cpu = tuple(task(op, 0) for op in (Op.END, Op.BEGIN, Op.END))
        yield Configuration((*full, *full, *both), ((one, *cpu, leaves[0]), (task(Op.BEGIN, 0), maps[0]), (task(Op.END, 0), listed)))
        if release == "6.12":
            faults = tuple(task(Op.FAULT, 0, pgoff, pgoff) for pgoff in range(3))
            yield Configuration((*half, *full, *both), ((one, faults[1], leaves[0], one), (punch, faults[0], faults[2]), (faults[1],)))

    def scene(self, configuration: Configuration) -> Scene:
        setup = configuration.setup
        tasks = [task for thread in configuration.threads for task in thread]
        columns = [(*task.arguments, 0, 0, 0)[:4] for task in tasks]
        data: dict[str, list[int]] = {
            f"conform.{name}": [column[i] for column in columns] for i, name in enumerate(("first", "second", "third", "fourth"))
        }
        data["conform.operation"] = [Op(task.code) for task in tasks]
        sizes = bounds(
            pages=ENTRIES, frames=FRAMES, files=FILES, file_pages=PAGES, udmabufs=BUFFERS, dmabuf_pages=4, attachments=1, create_items=2, udmabuf_sg=1
        )
        machine = Machine(bounds=sizes, data=data)
        with machine:
            mem_init()
            proc_caches_init()
            mm = mm_alloc()
            link_new_vma(mm, 0, ENTRIES, None, 0, True)
            files = []
            for i in range(FILES):
                seals, *present = setup[i * (1 + PAGES) : (i + 1) * (1 + PAGES)]
                file = memfd_create(PAGES, seals)
                for pgoff, there in enumerate(present):
                    if there:
                        shmem_get_folio(file, pgoff)
                files.append(file)
            for i in range(2):
                number, offset, size = setup[FILES * (1 + PAGES) + i * 3 :][:3]
                item = create_items[i]
                item.memfd, item.offset, item.size = files[number] if number < FILES else None, offset, size
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                threads.append(Thread(f"thread {number}", script, (mm, number, at, at + len(thread))))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (script,)))
            return Scene(program, _look(program, mm, files, len(threads)))


RANGES = ((0, 1), (0, 2), (0, 2), (1, 1), (1, 1), (1, 2), (0, 0), (2, 1))


def task(op: Op, *arguments: int) -> TargetOperation:
    """An operation of a thread."""
    return TargetOperation(op, op.name.lower(), arguments)


def _look(program: Program, mm: Mm, files: list[ShmemFile], threads: int) -> Callable[[bytes], str]:
    """The look that c/udmabuf.c has."""
    eyes = Eyes(program)
    of, buffers = eyes.array(world, "of")[:threads], eyes.array(world, "buffers")
    number_at = {eyes.offset(frames[i]): i for i in range(FRAMES)} | {0: 0}
    each_file = [(eyes.semaphore(file.i_rwsem), eyes.field(file, "seals"), eyes.array(file, "pages")) for file in files]
    each_frame = [(eyes.field(frames[i], "refcount"), eyes.field(frames[i], "pins")) for i in range(1, FRAMES)]
    each_buffer = {eyes.offset(ubuf): (eyes.field(ubuf, "nr_pages"), eyes.array(ubuf, "folios"), eyes.array(ubuf, "sg")[0]) for ubuf in udmabufs}
    entries = [eyes.field(pte, "frame") for pte in mm.ptes]

    def buffer(state: bytes, at: int) -> str:
        if not at:
            return ""
        pages, folios, table = each_buffer[at]
        size = pages(state)
        return f"{size}{'t' if table(state) else ''}:" + ",".join(str(number_at[folio(state)]) for folio in folios[:size])

    def look(state: bytes) -> str:
        parts = [f"{read(state)}" for read in of]
        for inode, seals, pages in each_file:
            parts.append(f"memfd={inode(state)}:{seals(state)}:{','.join(str(number_at[page(state)]) for page in pages)}")
        parts.append("frames=" + " ".join(f"{refs(state)}/{pins(state)}" for refs, pins in each_frame))
        parts += [f"buffer={buffer(state, read(state))}" for read in buffers]
        parts.append(f"tables={sum(table(state) for _, _, table in each_buffer.values())}")
        parts.append("entries=" + ",".join(str(number_at[read(state)]) for read in entries))
        return " ".join(parts)

    return look
