"""`secondsight run`, `settle`, `kernel`, and how every command ends: Ctrl-C, a closed pipe, a full disk."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_world import BIG, HOUSE, MY_GPU, WITHOUT_TEST, command, narrow, secondsight

from secondsight import contract, kernels
from secondsight.cases import TABLES, CaseTable, Heading
from secondsight.cli import confirming, kernel, main, settle
from secondsight.kernels import Kernel, KernelError, Observation
from secondsight.scenario import Scenario, freeze
from secondsight.search import Verdict

HOLE = HOUSE / "examples" / "hole_refilled.py"


def test_run_prints_every_possible_outcome() -> None:
    done = secondsight("run", HOLE)
    assert done.code == 0
    assert narrow(done.out)
    assert "seen=a" in done.out


def test_run_as_json() -> None:
    (scenario,) = secondsight("run", HOLE, "--json").json["scenarios"]
    assert scenario["possible"] == [{"seen": "a"}]
    assert scenario["model"]["verdict"] == "holds"


def test_run_says_when_it_has_not_seen_everything(tmp_path: Path) -> None:
    path = tmp_path / "big.py"
    path.write_text(BIG)
    done = secondsight("run", path, "--states", "2000")
    assert done.code == 3
    assert "not finished" in done.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "none.py"],
        ["run", str(HOLE), "--on", "linux-0.1"],
        ["run", str(HOLE), "--kernel", __file__],
        ["run", str(HOLE), "--runs", "0"],
        ["run", str(HOUSE / "examples" / "my_gpu.py")],
        ["settle", "bogus"],
        ["settle", "--trace", "bogus"],
        ["kernel", "get", "0.1"],
        ["kernel", "get", "../../etc"],
        ["replay", "none.json"],
        ["replay", str(HOUSE)],
        ["check", str(HOUSE / "docs")],
        ["bogus"],
    ],
    ids=lambda arguments: " ".join(Path(a).name for a in arguments),
)
def test_bad_input_is_a_message(arguments: list[str]) -> None:
    done = secondsight(*arguments)
    assert done.code == 2
    assert done.err.strip()
    assert "Traceback" not in done.err + done.out


def _broken_cell() -> tuple[str, str]:
    """A table's name and a cell of it that was reviewed as broken, as `--trace` takes it."""
    table = TABLES["2019-08-hmm"]
    row, column = next(place for place, verdict in table.expected.items() if verdict is Verdict.BROKEN)
    return table.name, f"{row}:{column}"


class FakeMachine:
    """Stands for a booted kernel: shows one outcome, always."""

    seen = "z"

    def __enter__(self) -> FakeMachine:
        return self

    def __exit__(self, *_: object) -> None: ...

    def observe(self, scenario: Scenario, runs: int, seed: int, progress: object) -> Observation:
        return Observation(scenario.name, {freeze({"seen": self.seen}): runs}, runs, "9.9-fake", 1.0)


@pytest.mark.parametrize(("seen", "code"), [("z", 1), ("a", 0)])
def test_an_impossible_outcome_is_a_loud_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seen: str, code: int
) -> None:
    machine = FakeMachine()
    machine.seen = seen
    monkeypatch.setattr(kernel, "find_kernel", lambda name, path, headers=None: Kernel("fake", HOLE, "9.9-fake"))
    monkeypatch.setattr(kernels, "boot", lambda kernel, **_: machine)
    assert main(["run", str(HOLE), "--on", "fake", "--runs", "7"]) == code
    out = capsys.readouterr().out
    assert narrow(out)
    assert ("IMPOSSIBLE OUTCOME OBSERVED: seen=z (7 times)" in out) == (code == 1)
    assert "7 times" in out


