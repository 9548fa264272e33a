"""Importers under the contract: a user's own, what is refused, what a verdict rests on, and a buffer in a scenario by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from secondsight import BufferDevice
from secondsight.contract import ADVERSARIES, IMPORTER_ADVERSARIES, adversaries_for, check, load_drivers, rests_on, rules_for
from secondsight.contract.check import check_scenario
from secondsight.devices.fenced_importer import FencedImporter
from secondsight.devices.mirror import Mirror
from secondsight.devices.small import BeginsBesideOthers, IgnoresMoves, SyncsImplicitly, TellsItsOwnAlone
from secondsight.lang import LangError
from secondsight.lang.plain import replay
from secondsight.scenario import Recorder, Scenario, ScenarioError, show_outcome
from secondsight.search import Verdict
from secondsight.world.model import outcomes, program


def scenario(revokes: bool) -> Scenario:
    """A job beside a move, or beside the loss of the memory."""
    s = Recorder()
    buffer = s.buffer(pages=1)
    gpu = s.attached_device(buffer)

    @s.thread
    def device() -> None:
        gpu.job("D", into="job")

    @s.thread
    def exporter() -> None:
        if revokes:
            s.buffer_revoke(buffer)
        else:
            s.buffer_move(buffer)

    return s.scenario("a_job", "")


@pytest.mark.parametrize(("revokes", "seen"), [(False, {"job=ok"}), (True, {"job=ok", "job=-ENODEV"})])
def test_a_job_is_done_unless_the_memory_has_gone(revokes: bool, seen: set[str]) -> None:
    result, possible = outcomes(scenario(revokes))
    assert result.verdict is Verdict.HOLDS
    assert {show_outcome(o) for o in possible} == seen


@pytest.mark.parametrize("moves", [1, 2])
def test_jobs_and_moves_of_several_threads_come_one_after_another(moves: int) -> None:
    s = Recorder()
    buffer = s.buffer(pages=1)
    gpu = s.attached_device(buffer)

    @s.thread
    def one() -> None:
        gpu.job("D", into="one")

    @s.thread
    def exporter() -> None:
        s.buffer_move(buffer)

    @s.thread
    def other() -> None:
        if moves == 2:
            s.buffer_move(buffer)
        else:
            gpu.job("E", into="other")

    found = check_scenario(FencedImporter, "several", s.scenario("several", ""), rules_for(FencedImporter)).result
    assert found.verdict is Verdict.HOLDS, found.violation


def test_a_device_that_is_closed_twice_is_refused() -> None:
    s = Recorder()
    gpu = s.attached_device(s.buffer(pages=1))

    @s.thread
    def one() -> None:
        gpu.close()

    with pytest.raises(ScenarioError, match=r"device_close: .* is closed already"):

        @s.thread
        def other() -> None:
            gpu.close()


def test_a_scenario_with_a_buffer_is_data() -> None:
    made = scenario(revokes=True)
    assert Scenario.from_json(made.to_json()) == made


OWN = """
from secondsight.devices.fenced_importer import FencedImporter
from secondsight.linux.dma_buf import DmaBuf
from secondsight.linux.dma_resv import DmaResvUsage, dma_resv_wait_timeout


class WaitsForWriters(FencedImporter):
    def wait_for_moves(self, buffer: DmaBuf) -> None:
        dma_resv_wait_timeout(buffer.resv, DmaResvUsage.WRITE)


class UnmapsAnyway(FencedImporter):
    def wait_for_jobs(self) -> None:
        pass
"""


def test_an_importer_of_ones_own_is_checked_and_its_trace_replays(tmp_path: Path) -> None:
    """To wait for WRITE is to wait for KERNEL as well. Not to wait for the own job before unmapping is harmless where every exporter
    waits for its fence."""
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    waits, hasty = load_drivers(path)
    assert all(c.result.verdict is Verdict.HOLDS and c.accessed for driver in (waits, hasty) for c in check(driver, ["buffer-moves"]))
    assert issubclass(waits, BufferDevice) and set(adversaries_for(waits)) == set(IMPORTER_ADVERSARIES) - {"cpu-access", "second-importer"}
    assert set(adversaries_for(Mirror)) < set(ADVERSARIES)


def test_what_an_importers_verdict_rests_on() -> None:
    rests = rests_on(FencedImporter, ["buffer-moves"])
    assert rests.reach["buffer-moves"].called
    assert "no-freed-frame" not in rests.reach["buffer-moves"].silent
    assert not [line for line in rests.unseen if line.method.endswith(("attach_to", "work", "close", "give_back"))]


def test_an_importer_has_rules_of_its_own() -> None:
    names = {rule.name for rule in rules_for(FencedImporter)}
    assert "no-freed-frame" in names and not names & {"as-if-cpu", "isolation", "pinned"}
    assert "no-freed-frame" not in {rule.name for rule in rules_for(Mirror)}
    with pytest.raises(LangError, match="no adversary is called 'munmap'; there are: buffer-moves, buffer-revoked"):
        next(check(FencedImporter, ["munmap"]))


SYNCS = """
from typing import ClassVar

from secondsight.devices.fenced_importer import CONTEXT, FencedImporter
from secondsight.devices.job import job_prepare, job_start
from secondsight.devices.small import SyncsImplicitly
from secondsight.lang import Char, atomic
from secondsight.linux.dma_buf import DmaBuf, DmaBufAttachment
from secondsight.linux.dma_resv import DmaResvUsage, dma_resv_add_fence, dma_resv_reserve_fences, dma_resv_usage_rw, dma_resv_wait_timeout


