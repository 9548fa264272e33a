"""Campaigns without a kernel: what is kept when a worker or the tool is killed, what is found, how it is told.

The kernel here is the model itself, run by the worker processes in QEMU's place, with a fault of its own where a test wants
one. `fake_kernel.py` is what a worker runs: it is also started as a process of its own, to be killed.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import fake_kernel
import pytest

from secondsight.agree import campaign as campaigns
from secondsight.agree.campaign import run_campaign, shrink_findings
from secondsight.agree.judge import ModelAnswer, ask, judge
from secondsight.agree.source import source_of
from secondsight.agree.store import AGREES, DIED, DISAGREES, NO_VERDICT, CampaignStore, KeptResult
from secondsight.cli import main
from secondsight.kernels import Kernel, KernelError
from secondsight.kernels.lacking import LACKS
from secondsight.scenario import Recorder, ScenarioError, freeze, scenario
from secondsight.scenario.data import ZERO
from secondsight.scenario.ops import OPS, Needs

HERE = Path(__file__).parent
KERNEL = Kernel("linux-model", Path("/nowhere"), "6.12.0-model")
COMMAND = [sys.executable, str(HERE / "fake_kernel.py")]


def totals(path: Path) -> tuple[dict[str, int], int]:
    with CampaignStore(path) as store:
        (one,) = store.totals()
        return one.verdicts, one.runs


def run(path: Path, count: int, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, str(path), str(count), *options], capture_output=True, text=True, timeout=120)


@pytest.mark.wide
def test_a_campaign_killed_goes_on_and_ends_with_the_same_totals(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole.sqlite", tmp_path / "killed.sqlite"
    assert run(whole, 160).returncode == 0
    with subprocess.Popen([*COMMAND, str(killed), "160", "slow"], stdout=subprocess.DEVNULL) as tool:
        deadline = time.monotonic() + 60
        while not killed.exists() or _recorded(killed) < 40:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        tool.send_signal(signal.SIGKILL)
    before = _recorded(killed)
    assert 40 <= before < 160
    assert run(killed, 160).returncode == 0
    assert totals(killed) == totals(whole) == ({AGREES: 160}, 160)


def _recorded(path: Path) -> int:
    try:
        with sqlite3.connect(path) as db:
            return int(db.execute("SELECT count(*) FROM result").fetchone()[0])
    except sqlite3.Error:
        return 0


def test_workers_end_with_the_tool(tmp_path: Path) -> None:
    with subprocess.Popen([*COMMAND, str(tmp_path / "a.sqlite"), "400", "slow"], stdout=subprocess.PIPE, text=True) as tool:
        assert tool.stdout is not None
        worker = int(tool.stdout.readline())
        tool.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"worker {worker} is still there")


def test_a_fault_is_found_made_small_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.sqlite"
    assert run(path, 200, "fault").returncode == 0
    assert totals(path)[0].keys() == {AGREES, DISAGREES}
    with CampaignStore(path) as store:
        campaign = store.totals()[0].campaign
        monkeypatch.setattr(campaigns, "Booted", fake_kernel.Faulty)
        shrink_findings(store, campaign, KERNEL)
        found = store.results(campaign, [DISAGREES])
        small = [one for one in found if one.finding and one.finding.shrunk]
        assert len(small) == len({one.finding.signature for one in found if one.finding})
        kinds = [place.op.kind for place in small[0].finding.scenario.places()] if small[0].finding else []
        assert kinds[-1] == "fallocate_punch_hole"
        assert len(kinds) <= 3
    assert main(["agree", "--db", str(path)]) == 1
    told = capsys.readouterr().out
    assert "fallocate_punch_hole: model -EPERM, kernel ok" in told
    assert "made small" in told
    assert "@scenario" in told
    assert main(["agree", "--db", str(path), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["campaigns"][0]["verdicts"] == totals(path)[0]
    assert "def " in data["campaigns"][0]["findings"][0]["source"]


def test_what_disagreed_is_asked_again_first(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    run(path, 200, "fault")
    wrong = totals(path)[0][DISAGREES]
    with CampaignStore(path) as store:
        campaign = store.totals()[0].campaign
        assert len(store.to_do(campaign, 200)) == wrong
        assert len(store.to_do(campaign, 210)) == wrong + 10
    assert run(path, 200).returncode == 0
    assert totals(path) == ({AGREES: 200}, 200)


def test_a_guest_that_dies_costs_one_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.sqlite"
    assert run(path, 150, "dies").returncode == 0
    assert totals(path)[0] == {AGREES: 149, DIED: 1}
    assert main(["agree", "--db", str(path)]) == 1
    told = capsys.readouterr().out
    assert "the guest died: panicked" in told
    assert "a console's last words" in told


def test_a_worker_that_cannot_boot_says_why(tmp_path: Path) -> None:
    with CampaignStore(tmp_path / "a.sqlite") as store, pytest.raises(KernelError):
        run_campaign(store, KERNEL, "sequential", 1, 10)


def test_another_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("this is no database, and never was one\n" * 100)
    with pytest.raises(ScenarioError, match="cannot be used"):
        CampaignStore(tmp_path / "text")
    with sqlite3.connect(tmp_path / "other") as db:
        db.execute("CREATE TABLE t (x)")
    before = (tmp_path / "other").read_bytes()
    with pytest.raises(ScenarioError, match="no campaigns of this version"):
        CampaignStore(tmp_path / "other")
    assert (tmp_path / "other").read_bytes() == before
    assert main(["agree", "--db", str(tmp_path / "other")]) == 2
    assert main(["agree", "--db", str(tmp_path / "new"), "--kinds", "parallel"]) == 2
    assert main(["agree", "--db", str(tmp_path / "new")]) == 2
    assert "give --on KERNEL" in capsys.readouterr().err


def test_what_the_database_cannot_do_is_a_message(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with pytest.raises(ScenarioError, match="full"), CampaignStore(path) as store:
        campaign = store.campaign("linux-model", "6.12", "sequential", 1)
        store._db.execute("PRAGMA max_page_count = 8")
        store.add(campaign, [KeptResult(n, AGREES, 1, 0, {(("a", "x" * 1000),): 1}) for n in range(100)])
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO result VALUES (1, 0, 'disagrees', 1, 1, 'no JSON')")
    with pytest.raises(ScenarioError, match="cannot be used"), CampaignStore(path) as store:
        store.results(campaign)


def test_nothing_done_is_not_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Kernel, "find", lambda name: KERNEL)
    command = ["agree", "--on", "fake", "--kinds", "sequential", "--db", str(tmp_path / "a.sqlite")]
    assert main([*command, "--seconds", "0"]) == 3

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("secondsight.cli.agree.run_campaign", interrupted)
    assert main(command) == 130
    assert "recorded in" in capsys.readouterr().out


def test_a_batch_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    with CampaignStore(tmp_path / "a.sqlite") as store:
        campaign = store.campaign("linux-model", "6.12", "sequential", 1)

        def results() -> list[KeptResult]:
            return [KeptResult(0, AGREES, 1, 0, {}), KeptResult(1, AGREES, 1, 0, None)]  # type: ignore[arg-type]

        with pytest.raises(AttributeError):
            store.add(campaign, results())
        assert store.results(campaign) == []


def test_the_verdict_on_an_answer() -> None:
    @scenario
    def two_reads(s: Recorder) -> None:
        a = s.mmap(pages=1)
        s.read(a, into="one")
        s.read(a, into="two")

    zero, other = freeze({"one": "0", "two": "0"}), freeze({"one": "0", "two": "x"})
    assert judge(two_reads, ModelAnswer(frozenset([zero])), [zero])[0] == AGREES
    assert judge(two_reads, ModelAnswer(frozenset([zero])), [zero, other]) == (DISAGREES, "read: model 0, kernel a value")
    assert judge(two_reads, ModelAnswer(frozenset([zero]), 5, complete=False), [other])[0] == DISAGREES  # a longer search has said so
    assert judge(two_reads, ModelAnswer(frozenset(), problem="OutOfRecords"), [zero]) == ("refused", "OutOfRecords")
    assert judge(two_reads, ModelAnswer(frozenset([zero])), [freeze({"process": "SIGKILL"})])[0] == DISAGREES
    assert source_of(two_reads).count("s.read(mapping0") == 2


def test_a_search_that_was_cut_short_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenarios 289 and 356 of seed 1 have more states than a campaign's first search looks at."""

    @scenario
    def writes(s: Recorder) -> None:
        mapping = s.mmap(pages=1)

        @s.thread
        def t0() -> None:
            s.write(mapping, value="a")

        @s.thread
        def t1() -> None:
            s.read(mapping, into="seen")

    cut = ask(writes, states=5)
    assert not cut.complete and not cut.possible
    for seen, verdict in ((ZERO, AGREES), ("a", AGREES), ("b", DISAGREES)):
        assert judge(writes, cut, [freeze({"seen": seen})])[0] == verdict
    monkeypatch.setattr("secondsight.agree.judge.MANY", 6)
    assert judge(writes, cut, [freeze({"seen": "a"})]) == (NO_VERDICT, "more than 6 states")


