"""Bad input is a message that names the place, the reason and the remedy; never a traceback, never a verdict."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cli_world import HOUSE, secondsight

from secondsight.cases.own import load_tables
from secondsight.cli import main
from secondsight.contract import load_drivers
from secondsight.lang import LangError
from secondsight.scenario import ScenarioError, load_scenarios
from secondsight.search.strategy import DepthFirst, RandomWalks

GPU = HOUSE / "examples" / "my_gpu.py"
HEAD = "from secondsight import Device, Va\n\nclass Bad(Device):\n"
MORE = "from secondsight import Device, Mutex, Va\nfrom secondsight.lang import Errno, wait_until\nfrom secondsight.linux import mmu_notifier as mn\nfrom secondsight.linux.mm_types import Mm, Pgoff\n\nclass Bad(Device):\n    lock: Mutex\n"
FAULT = "    def fault(self, va: Va, write: bool) -> int:\n        return -14\n"


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (["--walks", "5", "--exact"], "--exact"),
        (["--depth-first", "5", "--exact"], "--exact"),
        (["--preemptions", "5", "--exact"], "--exact"),
        (["--preemptions", "5", "--walks", "5"], "one way through the states"),
        (["--preemptions", "-1"], "--preemptions"),
        (["--depth-first", str(2**63)], "--depth-first"),
        (["--walks", str(2**64)], "--walks"),
        (["--states", str(2**64 + 1)], "--states"),
        (["--seed", "x"], "--seed"),
        (["--memory", "0.2"], "1M is the least"),
        (["--memory", "5"], "1M is the least"),
        (["--memory", "99999999999999999999G"], "a size is wanted"),
        (["--memory", "much"], "a size is wanted"),
        (["--workers", "0"], "--workers"),
        (["--bound", "frames"], "NAME=N"),
        (["--executor", "reference", "--collect"], "native executor"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_make_no_sense(options: list[str], wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(GPU), "--adversary", "munmap", *options]) == 2
    said = capsys.readouterr()
    assert wrong in said.err and not said.out


@pytest.mark.parametrize("make", [lambda n: DepthFirst(n), lambda n: RandomWalks(depth=n), lambda n: RandomWalks(walks=n)])
def test_native_code_is_given_no_number_that_it_cannot_hold(make: type[DepthFirst]) -> None:
    for wrong in (0, -1, 2**63, 2**64):
        with pytest.raises(LangError, match="is not between"):
            make(wrong)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (b"\0", "bad.py: source code"),
        (b"# caf\xe9\n" + (HEAD + FAULT).encode(), "bad.py: .*save it as UTF-8"),
        ((HEAD + FAULT).encode() + b"# caf\xe9\n", "bad.py: 'utf-8' codec.*save it as UTF-8"),
        (b"class A(:\n", "bad.py:1:9: "),
        ((HEAD + "    xs: list\n" + FAULT).encode(), r"bad.py:4: Bad.xs: .* is not a type of a field"),
        ((HEAD + FAULT.replace(", write: bool", "")).encode(), r"bad.py:4: Bad.fault\(self, va\) does not have .*\(self, va, write\)"),
        (f"from secondsight import Device, Va\nexec('''class Bad(Device):\n{FAULT}''')\n".encode(), "bad.py: Bad has no source text"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_driver(text: bytes, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_bytes(text)
    with pytest.raises(LangError, match=wrong):
        for driver in load_drivers(path):
            driver.fields()


def test_a_driver_in_another_encoding_is_read(tmp_path: Path) -> None:
    path = tmp_path / "latin.py"
    path.write_bytes(b"# -*- coding: latin-1 -*-\n# caf\xe9\n" + (HEAD + FAULT).encode())
    assert [driver.__name__ for driver in load_drivers(path)] == ["Bad"]


def test_an_error_is_told_beside_a_broken_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "driver.py"
    path.write_text(HEAD + FAULT.replace("-14", "va << 40"))  # too large at va 1; at va 0 it says for ever: try again
    assert main(["check", str(path), "--adversary", "munmap"]) == 1
    out = capsys.readouterr().out
    assert "broken: livelock" in out and "LeftRange" in out


def test_a_scenario_file_imports_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("PAGES = 2\n")
    path = tmp_path / "scenarios.py"
    path.write_text("from beside_it import PAGES\nfrom secondsight import scenario\n\n@scenario\ndef maps(s):\n    s.mmap(pages=PAGES)\n")
    assert [one.name for one in load_scenarios(path)] == ["maps"]


SET_UP_ERRORS = {
    "self.registre(mm)": "AttributeError: ",
    "self.registered = 1": "Bad has no field registered",
    "self.lock.owner = 300": "LeftRange: Mutex.owner = 300 is outside",
    "mn.mmu_interval_notifier_insert(self, mm, start, length)": "Bad has no field mm",
    "wait_until(False)": "this call would wait for ever",
}
"""A line of `open`, and what is said of it."""


@pytest.mark.parametrize("line", SET_UP_ERRORS)
def test_an_error_in_a_drivers_set_up_names_its_line(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "driver.py"
    path.write_text(MORE + FAULT + f"\n    def open(self, mm, start, length) -> int:\n        {line}\n        return 0\n")
    assert main(["check", str(path), "--adversary", "munmap"]) == 2
    said = capsys.readouterr()
    assert f"driver.py:12: {SET_UP_ERRORS[line]}" in said.err and "while Bad was set up" in said.err and not said.out


def test_a_rule_that_a_drivers_set_up_breaks_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "driver.py"
    path.write_text(MORE + FAULT + "\n    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:\n        self.lock.unlock()\n        return 0\n")
    assert main(["check", str(path), "--adversary", "read-only"]) == 2
    assert "driver.py:12:Badbreakstherulenot-owner" in "".join(capsys.readouterr().out.split())


def test_json_is_json_whatever_the_file_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GPU.read_text()
    (tmp_path / "loud.py").write_text(f"{text}\nprint('hello at import')\n")
    assert main(["check", str(tmp_path / "loud.py"), "--adversary", "open", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["verdict"] == "holds"
    assert "hello at import" in said.err


@pytest.mark.parametrize("arguments", [["check", "none.py"], ["run", "none.py"], ["settle", "bogus"], ["list", "bogus"]], ids=" ".join)
def test_bad_input_is_json_where_json_is_asked_for(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--json"]) == 2
    said = capsys.readouterr()
    data = json.loads(said.out)
    assert data["kind"] == "error" and data["message"].splitlines()[0] in said.err


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("from secondsight import Array", "instead: from secondsight.lang import Array"),
        ("from secondsight import Devise", "instead: from secondsight import Device"),
        ("from secondsight.linux.hmm import mmu_interval_read_begin", "instead: from secondsight.linux.mmu_notifier import mmu_interval_read_begin"),
        ("from secondsight.lang import nothing_like_it", "secondsight list functions"),
        ("from secondsight.no_such_room import x", "No module named"),
    ],
)
def test_a_name_from_the_wrong_module_is_told_where_it_is(line: str, instead: str, tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(f"{line}\n")
    with pytest.raises(LangError, match=re.escape(instead)):
        load_drivers(tmp_path / "driver.py")
    with pytest.raises(ScenarioError, match=re.escape(instead)):
        load_scenarios(tmp_path / "driver.py")


def test_a_list_as_a_field_is_told_the_array_of_its_elements(tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text("from secondsight import Device\n\n\nclass A(Device):\n    seen: list[bool]\n")
    done = secondsight("check", "driver.py", cwd=tmp_path)
    assert done.code == 2 and "Array[bool, 8], with from secondsight.lang import Array" in done.err


@pytest.mark.parametrize("parameters", ["mm", "mm, start, end"])
def test_a_method_with_other_parameters_is_told_those_that_it_needs_with_their_types(parameters: str, tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(HEAD + FAULT + f"    def open(self, {parameters}) -> int:\n        return 0\n")
    with pytest.raises(LangError, match=r"instead: def open\(self, mm: Mm, start: Va, length: Pgoff\) -> Errno:"):
        load_drivers(tmp_path / "driver.py")


@pytest.mark.parametrize("load", [load_drivers, load_scenarios, load_tables])
def test_what_is_no_regular_file_is_told_so(load: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, says in ((tmp_path / "fifo", "is no regular file"), (Path("-"), "is no regular file"), (tmp_path, "is a folder"), (tmp_path / "a.py", "no such file")):
        with pytest.raises((LangError, ScenarioError), match=says):
            load(path)


@pytest.mark.parametrize(("option", "number"), [("--states", 2**63), ("--walks", 2**64)])
def test_a_number_that_is_too_large_is_told_the_largest_and_no_help_page_has_it(option: str, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(GPU), option, str(number)]) == 2
    assert "is wanted" in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert main(["check", "--help"]) == 0
    assert "922337" not in capsys.readouterr().out


def test_an_adversary_that_is_named_twice_is_asked_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(GPU), "--adversary", "read-only", "--adversary", "read-only", "--json"]) == 0
    scenarios = [result["scenario"] for result in json.loads(capsys.readouterr().out)["results"]]
    assert scenarios and len(scenarios) == len(set(scenarios))


def test_a_release_that_nobody_looked_at_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    for release, said in (("6.99", True), ("6.1", False)):
        assert main(["run", "two_mirrors", "--release", release, "--states", "100"]) in (0, 3)
        assert ("is known of 6.1, 6.12, 7.2" in capsys.readouterr().err) is said


def test_make_help_names_every_target() -> None:
    # Below `make test`, a make says which folder it enters, unless it is asked not to.
    command = ["make", "--no-print-directory", "help"]
    shown = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z-]+):.*##", (HOUSE / "Makefile").read_text(), re.MULTILINE)
    assert targets == [line.split()[0] for line in shown.splitlines()] and "docs-site" in targets


def test_a_python_file_is_no_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(GPU)]) == 2
    assert "after it come a scenario and a token" in capsys.readouterr().err


def test_all_that_a_driver_is_refused_for_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "driver.py"
    text = GPU.read_text().replace("hmm.hmm_range_fault(", "hmm.hmm_range_falt(").replace("rng.blockable", "rng.blocks")
    path.write_text(text)
    at = [next(i for i, line in enumerate(text.splitlines(), 1) if word in line) for word in ("rng.blocks", "hmm_range_falt")]
    assert main(["check", str(path), "--json"]) == 2
    said = capsys.readouterr()
    message = json.loads(said.out)["message"]
    assert message in said.err
    assert [int(line.split(":")[1]) for line in message.splitlines() if line.startswith(f"{path}:")] == at
    assert message.count("instead: ") == 2


def test_all_that_is_wrong_with_a_files_classes_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "driver.py"
    one = HEAD + "    y: Nowhere\n" + FAULT.replace(", write: bool", "")
    path.write_text("from __future__ import annotations\n" + one + "\nclass Worse(Device):\n    xs: list\n    z: str\n" + FAULT)
    with pytest.raises(LangError) as caught:
        load_drivers(path)
    told = [part.split(": ")[1].partition("(")[0] for part in str(caught.value).split("\n\n")]
    assert told == ["Bad.y", "Bad.fault", "Worse.xs", "Worse.z"]
    path.write_text(path.read_text().replace("class Bad(Device):\n    y: Nowhere", "class Bad(Device):").replace("fault(self, va: Va)", "fault(self, va: Va, write: bool)"))
    assert [kind.__name__ for kind in load_drivers(path, ["Bad"])] == ["Bad", "Worse"]  # --class Bad: the other does not matter
