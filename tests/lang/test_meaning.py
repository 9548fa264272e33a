"""What the language means: locks, pools, ranges, enums, values, dispatch, tracepoints, choices, atomic blocks, loops."""

from __future__ import annotations

import pytest
from models import broken, holds, model, verdict

from secondsight.lang import BadIndex, OutOfRecords
from secondsight.lang.plain import PlainRun, WouldBlock
from secondsight.lang.reference import Reference
from secondsight.search import Request, breadth_first


def main(body: str) -> str:
    return "def main() -> None:\n" + "".join(f"    {line}\n" for line in body.strip("\n").split("\n"))


LOCKS = {  # a body -> the broken rule
    "world.lock.lock()\nworld.lock.lock()": "double-lock",
    "with world.lock:\n    with world.lock:\n        pass": "double-lock",
    "world.spin.lock()\nworld.spin.lock()": "double-lock",
    "world.rw.write_lock()\nworld.rw.write_lock()": "double-lock",
    "world.rw.write_lock()\nworld.rw.read_lock()": "double-lock",
    "world.rw.read_lock()\nworld.rw.read_lock()": "double-lock",
    "world.rw.read_lock()\nworld.rw.write_lock()": "double-lock",
    "world.lock.unlock()": "not-owner",
    "world.spin.unlock()": "not-owner",
    "world.rw.read_unlock()": "not-owner",
    "world.rw.write_unlock()": "not-owner",
    "world.rw.write_downgrade()": "not-owner",
    "world.lock.lock()": "lock-held-at-exit",
    "world.spin.lock()": "lock-held-at-exit",
    "world.rw.read_lock()": "lock-held-at-exit",
    "world.rw.write_lock()": "lock-held-at-exit",
    "x = items[1].lock.trylock()": "lock-held-at-exit",
    "with world.spin:\n    world.lock.lock()": "sleep-in-atomic",
    "with world.spin:\n    wait_until(world.n == 0)": "sleep-in-atomic",
    "with world.spin:\n    with world.rw.reading():\n        pass": "sleep-in-atomic",
}


@pytest.mark.parametrize("body", LOCKS)
def test_each_misuse_of_a_lock_is_its_rule(body: str) -> None:
    assert broken(main(body))[0] == LOCKS[body]


def test_a_lock_of_a_class_of_ones_own_is_a_lock() -> None:
    text = "class MyLock(Mutex):\n    n: U8\nmine = shared(MyLock)\n"
    assert broken(text + main("mine.lock()"))[0] == "lock-held-at-exit"
    assert broken(text + main("with mine:\n    mine.lock()"))[0] == "double-lock"


def test_locks_exclude() -> None:
    text = """
        def main() -> None:
            with LOCK:
                world.n = world.n + 1
                require(world.n == 1, "alone")
                world.n = world.n - 1
    """
    for lock in ("world.lock", "world.spin", "world.rw.writing()"):
        holds(text.replace("LOCK", lock), "main", "main")
    assert broken(text.replace("LOCK", "world.rw.reading()"), "main", "main")[0] == "alone"


ERRORS = {  # a body -> the error and its line within the body
    "world.n = 255\nworld.n = world.n + 1": ("left-range", 2),
    "world.n = 0\nworld.n -= 1": ("left-range", 2),
    "items[0].small = 4": ("left-range", 1),
    "x: U8 = 255\nworld.n = 1\nx = x + 1": ("left-range", 3),
    "x: U8 = 255\nworld.n = 1\nx += 1": ("left-range", 3),
    "x = plain(world.n - 1)": ("left-range", -14),
    "x = 3\nworld.log[8] = x": ("bad-index", 2),
    "x = -1\nworld.log[x] = 3": ("bad-index", 2),
    "world.n = table[2]": ("bad-index", 1),
    "none[0].n = 1": ("bad-index", 1),
    "world.n = world.item.n": ("none-followed", 1),
    "world.item.n = 3": ("none-followed", 1),
    "x = world.item\nworld.n = 1\nworld.n = x.n": ("none-followed", 3),
    "world.n = 6 // world.n": ("model-error", 1),
    "world.n = 6 % world.n": ("model-error", 1),
    "world.n = 1 << (world.n - 1)": ("model-error", 1),
    "world.item = items[0]\nworld.special = world.item": ("model-error", 2),
    "x = jobs.alloc()\ny = jobs.alloc()": ("out-of-records", 2),
    "x = jobs.alloc()\njobs.free(x)\njobs.free(x)": ("double-free", 3),
    "world.n = 1\nout_of_records('items')": ("out-of-records", 2),
    "world.n = items.index(specials[0])": ("model-error", 1),
    "world.n = items.index(world.item)": ("none-followed", 1),
    "x = choose(world.n)": ("model-error", 1),
    "x = choose(i for i in items if i.on)": ("model-error", 1),
    "x = Span(world.n - 1)": ("left-range", 1),
    "x = Flags(world.n + 9)": ("left-range", 1),
    "assert world.n == 1, 'no'": ("assertion", 1),
    "require(world.n == 1, 'a-rule', 'no')": ("a-rule", 1),
}


