"""Several processes in a scenario: how they are recorded, what is refused, and the data, whose older form still loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from secondsight.agree.strategies import scenarios
from secondsight.kernels.encode import encode, encode_steps
from secondsight.kernels.errors import KernelError
from secondsight.scenario import (
    HandleRef,
    Mapping,
    Op,
    Process,
    Recorder,
    Scenario,
    ScenarioError,
    ScenarioThread,
    load_scenarios,
)
from secondsight.scenario.data import check

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

TWO = """
from secondsight.scenario import scenario
@scenario
def two(s):
    file = s.memfd_create(pages=1)
    a = s.mmap(file)
    other = s.process()
    with other:
        b = s.mmap(file)
    {line}
    @other.thread
    def its():
        s.read(b)
    with s.after():
        with other:
            s.read(b, into="seen")
"""


def recorded(tmp_path: Path, line: str = "") -> Scenario:
    path = tmp_path / "two.py"
    path.write_text(TWO.format(line=line))
    return load_scenarios(path)[0]


def test_what_is_in_a_block_or_a_thread_of_a_process_is_its(tmp_path: Path) -> None:
    two = recorded(tmp_path)
    assert two.processes == (None, "process1")
    assert [str(place.op) for place in two.places()][2:] == [
        "process1 = process()",
        "process1: mapping1 = mmap(fd=memfd0, page=0, pages=1)",
        "process1: read(addr=mapping1)",
        "process1: seen = read(addr=mapping1)",
    ]
    assert [(t.name, t.process) for t in two.threads] == [("its", "process1")]


@pytest.mark.parametrize(
    ("line", "reason", "remedy"),
    [
        ("s.read(b)", "read: addr: mapping1 is process1's, and this is done in the first process", "only files are for every process"),
        ("with other: s.write(a, 'x')", "write: addr: mapping0 is the first process's, and this is done in process1", "make a mapping in process1"),
        ("with other: s.mmap(file, at=a)", "mmap: at: mapping0 is the first process's", "make a mapping in process1"),
        ("d = s.device()\n    with other: d.read(b)", "device_read: device: device0 is the first process's", "make a device in process1"),
        ("p = s.pin(a)\n    with other: p.read(0)", "pin_read: pin: pin0 is the first process's", "make a pin in process1"),
        ("with other: s.process()", "process: in process1", "outside of `with`"),
        ("s.process(); s.process()", "process: a scenario has at most 3 processes, the first counted", "split it"),
        ("s.read(a, into='process2'); s.process()", "process: into='process2' is the name of a result already", "another name"),
        ("s.read(a, into='process1')", "into='process1' is not a name for a result", "other than process"),
        ("with other:\n     with s.process(): pass", "process: in process1", "outside of `with`"),
        ("third = s.process()\n    with other:\n     with third: pass", "process2 inside a block of process1", "end that block first"),
        ("def t(): pass\n    with other: s.thread(t)", "thread t inside a block of process1", "@PROCESS.thread, outside of `with`"),
        ("with other:\n     with s.after(): pass", "after() inside a block of process1", "inside `with s.after():`"),
        ("def t():\n     with other: s.read(b)\n    s.thread(t)", "process1 inside thread t", "a thread is of one process: @process1.thread"),
        ("def t(): s.process()\n    s.thread(t)", "process: in t", "in the setup"),
    ],
)  # fmt: skip
def test_bad_use_names_the_line_the_reason_and_the_remedy(line: str, reason: str, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        recorded(tmp_path, line)
    assert caught.value.site is not None
    assert caught.value.site[0] == str(tmp_path / "two.py")
    assert 10 <= caught.value.site[1] <= 12
    assert reason in caught.value.reason
    assert remedy in caught.value.remedy


def test_a_process_of_another_scenario_is_refused() -> None:
    first, second = Recorder(), Recorder()
    other = first.process()
    first.scenario("first", "")
    with pytest.raises(ScenarioError, match="process1 belongs to another scenario"), other:
        second.mmap(pages=1)
    with pytest.raises(ScenarioError, match="process1 belongs to another scenario"):
        other.thread(lambda: None)


def test_three_processes_are_three() -> None:
    s = Recorder()
    made = [s.process(), s.process()]
    for one in made:
        with one:
            s.mmap(pages=1)
    assert s.scenario("three", "").processes == (None, "process1", "process2")


# The data


@given(scenarios("free"))
@QUICK
def test_what_is_written_comes_back(drawn: Scenario) -> None:
    assert Scenario.from_json(drawn.to_json()) == drawn
    assert json.loads(drawn.to_json())["version"] == 2


def test_the_first_form_still_loads() -> None:
    """As a secondsight without processes wrote it."""
    old = """{"name": "old", "doc": "", "final": [],
    "setup": [{"kind": "mmap", "args": {"fd": null, "page": 0, "pages": 1, "at": null}, "into": null, "makes": "mapping0", "site": ["f", 3]}],
    "threads": [{"name": "t", "ops": [{"kind": "read", "args": {"addr": {"handle": "mapping0", "page": 0}}, "into": "r", "makes": null,
    "site": ["f", 5]}]}]}"""
    loaded = Scenario.from_json(old)
    assert loaded.processes == (None,)
    assert [place.op.process for place in loaded.places()] == [None, None]
    assert Scenario.from_json(loaded.to_json()) == loaded


@pytest.mark.parametrize("version", [0, 3, "2", None])
def test_another_version_is_refused(version: object) -> None:
    data = json.loads(Recorder().scenario("none", "").to_json()) | {"version": version}
    with pytest.raises(ScenarioError, match=f"a scenario of version {version!r}; this secondsight reads versions 1 to 2"):
        Scenario.from_json(json.dumps(data))


def test_a_thread_of_two_processes_is_refused(tmp_path: Path) -> None:
    two = recorded(tmp_path)
    read = Op("read", {"addr": HandleRef("mapping0")}, None, None)
    wrong = Scenario("two", "", two.setup, (ScenarioThread("its", (*two.threads[0].ops, read)),), ())
    with pytest.raises(ScenarioError, match="thread its is of process1, not of the first process"):
        check(wrong)
    with pytest.raises(ScenarioError, match="'memfd0' is not a process of this scenario"):
        check(Scenario("x", "", (*two.setup, Op("exit", {}, process="memfd0")), (), ()))
    with pytest.raises(ScenarioError, match="not a scenario's JSON"):
        Scenario.from_json("[]")


def test_the_agent_is_told_of_processes_where_there_are_several(tmp_path: Path) -> None:
    lines = encode(recorded(tmp_path)).splitlines()
    assert lines[1:] == [
        "processes 2",
        *("op s memfd_create 0 1 0", "op s mmap 1 0 0 1 -1 -1", "op s process 2"),
        *("in 1", "op s mmap 3 0 0 1 -1 -1", "op 0 read -1 3 0", "op f read -1 3 0"),
    ]


def forked(line: str = "", section: str = "thread") -> Scenario:
    """A scenario with a child that is forked in a thread, and one more line of it."""
    s = Recorder()
    file = s.memfd_create(pages=1)
    a = s.mmap(file)
    made = {}

    @s.thread
    def forks() -> None:
        made["before"] = s.mmap(pages=1)
        made["child"] = s.fork()
        made["behind"] = s.mmap(pages=1)

    child, names = made["child"], {"s": s, "a": a, "file": file} | made

    @s.thread
    def other() -> None:
        s.read(a)

    if section == "final":
        with s.after(), child:
            exec(line, names)
        return s.scenario("forked", "")

    @child.thread
    def its() -> None:
        s.read(a)
        s.write(made["before"], "x")
        exec(line, names)

    with s.after(), child:
        s.read(made["before"], into="seen")
    return s.scenario("forked", "")


def test_a_child_has_what_its_parent_had_by_then() -> None:
    made = forked()
    assert made.processes == (None, "process1")
    assert list(made.forks) == ["process1"]
    assert Scenario.from_json(made.to_json()) == made
    assert [(t.name, t.process) for t in made.threads] == [("forks", None), ("other", None), ("its", "process1")]
    assert "forked 1 3" in encode(made).splitlines()


@pytest.mark.parametrize(
    ("line", "section", "reason"),
    [
        ("s.read(behind)", "thread", "read: addr: mapping2 is the first process's, and this is done in process1"),
        ("s.read(behind)", "final", "read: addr: mapping2 is the first process's, and this is done in process1"),
        ("s.process()", "thread", "process: in thread|process: in its"),
    ],
)
def test_a_child_has_nothing_of_what_comes_later(line: str, section: str, reason: str) -> None:
    with pytest.raises(ScenarioError, match=reason):
        forked(line, section)


def test_a_child_of_a_child_has_what_both_had() -> None:
    s = Recorder()
    a = s.mmap(pages=1)
    child = s.fork()
    with child:
        b = s.mmap(pages=1)
        grandchild = s.fork()
    with grandchild:
        s.read(a)
        s.read(b)
    with child, pytest.raises(ScenarioError, match="mapping2 is process2's"):
        s.read(made_in(s, grandchild))


def made_in(s: Recorder, process: Process) -> Mapping:
    """A mapping of a process's own, made in its block by a scenario that has one open already."""
    s._process, before = process._handle.name, s._process
    made = s.mmap(pages=1)
    s._process = before
    return made


def test_a_forced_run_with_fork_is_refused_with_the_reason() -> None:
    with pytest.raises(KernelError, match="fork cannot be in a forced run yet"):
        encode_steps(forked(), (), ())
