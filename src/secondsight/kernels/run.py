"""Running scenarios on a real kernel: `observe`, and `boot` for many scenarios in one boot.

    with boot(Kernel.find("linux-6.12"), module=True) as vm:
        seen = vm.observe(scenario, runs=200)
        forced = vm.force(scenario, steps)
        for answer in vm.batch(jobs): ...

The outcomes observed are those that happened to happen: each must be among the possible ones. A forced run has one
interleaving, the schedule's, if the kernel does what the schedule says.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from secondsight.devices.device import Device
from secondsight.kernels.ability import abilities
from secondsight.kernels.catalog import Kernel
from secondsight.kernels.dax_modules import DEVICE_DAX, FS_DAX, dax_modules
from secondsight.kernels.encode import SentSchedule
from secondsight.kernels.errors import KernelError
from secondsight.kernels.host import HostGuest
from secondsight.kernels.initramfs import agent, initramfs
from secondsight.kernels.jobs import Died, ForcedRun, GuestAnswer, GuestJob, Observation, counted, forced_of, outcome_of
from secondsight.kernels.lacking import refuse_without
from secondsight.kernels.qemu import Guest
from secondsight.kernels.real_device import (
    built_for,
    needs_cma,
    needs_dax,
    needs_device_pages,
    needs_fs_dax,
    needs_module,
    needs_movable,
)
from secondsight.kernels.vmlinux import startable
from secondsight.scenario.data import Outcome, Scenario
from secondsight.scenario.holds import USUAL

__all__ = ["VM", "Observation", "boot", "observe", "outcome_of"]

PROGRESS_RUNS = 25  # in one request of `observe`: a tenth of a second
ANSWER_SECONDS = 60.0
LINE_SECONDS = 300.0  # between two lines of a program: a test's own limit is 30 s, on a machine that is not emulated
MEMORY = 512  # of a guest, in MiB
BLOCK = 128  # MiB of a block of memory as x86 takes them offline
AHEAD = 16  # jobs that the guest has been sent and has not answered: it never waits for the host
AHEAD_BYTES = 48 << 10  # of them: the agent's buffer takes them, so that neither side waits for the other

OnObservation = Callable[[Observation], None]  # called after every request with what was seen so far


class VM:
    """A booted kernel that runs scenarios, one after another. A context manager; `boot` makes one.

    `release` is the kernel's own name, `boot_seconds` the time from QEMU's start to the agent's first
    word, `pid` QEMU's process, `has_module` whether secondsight.ko is loaded. `answer_seconds` is how long the
    guest may be silent before it counts as hung. After a KernelError the guest is gone.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        module: bool = False,
        boot_seconds: float | None = None,
        answer_seconds: float = ANSWER_SECONDS,
        programs: Sequence[Path] = (),
        memory: int = MEMORY,
        movable: bool = False,
        coherent: bool = False,
        dax: bool = False,
        fs_dax: bool = False,
        cma: bool = False,
    ) -> None:
        self.kernel = kernel
        self._programs, self._memory, self._movable, self._coherent = tuple(programs), memory, BLOCK if movable else 0, coherent
        self._dax, self._fs_dax, self._cma = dax, fs_dax, cma
        if module and kernel.image is None:
            raise KernelError("secondsight.ko is for virtual machines, and not for the running kernel", "name a kernel to boot")
        self._answer_seconds, self._boot_seconds = answer_seconds, boot_seconds or _patience()
        wanted = ((DEVICE_DAX, dax), (FS_DAX, fs_dax))
        more = [module for purpose, is_wanted in wanted if is_wanted for module in dax_modules(kernel.release, kernel.name, purpose)]
        self._modules = (*kernel.modules, *more, *([built_for(kernel)] if module else []))
        self._boot()
        self.release = str(self._guest.hello["release"])
        self.has_module = bool(self._guest.hello["module"])
        if module and not self.has_module:
            console = self._guest.console()
            self.close()
            raise KernelError(f"secondsight.ko does not load on kernel {self.release}", console=console)

    def _boot(self) -> None:
        self._guest: Guest
        if self.kernel.image is None:
            self._guest = HostGuest(agent("host"), timeout=self._boot_seconds)
        else:
            self._guest = self._booted(startable(self.kernel.image))
        self.boot_seconds = self._guest.boot_seconds
        self.pid = self._guest.pid

    def _booted(self, image: Path) -> Guest:
        """A guest that has come up. Under load an emulated machine's clocks now and then fail a kernel that boots the next
        time: it has a second try, and what that dies of is the answer."""
        archive = initramfs(self._modules, self._programs)

        def guest() -> Guest:
            return Guest(image, archive, boot_timeout=self._boot_seconds, memory=self._memory, movable=self._movable, coherent=self._coherent, dax=self._dax, fs_dax=self._fs_dax, cma=self._cma)

        try:
            return guest()
        except KernelError as error:
            if "panicked while booting" not in error.reason:
                raise
        return guest()

    def observe(
        self,
        scenario: Scenario,
        runs: int = 200,
        seed: int = 1,
        progress: OnObservation | None = None,
        driver: type[Device] | None = None,
    ) -> Observation:
        """Run a scenario `runs` times (each in a fresh process) and count its outcomes. `seed` decides
        the random pauses between operations; the kernel's timing is its own, so that equal seeds give
        similar counts, not equal ones. `driver`: that of the scenario's device, one that secondsight.ko has (default:
        the reference mirror). Raises KernelError, with the console's tail; any error, Ctrl-C too, ends the guest."""
        if runs < 1:
            raise ValueError(f"runs={runs}: at least one")
        job = GuestJob(scenario, runs, seed, driver)
        loading = self._loading(job)
        start = time.monotonic()
        counts: Counter[Outcome] = Counter()
        try:
            self._guest.send(loading)
            self._loaded(job)
            while counts.total() < runs:
                self._guest.send(job.request(counts.total(), PROGRESS_RUNS))
                counts += counted(scenario, self._answers())
                if progress:
                    progress(self._observation(scenario, counts, start))
        except BaseException:  # Ctrl-C too: half an answer may be on the line
            self.close()
            raise
        self._guest.doing = "waiting for work"
        return self._observation(scenario, counts, start)

    def force(
        self,
        scenario: Scenario,
        steps: SentSchedule,
        driver: type[Device] | None = None,
        points: Iterable[str] = USUAL,
    ) -> ForcedRun:
        """Run a scenario once, by a schedule: every thread is held at each hold point that it meets and is armed (`points`,
        by their names), and the steps let one thread go at a time. Raises KernelError as `observe` does."""
        job = GuestJob(scenario, driver=driver, steps=steps, points=tuple(points))
        text = self._loading(job) + job.request()
        try:
            self._guest.send(text)
            self._loaded(job)
            answer = forced_of(scenario, next(self._answers()))
        except BaseException:
            self.close()
            raise
        self._guest.doing = "waiting for work"
        return answer

    def batch(self, jobs: Iterable[GuestJob]) -> Iterator[GuestAnswer]:
        """Run many jobs and give their answers, in order. The guest is sent some ahead, and does not wait for the host.

        A guest that dies costs the job it was at, whose answer is `Died`; another is booted, and the campaign goes on.
        Raises KernelError when none can be booted, or a job is one that no real kernel can run.
        """
        todo = ((job, self._loading(job) + job.request()) for job in jobs)
        sent, again = deque[tuple[GuestJob, str]](), deque[tuple[GuestJob, str]]()
        try:
            while True:
                while len(sent) < AHEAD and (entry := again.popleft() if again else next(todo, None)):
                    sent.append(entry)
                    self._guest.try_send(entry[1])
                    if sum(len(text) for _, text in sent) > AHEAD_BYTES:
                        break
                if not sent:
                    break
                job, _ = sent.popleft()
                try:
                    answer = self._answer(job)
                except KernelError as error:
                    answer = Died(job.scenario.name, error.reason, error.console)
                    again.extendleft(reversed(sent))
                    sent.clear()
                    self._boot()
                yield answer
        except BaseException:  # also when nobody wants more answers: there may be some on the line
            self.close()
            raise
        self._guest.doing = "waiting for work"

    def run_program(self, name: str, line: Callable[[str], None]) -> str:
        """Run one of the guest's programs, and return how it ended, such as `exit:0` or `signal:11`. `line` is called with
        each line that it prints. Raises KernelError as `observe` does."""
        self._guest.doing = f"running the program {name}"
        try:
            self._guest.send(f"program {name}\n")
            while "ended" not in (answer := self._guest.receive(LINE_SECONDS)):
                line(str(answer["line"]))
        except BaseException:
            self.close()
            raise
        self._guest.doing = "waiting for work"
        return str(answer["ended"])

    def boot_id(self) -> str:
        """Which boot the guest is in now, by its kernel's own mark. Raises KernelError as `observe` does."""
        self._guest.send("boot\n")
        return str(self._guest.receive(self._answer_seconds)["boot"])

    @property
    def is_up(self) -> bool:
        """Whether the guest is there: after a KernelError from it, it is not."""
        return self._guest.is_up

    def close(self) -> None:
        """End the guest. Closing twice is fine."""
        self._guest.close()

    def __enter__(self) -> VM:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _loading(self, job: GuestJob) -> str:
        """The lines that load a job. Raises KernelError for one that this kernel cannot run; the guest is not asked."""
        scenario = job.scenario
        refuse_without(scenario, self.release, self._guest.hello, self.has_module)
        if needs_device_pages(scenario) and "exclusive" not in abilities(self.kernel):
            raise KernelError(
                f"kernel {self.release} has no device-private and device-exclusive pages (CONFIG_DEVICE_PRIVATE), which {scenario.name} needs",
                "use one that has them, such as linux-7.2",
            )
        if not self.has_module and (job.steps is not None or needs_module(scenario)):
            raise KernelError(f"{scenario.name} needs secondsight.ko, which is not loaded", "boot(kernel, module=True)")
        return job.loading()

    def _loaded(self, job: GuestJob) -> None:
        """Wait until the agent has the job's scenario, and its hold points are in place."""
        self._guest.doing = f"running {job.scenario.name}"
        for answer in self._answers():
            if "ready" in answer:
                return
            if answer["errno"]:
                why = os.strerror(answer["errno"])
                raise KernelError(f"kernel {self.release}: no hold points at {answer['hooked']}(): {why}", "leave them out")

    def _answer(self, job: GuestJob) -> GuestAnswer:
        self._loaded(job)
        if job.steps is not None:
            return forced_of(job.scenario, next(self._answers()))
        start = time.monotonic()
        return self._observation(job.scenario, counted(job.scenario, self._answers()), start)

    def _answers(self) -> Iterator[dict[str, Any]]:
        while True:
            yield self._guest.receive(self._answer_seconds)

    def _observation(self, scenario: Scenario, counts: Counter[Outcome], start: float) -> Observation:
        seconds = time.monotonic() - start
        return Observation(scenario.name, dict(counts), counts.total(), self.release, seconds)


