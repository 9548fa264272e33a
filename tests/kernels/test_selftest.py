"""The kernel's own tests: their verdicts read right, and on the kernel that has them, run."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest

from secondsight.kernels import Kernel, KernelError
from secondsight.kernels.qemu import QEMU
from secondsight.kernels.selftest import selftest
from secondsight.kernels.tap import Verdict, verdicts

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


def test_the_kernels_own_tests_pass_on_a_kernel_of_our_own() -> None:
    try:
        kernel = Kernel.find("linux-6.12-own")
    except KernelError as error:
        pytest.skip(f"{error.reason}: {error.remedy}")
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not there")
    report = selftest(kernel, boot_seconds=200)
    counts = Counter((found.program, found.verdict) for found in report.verdicts)
    assert counts["udmabuf", "pass"] >= 5
    assert counts["hmm-tests", "pass"] >= 28
    assert not [found for found in report.verdicts if found.verdict == "fail"]
    assert {found.said for found in report.verdicts if found.verdict == "skip"} == {"DEVICE_COHERENT not available"}
