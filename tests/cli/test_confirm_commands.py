"""`--confirm` and `--schedule` where no kernel is needed: questions, refusals, how answers are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_world import HOUSE, WITHOUT_TEST, secondsight

from secondsight.agree.confirm import Confirmation, Confirmed
from secondsight.cases import TABLES, Question
from secondsight.cases.thread_2019_hmm import scenario_of
from secondsight.cases.udmabuf_on_kernel import PINNED
from secondsight.cli.confirming import confirmation_json, question_of_file
from secondsight.lang.errors import LangError
from secondsight.report.tables import decision_table, plain
from secondsight.scenario import ScenarioError
from secondsight.search import Trace, Verdict, Violation
from secondsight.world.forced import CannotForce, Schedule, run_forced

BROKEN = Violation("as-if-cpu", "", None, Trace((), ()))


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda t: t.name)
def test_every_broken_cell_is_a_question_or_has_a_reason(table: object) -> None:
    from secondsight.cases import CaseTable

    assert isinstance(table, CaseTable)
    if table.on_kernel is None:
        return  # `settle --on` says of each cell that the table has no scenario that a kernel could run
    reasons = {}
    for (row, column), verdict in table.expected.items():
        if verdict is Verdict.BROKEN and not row.startswith("today"):
            asked = table.on_kernel(row, column, BROKEN)
            if isinstance(asked, CannotForce):
                reasons[row] = asked.why
            else:
                assert (row == "pinned" and column in PINNED) or (table.name, column) in (("2023-06-pins", "hole"), ("2023-06-pins", "memlock"), ("2026-hmm-retry", "userfaultfd"))
    if table.name == "2019-08-hmm":
        assert set(reasons.values()) == {"the row is written against the interface of Linux 5.3, which this kernel does not have"}
        assert table.on_kernel("today loop", "DAX RID", BROKEN) == CannotForce(
            "user space can ask for one order of the teardown: a device that is unbound is disabled, invalidated, drained"
        )
    elif table.name == "2023-07-udmabuf":
        assert set(reasons.values()) == {"the row is a design that no kernel has"}
    elif table.name == "2026-revoke":
        assert all(why.startswith("the module's exporter has the last") for why in reasons.values())
    else:
        assert all(reasons.values())


def test_the_pinned_rows_questions_cover_its_broken_cells() -> None:
    table = TABLES["2023-07-udmabuf"]
    broken = {column for (row, column), verdict in table.expected.items() if row == "pinned" and verdict is Verdict.BROKEN}
    assert broken == set(PINNED)


def test_a_saved_trace_becomes_a_schedule(tmp_path: Path) -> None:
    driver = tmp_path / "my_gpu.py"
    driver.write_text(WITHOUT_TEST)
    saved = tmp_path / "result.json"
    done = secondsight("check", driver, "--adversary", "madvise-dontneed", "--json")
    saved.write_text(done.out)
    question = question_of_file(saved, list)
    assert isinstance(question, Question) and question.driver is not None
    assert question.schedule.driver == "MyGpu"
    assert "locked" not in question.schedule.points  # the driver has no marks of its own
    assert run_forced(question.schedule, question.driver)


def test_a_schedule_needs_a_kernel_and_its_own_file(tmp_path: Path) -> None:
    schedule = tmp_path / "schedule.json"
    schedule.write_text(Schedule(scenario_of("munmap"), "Mirror", ()).to_json())
    my_gpu, hole = HOUSE / "examples" / "my_gpu.py", HOUSE / "examples" / "hole_refilled.py"
    done = secondsight("run", my_gpu, "--schedule", schedule)
    assert done.code == 2 and "name it by --on or --kernel" in " ".join(done.err.replace("│", "").split())
    done = secondsight("run", hole, "--on", "linux-6.12", "--schedule", schedule)
    assert done.code == 2 and "has no scenario munmap" in done.err


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("{", "cannot be read as JSON"), ("[]", "has neither a schedule nor a trace"), ('{"kind": "schedule"}', "form None")],
)
def test_a_file_that_is_neither_schedule_nor_trace_is_refused(text: str, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises((ScenarioError, LangError), match=wrong):
        question_of_file(path, list)


def test_a_schedule_of_an_unknown_driver_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    path.write_text(Schedule(scenario_of("munmap"), "MyGpu", ()).to_json())
    with pytest.raises(ScenarioError, match="MyGpu is not known here"):
        question_of_file(path, list)


def test_an_answer_as_data_has_the_schedule_that_was_forced() -> None:
    schedule = Schedule(scenario_of("munmap"), "Mirror", ())
    (expected,) = list(run_forced(Schedule(scenario_of("exit"), None, ())))[:1]
    data = confirmation_json("linux-6.12", Confirmation(Confirmed.REFUTED, "why", schedule, frozenset({expected}), expected, "right"))
    assert json.loads(json.dumps(data))["schedule"]["kind"] == "schedule"
    assert data["expected"] == [data["seen"]] and data["verdict"] == "refuted"


def test_the_table_shows_what_the_kernel_said() -> None:
    table = TABLES["2019-08-hmm"]
    marks = {("today no test", "munmap"): "confirmed", ("2019 loop", "munmap"): "not forced"}
    results = dict.fromkeys(table.cells())
    text = plain(decision_table(table.title, table.question, table.rows, table.columns, results, marks))
    assert text.count("confirmed") == 1 and text.count("not forced") == 1
    assert all(len(line) <= 80 for line in text.splitlines())
