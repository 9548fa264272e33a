"""Running scenarios on a real kernel: `observe`, and `boot` for many scenarios in one boot.

    with boot(Kernel.find("linux-6.12")) as vm:
        seen = vm.observe(scenario, runs=200)

The outcomes observed are those that happened to happen: each must be among the possible ones.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from secondsight.kernels.catalog import Kernel
from secondsight.kernels.encode import encode, value_of
from secondsight.kernels.errors import KernelError
from secondsight.kernels.host import Host
from secondsight.kernels.initramfs import agent, initramfs
from secondsight.kernels.qemu import Guest
from secondsight.scenario.data import Outcome, Scenario, collect, freeze

__all__ = ["VM", "Observation", "boot", "observe"]

BATCH = 25  # runs in one request: a tenth of a second
ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Observation:
    """What was seen of one scenario on one kernel: how often each outcome came up in `runs` runs.

    A run whose process did not end by itself has `process` in its outcome: the signal it died of, or
    `hung`.
    """

    scenario: str
    outcomes: dict[Outcome, int]
    runs: int
    kernel_release: str
    seconds: float


Progress = Callable[[Observation], None]  # called after every batch with what was seen so far


class VM:
    """A booted kernel that runs scenarios, one after another. A context manager; `boot` makes one.

    `release` is the kernel's own name, `boot_seconds` the time from QEMU's start to the agent's first
    word, `pid` QEMU's process. `answer_seconds` is how long the guest may be silent before it counts
    as hung. After a KernelError the guest is gone.
    """

    def __init__(self, kernel: Kernel, *, boot_seconds: float = 60, answer_seconds: float = ANSWER_SECONDS) -> None:
        self.kernel = kernel
        self._answer_seconds = answer_seconds
        self._guest: Guest
        if kernel.image is None:
            self._guest = Host(agent("host"), timeout=boot_seconds)
        else:
            self._guest = Guest(kernel.image, initramfs(kernel.modules), boot_timeout=boot_seconds)
        self.release = str(self._guest.hello["release"])
        self.boot_seconds = self._guest.boot_seconds
        self.pid = self._guest.pid

    def observe(self, scenario: Scenario, runs: int = 200, seed: int = 1, progress: Progress | None = None) -> Observation:
        """Run a scenario `runs` times (each in a fresh process) and count its outcomes. `seed` decides
        the random pauses between operations; the kernel's timing is its own, so that equal seeds give
        similar counts, not equal ones. Raises KernelError, with the console's tail; any error, Ctrl-C
        too, ends the guest."""
        if runs < 1:
            raise ValueError(f"runs={runs}: at least one")
        self._load(scenario)
        start = time.monotonic()
        counts: Counter[Outcome] = Counter()
        try:
            while (done := counts.total()) < runs:
                self._guest.send(f"run {(seed % (1 << 31) << 32) + done} {min(BATCH, runs - done)}\n")
                while "done" not in (answer := self._guest.receive(self._answer_seconds)):
                    counts[outcome_of(scenario, answer)] += answer["count"]
                if progress:
                    progress(self._observation(scenario, counts, start))
        except BaseException:  # Ctrl-C too: half an answer may be on the line
            self.close()
            raise
        self._guest.doing = "waiting for work"
        return self._observation(scenario, counts, start)

    def close(self) -> None:
        """End the guest. Closing twice is fine."""
        self._guest.close()

    def __enter__(self) -> VM:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _load(self, scenario: Scenario) -> None:
        if not self._guest.hello["udmabuf"] and any(p.op.kind.startswith("udmabuf") for p in scenario.places()):
            raise KernelError(
                f"kernel {self.release} has no /dev/udmabuf, which {scenario.name} needs",
                "use a kernel with CONFIG_UDMABUF=y, such as linux-6.12",
            )
        self._guest.doing = f"running {scenario.name}"
        self._guest.send(encode(scenario))
        self._guest.receive(self._answer_seconds)

    def _observation(self, scenario: Scenario, counts: Counter[Outcome], start: float) -> Observation:
        seconds = time.monotonic() - start
        return Observation(scenario.name, dict(counts), counts.total(), self.release, seconds)


def boot(kernel: Kernel, *, boot_seconds: float = 60, answer_seconds: float = ANSWER_SECONDS) -> VM:
    """Boot a kernel in QEMU, ready to run scenarios: `with boot(kernel) as vm:`. Raises KernelError when
    QEMU or the C compiler for the agent is missing, or the guest does not come up in `boot_seconds`."""
    return VM(kernel, boot_seconds=boot_seconds, answer_seconds=answer_seconds)


def observe(scenario: Scenario, kernel: Kernel, runs: int = 200, seed: int = 1, progress: Progress | None = None) -> Observation:
    """Boot a kernel and observe one scenario on it; see `VM.observe`."""
    with boot(kernel) as vm:
        return vm.observe(scenario, runs, seed, progress)


def outcome_of(scenario: Scenario, answer: dict[str, Any]) -> Outcome:
    """An outcome in the scenario's names, from the agent's answer."""
    outcome = dict(collect(scenario, [value_of(result) for result in answer["results"]]))
    ended = str(answer["ended"])
    if ended != "exit":
        how = value_of(ended) if ended.startswith("signal:") else ended
        outcome["process"] = "hung" if how == "SIGALRM" else str(how)
    return freeze(outcome)