def test_a_read_beside_munmap_may_go_through_the_tlb() -> None:
    """Scenario 502 of seed 1, shorter, and what Linux 6.12 once showed: two writes fail, the read after them finds the page."""

    @scenario
    def unmaps(s: Recorder) -> None:
        memfd = s.memfd_create(pages=1)
        mapping = s.mmap(memfd)

        @s.thread
        def t0() -> None:
            s.write(mapping, value="a")
            s.read(mapping, into="seen")

        @s.thread
        def t1() -> None:
            s.munmap(mapping)
            s.read(mapping, into="own")

        with s.after():
            s.read(mapping, into="end")

    answer = ask(unmaps)
    usual = {"t0[0].write": "SIGSEGV", "seen": "SIGSEGV", "own": "SIGSEGV", "end": "SIGSEGV"}
    assert judge(unmaps, answer, [freeze(usual)])[0] == AGREES
    late = usual | {"seen": ZERO}
    assert freeze(late) not in answer.possible
    assert judge(unmaps, answer, [freeze(usual), freeze(late)]) == (AGREES, "")
    for name in ("own", "end"):  # nobody else takes it away, or all is over
        assert judge(unmaps, answer, [freeze(usual | {name: ZERO})])[0] == DISAGREES
    for wrong in ({"seen": "SIGBUS"}, {"seen": "b"}, {"t0[0].write": "-EINVAL"}, {"process": "SIGKILL"}):
        assert judge(unmaps, answer, [freeze(usual | wrong)])[0] == DISAGREES


def test_what_a_kernel_may_lack_is_left_out_of_what_is_drawn() -> None:
    """Else a campaign on it ends with the first scenario that needs it. A swap device is secondsight.ko's, and not asked for without it."""
    needy = {name for name, operation in OPS.items() if operation.needs not in (Needs.NOTHING, Needs.MODULE)}
    assert {name for name in needy if OPS[name].needs not in LACKS} == set()
