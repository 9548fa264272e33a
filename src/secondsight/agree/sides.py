"""The kernels' side: a booted kernel that answers scenario after scenario, and is booted again when one kills it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from secondsight.agree.forced import Plan
from secondsight.agree.shrink import without
from secondsight.devices.device import Device
from secondsight.kernels import Kernel, boot
from secondsight.kernels.ability import abilities
from secondsight.kernels.jobs import Died, ForcedRun, GuestJob, Observation
from secondsight.kernels.lacking import LACKS
from secondsight.kernels.real_device import OF_THE_MODULE
from secondsight.kernels.run import VM
from secondsight.linux.releases import differs
from secondsight.scenario import Outcome, Scenario
from secondsight.scenario.data import Place
from secondsight.scenario.ops import Needs

__all__ = ["Booted", "KernelAnswer"]

BOOT_SECONDS = 240.0  # campaigns run on busy machines


@dataclass(frozen=True)
class KernelAnswer:
    """What a kernel showed of a scenario: its outcomes and how often. `forced`: all of a forced run. `died`: the guest did,
    and why; then its console."""

    outcomes: dict[Outcome, int]
    forced: ForcedRun | None = None
    died: str = ""
    console: str = ""


class Booted:
    """A kernel in QEMU, or the running one. A context manager. `release` is the kernel's own name; `lacks`: what operations need
    that it has not. `devices`: for scenarios that have some; others have a block of memory that must stay movable, and an area of contiguous memory. (A long-term pin moves pages out of
    such a block, which a forced run's device is told of, and the model only where a scenario has one.) secondsight.ko is there for both, where a kernel can have it: pages
    are swapped to a device of its. `vm`: one that is booted already. `coherent`: with memory for a device of which CPUs can reach what it has.

    A guest that dies costs the scenario that it died of: the answer says so, and the next is asked of a new boot.
    """

    def __init__(self, kernel: Kernel, devices: bool = False, answer_seconds: float = 60, vm: VM | None = None, coherent: bool = False) -> None:
        able = abilities(kernel)
        self._vm = vm or boot(
            kernel, module="device" in able, boot_seconds=BOOT_SECONDS, answer_seconds=answer_seconds, movable=kernel.image is not None and not devices,
            coherent=coherent, dax="device dax" in able, fs_dax="fs dax" in able, cma="contiguous memory" in able and not devices,
        )  # fmt: skip
        self.release = self._vm.release
        hello = self._vm._guest.hello
        self.lacks = {needs for needs, lack in LACKS.items() if not hello.get(lack.word)}
        if not hello.get("module"):
            self.lacks |= OF_THE_MODULE
        if devices and differs("hugetlb-goes-in-one-bracket", self.release):
            self.lacks.add(Needs.HUGETLB)
        self.has_exclusive = "exclusive" in able

    def fitted(self, scenario: Scenario) -> Scenario:
        """The scenario without the operations that need what this kernel lacks, and what depends on them."""

        def lacking(place: Place) -> bool:
            return place.op.declared.needs in self.lacks or (not self.has_exclusive and place.op.kind in ("device_exclusive", "make_device_exclusive"))

        return without(scenario, lacking)

    def answers(
        self,
        scenarios: Sequence[Scenario],
        runs: int,
        meanwhile: Callable[[Scenario], None] | None = None,
        drivers: Mapping[str, type[Device] | None] | None = None,
    ) -> Iterator[tuple[Scenario, KernelAnswer]]:
        """What the kernel shows of each, in order, `runs` runs of each. While it runs them, `meanwhile` is called with each. `drivers`:
        of their devices, by a scenario's name, where they are not the module's usual one."""

        def jobs() -> Iterator[GuestJob]:
            for number, scenario in enumerate(scenarios):
                if meanwhile:
                    meanwhile(scenario)
                yield GuestJob(scenario, runs, number, (drivers or {}).get(scenario.name))

        for seen, scenario in zip(self._seen(jobs()), scenarios, strict=False):  # in this order: answers are asked for to their end
            yield scenario, seen

    def answer(self, scenario: Scenario, runs: int, driver: type[Device] | None = None) -> KernelAnswer:
        """What the kernel shows of one scenario."""
        ((_, seen),) = self.answers([scenario], runs, drivers={scenario.name: driver})
        return seen

    def force(self, plans: Iterable[Plan]) -> Iterator[KernelAnswer]:
        """What the kernel shows under each plan's schedule, in order. Plans are asked for a few ahead."""
        return self._seen(_job(plan) for plan in plans)

    def _seen(self, jobs: Iterable[GuestJob]) -> Iterator[KernelAnswer]:
        for answer in self._vm.batch(jobs):
            if isinstance(answer, Died):
                yield KernelAnswer({}, died=answer.reason, console=answer.console)
            elif isinstance(answer, Observation):
                yield KernelAnswer(answer.outcomes)
            else:
                yield KernelAnswer({answer.outcome: 1}, answer)

    def close(self) -> None:
        """End the guest."""
        self._vm.close()

    def __enter__(self) -> Booted:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _job(plan: Plan) -> GuestJob:
    assert plan.schedule is not None
    steps = [(step.release, step.then) for step in plan.schedule.steps]
    return GuestJob(plan.scenario, driver=plan.driver, steps=steps, points=plan.schedule.points)
