"""What the tests of the kernel's own files share: a target's program of each release whose source is here, and a walk."""

from __future__ import annotations

import os
import random
import time

import pytest

from secondsight.conform.build import build
from secondsight.conform.side import Side
from secondsight.conform.target import Target
from secondsight.conform.walk import Beside, Tally
from secondsight.kernels.errors import KernelError
from secondsight.kernels.sources import KernelSource, find_source


def source_of(release: str) -> KernelSource:
    """The source of a release in the cache folder; without it the test is skipped, or fails where that is asked for."""
    try:
        return find_source(release)
    except KernelError as error:
        if os.environ.get("SECONDSIGHT_REQUIRE_KERNELS") == "1":
            pytest.fail(f"SECONDSIGHT_REQUIRE_KERNELS=1, but {error}", pytrace=False)
        pytest.skip(str(error))


def walk(target: Target, release: str, seconds: float = 2, text: str | None = None) -> Tally:
    """Random walks of both sides for some seconds, or until they differ; `text` instead of the kernel's file."""
    program = build(target, source_of(release), text)
    tally, seed, until = Tally(), 0, time.monotonic() + seconds
    with Side(program) as side:
        beside = Beside(target, side, release)
        while tally.disagreement is None and (seed == 0 or time.monotonic() < until):
            source = random.Random(seed)
            beside.walk(target.draw(source, release), source, tally)
            seed += 1
    return tally


def transitions(target: Target, release: str, which: int) -> Tally:
    """Every transition of one of the bounded configurations."""
    configuration = list(target.bounded(release))[which]
    tally = Tally()
    with Side(build(target, source_of(release))) as side:
        Beside(target, side, release).all_transitions(configuration, tally)
    return tally