@pytest.mark.parametrize(("device", "module"), [("", False), ("\n    s.device().read(a, into='seen')", True)])
def test_a_kernel_is_booted_with_the_module_where_a_scenario_has_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, module: bool
) -> None:
    path, asked = tmp_path / "one.py", []
    path.write_text(f"from secondsight import scenario\n\n@scenario\ndef one(s):\n    a = s.mmap(pages=1){device}\n")
    monkeypatch.setattr(kernel, "find_kernel", lambda name, path, headers=None: Kernel("fake", HOLE, "9.9-fake"))
    monkeypatch.setattr(kernels, "boot", lambda kernel, module, **_: asked.append(module) or FakeMachine())
    main(["run", str(path), "--on", "fake", "--runs", "1"])
    assert asked == [module]


def test_settle_one_cell_with_its_trace() -> None:
    table, cell = _broken_cell()
    done = secondsight("settle", table, "--trace", cell)
    assert done.code == 1
    assert narrow(done.out)
    assert done.out.startswith(cell.replace(":", ", "))
    assert "rule: " in done.out


def test_a_cells_trace_replays(tmp_path: Path) -> None:
    table, cell = _broken_cell()
    path = tmp_path / "cell.json"
    path.write_text(secondsight("settle", table, "--trace", cell, "--json").out)
    assert secondsight("replay", path).code == 0


@pytest.mark.parametrize("name", ["", "check", "settle", "run", "replay", "kernel"])
def test_help_tells_the_exit_codes(name: str) -> None:
    done = secondsight(*filter(None, [name, "--help"]))
    assert done.code == 0
    assert "Exit code" in done.out
    assert narrow(done.out)


# How it ends.


def interrupted(seconds: float, *arguments: str | Path, by: signal.Signals = signal.SIGINT) -> tuple[str, str]:
    """Stdout and stderr of a command that got Ctrl-C, as a terminal sends it, or another signal, when it has computed for some seconds
    (or waited, five times as long: for processes of its own)."""
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        begun = time.monotonic()
        while not _answers(process.pid):
            assert process.poll() is None and time.monotonic() < begun + 60
            time.sleep(0.05)
        while _computed(process.pid) < seconds and time.monotonic() < begun + 5 * seconds:
            time.sleep(0.05)
        os.killpg(process.pid, by)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in out + err
    assert "interrupted" in err
    return out, err


def interrupted_later(*arguments: str | Path, by: signal.Signals = signal.SIGINT, has: str = "") -> str:
    """Stdout of a command that was interrupted when it had something to print, with `has` in it: how long it prepares depends on the machine, and on what is compiled already."""
    return next((out for seconds in (1, 2, 6, 20) if (out := interrupted(seconds, *arguments, by=by)[0]) and has in out), "")


