"""What cannot happen: the line at which it stops, and what must happen first; what cannot be understood, or be searched to its end."""

from __future__ import annotations

import textwrap

import pytest
from claims_world import asked, printed, scenario_named

from secondsight.claims import ask_of, read_claim, subject_of
from secondsight.claims import search as searching
from secondsight.contract import rules_for
from secondsight.devices.mirror import Mirror, MirrorWithoutTest
from secondsight.lang import LangError
from secondsight.report.columns import columns
from secondsight.report.named_rules import LANGUAGE
from secondsight.report.story import StoryLine
from secondsight.search import Limits, Request

SCENARIO = "madvise-dontneed: reads"


def said(*lines: str, scenario: str = SCENARIO) -> tuple[str, int, tuple[str, ...]]:
    """The verdict, the line at which it stops, and the reasons; `>` before a line: it is the device's."""
    beside = [" " * 40 + line[1:] if line.startswith(">") else line for line in lines]
    tried = asked("\n".join(["cpu".ljust(40) + "device", "---".ljust(40) + "------", *beside]), Mirror, scenario)
    return tried.verdict, tried.stop.number - 2 if tried.stop is not None else 0, tried.stop.reasons if tried.stop is not None else ()


def test_a_lock_keeps_two_lines_apart() -> None:
    in_order = ["Mirror.invalidate()", "  lock(self.lock)", "  page_table.unmap(0-1)", "  unlock(self.lock)", ">page_table.map(va=1)"]
    assert said(*in_order)[0] == "possible"
    swapped = [*in_order[:2], ">page_table.map(va=1)", in_order[2]]
    verdict, line, (order, _, waits) = said(*swapped)
    assert (verdict, line) == ("impossible", 4)
    assert order == "line 6 never comes after lines 4 and 5 in this order, whatever comes between"
    assert waits == "then cpu waits: device has Mirror.lock, and must give it back first"


def test_one_line_that_comes_first_in_every_run() -> None:
    verdict, line, (order, going, *_) = said("zap_pte_range()", "mmu_notifier_invalidate_range_start()", scenario="munmap: reads")
    assert (verdict, line, order) == ("impossible", 2, "line 4 never comes after line 3: in every run that has both it comes before it")
    assert going.startswith("cpu would go on with: mmu_notifier_invalidate_range_end(0-1, UNMAP); free_page(P1); ")
    verdict, line, (never, *_) = said("madvise_dontneed(va=1)")
    assert (verdict, line, never) == ("impossible", 1, "cpu never does what line 3 says, whatever came before")


@pytest.mark.parametrize("rule", LANGUAGE)
def test_a_rule_of_the_language_is_no_remark(rule: str) -> None:
    assert said("munmap()", f"  ^ {rule}", scenario="munmap: reads")[:2] == ("impossible", 2)


def test_the_run_that_comes_so_far_has_the_lines_before_it() -> None:
    tried = asked("munmap()\n  lock(self.lock)\n  mmu_notifier_invalidate_range_start()", Mirror, "munmap: reads")
    assert tried.stop is not None and tried.stop.told is not None
    assert [(e.claimed, e.text) for e in tried.stop.told.entries if e.claimed] == [(1, "munmap(va=0, length=2)"), (2, "lock(self.lock)")]
    tried.stop.told.violation.trace.replay(tried.stop.told.program)


def test_what_no_thread_does() -> None:
    tried = asked("cpu       device\n---       ------\n          madvise_dontneed()\nread(va=1)", Mirror, SCENARIO)
    assert (tried.verdict, tried.states) == ("impossible", 0)
    assert tried.nobody == "cpu never comes to line 4: read(va=1)"
    tried = asked("A    B\n-    -\nmadvise_dontneed()\nhmm_range_fault()", Mirror, SCENARIO)
    assert tried.nobody == "no thread does all that stands in one column: cpu does not come to line 4, device does not come to line 3, after does not come to line 3"


