"""The kernel's own tests: their verdicts read right, and on the kernel that has them, run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secondsight.agree.selftest import PROGRAMS, Ours, SelftestReport, our_scenarios, run_in, selftest
from secondsight.cli.kernel import selftests
from secondsight.kernels import Kernel, KernelError, Observation, boot
from secondsight.kernels.catalog import selftest_sources
from secondsight.kernels.initramfs import compiler
from secondsight.kernels.qemu import QEMU, Guest
from secondsight.kernels.selftest_table import TABLE, here
from secondsight.kernels.tap import TapVerdict, verdicts
from secondsight.scenario import Outcome, load_expected, load_scenarios
from secondsight.world.model import outcomes

SCENARIOS = Path(__file__).parents[2] / "scenarios"

OUTPUT = """\
TAP version 13
1..6
# Starting 6 tests from 2 test cases.
#  RUN           hmm.private.open ...
#            OK  hmm.private.open
ok 1 hmm.private.open
#  RUN           hmm.private.read ...
# hmm-tests.c:100:read:Expected ret (-14) == 0 (0)
# read: Test failed
#          FAIL  hmm.private.read
not ok 2 hmm.private.read
#  RUN           hmm.coherent.open ...
#      SKIP      no such memory
ok 3 hmm.coherent.open # SKIP no such memory
ok 4 drivers/x: [PASS,test-1]
ok 5 - dashed
""".splitlines()


def test_verdicts_are_read_with_what_was_said_about_them() -> None:
    assert verdicts("p", OUTPUT, "exit:1") == [
        TapVerdict("p", "hmm.private.open", "pass"),
        TapVerdict("p", "hmm.private.read", "fail", "hmm-tests.c:100:read:Expected ret (-14) == 0 (0)\nread: Test failed\nFAIL  hmm.private.read"),
        TapVerdict("p", "hmm.coherent.open", "skip", "no such memory"),
        TapVerdict("p", "test-1", "pass"),
        TapVerdict("p", "dashed", "pass"),
        TapVerdict("p", "test 6", "not run", "the program ended with exit:1"),
    ]


@pytest.mark.parametrize(
    ("lines", "ended", "verdict"),
    [
        ([], "exit:0", "fail"),
        ([], "signal:11", "fail"),
        (["# no device"], "exit:4", "skip"),
        (["1..2", "ok 1 a"], "signal:6", "not run"),
        (["1..1", "ok 1 a"], "signal:11", "fail"),
        (["1..1", "ok 1 a"], "the guest hangs", "fail"),
    ],
)
def test_a_program_that_says_too_little_has_not_passed(lines: list[str], ended: str, verdict: str) -> None:
    assert verdicts("p", lines, ended)[-1].verdict == verdict


def test_only_a_kernel_of_our_own_has_them(kernel_6_12: Kernel) -> None:
    with pytest.raises(KernelError, match=r"linux-6\.12 comes without the kernel's own tests\n  .*: linux-6\.12-own"):
        selftest(kernel_6_12)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_scenario_of_the_table_exists(program: str) -> None:
    for row in TABLE[program].values():
        assert (row.scenario is None) is (row.file is None) is (row.missing is not None)
        if row.file is not None:
            path = SCENARIOS / f"{row.file}.py"
            assert row.scenario in [found.name for found in load_scenarios(path)]
            assert load_expected(path.with_suffix(".expected.json"))[row.scenario]


def test_a_test_is_found_by_what_its_program_prints() -> None:
    for kind in ("hmm.hmm_device_private", "hmm.hmm_device_coherent"):
        assert str(here("hmm-tests", f"{kind}.anon_write")) == "scenario hmm_anon_write"
        assert str(here("hmm-tests", f"{kind}.mixedmap")) == "missing: a device's file that puts pages of its own into its mapping (vm_insert_page(), VM_MIXEDMAP): here each page is anonymous or a file's"
    assert here("udmabuf", "test-6") == here("udmabuf", "test 6") == TABLE["udmabuf"]["test-6"]
    assert here("udmabuf", "test-7") is here("udmabuf", "anon_write") is here("another", "test-1") is None


def test_what_stands_here_is_printed_beside_each_verdict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = [("udmabuf", "test-6"), ("udmabuf", "test-4"), ("hmm-tests", "hmm.hmm_device_private.open_close"), ("hmm-tests", "hmm2.x.new")]
    ours = (Ours("udmabuf_whole_memfd", "agrees"), Ours("hmm_open_close", "differs", "closed=-EBADF"))
    report = SelftestReport("6.12", tuple(TapVerdict(program, name, "pass") for program, name in found), {}, 1, ours, ("0c8d", "1f2e"))
    monkeypatch.setattr("secondsight.cli.kernel.selftest", lambda kernel, progress: report)
    monkeypatch.setattr(Kernel, "find", lambda name: None)
    assert selftests("6.12-own", as_json=True) == 1  # for a scenario of ours that differs
    beside = ["scenario udmabuf_list_of_huge_pages", "scenario udmabuf_whole_memfd", "scenario hmm_open_close", "not in the table"]
    told = [None, "agrees", "differs", None]
    data = json.loads(capsys.readouterr().out)
    assert [(one["here"], one["ours"]) for one in data["tests"]] == list(zip(beside, told, strict=True))
    assert (data["boots"], data["died"]) == (["0c8d", "1f2e"], None)
    assert data["scenarios"][1] == {"scenario": "hmm_open_close", "verdict": "differs", "said": "closed=-EBADF"}
    assert selftests("6.12-own", as_json=False) == 1
    output = capsys.readouterr().out
    lines = [re.split("  +", line.strip()) for line in output.splitlines()]
    for (_, name), said, verdict in zip(found, beside, told, strict=True):
        assert [name.rpartition(".")[2], "pass", said + (f": {verdict}" if verdict else "")] in lines
    assert "scenario hmm_open_close: differs: closed=-EBADF" in output
    assert "beside them 2 scenarios: 1 agree, 1 differ; all of it in 2 boots (0c8d, 1f2e)" in output


class FakeVM:
    """A guest of which each scenario and program says what it is told to say."""

    release = "6.12"

    def __init__(self, says: dict[str, Any]) -> None:
        self.says = says
        self.boots = iter(says["boots"])

    def boot_id(self) -> str:
        return str(next(self.boots))

    def observe(self, scenario: Any, runs: int) -> Observation:
        said: KernelError | Outcome | None = self.says.get(scenario.name)
        if isinstance(said, KernelError):
            raise said
        expected = next(iter(outcomes(scenario)[1]))
        return Observation(scenario.name, {said if said is not None else expected: runs}, runs, "6.12", 0)

    def run_program(self, name: str, line: Callable[[str], None]) -> str:
        for text in ["1..2", "ok 1 test-4"]:
            line(text)
        if isinstance(said := self.says.get(name), KernelError):
            raise said
        line("ok 2 test-5")
        return "exit:0"


def report_of(**says: Any) -> SelftestReport:
    return run_in(FakeVM({"boots": ["one"] * 3, **says}), our_scenarios())  # type: ignore[arg-type]


def test_a_scenario_that_does_what_the_model_does_not_differs() -> None:
    report = report_of(hmm_open_close=(("closed", "-EBADF"),))
    assert [one for one in report.ours if one.verdict != "agrees"] == [Ours("hmm_open_close", "differs", "closed=-EBADF")]
    assert {one.verdict for one in report.verdicts} == {"pass"}
    assert (report.boots, report.died) == (("one",), "")


def test_every_part_is_asked_in_which_boot_it_ran() -> None:
    assert report_of(boots=["one", "one", "two"]).boots == ("one", "two")
    assert report_of(boots=["one", "two", "two"]).boots == ("one", "two")


def test_when_the_guest_dies_what_ran_is_kept_and_the_rest_says_why() -> None:
    names = [scenario.name for scenario in our_scenarios()]
    dead = KernelError("the guest is dead", console="Oops")
    early = report_of(**{names[1]: dead})
    assert [one.verdict for one in early.ours] == ["agrees"] + ["not run"] * (len(names) - 1)
    assert {one.said for one in early.ours[1:]} == {"the guest is dead"}
    assert [(one.program, one.verdict, one.said) for one in early.verdicts] == [(name, "not run", "the guest is dead") for name in PROGRAMS]
    assert "Oops" in early.died
    late = report_of(udmabuf=dead)
    assert {one.verdict for one in late.ours} == {"agrees"}
    assert [(one.program, one.verdict) for one in late.verdicts] == [("udmabuf", "pass"), ("udmabuf", "not run"), ("hmm-tests", "not run")]
    assert late.verdicts[1].said == "the guest is dead"
    assert late.output == {"udmabuf": "1..2\nok 1 test-4"}


PANICS = """\
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void)
{
	printf("1..2\\nok 1 test-4\\n");
	fflush(stdout);
	sleep(1);
	return write(open("/proc/sysrq-trigger", O_WRONLY), "c", 1);
}
"""


@pytest.mark.wide
def test_a_test_program_that_panics_the_kernel(kernel_6_12: Kernel, tmp_path: Path) -> None:
    programs = []
    for name in PROGRAMS:
        (tmp_path / f"{name}.c").write_text(PANICS)
        programs.append(tmp_path / name)
        subprocess.run([compiler(), "-static", "-o", programs[-1], tmp_path / f"{name}.c"], check=True)
    with boot(kernel_6_12, programs=programs) as machine:
        report = run_in(machine, [scenario for scenario in our_scenarios() if scenario.name == "udmabuf_whole_memfd"])
    assert report.ours == (Ours("udmabuf_whole_memfd", "agrees"),)
    said = "the guest's kernel panicked while running the program udmabuf"
    assert [(one.program, one.verdict, one.said) for one in report.verdicts] == [
        ("udmabuf", "pass", ""),
        ("udmabuf", "not run", said),
        ("hmm-tests", "not run", said),
    ]
    assert "sysrq triggered crash" in report.died
    assert len(report.boots) == 1


@pytest.fixture
def own() -> Kernel:
    try:
        return Kernel.find("linux-6.12-own")
    except KernelError as error:
        pytest.skip(f"{error.reason}: {error.remedy}")


def test_the_table_has_the_tests_of_the_kernels_source(own: Kernel) -> None:
    hmm, udmabuf = ((selftest_sources(own) / PROGRAMS[name]).read_text() for name in ("hmm-tests", "udmabuf"))
    assert list(TABLE["hmm-tests"]) == re.findall(r"^TEST_F\(\w+, (\w+)\)", hmm, re.MULTILINE)
    assert list(TABLE["udmabuf"]) == re.findall(r"\[PASS,(test-\d+)\]", udmabuf)


MOVING = {
    "hmm_cow_in_device",
    "hmm_double_map",
    "hmm_gup",
    "hmm_migrate",
    "hmm_migrate_fault",
    "hmm_migrate_file_private",
    "hmm_migrate_mixed",
    "hmm_migrate_multiple",
    "hmm_migrate_release",
    "hmm_migrate_shared",
    "hmm_snapshot",
}
"""The scenarios that move pages into a device's memory: they run with device-coherent memory too."""


