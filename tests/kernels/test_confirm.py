"""Counterexamples on a real kernel: broken cells of the tables are confirmed, wrong predictions are refuted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sampled import some
from secondsight.agree.confirm import Confirmed, confirm
from secondsight.cases import TABLES, Question
from secondsight.cases.thread_2019_hmm import DRIVERS, scenario_of
from secondsight.cases.udmabuf_on_kernel import PINNED
from secondsight.cli.commands import app
from secondsight.contract import ADVERSARIES, driver_program, rules_for
from secondsight.devices import mirror
from secondsight.kernels import VM
from secondsight.lang.reference import Reference
from secondsight.search import Request, Violation, breadth_first
from secondsight.world.forced import Schedule, run_forced, schedule_of

MY_GPU = Path(__file__).parents[2] / "examples" / "my_gpu.py"


@pytest.fixture
def vm(module_vm: VM) -> VM:
    return module_vm


def violation_of(table: str, row: str, column: str) -> Violation:
    program = TABLES[table].program(row, column)
    assert program is not None
    found = breadth_first(Reference(program), Request(livelock=True)).violation
    assert found is not None
    return found


def question_of(table: str, row: str, column: str) -> Question:
    ask = TABLES[table].on_kernel
    assert ask is not None
    question = ask(row, column, violation_of(table, row, column))
    assert isinstance(question, Question), question
    return question


ROWS = [row for row in DRIVERS if row.startswith("today") and row != "today loop"]


@pytest.mark.parametrize("column", ["munmap", "munmap+mmap", "DONTNEED", "exit"])
@pytest.mark.parametrize("row", some(ROWS))
def test_every_broken_cell_of_todays_interface_is_confirmed(vm: VM, row: str, column: str) -> None:
    question = question_of("2019-08-hmm", row, column)
    found = confirm(vm, question.schedule, question.driver)
    assert found.verdict is Confirmed.CONFIRMED, found.why
    assert found.seen in found.expected or found.seen is not None


@pytest.mark.parametrize("column", PINNED)
def test_every_broken_cell_of_the_real_udmabuf_is_confirmed(vm: VM, column: str) -> None:
    found = confirm(vm, question_of("2023-07-udmabuf", "pinned", column).schedule)
    assert found.verdict is Confirmed.CONFIRMED, found.why


def test_a_lost_write_is_confirmed(vm: VM) -> None:
    """A real device writes a page that is clean and in swap, says nothing, and reclaim drops the page."""
    (scenario,) = [s for s in ADVERSARIES["swap"].scenarios if s.name == "swap: writes at once"]
    driver = mirror.MirrorNeverMarksDirty
    probes = [probe for rule in rules_for(driver) for probe in rule.probes]
    violation = breadth_first(Reference(driver_program(driver, scenario)), Request(livelock=True)).violation
    assert violation is not None and violation.rule == "lost-write"
    schedule = schedule_of(scenario, driver, violation, probes)
    assert isinstance(schedule, Schedule), schedule
    found = confirm(vm, schedule, driver)
    assert found.verdict is Confirmed.CONFIRMED, found.why


def test_a_driver_that_does_otherwise_is_refuted_at_the_step_where_it_does(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's driver lacks the test; the machine is given the right one under its name."""
    from secondsight.kernels import real_device

    question = question_of("2019-08-hmm", "today no test", "munmap")
    monkeypatch.setitem(real_device.VARIANTS, mirror.MirrorWithoutTest, "right")
    found = confirm(vm, question.schedule, question.driver)
    assert found.verdict is Confirmed.REFUTED
    assert "device is held at" in found.why and "the model says held at installed" in found.why


def test_a_value_that_is_not_as_the_model_says_is_refuted(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    question = question_of("2023-07-udmabuf", "pinned", "reads new data")
    (left,) = run_forced(question.schedule)
    wrong = replace(left, outcome=(("importer", "c"), ("memfd", "c")))
    monkeypatch.setattr("secondsight.agree.confirm.run_forced", lambda *_: frozenset({wrong}))
    found = confirm(vm, question.schedule)
    assert (found.verdict, found.why) == (Confirmed.REFUTED, "importer is b; the model says c")


def test_what_no_real_kernel_runs_cannot_be_forced(vm: VM) -> None:
    scenario = scenario_of("DAX RID")
    found = confirm(vm, Schedule(scenario, "Mirror", ()))
    assert (found.verdict, found.why) == (Confirmed.CANNOT, "dax_drain is the model's alone: no real kernel runs it here")


# The commands.


@pytest.mark.wide
def test_check_confirms_a_users_own_driver_by_the_form_that_does_the_same(vm: VM, tmp_path: Path) -> None:
    text = MY_GPU.read_text()
    wrong = tmp_path / "my_gpu.py"
    retry = "                if mn.mmu_interval_read_retry(self.notifier, seq):\n                    continue\n"
    assert retry in text
    wrong.write_text(text.replace(retry, ""))
    run = CliRunner().invoke(app, ["check", str(wrong), "--adversary", "munmap", "--confirm", "linux-6.12", "--json"])
    assert run.exit_code == 1, run.output
    answers = [r["on_kernel"] for r in json.loads(run.stdout)["results"] if "on_kernel" in r]
    assert [(a["verdict"], a["form"]) for a in answers] == [("confirmed", "no-test")], answers
    saved = tmp_path / "result.json"
    saved.write_text(run.stdout)
    again = CliRunner().invoke(app, ["run", str(wrong), "--on", "linux-6.12", "--schedule", str(saved)])
    assert again.exit_code == 0, again.output
    assert "confirmed: same places, same values, same rounds" in again.stdout.replace("\n", " ")
