"""A seal against writing, added while a buffer of the file's pages is made."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from secondsight.devices.udmabuf_seals import create_and_write, create_unlocked_and_write, trust_the_seal
from secondsight.lang import Machine
from secondsight.lang.plain import replay
from secondsight.lang.program import Thread, build
from secondsight.lang.reference import Reference
from secondsight.linux import bounds
from secondsight.linux.fault import cpu_write
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.page_alloc import mem_init
from secondsight.linux.shmem import F_SEAL_SHRINK
from secondsight.search import breadth_first


@pytest.mark.parametrize(("create", "rule"), [(create_and_write, None), (create_unlocked_and_write, "sealed")])
def test_what_is_sealed_does_not_change(create: Callable[..., None], rule: str | None) -> None:
    machine = Machine(bounds=bounds(frames=4, pages=1, files=1, file_pages=1, udmabufs=1, dmabuf_pages=1))
    with machine:
        mem_init()
        proc_caches_init()
        mm = mm_alloc()
        memfd = memfd_create(1, F_SEAL_SHRINK)
        do_mmap(mm, 0, 1, memfd, 0, True)
        cpu_write(mm, 0, ord("a"))
        vm_munmap(mm, 0, 1)
    program = build(machine, [Thread("maker", create, (memfd, ord("d"))), Thread("sealer", trust_the_seal, (memfd,))])
    found = breadth_first(Reference(program))
    assert found.error is None, found.error
    assert (found.violation.rule if found.violation else None) == rule
    if found.violation:
        steps = found.violation.trace.schedule
        assert len(replay(program, steps, found.violation.trace.states)) == len(steps)
