"""Guests that a module's tests boot for themselves, and what such tests have in common."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

from secondsight.agree.campaign import examine
from secondsight.agree.generate import DrawnKind, scenario_of
from secondsight.agree.sides import Booted
from secondsight.agree.store import AGREES
from secondsight.kernels import VM, Kernel, KernelError, boot
from secondsight.kernels.ability import abilities
from secondsight.kernels.encode import encode
from secondsight.scenario import Recorder


def unavailable(reason: str) -> NoReturn:
    """Skip in one line; fail where a real kernel is required."""
    if os.environ.get("SECONDSIGHT_REQUIRE_KERNELS") == "1":
        pytest.fail(f"SECONDSIGHT_REQUIRE_KERNELS=1, but {reason}", pytrace=False)
    pytest.skip(reason)


@contextmanager
def with_module(kernel: Kernel, *wanted: str, **how: bool) -> Iterator[VM]:
    """The kernel with secondsight.ko, booted as `boot` says; without one of the abilities that are wanted there is none."""
    missing = {"device", *wanted} - set(abilities(kernel))
    if missing or shutil.which("make") is None:
        unavailable(f"{kernel.name} is without {', '.join(sorted(missing)) or 'make'}: secondsight kernel get {kernel.name.removeprefix('linux-')}")
    with boot(kernel, module=True, **how) as machine:
        yield machine


def drawn_ones_agree(vm: VM, kind: DrawnKind, seed: int, count: int, every: int, others: Collection[int], has: str) -> None:
    """The first scenarios that a campaign draws with an operation: each `every`th that is not one of the others'."""
    numbers = [n for n in range(every - 1, every * (count + 30), every) if all(n % other != other - 1 for other in others)][:count]
    drawn = {n: scenario_of(kind, seed, n) for n in numbers}
    assert all(has in {place.op.kind for place in one.places()} for one in drawn.values())
    results = examine(Booted(vm.kernel, kind == "forced", vm=vm), drawn, kind, seed)
    assert [(result.number, result.finding) for result in results if result.verdict != AGREES] == []


def refused(record: Callable[[Recorder], Any]) -> str:
    """Why a scenario is not for a real kernel."""
    s = Recorder()
    record(s)
    with pytest.raises(KernelError) as error:
        encode(s.scenario("refused", ""))
    return error.value.reason
