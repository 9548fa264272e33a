"""docs/contract.md names every rule, promise and adversary."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from secondsight.contract import EVERY_ADVERSARY, RULES
from secondsight.devices.device import Promise
from secondsight.linux.mm_types import Event

PAGE = (Path(__file__).parents[2] / "docs" / "contract.md").read_text()


@pytest.mark.parametrize("name", [*RULES, *EVERY_ADVERSARY, *get_args(Promise)])
def test_a_row_says_what_it_is(name: str) -> None:
    assert any(line.startswith(f"| `{name}`") for line in PAGE.splitlines())


def test_every_event_is_raised_or_said_not_to_be() -> None:
    raised = {"UNMAP", "CLEAR", "PROTECTION_PAGE", "PROTECTION_VMA", "RELEASE", "MIGRATE", "EXCLUSIVE", "SOFT_DIRTY"}
    assert {event.name for event in Event if f"`{event.name}`" in PAGE} == {event.name for event in Event} - raised
