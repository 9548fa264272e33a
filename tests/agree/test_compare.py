"""The one comparison of a forced run: what differs first, in a signature and in a sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from secondsight.agree.compare import difference
from secondsight.scenario import Recorder, Scenario, freeze
from secondsight.scenario.schedule import Forced


def read_by_both() -> Scenario:
    s = Recorder()
    a = s.mmap(pages=1)
    gpu = s.device()

    @s.thread
    def device() -> None:
        gpu.read(a, into="seen")

    @s.thread
    def cpu() -> None:
        s.munmap(a)

    return s.scenario("read_by_both", "")


LEFT = Forced(freeze({"seen": "a"}), (0, 0, 1, 0), ("same",), ("", "", "", ""))


@pytest.mark.parametrize(
    ("seen", "signature", "sentence"),
    [
        ({"outcome": freeze({"seen": "-EFAULT"})}, "device_read: model a value, kernel -EFAULT", "seen is -EFAULT; the model says a"),
        (
            {"outcome": freeze({"seen": "a", "cpu[0].munmap": "-EINVAL"})},
            "munmap: model ok, kernel -EINVAL", "cpu[0].munmap is -EINVAL; the model says ok",
        ),
        ({"outcome": freeze({"seen": "a", "process": "hung"})}, "the process: kernel hung", "the process ended otherwise than by itself: hung"),
        (
            {"retries": (0, 0, 2, 0)}, "device_read: model 1 fault rounds, kernel 2",
            "device[0].device_read began 2 rounds of its fault handler; the model says 1",
        ),
        (
            {"probe": ("other+w",)}, "the device's table: model same, kernel other+w",
            "in the end the device's table has other+w; the model says same",
        ),
        ({"probe": ()}, "the device's table: model 1 pages, kernel 0 pages", "in the end the device's table has 0 pages; the model says 1 pages"),
        (
            {"late": ("", "", "other", "")}, "late use: model none at all, kernel other",
            "device[0].device_read found other late; the model says nothing to use",
        ),
    ],
)  # fmt: skip
def test_what_differs_is_told(seen: dict[str, Any], signature: str, sentence: str) -> None:
    found = difference(read_by_both(), LEFT, replace(LEFT, **seen))
    assert found is not None
    assert (found.signature, found.sentence) == (signature, sentence)


def test_what_is_as_the_model_says_differs_in_nothing() -> None:
    assert difference(read_by_both(), LEFT, LEFT) is None
    assert difference(read_by_both(), LEFT, replace(LEFT, retries=(7, 0, 1, 0), late=("same", "", "", ""))) is None  # the setup's
