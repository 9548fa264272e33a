"""mm/mmu_notifier.c beside `linux.mmu_notifier`: see c/mmu_notifier.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from secondsight.conform.eyes import Eyes
from secondsight.conform.place import Crossing, Stop, stops_of
from secondsight.conform.target import Configuration, Scene, StateDifference, Target, TargetOperation
from secondsight.conform.targets.mmu_notifier_configurations import bounded, draw, two_passes
from secondsight.conform.targets.mmu_notifier_mutants import EQUIVALENT, EQUIVALENT_MODEL
from secondsight.conform.targets.mmu_notifier_world import (
    ASKS_FOR_SECOND,
    BOTH,
    FLUSHES,
    NOTIFIERS,
    PAGES,
    SHARED,
    SUBS,
    TELLS_YOUNG,
    THREADS,
    TWO_PASSES,
    BothEnds,
    Call,
    Flushes,
    OnlyStart,
    Op,
    SharedOne,
    Sub,
    TellsYoung,
    TwoPassSub,
    results,
    script,
    world,
)
from secondsight.lang import Machine, Record
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import link_new_vma
from secondsight.linux.srcutree import srcu

__all__ = ["MmuNotifierFile"]

ITREE_START = Stop("spin_lock", "mn_itree_inv_start_range")
ITREE_END = Stop("spin_lock", "mn_itree_inv_end")
INSERTING = Stop("spin_lock", "__mmu_interval_notifier_insert")
GRABBING = Stop("mmgrab", "__mmu_interval_notifier_insert")
HLIST_START = Stop("srcu_read_lock", "mn_hlist_invalidate_range_start")
HLIST_END = Stop("srcu_read_lock", "mn_hlist_invalidate_end")
HLIST_FLUSH = Stop("srcu_read_lock", "__mmu_notifier_arch_invalidate_secondary_tlbs")
HLIST_RELEASE = Stop("srcu_read_lock", "mn_hlist_release")
ENDED = Stop("ended_bracket")


class MmuNotifierFile(Target):
    """mm/mmu_notifier.c."""

    file = "mm/mmu_notifier.c"
    model = "mmu_notifier.py"
    parts = ("mmu_notifier_hlist.py", "mmu_notifier_get.py", "mmu_notifier_young.py", "interval_tree.py")
    c = "mmu_notifier.c"
    linked = ("lib/interval_tree.c", "lib/rbtree.c", "lib/llist.c")
    functions = (
        "mmu_interval_read_begin", "mmu_interval_read_retry", "mmu_interval_notifier_insert", "mmu_interval_notifier_remove",
        "mn_itree_inv_start_range", "mn_itree_inv_next", "mn_itree_inv_end", "mn_itree_invalidate", "mn_itree_release",
        "mn_itree_finish_pass", "mn_hlist_invalidate_range_start", "mn_hlist_invalidate_end", "mn_hlist_release",
        "__mmu_notifier_invalidate_range_start", "__mmu_notifier_invalidate_range_end", "__mmu_notifier_release",
        "__mmu_notifier_register", "mmu_notifier_register", "mmu_notifier_unregister", "__mmu_notifier_arch_invalidate_secondary_tlbs",
        "find_get_mmu_notifier", "mmu_notifier_get_locked", "mmu_notifier_put", "mmu_notifier_free_rcu", "mmu_notifier_synchronize",
        "__mmu_notifier_clear_flush_young", "__mmu_notifier_clear_young", "__mmu_notifier_test_young",
    )  # fmt: skip
    model_functions = (
        *functions, "interval_notifier_insert", "interval_tree_insert", "interval_tree_remove", "deferred_add", "deferred_del",
        "mn_itree_is_invalidating", "hits", "finish_add", "hlist_first", "subscriber_of", "next_with_range_end", "hlist_add", "hlist_node",
        "hlist_del_init", "mm_take_all_locks", "mmu_interval_set_seq", "mmu_notifier_invalidate_range_start",
        "mmu_notifier_invalidate_range_start_nonblock", "mmu_notifier_invalidate_range_end", "mmu_notifier_release",
        "rmap_unlocked", "mmu_notifier_arch_invalidate_secondary_tlbs", "next_with_secondary_tlbs", "mmu_notifier_register_locked", "mmu_notifier_get", "srcu_work", "put_last", "all_are_asked", "mmu_notifier_test_young",
        "mmu_notifier_clear_flush_young", "mmu_notifier_clear_young",
    )  # fmt: skip
    boundaries = (
        Crossing("script", "results.of[thread] = ret", Stop("result")),
        # The reader's side.
        Crossing("mmu_interval_read_begin", "with atomic:", Stop("spin_lock", "mmu_interval_read_begin")),
        Crossing("mmu_interval_read_begin", "wait_until(", Stop("schedule", "mmu_interval_read_begin")),
        Crossing("mmu_interval_read_retry", "retry = ", Stop("retry")),
        # Interval notifiers come and go.
        Crossing("mmu_interval_notifier_insert", "with atomic:", Stop("insert")),
        Crossing("mmu_interval_notifier_insert", "ret = interval_notifier_insert(", GRABBING, (Stop("result"),)),
        Crossing("mmu_interval_notifier_remove", "with atomic:", Stop("spin_lock", "mmu_interval_notifier_remove")),
        Crossing("mmu_interval_notifier_remove", "wait_until(", Stop("schedule", "mmu_interval_notifier_remove")),
        Crossing("mmu_interval_notifier_remove", "is_unregistered(", Stop("mmdrop", "mmu_interval_notifier_remove")),
        # Brackets.
        Crossing("bracket", "mm.mmap_lock.read_lock()", Stop("down_read")),
        Crossing("bracket", "world.file.i_mmap_rwsem.read_lock()", Stop("down_read")),
        Crossing("bracket", "world.brackets += 1", Stop("between")),
        Crossing("bracket", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        Crossing("bracket", "world.file.i_mmap_rwsem.read_unlock()", Stop("up_read")),
        Crossing("mn_itree_invalidate", "with atomic: sub = mn_itree_inv_start_range", Stop("start"), (ITREE_START,)),
        Crossing("mn_itree_invalidate", "with atomic: leave_callback", Stop("invalidated")),
        Crossing("mn_itree_invalidate", "mn_itree_inv_end(subs)", ITREE_END),
        Crossing("Sub.invalidate", "with atomic:", Stop("invalidate")),
        Crossing("TwoPassSub.invalidate_start", "with atomic:", Stop("invalidate")),
        Crossing("mn_itree_finish_pass", "with atomic:", None, (Stop("finish"),)),
        Crossing("TwoPassSub.invalidate_finish", "with atomic:", Stop("finish")),
        Crossing("inv_end", "mn_itree_inv_end(", ITREE_END, (HLIST_END, ENDED)),
        Crossing("mmu_notifier_release", "with atomic:", Stop("start")),
        Crossing("mn_itree_release", "with atomic: mn_itree_inv_end(", ITREE_END, (HLIST_RELEASE, ENDED)),
        # mmu notifiers.
        Crossing("mn_hlist_invalidate_range_start", "with atomic: if subs.list == 0", HLIST_START, (Stop("started"),)),
        Crossing("mn_hlist_invalidate_range_start", "with atomic: leave_callback", Stop("range_started")),
        Crossing("mn_hlist_invalidate_range_start", "sub = subscriber_of(node)", None, (Stop("range_end"),)),
        Crossing("mn_hlist_invalidate_range_start", "node = next_with_range_end(", Stop("range_ended")),
        Crossing(
            "mn_hlist_invalidate_range_start", "srcu_read_unlock(", Stop("srcu_read_unlock", "mn_hlist_invalidate_range_start")
        ),
        Crossing("OnlyStart.invalidate_range_start", "with atomic:", Stop("range_start")),
        Crossing("BothEnds.invalidate_range_start", "with atomic:", Stop("range_start")),
        Crossing("BothEnds.invalidate_range_end", "called(", Stop("range_end")),
        Crossing("mn_hlist_invalidate_end", "with atomic: if subs.list == 0", HLIST_END, (ENDED,)),
        Crossing("mn_hlist_invalidate_end", "with atomic: leave_callback", Stop("range_ended")),
        Crossing("mn_hlist_invalidate_end", "srcu_read_unlock(", Stop("srcu_read_unlock", "mn_hlist_invalidate_end")),
        # Flushes.
        Crossing("mmu_notifier_arch_invalidate_secondary_tlbs", "with atomic: if subs.list == 0", HLIST_FLUSH, (Stop("started"),)),
        Crossing("mmu_notifier_arch_invalidate_secondary_tlbs", "with atomic: non_block_end()", Stop("flushed")),
        Crossing(
            "mmu_notifier_arch_invalidate_secondary_tlbs", "srcu_read_unlock(",
            Stop("srcu_read_unlock", "__mmu_notifier_arch_invalidate_secondary_tlbs"),
        ),
        Crossing("Flushes.arch_invalidate_secondary_tlbs", "called(", Stop("flush")),
        Crossing("Flushes.invalidate_range_start", "with atomic:", Stop("range_start")),
        Crossing("Flushes.release", "with atomic:", Stop("release")),
        # The end.
        Crossing("leave", "mm.users = 0", Stop("exit")),
        Crossing("mn_hlist_release", "with atomic: idx = srcu_read_lock()", HLIST_RELEASE),
        Crossing("mn_hlist_release", "with atomic: assert node", Stop("released_one")),
        Crossing("mn_hlist_release", "with atomic: while subs.list", Stop("spin_lock", "mn_hlist_release")),
        Crossing("mn_hlist_release", "srcu_read_unlock(", Stop("srcu_read_unlock", "mn_hlist_release")),
        Crossing("OnlyStart.release", "with atomic:", Stop("release")),
        Crossing("BothEnds.release", "with atomic:", Stop("release")),
        Crossing("mmu_notifier_register", "mm.mmap_lock.write_lock()", Stop("down_write")),
        Crossing("mmu_notifier_register_locked", "with atomic: require(", Stop("mm_take_all_locks", "__mmu_notifier_register")),
        Crossing("mmu_notifier_register_locked", "with atomic: mm_take_all_locks", Stop("all_locks", "__mmu_notifier_register")),
        Crossing("mmu_notifier_register", "mm.mmap_lock.write_unlock()", Stop("up_write")),
        Crossing("mmu_notifier_unregister", "with atomic: node = hlist_node(", Stop("unregister")),
        Crossing("mmu_notifier_unregister", "idx = srcu_read_lock()", Stop("srcu_read_lock", "mmu_notifier_unregister")),
        Crossing("mmu_notifier_unregister", "srcu_read_unlock(", Stop("srcu_read_unlock", "mmu_notifier_unregister")),
        Crossing("mmu_notifier_unregister", "hlist_del_init(", Stop("spin_lock", "mmu_notifier_unregister")),
        Crossing("mmu_notifier_unregister", "with atomic: node.subscription", Stop("mmdrop", "mmu_notifier_unregister")),
        # mmu notifiers that are shared.
        Crossing("mmu_notifier_get", "mm.mmap_lock.write_lock()", Stop("down_write")),
        Crossing("mmu_notifier_get_locked", "with atomic: require(", Stop("spin_lock", "find_get_mmu_notifier"), (Stop("alloc"),)),
        Crossing("mmu_notifier_get_locked", "subscription = ops.alloc_notifier(", Stop("alloc")),
        Crossing("mmu_notifier_get_locked", "require(mm.users", Stop("mm_take_all_locks", "__mmu_notifier_register")),
        Crossing("mmu_notifier_get_locked", "with atomic: mm_take_all_locks", Stop("all_locks", "__mmu_notifier_register")),
        Crossing("mmu_notifier_get", "mm.mmap_lock.write_unlock()", Stop("up_write")),
        Crossing("get", "with atomic:", Stop("got")),
        Crossing("put", "with atomic:", Stop("put")),
        Crossing("SharedOne.invalidate_range_start", "with atomic:", Stop("range_start")),
        Crossing("SharedOne.release", "with atomic:", Stop("release")),
        Crossing("srcu_work", "with atomic: wait_until(", Stop("srcu_work")),
        Crossing("srcu_work", "with atomic: assert node", Stop("srcu_invoke")),
        Crossing("mmu_notifier_synchronize", "wait_until(", Stop("synchronize", "mmu_notifier_synchronize")),
        # Who asks what is young.
        Crossing("script", "ret = asks_young(", Stop("start")),
        Crossing("TellsYoung.release", "with atomic:", Stop("release")),
        Crossing("TellsYoung.invalidate_range_start", "with atomic:", Stop("range_start")),
        Crossing("synchronize_srcu", "with atomic: srcu.grace_period.lock()", Stop("srcu_begin")),
        Crossing("synchronize_srcu", "with atomic: wait_until(srcu.readers[old]", Stop("srcu_end")),
    )
    merged: ClassVar[Mapping[Stop, str]] = {
        Stop("start"): "where our own caller is before the kernel's function; the model asks nobody where no driver watches by interval",
        Stop("started"): "where our own caller is when the kernel's function has returned",
        ENDED: "the same, of the end",
        ITREE_START: "before it there is only a look at has_itree, which nobody can change then",
        ITREE_END: "after a callback that could not: nothing happens between it and the lock",
        GRABBING: "before it there is only a look at has_itree, which never goes back",
        INSERTING: "before it only the mm is held, which nobody looks at",
        Stop("mmgrab", "__mmu_notifier_register"): "with every lock of the mm held; nobody looks at the count",
        Stop("mmdrop", "mmu_notifier_free_rcu"): "nobody looks at the count",
        Stop("spin_lock", "mmu_notifier_put"): "before it there is only a look at which mm it is of",
        **{
            Stop(kind, function): "the caller holds the page table's lock, a spinlock: what the callbacks say is of one moment"
            for kind in ("srcu_read_lock", "srcu_read_unlock")
            for function in ("__mmu_notifier_clear_flush_young", "__mmu_notifier_clear_young", "__mmu_notifier_test_young")
        },
        Stop("spin_lock", "__mmu_notifier_register"): "with every lock of the mm held; only an unregistration could come here",
        Stop(
            "spin_lock", "mmu_interval_seq_released"
        ): "woken, it looks again under the lock; what it waits for does not come back",
        Stop("released_one", "mmu_notifier_unregister"): "where our own callback returns; the way from there to SRCU is empty",
        HLIST_START: "the look at the list and the first step into it: between them it can only become shorter",
        HLIST_END: "the same",
        HLIST_FLUSH: "the same",
        Stop(
            "srcu_read_unlock", "mn_hlist_invalidate_range_start"
        ): "the list became empty after the look at it: nobody is called",
        Stop("srcu_read_unlock", "mn_hlist_invalidate_end"): "the same",
        Stop("srcu_read_unlock", "__mmu_notifier_arch_invalidate_secondary_tlbs"): "the same",
    }
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "notifier-failed": ("warning",),
        "mm-without-users": ("warning", "BUG_ON", "all_locks"),
        "mm-without-users at mmu_interval_notifier_insert: ret = interval_notifier_insert(": ("warning", "no warning"),
        "inserted-twice": ("undefined",),
        "removed-twice": ("undefined",),
        "removed-twice at put: with atomic:": ("warning",),
        "assertion": ("undefined",),
    }
    differences = (
        StateDifference(
            "inserting an interval notifier twice, or removing one twice",
            "the kernel does not look: the tree becomes a circle, or the list is written through a poisoned pointer. The model breaks "
            "the rule `inserted-twice` or `removed-twice` instead",
            "neither",
        ),
        StateDifference(
            "the last user goes while mmu_interval_notifier_insert() waits for the spinlock",
            "the kernel has looked at mm_users before, once and without a lock, and inserts. The model breaks the rule `mm-without-users`: "
            "the caller had to be a user",
            "neither",
        ),
        StateDifference(
            "mm_take_all_locks()",
            "a stub that waits for the lock of one file's reverse map: mm/vma.c takes each lock in turn. A thread that holds one "
            "and waits for another is not seen",
            "may hide",
        ),
        StateDifference(
            "SRCU",
            "a stub with two counters, as kernel/rcu/srcutree.c has them; readers of both sides are counted alike",
            "neither",
        ),
        StateDifference(
            "the callbacks of SRCU",
            "call_srcu() is a stub. One thread makes what it was asked for, a grace period for each, of the model's lowest node first; and "
            "mmu_notifier_synchronize() waits for all of them, as if there were one queue, of one CPU",
            "may hide",
        ),
        StateDifference(
            "who asks whether a page is young",
            "of mmu_notifier_young the three functions of mm/mmu_notifier.c are compared; lines of mm/rmap.c, mm/page_idle.c and mm/damon/vaddr.c are not",
            "may hide",
        ),
        StateDifference(
            "mm_count",
            "the model does not count: how often the C holds the mm is compared with how many subscribers the model has that are registered, or "
            "on their way out",
            "neither",
        ),
    )
    equivalent: ClassVar[Mapping[str, str]] = EQUIVALENT
    equivalent_model: ClassVar[Mapping[str, str]] = EQUIVALENT_MODEL

    def draw(self, source: random.Random, release: str) -> Configuration:
        return draw(source, two_passes(release))

    def bounded(self, release: str) -> Iterator[Configuration]:
        return bounded(two_passes(release))

    def smaller(self, configuration: Configuration) -> Iterator[Configuration]:
        yield from super().smaller(configuration)
        for at in (*range(2, SUBS * 3, 3), *range(SUBS * 3 + 1, SUBS * 3 + NOTIFIERS * 2, 2)):  # who is there from the start
            if configuration.setup[at]:
                setup = [*configuration.setup]
                setup[at] = 0
                yield replace(configuration, setup=tuple(setup))

    def definitions(self, release: str) -> tuple[str, ...]:
        return ("SS_TWO_PASSES",) if two_passes(release) else ()

    def scene(self, configuration: Configuration) -> Scene:
        setup = configuration.setup
        kinds = [setup[i * 3 : i * 3 + 3] for i in range(SUBS)]
        listeners = [setup[SUBS * 3 + i * 2 : SUBS * 3 + i * 2 + 2] for i in range(NOTIFIERS)]
        second_passes = any(kind >= TWO_PASSES for kind, _, _ in kinds)
        of_sub: type[Sub] = TwoPassSub if second_passes else Sub
        pools: dict[type[Record], int] = {
            of_sub: SUBS, OnlyStart: NOTIFIERS, BothEnds: NOTIFIERS, Flushes: NOTIFIERS, TellsYoung: NOTIFIERS, SharedOne: NOTIFIERS,
        }  # fmt: skip
        tasks = [task for thread in configuration.threads for task in thread]
        columns = [[*([0] * 5)] for _ in tasks]
        for column, task in zip(columns, tasks, strict=True):
            column[: len(task.arguments)] = task.arguments
        data = {"conform.operation": [Op(task.code) for task in tasks]} | {
            f"conform.{name}": [column[i] for column in columns]
            for i, name in enumerate(("first", "second", "third", "fourth", "fifth"))
        }
        structures = max((number + 1 for number, kind in enumerate(kinds) if kind[0] >= ASKS_FOR_SECOND), default=1)
        watching = {number for number, kind in enumerate(kinds) if kind[2]} | _named(tasks, Op.READ, Op.INSERT, Op.REMOVE)
        hearing = {number for number, kind in enumerate(listeners) if kind[1] or kind[0] >= SHARED} | _named(tasks, Op.REGISTER, Op.UNREGISTER)
        sizes = bounds(
            pages=PAGES, subscribers=len(watching), mmu_notifiers=len(hearing), finishes=structures if second_passes else 0, non_blocks=THREADS
        )
        machine = Machine(bounds=sizes, pools=pools, data=data)
        with machine:
            proc_caches_init()
            mm = mm_alloc()
            link_new_vma(mm, 0, 1, world.file, 0, False)
            subs, hears = [], []
            for number, (kind, start, length) in enumerate(kinds):
                sub = machine.pool(of_sub).alloc()
                sub.refuses = kind % 10
                if isinstance(sub, TwoPassSub):
                    sub.place = number + 1 if kind >= ASKS_FOR_SECOND else 0
                subs.append(sub)
                if length:
                    mn.mmu_interval_notifier_insert(sub.notifier, mm, start, length)
            for number, (kind, registered) in enumerate(listeners):
                one = machine.pool(_class_of(kind)).alloc()
                one.refuses = kind % 10
                hears.append(one)
                if isinstance(one, SharedOne):
                    world.shared[number] = one
                if registered:
                    mn.mmu_notifier_register(one, mm)
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                arguments = (mm, number, at, at + len(thread), *subs, *hears)
                threads.append(Thread(f"thread {number}", script, arguments))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (script,)))
            return Scene(program, _look(program, mm, subs, hears, len(threads), self.boundaries))


def _class_of(kind: int) -> type[OnlyStart]:
    """Which callbacks an mmu notifier of a kind has."""
    if kind >= SHARED:
        return SharedOne
    return TellsYoung if kind >= TELLS_YOUNG else Flushes if kind >= FLUSHES else BothEnds if kind >= BOTH else OnlyStart


def _named(tasks: Sequence[TargetOperation], *operations: Op) -> set[int]:
    """Which subscribers operations are about."""
    return {task.arguments[0] for task in tasks if task.code in operations}


def _look(program: Program, mm: Mm, subs: list[Sub], hears: list[OnlyStart], threads: int, boundaries: Sequence[Crossing]) -> Callable[[bytes], str]:
    """The look that c/mmu_notifier.c has."""
    eyes = Eyes(program)
    mmap, rmap = eyes.semaphore(mm.mmap_lock), eyes.semaphore(world.file.i_mmap_rwsem)
    s = mm.subscriptions
    users, seq, active, has_itree = (
        eyes.field(mm, "users"),
        *(eyes.field(s, n) for n in ("invalidate_seq", "active_invalidate_ranges", "has_itree")),
    )
    itree, deferred, head = eyes.array(s, "itree"), eyes.array(s, "deferred_list"), eyes.field(s, "list")
    nodes = [tuple(eyes.field(node, name) for name in ("subscription", "next", "hashed")) for node in s.nodes]
    puts = [tuple(eyes.field(node, name) for name in ("subscription", "users", "freeing")) for node in s.nodes]
    leaving = {
        number
        for number, boundary in stops_of(program, boundaries, "mm/mmu_notifier.c").items()
        if boundary.function == "mmu_interval_notifier_remove" and not boundary.text.startswith("with atomic:")
    }
    counters = [eyes.counter(i) for i in range(threads)]
    node_at = {eyes.offset(node): i for i, node in enumerate(s.nodes)}
    sub_at = {eyes.offset(sub.notifier): str(i) for i, sub in enumerate(subs)} | {0: ""}
    hears_at = {eyes.offset(one): str(i) for i, one in enumerate(hears)} | {0: ""}
    idx, readers = eyes.field(srcu, "idx"), eyes.array(srcu, "readers")
    turn = eyes.field(world, "turn")
    of = eyes.array(results, "of")[:threads]
    notifiers = [[eyes.field(sub.notifier, n) for n in ("invalidate_seq", "in_tree", "start", "end")] for sub in subs]
    each_sub = [
        (eyes.offset(sub.notifier), reads, _call(eyes, sub.call), eyes.field(sub, "finished"))
        for sub, reads in zip(subs, notifiers, strict=True)
    ]
    each_one = [
        (eyes.offset(one), _call(eyes, one.start), _call(eyes, one.end), eyes.field(one, "releases"), eyes.field(one, "used") if isinstance(one, SharedOne) else None)
        for one in hears
    ]

    def holds(state: bytes) -> int:
        """How often the mm is held: by each mmu notifier with a node, each interval notifier that is inserted, or whose removal has not returned."""
        waiting = {read(state) for read in deferred} - {0}
        in_tree = {offset for offset, (_, is_in_tree, _, _), _, _ in each_sub if is_in_tree(state)}
        out = sum(read(state) in leaving for read in counters)
        return sum(node[0](state) != 0 for node in nodes) + len(waiting | in_tree) - len(waiting & in_tree) + out

    def look(state: bytes) -> str:
        listed, at, hashed = "", head(state) - 1, set()
        while at >= 0:
            offset = nodes[at][0](state)
            listed += hears_at[offset]
            at = node_at.get(nodes[at][1](state), -1)
        for subscription, _, is_hashed in nodes:
            if is_hashed(state):
                hashed.add(subscription(state))
        parts = [
            "".join(f"{read(state)} " for read in of) + f"mmap={mmap(state)} rmap={rmap(state)} users={users(state)} "
            f"count={holds(state)} seq={seq(state)} "
            f"active={active(state)} has_itree={has_itree(state)} itree={''.join(sub_at[r(state)] for r in itree)} "
            f"deferred={''.join(sub_at[r(state)] for r in reversed(deferred))} list={listed} "
            f"srcu={idx(state)}:{readers[0](state)}:{readers[1](state)} turn={turn(state)}"
        ]  # fmt: skip
        waiting = {read(state) for read in deferred}
        for offset, (number, in_tree, start, end), call, finished in each_sub:
            where = "in" if in_tree(state) else "out"
            pages = f"{start(state)}-{end(state)}" if in_tree(state) or offset in waiting else ""
            parts.append(f"sub={number(state)}:{where}:{pages}:{call(state)}:{finished(state)}")
        shared = {of(state): (users(state), freeing(state)) for of, users, freeing in puts}
        for offset, began, ended, released, used in each_one:
            text = f"hears={'in' if offset in hashed else 'out'}:{began(state)}:{ended(state)}:{released(state)}"
            if used is not None:
                count, freeing = shared.get(offset, (0, 0))
                text += f":{count}{'used' if used(state) else 'free'}{'put' if freeing else ''}"
            parts.append(text)
        return " ".join(parts)

    return look


def _call(eyes: Eyes, call: Call) -> Callable[[bytes], str]:
    """What a subscriber was last called with."""
    reads = [eyes.field(call, name) for name in ("count", "turn", "start", "end", "event", "blockable", "seq")]
    return lambda state: ",".join(str(read(state)) for read in reads)