@pytest.mark.parametrize("body", ERRORS)
def test_an_error_of_the_model_is_named_with_its_line(body: str) -> None:
    rule, line = ERRORS[body]
    found = broken(main(body))
    assert found[0] == rule
    assert line < 0 or found[1] == line + 1


def test_a_loop_that_never_ends_within_a_step_is_an_error() -> None:
    with model(main("world.n = 1\nx = 0\nwhile x == 0:\n    x = x * 2")) as program:
        found = breadth_first(Reference(program))
        assert found.verdict.value == "not finished"
        assert "a loop without a step boundary" in str(found.error)


def test_a_full_pool_names_the_bound_and_the_remedy() -> None:
    found = verdict(main("x = jobs.alloc()\nworld.n = 1\ny = jobs.alloc()"))
    assert found.verdict.value == "not finished"
    assert found.reason == "error"
    assert isinstance(found.error, OutOfRecords)
    assert "jobs (1) all in use; raise with jobs=2" in str(found.error)


def test_an_index_outside_names_the_array() -> None:
    found = verdict(main("x = 9\nworld.log[x] = 3"))
    assert isinstance(found.error, BadIndex)
    assert "world.log[9], but it has 8 elements" in str(found.error)


def run(body: str, extra: str = "") -> list[int]:
    """The log of the only run of a body: `world.log` where it was written."""
    with model(extra + main(body)) as program:
        reference = Reference(program)
        found = breadth_first(reference)
        assert found.verdict.value == "holds", found.violation or found.error
        state = reference.initial
        with PlainRun(program) as plain:
            while True:
                ways = reference.successors(state)
                if not ways:
                    break
                assert len(ways) == 1
                assert ways[0].state is not None
                state = ways[0].state
                assert plain.step(ways[0].thread).shared == state[: program.layout.shared_size]
        log = {path: value for path, value, _ in program.layout.fields(state)}
        return [v for i in range(8) if (v := next(v for p, v in log.items() if p.endswith(f"world.log[{i}]")))]  # type: ignore[misc]


