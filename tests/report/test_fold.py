"""Long runs of one thread, folded: what a reader must see is never among what is hidden."""

from __future__ import annotations

from report_world import search, three_threads

from secondsight.lang import U8, Machine, Record, require, shared
from secondsight.lang.program import Program, Thread, build
from secondsight.report import Form, letter, mail
from secondsight.report.fold import folded
from secondsight.report.story import StoryLine
from secondsight.report.trace import tell_result


class Sum(Record):
    value: U8


total = shared(Sum)


def adds_twenty() -> None:
    for _ in range(20):
        total.value += 1
    require(total.value == 0, "none", "there is a sum")


def long() -> Program:
    return build(Machine({}), [Thread("adder", adds_twenty)])


def run(count: int, thread: int = 0) -> list[StoryLine]:
    return [StoryLine(thread, 1, f"line {i}", step=i) for i in range(count)]


def test_a_short_run_is_whole() -> None:
    assert folded([*run(12), *run(12, 1), *run(12)]) == [*run(12), *run(12, 1), *run(12)]


def test_a_long_run_is_folded_and_says_how_much_is_hidden() -> None:
    short = folded([*run(30), *run(2, 1)])
    assert [entry.text for entry in short] == [
        *(f"line {i}" for i in range(4)), "(21 lines more; --full)", *(f"line {i}" for i in range(25, 30)), "line 0", "line 1",
    ]  # fmt: skip
    assert (short[4].thread, short[4].depth, short[4].step) == (0, 1, 4)


def test_a_line_with_a_mark_is_never_hidden() -> None:
    entries = run(30)
    entries[15].mark = "freed"
    texts = [entry.text for entry in folded(entries)]
    assert texts[4:7] == ["(11 lines more; --full)", "line 15", "(9 lines more; --full)"]


def test_a_trace_is_folded_where_it_is_asked_for_and_nowhere_else() -> None:
    program = long()
    result = search(program)
    whole, short = mail("Title", program, result), letter(tell_result("Title", program, result), form=Form(folded=True)).plain
    assert whole.count("total.value += 1") == 20 and "--full" not in whole
    assert short.count("total.value += 1") < 10 and "lines more; --full" in short
    assert short.splitlines()[-2:] == whole.splitlines()[-2:]


def test_what_matters_has_a_colour_and_the_place_is_at_the_right_edge() -> None:
    program = three_threads()
    text = letter(tell_result("Title", program, search(program)), form=Form(width=120))
    assert any(len(line) == 120 and "report_world.py:" in line for line in text.plain.splitlines())
    styles = {line: str(span.style) for span in text.spans for line in [text.plain[span.start : span.end].strip()]}
    assert styles["^ not-three"] == "bold red"
    assert next(style for line, style in styles.items() if line.startswith('require(board.sum != 3, "not-three"')) == "bold"
