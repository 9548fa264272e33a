"""The kernel's own tests: their verdicts read right, and on the kernel that has them, run."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import typer

from secondsight.cli.kernel import selftests
from secondsight.kernels import Kernel, KernelError
from secondsight.kernels.catalog import selftest_sources
from secondsight.kernels.qemu import QEMU
from secondsight.kernels.selftest import PROGRAMS, Report, selftest
from secondsight.kernels.selftest_table import TABLE, here
from secondsight.kernels.tap import Verdict, verdicts
from secondsight.scenario import load_expected, load_scenarios

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
        Verdict("p", "hmm.private.open", "pass"),
        Verdict("p", "hmm.private.read", "fail", "hmm-tests.c:100:read:Expected ret (-14) == 0 (0)\nread: Test failed\nFAIL  hmm.private.read"),
        Verdict("p", "hmm.coherent.open", "skip", "no such memory"),
        Verdict("p", "test-1", "pass"),
        Verdict("p", "dashed", "pass"),
        Verdict("p", "test 6", "not run", "the program ended with exit:1"),
    ]


@pytest.mark.parametrize(
    ("lines", "ended", "verdict"),
    [
        ([], "exit:0", "fail"),
        ([], "signal:11", "fail"),
        (["# no device"], "exit:4", "skip"),
        (["1..2", "ok 1 a"], "signal:6", "not run"),
        (["1..1", "ok 1 a"], "signal:11", "fail"),
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
        assert str(here("hmm-tests", f"{kind}.exclusive_cow")) == "missing: device-exclusive pages, fork"
    assert here("udmabuf", "test-6") == here("udmabuf", "test 6") == TABLE["udmabuf"]["test-6"]
    assert here("udmabuf", "test-7") is here("udmabuf", "anon_write") is here("another", "test-1") is None


def test_what_stands_here_is_printed_beside_each_verdict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = [("udmabuf", "test-1"), ("udmabuf", "test-4"), ("hmm-tests", "hmm.hmm_device_private.open_close"), ("hmm-tests", "hmm2.x.new")]
    report = Report("6.12", tuple(Verdict(program, name, "pass") for program, name in found), {}, 1)
    monkeypatch.setattr("secondsight.cli.kernel.selftest", lambda kernel, progress: report)
    monkeypatch.setattr(Kernel, "find", lambda name: None)
    with pytest.raises(typer.Exit):
        selftests("6.12-own", as_json=True)
    beside = ["missing: parts of a page (a scenario counts in pages)", "scenario udmabuf_whole_memfd", "scenario hmm_open_close", "not in the table"]
    assert [one["here"] for one in json.loads(capsys.readouterr().out)["tests"]] == beside
    with pytest.raises(typer.Exit):
        selftests("6.12-own")
    lines = [re.split("  +", line.strip()) for line in capsys.readouterr().out.splitlines()]
    for (_, name), said in zip(found, beside, strict=True):
        assert [name.rpartition(".")[2], "pass", said] in lines


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


def test_the_kernels_own_tests_pass_on_a_kernel_of_our_own(own: Kernel) -> None:
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not there")
    report = selftest(own, boot_seconds=200)
    counts = Counter((found.program, found.verdict) for found in report.verdicts)
    assert counts["udmabuf", "pass"] >= 5
    assert counts["hmm-tests", "pass"] >= 28
    assert not [found for found in report.verdicts if found.verdict == "fail"]
    assert {found.said for found in report.verdicts if found.verdict == "skip"} == {"DEVICE_COHERENT not available"}
    rows = {(found.program, found.name): here(found.program, found.name) for found in report.verdicts if found.verdict != "not run"}
    assert [test for test, row in rows.items() if row is None] == []
    # Agreement: these pass, and tests/kernels/test_releases.py runs their scenarios on this kernel, with what the model says.
    ours = [row.scenario for row in TABLE["udmabuf"].values()] + [row.scenario for row in TABLE["hmm-tests"].values()]
    passed = {row.scenario for found in report.verdicts if found.verdict == "pass" and (row := here(found.program, found.name))}
    assert set(ours) - {None} <= passed