class SaysSoAndDoesNot(FencedImporter):
    implicit_sync: ClassVar[bool] = True


class AlwaysSaysThatItWrites(SyncsImplicitly):
    def usage(self, value: Char) -> DmaResvUsage:
        return DmaResvUsage.WRITE


class BookkeepsReads(SyncsImplicitly):
    def usage(self, value: Char) -> DmaResvUsage:
        return DmaResvUsage.WRITE if value != 0 else DmaResvUsage.BOOKKEEP


class WaitsForWritersAlone(FencedImporter):
    implicit_sync: ClassVar[bool] = True

    def queue(self, buffer: DmaBuf, attach: DmaBufAttachment, value: Char) -> None:
        dma_resv_wait_timeout(buffer.resv, dma_resv_usage_rw(False))
        with atomic:
            dma_resv_reserve_fences(buffer.resv, 1)
            fence = job_prepare(self.job, attach, 0, value, CONTEXT)
            dma_resv_add_fence(buffer.resv, fence, dma_resv_usage_rw(value == 0))
            job_start(self.job)
"""


def test_who_says_that_it_synchronises_implicitly_is_asked_by_a_cpu(tmp_path: Path) -> None:
    """A fence of usage WRITE for everything is only more than needed; one that CPUs do not wait for is too little, for a job that reads too."""
    path = tmp_path / "mine.py"
    path.write_text(SYNCS)
    found = {driver.__name__: {c.result.violation.rule if c.result.violation else "" for c in check(driver, ["cpu-access"])} for driver in load_drivers(path)}
    assert found == {
        "SaysSoAndDoesNot": {"implicit-sync"}, "AlwaysSaysThatItWrites": {""}, "BookkeepsReads": {"implicit-sync", ""}, "WaitsForWritersAlone": {""},
    }  # fmt: skip
    assert "implicit-sync" in {rule.name for rule in rules_for(SyncsImplicitly)} and "implicit-sync" not in {rule.name for rule in rules_for(FencedImporter)}
    with pytest.raises(LangError, match="the rule implicit-sync is not asked of FencedImporter, whose promise is 'importer' and which does not say implicit_sync"):
        rules_for(FencedImporter, ["implicit-sync"])
    with pytest.raises(LangError, match="no adversary is called 'cpu-access'; there are: buffer-moves, buffer-revoked"):
        next(check(FencedImporter, ["cpu-access"]))


def test_a_second_importer_finds_a_job_that_does_not_wait_and_one_that_is_not_told_of(tmp_path: Path) -> None:
    """Jobs that only read may be under way together: who reads waits for those that write, who writes for all. Both scenarios tell more than one alone."""
    path = tmp_path / "mine.py"
    path.write_text(SYNCS)
    drivers = {driver.__name__: driver for driver in [*load_drivers(path), SyncsImplicitly, BeginsBesideOthers, TellsItsOwnAlone]}

    def broken(name: str) -> set[str]:
        found = list(check(drivers[name], ["second-importer"]))
        for one in found:
            assert one.accessed or one.result.violation is not None
            if one.result.violation is not None:
                steps = one.result.violation.trace.schedule
                assert one.result.violation.rule == "implicit-sync"
                assert len(replay(one.rebuild(), steps, one.result.violation.trace.states)) == len(steps)
        return {one.scenario.removeprefix("second-importer: ") for one in found if one.result.violation is not None}

    assert broken("SyncsImplicitly") == broken("AlwaysSaysThatItWrites") == broken("TellsItsOwnAlone") == set()
    assert broken("BeginsBesideOthers") == {"writes", "reads"}
    assert broken("WaitsForWritersAlone") == broken("BookkeepsReads") == {"reads"}


def test_two_devices_may_read_together() -> None:
    s = Recorder()
    buffer = s.buffer(pages=1)
    one, two = s.attached_device(buffer), s.attached_device(buffer)

    @s.thread
    def first() -> None:
        one.job_read(into="first")

    @s.thread
    def second() -> None:
        two.job_read(into="second")

    made = s.scenario("both_read", "")
    assert [check_scenario(kind, "own", made, rules_for(kind)).result.verdict for kind in (SyncsImplicitly, BeginsBesideOthers)] == [Verdict.HOLDS] * 2


def test_what_does_not_suit_is_refused_with_a_remedy() -> None:
    with pytest.raises(ScenarioError, match=r"Mirror mirrors a process's memory, and has to work on a buffer here\n.*BufferDevice"):
        program(scenario(revokes=False), Mirror)
    with pytest.raises(ScenarioError, match="FencedImporter works on a buffer, and has to mirror a process's memory here"):
        program(ADVERSARIES["munmap"].scenarios[0], FencedImporter)
    s = Recorder()
    s.buffer(pages=1)
    with pytest.raises(ScenarioError, match="a buffer, and no device that is attached to it"):
        program(s.scenario("alone", ""))
    with pytest.raises(LangError, match=r"BufferDevice.attach_to\(\) failed, with nothing else going on: -EINVAL"):
        program(scenario(revokes=False), BufferDevice)
    with pytest.raises(ScenarioError, match="memfd0 is a memfd, not a buffer"):
        s.buffer_move(s.memfd_create(pages=1))


def test_a_broken_rule_replays() -> None:
    checked = next(c for c in check(IgnoresMoves, ["buffer-moves"]) if c.result.violation is not None)
    violation = checked.result.violation
    assert violation is not None and violation.rule == "no-freed-frame"
    steps = violation.trace.schedule
    assert len(replay(checked.rebuild(), steps, violation.trace.states)) == len(steps)