@pytest.mark.wide
def test_the_kernels_own_tests_and_ours_pass_in_one_boot_of_a_kernel_of_our_own(own: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not there")
    guests = []
    begin = Guest.__init__
    monkeypatch.setattr(Guest, "__init__", lambda guest, *given, **named: (guests.append(guest), begin(guest, *given, **named))[1])
    report = selftest(own, boot_seconds=200)
    assert len(report.boots) == len(guests) == 1
    counts = Counter((found.program, found.verdict) for found in report.verdicts)
    assert counts["udmabuf", "pass"] >= 5
    assert counts["hmm-tests", "pass"] == 2 * len(TABLE["hmm-tests"])  # with device-private memory, and with device-coherent memory
    assert not [found for found in report.verdicts if found.verdict == "fail"]
    assert not [found for found in report.verdicts if found.program == "hmm-tests" and found.verdict == "skip"]
    rows = {(found.program, found.name): here(found.program, found.name) for found in report.verdicts if found.verdict != "not run"}
    assert [test for test, row in rows.items() if row is None] == []
    # Agreement: these pass, and the scenarios that assert the same did as the model says, in the same boot.
    ours = {row.scenario for rows in TABLE.values() for row in rows.values()} - {None}
    passed = {row.scenario for found in report.verdicts if found.verdict == "pass" and (row := here(found.program, found.name))}
    assert ours <= passed
    agreeing = {one.scenario for one in report.ours if one.verdict == "agrees"}
    assert agreeing == ours | {f"{name}, with coherent memory" for name in MOVING}
    assert ours > MOVING
