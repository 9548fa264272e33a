"""Every file of the machinery has a judge, or says why it has none."""

from __future__ import annotations

from pathlib import Path

from secondsight import linux
from secondsight.conform.judges import WITHOUT
from secondsight.conform.targets import TARGETS


def test_every_file_of_the_machinery_has_a_judge_or_a_reason() -> None:
    files = {path.name for path in Path(linux.__file__).parent.glob("*.py")} - {"__init__.py"}
    beside = {file for target in TARGETS for file in (target.model, *target.parts)}
    assert beside.isdisjoint(WITHOUT)
    assert files - beside - set(WITHOUT) == set()
    assert set(WITHOUT) <= files
