"""The kernels' side: a booted kernel that answers scenario after scenario, and is booted again when one kills it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

from secondsight.agree.shrink import without
from secondsight.kernels import Kernel, KernelError, boot
from secondsight.kernels.encode import encode
from secondsight.kernels.run import VM, outcome_of
from secondsight.scenario import Outcome, Scenario

__all__ = ["Booted", "Seen"]

WINDOW = 24  # scenarios sent ahead: their texts fit the agent's buffer, so that neither side waits for the other


@dataclass(frozen=True)
class Seen:
    """What a kernel showed of a scenario: its outcomes and how often. `died`: the guest did, and why; then its console."""

    outcomes: dict[Outcome, int]
    died: str = ""
    console: str = ""


class Booted:
    """A kernel in QEMU. A context manager. `release` is the kernel's own name; `lacks` names the devices it has not.

    A guest that dies costs the scenario that it died of: the answer says so, and the next is asked of a new boot. `vm`: one
    that is booted already.
    """

    def __init__(self, kernel: Kernel, answer_seconds: float = 60, vm: VM | None = None) -> None:
        self.kernel, self._answer_seconds = kernel, answer_seconds
        self._vm = vm
        vm = self._boot()
        self.release = vm.release
        self.lacks = frozenset() if vm._guest.hello["udmabuf"] else frozenset({"udmabuf"})

    def fitted(self, scenario: Scenario) -> Scenario:
        """The scenario without the operations for which this kernel has no device, and what depends on them."""
        if not self.lacks:
            return scenario
        return without(scenario, lambda place: any(place.op.kind.startswith(device) for device in self.lacks))

    def answers(
        self, scenarios: Sequence[Scenario], runs: int, meanwhile: Callable[[Scenario], None] | None = None
    ) -> Iterator[tuple[Scenario, Seen]]:
        """What the kernel shows of each, in order, `runs` runs of each. While it runs them, `meanwhile` is called with each."""
        todo, ahead = list(scenarios), 0
        while todo:
            try:
                vm = self._boot()
                for i in range(ahead, min(len(todo), WINDOW)):
                    vm._guest.send(encode(todo[i]) + f"run {i << 32} {runs}\n")
                    ahead = i + 1
                    if meanwhile:
                        meanwhile(todo[i])
                seen = self._receive(vm, todo[0])
            except KernelError as error:
                seen, ahead = Seen({}, error.reason, error.console), 0
                self._vm = None
            except BaseException:
                self.close()
                raise
            yield todo.pop(0), seen
            ahead = max(0, ahead - 1)

    def answer(self, scenario: Scenario, runs: int) -> Seen:
        """What the kernel shows of one scenario."""
        return next(self.answers([scenario], runs))[1]

    def _receive(self, vm: VM, scenario: Scenario) -> Seen:
        vm._guest.doing = f"running {scenario.name}"
        vm._guest.receive(self._answer_seconds)
        counts: Counter[Outcome] = Counter()
        while "done" not in (answer := vm._guest.receive(self._answer_seconds)):
            counts[outcome_of(scenario, answer)] += answer["count"]
        return Seen(dict(counts))

    def _boot(self) -> VM:
        if self._vm is None:
            self._vm = boot(self.kernel, answer_seconds=self._answer_seconds)
        return self._vm

    def close(self) -> None:
        """End the guest."""
        if self._vm is not None:
            self._vm.close()
            self._vm = None

    def __enter__(self) -> Booted:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
