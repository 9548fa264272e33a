"""What these tests share: the packaged source of a release, or one line that says why they are skipped."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

from secondsight.kernels import KernelError
from secondsight.kernels.sources import KernelSource, find_source


def unavailable(reason: str) -> NoReturn:
    """Skip in one line; fail where a real kernel is required."""
    if os.environ.get("SECONDSIGHT_REQUIRE_KERNELS") == "1":
        pytest.fail(f"SECONDSIGHT_REQUIRE_KERNELS=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def source_of(release: str) -> KernelSource:
    """The source of a release in the cache."""
    if shutil.which("gcc") is None:
        unavailable("gcc is not there: apt-get install gcc libc6-dev")
    try:
        return find_source(release)
    except KernelError as error:
        if release != "6.12" and "is not here" in error.reason:
            pytest.skip(error.reason)  # .ci/run says when it could not be had
        unavailable(f"{error.reason}: {error.remedy}")
