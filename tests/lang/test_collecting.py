"""What is made without garbage collection, and stays, is looked at by no collection."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from secondsight.lang import collecting


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    before = gc.get_freeze_count()
    yield
    if not before:
        gc.unfreeze()


@pytest.mark.wide
def test_of_a_command_it_stays_until_it_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_stays", [False])
    frozen = gc.get_freeze_count()
    with collecting.uncollected():
        assert not gc.isenabled()
    assert gc.get_freeze_count() == frozen
    collecting.stays()
    with collecting.uncollected():
        made: list[list[int]] = [[]]
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen
    assert not any(made is one for one in gc.get_objects())
    collecting.may_go()
    assert any(made is one for one in gc.get_objects())
