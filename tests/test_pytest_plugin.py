"""The pytest plugin: the fixture, a folder of drivers, failures in the form for mails; the examples of docs/pytest.md run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from secondsight.lang import LangError
from secondsight.testing import ContractBroken, NotSettled, assert_holds, outcomes

pytest_plugins = ["pytester"]

HOUSE = Path(__file__).parent.parent
MY_GPU = (HOUSE / "examples" / "my_gpu.py").read_text()
WRONG = MY_GPU.replace(
    """                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
""",
    "",
)
assert WRONG != MY_GPU


@pytest.fixture(autouse=True)
def no_driver_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process would import what another test has imported under the same name, from a folder that has gone."""
    for name in ("my_gpu", "wrong_gpu"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_the_page(pytester: pytest.Pytester) -> None:
    (pytester.path / "my_gpu.py").write_text(MY_GPU)
    for block in re.findall(r"```python\n(.*?)```", (HOUSE / "docs" / "pytest.md").read_text(), re.DOTALL):
        name = re.match(r"# (\w+\.py)\n", block)
        assert name is not None
        (pytester.path / name[1]).write_text(block)
    pytester.runpytest_inprocess("-p", "no:xdist").assert_outcomes(passed=3)


def test_a_broken_rule_fails_with_a_trace_in_the_form_for_mails(pytester: pytest.Pytester) -> None:
    (pytester.path / "wrong_gpu.py").write_text(WRONG)
    pytester.makepyfile("from wrong_gpu import MyGpu\n\ndef test_it(contract):\n    contract.holds(MyGpu, 'munmap')\n")
    done = pytester.runpytest_inprocess("-p", "no:xdist")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines([">*contract.holds(MyGpu, 'munmap')", "E *MyGpu: munmap: * breaks as-if-cpu", "rule: as-if-cpu (contract/coherence.py)*", "*page_table.map(va=*", "secondsight replay wrong_gpu.py munmap:reads --class MyGpu *"])
    done.stdout.no_fnmatch_line("*testing.py:*")


@pytest.mark.wide
def test_a_folder_of_drivers(pytester: pytest.Pytester) -> None:
    """Through pytest-xdist, as it shows most: what is collected is the same everywhere, and reports travel."""
    folder = pytester.mkdir("drivers")
    (folder / "right.py").write_text(MY_GPU)
    (folder / "wrong.py").write_text(WRONG)
    (folder / "test_other.py").write_text(WRONG)
    (folder / "notes.py").write_text("raise SystemExit('not to be run: nothing here can be a driver')\n")
    done = pytester.runpytest_subprocess("--secondsight", "-n", "2", "-k", "open", "drivers")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["rule: as-if-cpu (contract/coherence.py)*"])
    done.stdout.no_fnmatch_line("*Traceback*")


def test_a_driver_that_cannot_be_loaded_is_an_error_without_a_traceback(pytester: pytest.Pytester) -> None:
    (pytester.path / "bad.py").write_text(MY_GPU.replace("def fault(self, va: Va, write: bool)", "def fault(self, va: Va)"))
    done = pytester.runpytest_inprocess("--secondsight", "-p", "no:xdist", "bad.py")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*instead: def fault(self, va: Va, write: bool) -> Errno:"])
    done.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_what_is_asked_wrongly_is_said_without_our_source(pytester: pytest.Pytester) -> None:
    (pytester.path / "asked_gpu.py").write_text(MY_GPU)
    pytester.makepyfile("from asked_gpu import MyGpu\n\ndef test_it(contract):\n    contract.holds(MyGpu, ['munmp'])\n")
    done = pytester.runpytest_inprocess("-p", "no:xdist")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*contract.holds(MyGpu,*", "E *no adversary is called 'munmp'; is it munmap*"])
    for ours in ("*raise LangError(*", "*contract/check.py*", "*testing.py*"):
        done.stdout.no_fnmatch_line(ours)


def test_without_the_option_nothing_is_collected(pytester: pytest.Pytester) -> None:
    (pytester.path / "right.py").write_text(MY_GPU)
    pytester.runpytest_inprocess("-p", "no:xdist", ".").assert_outcomes()


def test_a_run_of_pytest_that_does_not_use_it_loads_nothing() -> None:
    script = "import sys, secondsight.pytest_plugin; sys.exit(' '.join(m for m in sys.modules if m.startswith('secondsight.') and m != 'secondsight.pytest_plugin'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_without_pytest() -> None:
    from secondsight.devices.mirror import Mirror, MirrorWithoutTest
    from secondsight.scenario.shipped import scenarios_of
    from secondsight.search import Limits, Request

    assert [checked.adversary for checked in assert_holds(Mirror, "open")] == ["open", "open"]
    with pytest.raises(ContractBroken, match="breaks as-if-cpu") as caught:
        assert_holds(MirrorWithoutTest, ["munmap"], ["as-if-cpu"])
    assert len(caught.value.traces) == 1 and "^ as-if-cpu" in caught.value.traces[0]
    few = Request(limits=Limits(states=10))
    with pytest.raises(NotSettled, match="states, after"):
        assert_holds(Mirror, "open", request=few)
    (scenario,) = scenarios_of("one_thread_two_devices")[1]
    assert len(outcomes(scenario)) == 1
    with pytest.raises(NotSettled, match="not finished: states"):
        outcomes(scenario, request=few)
    with pytest.raises(LangError, match="asks for nothing"):
        assert_holds(Mirror, [])