def test_titles_may_be_others_and_a_thread_is_one_column() -> None:
    tried = asked("CPU 1     CPU 0\n-----     -----\n          madvise_dontneed()\nfault()", Mirror, SCENARIO)
    assert tried.possible is not None and tried.possible.titles == {"CPU 1": "device", "CPU 0": "cpu"}


def test_a_line_that_nothing_is_like() -> None:
    tried = asked("faultt(va=0)\n  mmu_interval_read_begin()\n  self.page_table.mapp(va, pfn, write)\n  if mm.users == 17:", Mirror, SCENARIO)
    assert [(line.number, names[:1]) for line, names in tried.unknown] == [(1, ("fault",)), (3, ("map",)), (4, ())]
    assert tried.verdict == "impossible" and tried.states == 0


def test_a_statement_without_a_step_is_not_looked_at() -> None:
    tried = asked("fault(va=1)\n  if pfn == -EBUSY:\n  hmm_range_fault() = -EBUSY", Mirror, SCENARIO)
    assert (tried.verdict, tried.remarks) == ("possible", ((2, "no step begins there"),))


def test_what_was_not_searched_is_not_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "_CHUNK", 1)
    text = read_claim("zap_pte_range()\nmmu_notifier_invalidate_range_start(0-1, CLEAR)", "x")
    tried = ask_of(text, subject_of(Mirror, scenario_named("munmap: reads"), rules_for(Mirror)), Request(limits=Limits(states=100)))
    assert (tried.verdict, tried.reason, tried.stop, tried.lines) == ("not finished", "states", None, 1)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("\n\n", "x: there is no line of an interleaving in it"),
        ("cpu   gpu\n---   ---\nfault()\n\ncpu   gpu\n---   ---\nfault()\n", r"x has several interleavings \(with rules under their titles in lines 2, 6\)"),
    ],
)
def test_no_interleaving_and_two(text: str, wrong: str) -> None:
    with pytest.raises(LangError, match=wrong):
        read_claim(text, "x")


def test_columns_are_found() -> None:
    text = textwrap.dedent("""
           CPU0                           CPU1
      a()
        b(1,                              c()
          2)
                                            d() = 3                   x.py:7
    """)
    claim = read_claim(text, "x")
    assert claim.titles == ("CPU0", "CPU1")
    assert [(line.columns[0], line.text, line.place) for line in claim.lines] == [(0, "a()", ""), (0, "b(1,", ""), (1, "c()", ""), (0, "2)", ""), (1, "d() = 3", "x.py:7")]


def test_what_would_come_after_a_broken_rule() -> None:
    text, rule = printed(MirrorWithoutTest, "munmap: reads")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("^", "device: ", "CPU: "))]
    lines = [*lines[:-1], " " * 4 + "mmu_notifier_invalidate_range_end()"] if not lines[-1] else [*lines, " " * 4 + "mmu_notifier_invalidate_range_end()"]
    tried = asked("\n".join(lines), MirrorWithoutTest, "munmap: reads")
    assert tried.possible is not None, tried
    assert (tried.verdict, tried.possible.breaks) == ("possible", rule)
    assert 0 < tried.possible.broken_at < tried.possible.until
    tried = asked("\n".join([*lines, " " * 4 + "^ as-if-cpu"]), MirrorWithoutTest, "munmap: reads")
    assert (tried.verdict, tried.stop is not None and tried.stop.cut) == ("impossible", False)


def test_a_name_that_is_longer_than_its_column_is_read_as_one() -> None:
    """A column is 24 wide at least: a name is cut behind an underscore, and may have two further lines."""
    texts = ["mmu_notifier_invalidate_range_start(0-1, UNMAP)", "mmu_interval_notifier_insert_locked() = -EINVAL", "exit_mmap()"]
    for depth in range(6, 16):
        lines = columns(["cpu", "engine", "closer", "worker"], [StoryLine(3, depth, text) for text in texts])
        assert all(len(line) <= 80 for line in lines)
        assert [line.text for line in read_claim("\n".join(lines), "x").lines] == texts, lines
