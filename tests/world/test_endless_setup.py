"""A driver that goes round for ever while a scenario is set up, before there are threads, is told with its line."""

from __future__ import annotations

import pytest

from secondsight.devices.mirror import Mirror
from secondsight.lang import LangError
from secondsight.linux.mm_types import Mm, Pgoff, Va
from secondsight.scenario import Recorder
from secondsight.world import endless
from secondsight.world.model import outcomes


class NeverMaps(Mirror):
    """A fault that is repaired by nothing: the access begins again."""

    def fault(self, va: Va, write: bool) -> int:
        with self.lock:
            return 0


class NeverOpens(Mirror):
    """A loop that calls nothing."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> int:
        n = 0
        while n < 5:
            n = n
        return 0


def test_a_loop_without_a_call_does_not_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endless, "MOST", 2_000)
    s = Recorder()
    s.mmap(pages=1)
    s.device()
    with pytest.raises(LangError, match=r"test_endless_setup\.py:\d+: device does not come to an end, with nothing else going on"):
        outcomes(s.scenario("endless", ""), NeverOpens)


def test_an_access_in_the_setup_that_does_not_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endless, "MOST", 2_000)
    s = Recorder()
    a = s.mmap(pages=1)
    gpu = s.device()
    gpu.read(a)

    @s.thread
    def cpu() -> None:
        s.read(a)

    with pytest.raises(LangError, match=r"\.py:\d+: device_read does not come to an end, with nothing else going on"):
        outcomes(s.scenario("endless", ""), NeverMaps)