def _patience() -> float:
    """How long a guest may take to boot. Raises KernelError for a setting that is no number."""
    text = os.environ.get("SECONDSIGHT_BOOT_SECONDS", "60")
    try:
        return float(text)
    except ValueError:
        raise KernelError(f"SECONDSIGHT_BOOT_SECONDS is {text!r}", "give a number of seconds") from None


def boot(
    kernel: Kernel,
    *,
    module: bool = False,
    boot_seconds: float | None = None,
    answer_seconds: float = ANSWER_SECONDS,
    programs: Sequence[Path] = (),
    memory: int = MEMORY,
    movable: bool = False,
    coherent: bool = False,
    dax: bool = False,
    fs_dax: bool = False,
    cma: bool = False,
) -> VM:
    """Boot a kernel in QEMU, ready to run scenarios: `with boot(kernel) as vm:`. `module`: with secondsight.ko, for
    scenarios with devices and for forced runs. `programs`: static ones, for `VM.run_program`; `memory` in MiB; `movable`: with a block of memory that must stay movable, where processes' pages come
    first; `coherent`: with memory for coherent devices: secondsight.ko's, and those of lib/test_hmm.c where a kernel has it built in; `dax`: with
    memory that is a device's, which has a file; `fs_dax`: with memory that has a file system, and files on a disk; `cma`: with an area of contiguous memory that a driver can
    want. Raises KernelError when QEMU or the C compiler for the agent is missing,
    the module does not build or load, or the guest does not come up in `boot_seconds`
    (by default a minute, or what SECONDSIGHT_BOOT_SECONDS says)."""
    return VM(kernel, module=module, boot_seconds=boot_seconds, answer_seconds=answer_seconds, programs=programs, memory=memory, movable=movable, coherent=coherent, dax=dax, fs_dax=fs_dax, cma=cma)


def observe(
    scenario: Scenario,
    kernel: Kernel,
    runs: int = 200,
    seed: int = 1,
    progress: OnObservation | None = None,
    driver: type[Device] | None = None,
) -> Observation:
    """Boot a kernel and observe one scenario on it; see `VM.observe`."""
    with boot(kernel, module=needs_module(scenario), movable=needs_movable(scenario), dax=needs_dax(scenario), fs_dax=needs_fs_dax(scenario), cma=needs_cma(scenario)) as vm:
        return vm.observe(scenario, runs, seed, progress, driver)
