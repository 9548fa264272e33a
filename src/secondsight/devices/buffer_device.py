"""What every device is that works on a buffer which somebody else exports: jobs, and a driver that imports.

    device.do_job(value)
        the driver queues a job (`submit`), the device does it some time later, its fence is signalled
        an error of the exporter's: there is no job

A driver derives from `BufferDevice` and writes `attach_to`, `submit`, `move_notify`, `work` and `close`. The engine is the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from secondsight.devices.device import Device, Promise
from secondsight.devices.job import Job, job_end, job_run
from secondsight.lang import Char, Errno, Ref, wait_until
from secondsight.linux.dma_buf import DmaBuf
from secondsight.linux.errno import EINVAL
from secondsight.linux.mm_types import Mm, Result, Va

__all__ = ["BufferDevice"]


class BufferDevice(Device):
    """A device that is attached to a buffer; derive from it to write an importer.

    `implicit_sync`: the driver says that its jobs synchronise implicitly, by the fences of the buffer alone: who waits for those of a usage has no
    need of another word. It is judged by that then (the rule `implicit-sync`).
    """

    buffer: Ref[DmaBuf]
    job: Job

    promise: ClassVar[Promise] = "importer"
    implicit_sync: ClassVar[bool] = False
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0, "attachments": 1, "dmabuf_pages": 1, "resv_fences": 2, "dma_fences": 3}

    def open(self, mm: Mm, start: Va, length: Va) -> Errno:
        """It mirrors no memory of a process."""
        return -EINVAL

    def attach_to(self, buffer: DmaBuf) -> Errno:
        """Become an importer of `buffer`: 0, or an error."""
        return -EINVAL

    def submit(self, value: Char) -> Errno:
        """Queue a job that writes `value` to the buffer's first page, or reads it for 0. 0, or why there is none."""
        return -EINVAL

    def do_job(self, value: Char) -> Result:
        """A job from its beginning to its end: what it has read (0 if it writes), or why there is none."""
        ret = self.submit(value)
        if ret != 0:
            return ret
        wait_until(self.job.fence is None)
        return self.job.result

    def engine(self) -> None:
        """The device: does what is queued, for ever."""
        while True:
            wait_until(self.job.queued)
            job_run(self.job)
            job_end(self.job)

    def close(self) -> None:
        """Be no importer any more: nothing is mapped and nothing attached once this has returned."""