def _answers(process: int) -> bool:
    """Whether our `main` has begun: it has set a handler of SIGTERM. Before that Python itself is starting, and ends by the signal."""
    caught = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def _computed(process: int) -> float:
    """Seconds of CPU time that a process has used."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_prints_what_a_search_has_seen(by: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "big.py"
    path.write_text(BIG)
    assert "not finished: interrupted" in " ".join(interrupted_later("run", path, by=by).split())


def test_ctrl_c_still_writes_json(tmp_path: Path) -> None:
    path = tmp_path / "big.py"
    path.write_text(BIG)
    out = interrupted_later("run", path, "--json", has='"reason"')
    assert json.loads(out)["scenarios"][0]["model"]["reason"] == "interrupted"


def test_ctrl_c_ends_a_check(tmp_path: Path) -> None:
    path = tmp_path / "driver.py"
    path.write_text(MY_GPU)
    out = interrupted_later("check", path, "--json", "--executor", "reference")
    assert json.loads(out)["verdict"] == "not finished"


def test_an_adversary_that_was_cut_short_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "driver.py"
    path.write_text(MY_GPU)
    checks = contract.check

    def cut(*arguments: Any) -> Iterator[contract.Checked]:
        yield from itertools.islice(checks(*arguments), 3)
        raise KeyboardInterrupt

    monkeypatch.setattr(contract, "check", cut)
    assert main(["check", str(path), "--adversary", "open", "--adversary", "mprotect"]) == 130  # of two scenarios each
    said = [line.split()[:3] for line in capsys.readouterr().out.splitlines() if " states " in line]
    assert said == [["open", "holds", said[0][2]], ["mprotect", "not", "finished:"]]


def test_ctrl_c_ends_settling_and_leaves_no_process() -> None:
    out = interrupted_later("settle", "2023-07-udmabuf", "--executor", "reference")
    assert "2023-07" in out


@contextmanager
def stops(error: BaseException) -> Iterator[None]:
    """Stands for `asking`: a kernel that does not come so far as to be asked."""
    raise error
    yield


STOPS = [(KeyboardInterrupt(), 130), (KernelError("the guest hangs", "wait"), 2)]


@pytest.mark.parametrize(("error", "code"), STOPS, ids=["ctrl-c", "no boot"])
def test_what_stops_a_kernel_loses_nothing_of_the_model(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(kernel, "find_kernel", lambda name, path, headers=None: Kernel("fake", HOLE, "9.9-fake"))
    monkeypatch.setattr(kernels, "boot", lambda kernel, **_: stops(error))
    assert main(["run", str(HOLE), "--on", "fake"]) == code
    assert "seen=a" in capsys.readouterr().out

    monkeypatch.setattr(Kernel, "find", lambda name: Kernel(name, HOLE, "9.9-fake"))
    for asks in (confirming, settle):
        monkeypatch.setattr(asks, "asking", lambda kernel: stops(error))
    row, column = Heading("today loop", "as the kernel does it"), Heading("munmap", "the process unmaps")
    small = CaseTable("small", "Small", "?", (row,), (column,), TABLES["2019-08-hmm"].program)
    monkeypatch.setitem(TABLES, "small", small)
    assert main(["settle", "small", "--confirm", "fake"]) == code
    assert "holds" in capsys.readouterr().out

    path = tmp_path / "driver.py"
    path.write_text(WITHOUT_TEST)
    assert main(["check", str(path), "--confirm", "fake", "--adversary", "munmap"]) == code
    out = capsys.readouterr().out
    assert "broken: as-if-cpu" in out and "^ as-if-cpu" in out


def test_an_unknown_kernel_is_refused_before_the_search(tmp_path: Path) -> None:
    path = tmp_path / "big.py"
    path.write_text("import time\ntime.sleep(100)")
    for arguments in (["check", path], ["settle"], ["settle", "--trace", "today loop:exit"]):
        done = secondsight(*arguments, "--confirm", "linux-0.1")
        assert done.code == 2 and "linux-0.1" in done.err
    done = secondsight("check", path, "--confirm", "host")
    assert done.code == 2 and "virtual machines" in done.err


def test_a_message_that_nobody_reads_changes_no_exit_code() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command("run", "none.py"), stdout=subprocess.PIPE, stderr=writing, check=False)
    os.close(writing)
    assert (done.returncode, done.stdout) == (2, b"")


def test_a_cache_folder_that_cannot_be_used_is_told_how_to_name_another(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SECONDSIGHT_CACHE", "/proc/none")
    assert main(["kernel", "get", "6.1"]) == 2
    assert "; SECONDSIGHT_CACHE names another folder for what is kept" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error() -> None:
    with subprocess.Popen(
        command("check", HOUSE / "examples" / "my_gpu.py", "--adversary", "munmap"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert "Traceback" not in err and "Exception" not in err
    assert process.returncode == 128 + signal.SIGPIPE  # and nothing that is a verdict


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_stream_is_no_error(closed: str) -> None:
    number = {"stdout": 1, "stderr": 2}[closed]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {number}>&-', "sh", *command("run", HOLE, "--json")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert closed == "stdout" or json.loads(done.stdout)


def test_a_terminal_without_a_character_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "hole.py"
    path.write_text(HOLE.read_text().replace("The guest", "The gu\u00ebst"), encoding="utf-8")
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command("run", path), env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "The gu\\xebst" in done.stdout


def test_a_full_disk_is_a_message() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("/dev/full is not there: needs Linux")
    with full.open("w") as file:
        done = subprocess.run(command("run", HOLE), stdout=file, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
