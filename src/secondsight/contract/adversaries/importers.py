"""The adversaries of importers: what the exporter of a buffer does while a device works on it.

Each is an exporter that is right (`devices/moving_buffer.py`) and acts beside a device that does jobs; or beside one that is closed. Or a CPU
that asks whether it may use the buffer. Or a second device that is attached to it.
An importer that keeps the contract survives every interleaving. When all is quiet it is closed, and what it took must have been given
back.
"""

from __future__ import annotations

from collections.abc import Callable

from secondsight.contract.adversaries.making import Adversaries, Adversary
from secondsight.scenario import DeviceHandle, File, Recorder, Scenario

__all__ = ["IMPORTERS"]

IMPORTERS = Adversaries()
"""Those of drivers that promise to be importers, by their names."""

OnFile = Callable[[Recorder, File], None]


def _two_jobs(s: Recorder, gpu: DeviceHandle) -> None:
    @s.thread
    def device() -> None:
        gpu.job("D", into="first")
        gpu.job("E", into="second")


def _closes(s: Recorder, gpu: DeviceHandle) -> None:
    @s.thread
    def device() -> None:
        gpu.job("D", into="first")
        gpu.close()


def _writes_and_reads(s: Recorder, gpu: DeviceHandle) -> None:
    @s.thread
    def device() -> None:
        gpu.job("D", into="first")
        gpu.job_read(into="second")


_Uses = dict[str, Callable[[Recorder, DeviceHandle], None]]
_USES: _Uses = {"two jobs": _two_jobs, "closes": _closes}


def _adversary(summary: str, thread: str = "exporter", uses: _Uses = _USES, says: str | None = None) -> Callable[[OnFile], OnFile]:
    """Make an adversary of what the function does, in a thread of its own."""

    def make(act: OnFile) -> OnFile:
        name = act.__name__.replace("_", "-")
        scenarios = []
        for use, using in uses.items():
            s = Recorder()
            buffer = s.buffer(pages=1)
            gpu = s.attached_device(buffer)

            def other(s: Recorder = s, buffer: File = buffer) -> None:
                act(s, buffer)

            other.__name__ = thread
            s.thread(other)
            using(s, gpu)
            scenarios.append(s.scenario(f"{name}: {use}", summary))
        IMPORTERS[name] = Adversary(name, summary, tuple(scenarios), says=says)
        return act

    return make


@_adversary("the exporter moves the buffer, by a copy that goes on while the new memory is mapped already")
def buffer_moves(s: Recorder, buffer: File) -> None:
    s.buffer_move(buffer)


@_adversary("the exporter takes the memory away, gives the buffer other memory, and takes that away")
def buffer_revoked(s: Recorder, buffer: File) -> None:
    s.buffer_revoke(buffer)
    s.buffer_restore(buffer)
    s.buffer_revoke(buffer)


@_adversary(
    "a CPU asks whether it may read the buffer, and then whether it may write too (DMA_BUF_IOCTL_SYNC)",
    "cpu", {"writes and reads": _writes_and_reads, "closes": _closes}, says="implicit_sync",
)  # fmt: skip
def cpu_access(s: Recorder, buffer: File) -> None:
    s.buffer_begin_cpu_access(buffer)
    s.buffer_end_cpu_access(buffer)
    s.buffer_begin_cpu_access(buffer, write=True)
    s.buffer_end_cpu_access(buffer, write=True)


_SECOND = "another device of the same driver is attached to the buffer, and has a job on it too"


def _second(name: str, job: Callable[[DeviceHandle], None]) -> Scenario:
    """One device writes, and beside it another does a job."""
    s = Recorder()
    buffer = s.buffer(pages=1)
    one, two = s.attached_device(buffer), s.attached_device(buffer)

    @s.thread
    def first() -> None:
        one.job("D", into="first")

    @s.thread
    def second() -> None:
        job(two)

    return s.scenario(f"second-importer: {name}", _SECOND)


IMPORTERS["second-importer"] = Adversary(
    "second-importer",
    _SECOND,
    (_second("writes", lambda gpu: gpu.job("E", into="second")), _second("reads", lambda gpu: gpu.job_read(into="second"))),
    says="implicit_sync",
)
