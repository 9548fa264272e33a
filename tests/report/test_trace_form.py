"""A trace in the two-column form: what it must never lose, and how wide it may be."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace

import pytest
from report_world import (
    calls_adds_four,
    chooser,
    deadlock,
    driver,
    livelock,
    lock_order,
    queue,
    ring,
    search,
    three_threads,
    waits_for_first,
)

from secondsight.contract import ADVERSARIES, driver_program
from secondsight.devices import mirror, mirror_2019
from secondsight.lang import Errno, LangError, Machine
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.linux import EBUSY, hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import Va
from secondsight.linux.page_writeback import set_page_dirty
from secondsight.report import mail, mail_of, trace_from_json, trace_to_json
from secondsight.report.columns import columns
from secondsight.report.story import StoryLine
from secondsight.search import Request, Result, Step, Trace, Verdict, Violation, breadth_first

WRONG = [
    (mirror.MirrorWithoutTest, "munmap"),
    (mirror.MirrorTestsBeforeLock, "munmap-mmap"),
    (mirror.MirrorCallbackWithoutLock, "madvise-dontneed"),
    (mirror.MirrorDereferencesLater, "munmap"),
    (mirror_2019.Mirror2019WithoutTest, "munmap"),
    (mirror_2019.Mirror2019, "munmap"),
]


class MarksUnlocked(mirror.Mirror):
    """Says that a page is dirty when it has let its lock go."""

    def fault(self, va: Va, write: bool) -> Errno:
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
            set_page_dirty(pfn)
            return 0


def told(program: Program, title: str = "Title") -> tuple[str, Result]:
    result = search(program)
    assert result.violation is not None
    return mail(title, program, result), result


@pytest.mark.parametrize(("kind", "adversary"), WRONG, ids=lambda value: getattr(value, "__name__", value))
def test_a_wrong_drivers_trace_fits_a_mail_and_says_what_broke(kind: type[mirror.Mirror], adversary: str) -> None:
    program = driver(kind, adversary)
    text, result = told(program, kind.__name__)
    assert result.violation is not None
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert all(line == line.rstrip() for line in lines)
    assert " ".join(text.split()).startswith(f"{kind.__name__}: {result.violation.message}")
    assert f"rule: {result.violation.rule}" in text
    assert f"{len(result.violation.trace)} steps" in text
    assert f"^ {result.violation.rule}" in text
    assert "mmu_notifier_invalidate_range_start(" in text
    assert "hmm_range_fault(" in text


def test_the_trace_of_the_missing_test() -> None:
    """The product's face, to the letter."""
    text, _ = told(driver(mirror.MirrorWithoutTest, "munmap"), "MyGpu")
    head, table = text.split("\n\n", 1)
    assert head.startswith("MyGpu: stale access: the device used a frame that the CPU no longer has there\nrule: as-if-cpu")
    assert any("page_table.map(" in line and "  mirror.py:" in line for line in table.splitlines()), "the guilty line has its place"
    calls = [line.split("  mirror.py:")[0].strip() for line in table.splitlines()[2:]]
    assert calls[:4] == ["read(va=1)", "fault(va=1)", "mmu_interval_read_begin() = 1", "hmm_range_fault(1) = P2"]
    assert calls[4] == "munmap(va=0, length=2)"
    assert calls[5] == "mmu_notifier_invalidate_range_start(0-1, UNMAP)"
    assert calls[6].startswith("MirrorWithoutTest.invalidate(0-1, UNMAP")
    assert calls[-7:] == [
        "lock(self.lock)",
        "page_table.map(va=1, pfn=P2)",
        "unlock(self.lock)",
        "device_read(1, P2)",
        "^ as-if-cpu",
        "device: P2 (contents 'A')",
        "CPU:    SIGSEGV",
    ]


def test_three_threads_written_by_hand() -> None:
    text, _ = told(three_threads())
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[3].split() == ["one", "two", "looker"]
    assert "seen = board.sum" in text
    assert "board.sum = seen + amount" in text
    assert 'require(board.sum != 3, "not-three"' in text
    assert "report_world.py:" in text
    assert text.rstrip().endswith("^ not-three")


