"""What a value is called in a trace."""

from __future__ import annotations

import pytest

from secondsight.lang import Machine
from secondsight.linux import bounds
from secondsight.linux.mm_types import Event, Range
from secondsight.linux.mmu_notifier import owners
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.report.words import arguments, short


@pytest.mark.parametrize(
    ("event", "may_block", "owned", "text"),
    [
        (Event.PROTECTION_PAGE, True, False, "0-1, PROTECTION_PAGE"),
        (Event.UNMAP, False, False, "0-1, UNMAP, nonblock"),
        (Event.EXCLUSIVE, True, True, "0-1, EXCLUSIVE, owner"),
    ],
)
def test_what_is_empty_in_a_range_is_not_said(event: Event, may_block: bool, owned: bool, text: str) -> None:
    with Machine(bounds(owners=1)):
        assert short(Range(0, 2, event, may_block, owners[0] if owned else None)) == text


def test_what_the_kernels_function_does_not_have_is_not_said() -> None:
    given = {"mm": None, "start": 0, "length": 2, "write": True, "low": 0, "high": 2}
    assert arguments(do_mprotect_pkey, given, named=True) == "start=0, length=2, write"