RUNS = {  # a body -> what it leaves in world.log
    "n = 0\nfor i in range(3):\n    world.log[n] = i + 1\n    n += 1": [1, 2, 3],
    "for i in range(5, 1, -2):\n    world.log[i] = i": [3, 5],
    "for i in range(2):\n    world.log[i] = 7\nfor i in range(3):\n    world.log[i + 3] = 8": [7, 7, 8, 8, 8],
    "for i in range(3):\n    pass\nworld.log[0] = i + 10": [12],
    "for i in range(3):\n    if i == 1:\n        break\nworld.log[0] = i + 10": [11],
    "for i in range(3):\n    world.log[i] = 1\n    i = 9": [1, 1, 1],
    "n = 2\nfor i in range(n):\n    n = 5\n    world.log[i] = n": [5, 5],
    "for i in range(1, world.n):\n    world.log[i] = 1\nworld.log[0] = 4": [4],
    "for i in range(3):\n    if i == 1:\n        continue\n    world.log[i] = i + 1": [1, 3],
    "x = 0\nwhile x < 3:\n    x += 1\n    if x == 2:\n        continue\n    world.log[x] = x": [1, 3],
    "while True:\n    world.log[0] += 1\n    if world.log[0] == 3:\n        break": [3],
    "with world.lock:\n    for i in range(3):\n        with world.rw.reading():\n            if i == 2:\n                break\n            world.log[i] = 1\nworld.lock.lock()\nworld.log[5] = world.lock.held_by_me()\nworld.lock.unlock()": [
        1,
        1,
        1,
    ],
    "for it in items:\n    it.n = 4\nworld.log[0] = items[0].n + items[1].n": [8],
    "x = 0\nfor it in items:\n    x += items.index(it) + 1\nworld.log[0] = x": [3],
    "for it in none:\n    world.log[0] = 1\nworld.log[1] = len(none) + 2": [2],
    "world.log[0] = any(i.on for i in none)\nworld.log[1] = 1 + count(i.on for i in none)\nworld.log[2] = all(i.on for i in none)": [
        1,
        1,
    ],
    "world.item = items[0]\nitems[0].next = items[1]\nfor it in items:\n    it.row[0] = 1\nn = 0\nit2 = world.item\nworld.item = None\nassert it2 is not None\nworld.log[0] = it2.row[0]": [
        1
    ],
    "r = Span(1, 9)\nr = Span(r.end, r.start)\nworld.log[0] = r.start\nworld.log[1] = r.end": [9, 1],
    "r = Span(start=3)\nworld.log[0] = r.start + r.end": [7],
    "items[0].flags = Flags.R | Flags.X\nitems[0].flags &= ~Flags.R\nworld.log[0] = items[0].flags\nworld.log[1] = ~items[0].flags": [
        4,
        3,
    ],
    "items[0].kind = Kind.GAP\nworld.log[0] = items[0].kind\nif items[0].kind == Kind.GAP:\n    world.log[1] = 1": [5, 1],
    "world.log[0] = -7 // 2 + 10\nworld.log[1] = -7 % 3\nworld.log[2] = (-8 >> 1) + 10\nworld.log[3] = (~5 & 12) + 1\nworld.log[4] = (6 ^ -3) + 20": [
        6,
        2,
        6,
        9,
        15,
    ],
    "x = 3 if world.n else 4\nworld.log[0] = x\nworld.log[1] = abs(-x) + max(x, 9, 2) - min(x, 2)": [4, 11],
    "world.log[0] = 1 if 0 < 1 < 2 else 2\nworld.log[1] = 1 if 2 in (1, 2) else 2\nworld.log[2] = 1 if 3 not in (1, 2) else 2": [
        1,
        1,
        1,
    ],
    "x = jobs.alloc()\nx.n = 3\njobs.free(x)\ny = jobs.alloc()\nworld.log[0] = y.n + 1\nworld.log[1] = jobs.is_used(y)": [1, 1],
    "world.item = specials[0]\nitems[0].n = 1\nx = world.item\nassert x is not None\ny = x.get()\nworld.log[0] = y\nz = items[0].get()\nworld.log[1] = z\nworld.log[2] = x.SIZE": [
        100,
        1,
        4,
    ],
    "x = Item.get(specials[0])\nworld.log[0] = x + 5": [5],
    "world.log[0] = table[0] + len(table)": [6],
    "world.log[0] = world.rw.held_by_me() + 1\nwith world.rw.writing():\n    world.log[1] = world.rw.held_by_me()\n    world.rw.write_downgrade()\n    world.rw.read_unlock()\n    world.rw.write_lock()": [
        1,
        1,
    ],
    "x: Ref[Item] = None\nworld.n = 1\nx = items[1]\nworld.log[0] = items.index(x) + 1": [2],
    "x = items[0]\nfor i in range(2):\n    world.log[i] = items.index(x) + 1\n    y = world.item\n    x = items[1]": [1, 2],
}


@pytest.mark.parametrize("body", RUNS)
def test_what_statements_do(body: str) -> None:
    assert run(body) == RUNS[body]


def test_a_reference_that_becomes_none_later_is_checked_in_earlier_lines_too() -> None:
    body = "x = items[0]\nfor i in range(2):\n    world.log[i] = x.n + 1\n    x = world.item"
    assert broken(main(body)) == ("none-followed", 4)


def test_return_leaves_the_locks_and_the_atomic_block() -> None:
    text = """
        def inner() -> U8:
            with world.lock:
                for i in range(3):
                    with world.rw.reading():
                        with atomic:
                            world.n = i
                            if i == 1:
                                return world.n + 4
            return 0
        def main() -> None:
            x = inner()
            require(x == 5, "five")
            require(not world.lock.held_by_me() and not world.rw.held_by_me(), "left")
    """
    holds(text)