def test_a_choice_is_shown() -> None:
    text, _ = told(chooser())
    assert "choose(len(cells)) = 2" in text


def test_a_deadlock_says_where_everybody_waits() -> None:
    text, _ = told(deadlock())
    assert "nobody can go on" in text and "wait for ever" in " ".join(text.split())
    assert "^ waits: wait_until(cells[0].value == 1)" in text
    assert "^ waits: wait_until(board.first.value == 1)" in text


def test_a_deadlock_of_three_says_what_each_waits_for() -> None:
    text, _ = told(ring())
    assert "t0 in takes(), t1 in takes(), t2 in takes() wait for ever" in " ".join(text.split())
    assert text.count("^ waits: wait_until(cells[other].value ==") == 3


def test_a_livelock_says_who_runs_for_ever() -> None:
    program = livelock()
    result = breadth_first(Reference(program), Request(livelock=True))
    text = mail("Title", program, result)
    assert "no schedule lets spinner end" in text
    assert "(from here round for ever:)" in text
    assert text.rstrip().endswith("(and round again)")


def test_a_livelock_with_its_loop_shows_where_it_begins() -> None:
    program = livelock()
    reference = Reference(program)
    steps, states, state = [], [], reference.initial
    for _ in range(6):
        (taken,) = reference.thread_successors(state, 0)
        assert taken.state is not None
        state = taken.state
        steps.append(Step(0))
        states.append(state)
    violation = Violation("livelock", "round for ever", None, Trace(tuple(steps), tuple(states)), 4)
    lines = mail("Title", program, Result(Verdict.BROKEN, 4, 4, 4, 0.0, violation)).splitlines()
    (start,) = [n for n, line in enumerate(lines) if "(from here round for ever:)" in line]
    assert lines[-1].strip() == "(and round again)"
    assert len(lines) - start == 6
    data = trace_to_json(program, violation, {})
    assert data["loop"] == 4
    assert trace_from_json(data)[2].loop == 4


def test_a_livelock_says_who_waits_meanwhile() -> None:
    program = livelock(Thread("waiter", waits_for_first))
    text = mail("Title", program, breadth_first(Reference(program), Request(livelock=True)))
    last, waits, place = text.splitlines()[-3:]
    assert last.strip() == "(and round again)"
    assert "^ waits: wait_until(board.first.value == 1)" in waits
    assert place.strip().startswith("report_world.py:")


def test_a_functions_first_statement_has_a_line_beside_the_call() -> None:
    text, _ = told(build(Machine({"cells": 1}), [Thread("one", calls_adds_four)]))
    assert [line.split("report_world")[0].strip() for line in text.splitlines()[5:8]] == [
        "adds_four()",
        "board.sum = board.sum + 4",
        'require(board.sum == 0, "none", "there is a sum")',
    ]


def test_an_inverted_lock_order_ends_at_the_lock() -> None:
    text, _ = told(lock_order())
    assert text.rstrip().endswith("^ lock-order")
    assert "lock(board.second.lock)" in text and "lock(board.first.lock)" in text


# The order of steps.


@pytest.mark.parametrize(("kind", "adversary"), WRONG, ids=lambda value: getattr(value, "__name__", value))
def test_untangling_keeps_the_length_and_the_end(kind: type[mirror.Mirror], adversary: str) -> None:
    program = driver(kind, adversary)
    found = search(program).violation
    assert found is not None
    clear = found.untangle(Reference(program))
    assert len(clear.trace) == len(found.trace)
    assert (clear.rule, clear.message) == (found.rule, found.message)
    assert switches(clear.trace.steps) <= switches(found.trace.steps)
    assert sorted(s.thread for s in clear.trace.steps) == sorted(s.thread for s in found.trace.steps)
    steps = clear.trace.replay(program)
    assert steps[-1].error is not None


def switches(steps: tuple[object, ...]) -> int:
    threads = [step.thread for step in steps]  # type: ignore[attr-defined]
    return sum(a != b for a, b in itertools.pairwise(threads))


# JSON.


@pytest.mark.parametrize("make", [three_threads, chooser, deadlock, lock_order])
def test_json_and_back(make: object) -> None:
    program = make()  # type: ignore[operator]
    found = search(program).violation
    assert found is not None
    data = json.loads(json.dumps(trace_to_json(program, found, {"command": "none"})))
    made_by, names, violation = trace_from_json(data)
    assert made_by == {"command": "none"}
    assert names == [thread.name for thread in program.threads]
    assert (violation.rule, violation.message, len(violation.trace)) == (found.rule, found.message, len(found.trace))
    assert f"rule: {found.rule}" in mail_of("Title", program, violation)
    assert len(data["values"]["changes"]) == len(data["steps"]) and len(data["values"]["cells"]) == len(data["values"]["initial"])
    assert all(0 < line["step"] <= len(data["steps"]) and line["thread"] in names for line in data["lines"])


DAMAGE: list[dict[str, object]] = [{"schema": 7}, {"kind": "x"}, {"steps": 1}, {"threads": []}, {"states": ["zz"]}, {"loop": 9999}, {"loop": -1}]
DAMAGE += [{"made_by": made_by} for made_by in (None, {"file": []}, {"rules": "as-if-cpu"}, {"rules": [1]}, {"bounds": {"frames": "9"}})]


@pytest.mark.parametrize("change", DAMAGE)
def test_damaged_json_is_refused(change: dict[str, object]) -> None:
    program = three_threads()
    found = search(program).violation
    assert found is not None
    with pytest.raises(LangError):
        trace_from_json(trace_to_json(program, found, {}) | change)


def test_a_writer_in_a_queue_says_that_it_holds_up_readers_and_when_it_has_its_turn() -> None:
    program = queue()
    text = " ".join(mail("Title", program, breadth_first(Reference(program))).split())
    queued = text.index("write_lock(board.rw) waits, and so do readers that come now")
    tried, left, turn = text.index("read_trylock(board.rw)"), text.index("read_unlock(board.rw)"), text.rindex("write_lock(board.rw)")
    assert queued < tried < left < turn
    assert "thread_bit" not in text and "queue_for_writing" not in text


def test_a_place_is_never_left_out() -> None:
    """Parameters lose their names for it; a longer line has it below; and no line is wider than a mail."""
    entries = [
        StoryLine(0, 0, "short(va=1)", "my_driver.py:10"),
        StoryLine(1, 3, "map(va=1, pfn=P2, write=1, a=b == c)", "my_driver_with_a_name.py:123"),
        StoryLine(1, 9, "a_call_of_a_driver_that_is_as_long_as_this(one, two, three, four)", "my_driver_with_a_name.py:124"),
        StoryLine(0, 2, "x" * 200, "my_driver.py:11"),
    ]
    for count in (1, 2):
        lines = columns(["cpu", "device"][:count], [replace(e, thread=e.thread % count) for e in entries])
        assert all(len(line) <= 80 for line in lines)
        assert [line.split()[-1] for line in lines if ".py:" in line] == [entry.where for entry in entries]
    assert any("map(1, P2, 1, b == c)" in line for line in columns(["cpu", "device"], entries))


def test_saved_values_are_those_of_the_machine() -> None:
    program = three_threads()
    found = search(program).violation
    assert found is not None
    values = json.loads(json.dumps(trace_to_json(program, found, {})))["values"]
    place, seen = values["cells"].index("board.sum"), [int(values["initial"][values["cells"].index("board.sum")])]
    for changes in values["changes"]:
        seen.append(int(dict(changes).get(place, seen[-1])))
    assert seen[0] == 0 and seen[-1] == 3 and set(seen) <= {0, 1, 2, 3}


def test_a_place_in_another_file_than_the_line_above_is_said_with_its_file() -> None:
    """A driver's line is shown, and what it calls breaks the rule within the same step."""
    scenario = next(one for one in ADVERSARIES["swap"].scenarios if one.name.endswith("writes at once"))
    program = driver_program(MarksUnlocked, scenario, [])
    lines = mail("late", program, search(program)).splitlines()
    place = next(number for number, line in enumerate(lines) if "^ use-after-free" in line)
    assert "set_page_dirty(" in lines[place - 1] and "test_trace_form.py:" in lines[place - 1]
    assert re.search(r"\^ use-after-free, page_writeback.py:\d+$", lines[place])