def test_a_step_that_would_block_half_way_is_not_taken() -> None:
    text = """
        def main() -> None:
            with atomic:
                world.n = 5
                wait_until(world.log[0] == 1)
                world.log[1] = 1
        def other() -> None:
            require(world.n == 0, "all or nothing")
            world.log[0] = 1
    """
    found = holds(text, "main", "other")
    assert found.states == 4
    with model(text, "main", "other") as program, PlainRun(program) as run_:
        with pytest.raises(WouldBlock):
            run_.step(0)


def test_daemons_may_wait_and_may_run_after_the_end() -> None:
    text = """
        def main() -> None:
            world.n = 1
        def waits() -> None:
            wait_until(world.n == 2)
        def runs() -> None:
            while True:
                world.log[0] = (world.log[0] + 1) % 3
    """
    holds(text, "main", "waits", daemons=1)
    assert verdict(text, "main", "waits").violation.rule == "deadlock"  # type: ignore[union-attr]
    with model(text, "main", "runs", daemons=1) as program:
        found = breadth_first(Reference(program), Request(watch=(0, program.layout.shared_size)))
        assert found.verdict.value == "holds"
        assert len(found.outcomes) == 3  # whatever the daemon has come to by then


def test_every_possibility_is_chosen() -> None:
    text = """
        def main() -> None:
            x = choose(3)
            it = choose(items)
            with atomic:
                other = choose(i for i in items if i is not it)
                world.n = x + choose(2) * 10
                other.n = 1
            require(world.n != 12 or items[0].n == 0, "found")
    """
    found = verdict(text)
    assert found.violation is not None
    assert [s.choices for s in found.violation.trace.steps] == [(2,), (1,), (0, 1), ()]


def test_rules_run_where_they_look() -> None:
    text = """
        @rule("small", on=event)
        def small(item: Item, n: U8) -> None:
            require(n < 2, "small", "too big")
        def main() -> None:
            event(items[0], 1)
            event(n=2, item=items[1])
    """
    assert broken(text, rules=("small",)) == ("small", 3)
    holds(text)


def test_a_tracepoint_without_rules_still_evaluates_its_arguments() -> None:
    assert broken(main("event(items[0], 1)\nevent(world.item.next, 1)")) == ("none-followed", 3)


def test_dispatch_reaches_classes_whose_pool_is_reached_late() -> None:
    text = """
        class Late(Item):
            def get(self) -> int:
                return 55
        late = pool(Late, "items")
        def main() -> None:
            world.item = items[0]
            x = world.item
            assert x is not None
            require(x.get() >= 0, "first")
            y = late.alloc()
            world.item = y
            z = world.item
            assert z is not None
            require(z.get() == 55, "its own")
    """
    holds(text)


def test_array_of_references_in_a_freed_record_leaves_what_it_refers_to() -> None:
    text = """
        class Holder(Record):
            refs: Array[Ref[Item], 2]
        holders = pool(Holder, 1)
        def main() -> None:
            h = holders.alloc()
            items[0].n = 9
            h.refs[0] = items[0]
            holders.free(h)
            require(items[0].n == 9, "kept")
            again = holders.alloc()
            require(again.refs[0] is None, "zeroed")
    """
    holds(text)


def test_records_that_start_at_one_place_are_not_mistaken() -> None:
    text = """
        class Base(Record):
            def kind(self) -> int:
                return 0
        class Inner(Base):
            n: U8
            def kind(self) -> int:
                return 1
        class Outer(Base):
            inner: Inner
            def kind(self) -> int:
                return 2
        outer = shared(Outer)
        class Refs(Record):
            a: Ref[Base]
            b: Ref[Base]
        refs = shared(Refs)
        def main() -> None:
            refs.a = outer
            refs.b = outer.inner
            require(refs.a is not refs.b, "two records")
            a = refs.a
            b = refs.b
            assert a is not None and b is not None
            x = a.kind()
            y = b.kind()
            require(x == 2 and y == 1, "each its own method")
    """
    holds(text)


def test_who_has_had_enough_of_a_steps_choices_leaves_none_to_the_next() -> None:
    """Else the next step would say that it had chosen what somebody else was offered."""
    text = """
        def chooses() -> None:
            world.n = choose(3)
        def counts() -> None:
            world.n = 1
    """
    with model(text, "chooses", "counts") as program:
        reference = Reference(program)
        next(reference.thread_successors(reference.initial, 0))
        assert [way.choices for way in reference.thread_successors(reference.initial, 1)] == [()]
