"""secondsight.ko: the device on a real kernel, its right and wrong drivers, and interleavings forced on it by its hold points."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import pytest

from secondsight.devices import Device, Mirror
from secondsight.devices.mirror import (
    MirrorCallbackWithoutLock,
    MirrorDereferencesLater,
    MirrorTestsBeforeLock,
    MirrorWithoutTest,
)
from secondsight.kernels import VM, Died, ForcedRun, GuestJob, Kernel, KernelError, Observation, boot, variant_of
from secondsight.kernels.c_tables import points_header
from secondsight.kernels.encode import SentSchedule, encode, encode_steps, pages_of
from secondsight.kernels.initramfs import initramfs
from secondsight.kernels.qemu import Guest
from secondsight.kernels.real_device import FREELY, SOURCE, VARIANTS, built_for
from secondsight.scenario import Recorder, Scenario, scenario
from secondsight.scenario.holds import HOLDS, USUAL
from secondsight.search import Verdict
from secondsight.world.model import outcomes

Step = tuple[str, dict[str, str]]


@scenario
def remap(s: Recorder) -> None:
    """The device reads a page while the process maps another there."""
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.munmap(a)
        s.mmap(pages=1, at=a)
        s.write(a, "B")

    @s.thread
    def device() -> None:
        gpu.read(a, into="seen")


def device(*places: str) -> list[Step]:
    return [("device", {"device": place}) for place in places]


def cpu(*places: str) -> list[Step]:
    return [("cpu", {"cpu": place}) for place in places]


COLLECTED = device("accessing", "read_begun", "range_faulted")
LOCKED = device("before_lock", "locked")
REMAPPED = cpu("invalidate_enter", "invalidate_leave", "op:1", "op:2", "ended")
INSTALLED = device("installed", "unlocked", "accessing", "ended")
RIGHT = [
    *(COLLECTED + REMAPPED + LOCKED),
    *(device("read_begun", "range_faulted") + LOCKED + device("tested") + INSTALLED),
]
NO_TEST = COLLECTED + REMAPPED + LOCKED + INSTALLED


@pytest.fixture
def vm(module_vm: VM) -> VM:
    return module_vm


def forced_times(vm: VM, recorded: Scenario, steps: SentSchedule, driver: type[Device] | None, times: int) -> ForcedRun:
    """The one answer that all of so many forced runs give."""
    answers = Counter(vm.batch([GuestJob(recorded, steps=steps, driver=driver)] * times))
    assert answers.total() == times
    assert len(answers) == 1, answers
    (answer,) = answers
    assert isinstance(answer, ForcedRun)
    assert answer.differs is None
    assert answer.settled == len(steps)
    assert answer.timed_out == 0
    return answer


# The table of the scenario, on every form of the mirror


def test_the_right_mirror_retries_once_and_reads_the_new_page(vm: VM) -> None:
    answer = forced_times(vm, remap, RIGHT, None, 100)
    assert dict(answer.outcome) == {"seen": "B"}
    assert answer.retries == (0, 0, 0, 0, 0, 0, 2)
    assert answer.probe == ("same",)


def test_without_the_test_it_reads_the_old_page(vm: VM) -> None:
    answer = forced_times(vm, remap, NO_TEST, MirrorWithoutTest, 100)
    assert dict(answer.outcome) == {"seen": "A"}
    assert answer.retries[-1] == 1
    assert answer.probe == ("other",)


def test_a_test_before_the_lock_reads_the_old_page(vm: VM) -> None:
    steps = COLLECTED + device("tested") + REMAPPED + LOCKED + INSTALLED
    answer = forced_times(vm, remap, steps, MirrorTestsBeforeLock, 10)
    assert dict(answer.outcome) == {"seen": "A"}
    assert answer.probe == ("other",)


def test_a_callback_without_the_lock_reads_the_old_page(vm: VM) -> None:
    steps = COLLECTED + LOCKED + device("tested") + REMAPPED + INSTALLED
    answer = forced_times(vm, remap, steps, MirrorCallbackWithoutLock, 10)
    assert dict(answer.outcome) == {"seen": "A"}
    assert answer.probe == ("other",)


def test_a_late_dereference_finds_another_page_there(vm: VM) -> None:
    first = COLLECTED + LOCKED + device("tested", "installed", "unlocked")
    again = device("read_begun", "range_faulted") + LOCKED + device("tested") + device("installed", "unlocked")
    steps = first + REMAPPED + device("accessing") + again + device("accessing", "ended")
    answer = forced_times(vm, remap, steps, MirrorDereferencesLater, 10)
    assert dict(answer.outcome) == {"seen": "B"}
    assert answer.late[-1] == "other"  # the second touch found the page that it had installed: the first one counts
    answer = vm.force(remap, first + REMAPPED + device("accessing"), MirrorDereferencesLater)
    assert answer.differs is None


# Schedules


def test_who_waits_for_the_driver_lock_is_blocked_until_it_is_free(vm: VM) -> None:
    steps = [
        *(COLLECTED + LOCKED + cpu("invalidate_enter", "blocked") + device("tested", "installed")),
        ("device", {"device": "unlocked", "cpu": "invalidate_leave"}),
        *(cpu("op:1", "op:2", "ended") + device("accessing", "read_begun", "range_faulted")),
        *(LOCKED + device("tested") + INSTALLED),
    ]
    answer = forced_times(vm, remap, steps, None, 10)
    assert dict(answer.outcome) == {"seen": "B"}


def test_who_waits_for_the_mmap_lock_is_blocked_until_it_is_free(vm: VM) -> None:
    """mmap(MAP_FIXED) is held in the callback, with the mmap lock; the device's fault waits for it."""

    @scenario
    def mapped_over(s: Recorder) -> None:
        a = s.mmap(pages=1)
        s.write(a, "A")
        gpu = s.device()

        @s.thread
        def cpu() -> None:
            s.mmap(pages=1, at=a)

        @s.thread
        def device() -> None:
            gpu.read(a, into="seen")

    steps = [
        *(device("accessing", "read_begun") + cpu("invalidate_enter") + device("blocked") + cpu("invalidate_leave")),
        ("cpu", {"cpu": "ended", "device": "read_begun"}),  # after -EBUSY
        *(device("range_faulted") + LOCKED + device("tested") + INSTALLED),
    ]
    answer = forced_times(vm, mapped_over, steps, None, 10)
    assert dict(answer.outcome) == {"seen": "\0"}
    assert answer.probe == ("same",)


def test_munmap_lets_readers_in_while_it_invalidates(vm: VM) -> None:
    """It has downgraded the mmap lock by then, and the vma is gone."""
    steps = device("accessing", "read_begun") + cpu("invalidate_enter") + device("ended")
    answer = forced_times(vm, remap, steps + cpu("invalidate_leave", "op:1", "op:2", "ended"), None, 10)
    assert dict(answer.outcome) == {"seen": "-EFAULT"}
    assert answer.probe == ("none",)


def test_a_reader_waits_for_an_invalidation_to_end(vm: VM) -> None:
    steps = [
        *(device("accessing") + cpu("invalidate_enter", "invalidate_leave") + device("blocked")),
        ("cpu", {"cpu": "op:1", "device": "read_begun"}),
        *(cpu("op:2", "ended") + device("range_faulted") + LOCKED + device("tested") + INSTALLED),
    ]
    answer = forced_times(vm, remap, steps, None, 10)
    assert dict(answer.outcome) == {"seen": "B"}


def test_where_a_run_leaves_its_schedule_is_told(vm: VM) -> None:
    wrong = vm.force(remap, NO_TEST, Mirror)
    assert wrong.differs is not None
    step = NO_TEST.index(INSTALLED[0])
    assert (wrong.differs.step, wrong.differs.thread) == (step, "device")
    assert (wrong.differs.expected, wrong.differs.got) == ("installed", "read_begun")
    assert wrong.settled == step
    assert dict(wrong.outcome) == {"seen": "B"}  # all are free from then on
    not_held = vm.force(remap, [*COLLECTED, *REMAPPED, ("cpu", {})])
    assert not_held.differs is not None
    assert (not_held.differs.thread, not_held.differs.got) == ("cpu", "ended")


def test_a_hold_inside_an_unmodified_kernel_function(vm: VM) -> None:
    """A hole is punched while hmm_range_fault() has found the page and not yet returned: the mmap lock does not keep it."""

    @scenario
    def punched(s: Recorder) -> None:
        fd = s.memfd_create(pages=1)
        a = s.mmap(fd)
        s.write(a, "A")
        gpu = s.device()

        @s.thread
        def cpu() -> None:
            s.fallocate_punch_hole(fd, page=0)
            s.write(a, "B")

        @s.thread
        def device() -> None:
            gpu.read(a, into="seen")

    points = ("op", "accessing", "hmm_range_fault:enter", "hmm_range_fault:exit", "locked")
    start = device("accessing", "hmm_range_fault:enter", "hmm_range_fault:exit") + cpu("op:1", "ended") + device("locked")
    again = device("hmm_range_fault:enter", "hmm_range_fault:exit", "locked")
    jobs = [
        GuestJob(punched, steps=start + again + device("accessing", "ended"), points=points),
        GuestJob(punched, steps=start, points=("op", "accessing", "__mmu_notifier_invalidate_range_end:enter")),
    ]
    right, other = vm.batch(jobs)
    assert isinstance(right, ForcedRun)
    assert isinstance(other, ForcedRun)
    assert right.differs is None
    assert dict(right.outcome) == {"seen": "B"}
    assert right.retries[-1] == 2
    assert other.differs is not None
    assert (other.differs.step, other.differs.got) == (1, "accessing")


@scenario
def leaves(s: Recorder) -> None:
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.exit()

    @s.thread
    def reader() -> None:
        s.read(a, into="cpu")

    @s.thread
    def device() -> None:
        gpu.read(a, into="seen")


def test_an_exit_ends_the_threads_of_the_process_and_not_the_device(vm: VM) -> None:
    steps = [*COLLECTED, ("cpu", {"cpu": "ended", "reader": "ended"}), *LOCKED, *device("read_begun", "ended")]
    right = vm.force(leaves, steps)
    assert right.differs is None
    assert dict(right.outcome) == {"cpu": "exited", "seen": "-EFAULT"}
    assert right.timed_out == 0
    assert right.probe == ("none",)
    wrong = vm.force(leaves, [*steps[:4], *LOCKED, *INSTALLED], MirrorWithoutTest)
    assert wrong.differs is None
    assert dict(wrong.outcome) == {"cpu": "exited", "seen": "A"}
    assert wrong.probe == ("other",)


def test_an_exit_waits_for_the_driver_that_is_installing(vm: VM) -> None:
    steps = [*COLLECTED, *LOCKED, ("cpu", {"cpu": "blocked", "reader": "ended"}), *device("tested", "installed")]
    answer = vm.force(leaves, [*steps, ("device", {"device": "unlocked", "cpu": "ended"}), *device("accessing", "read_begun", "ended")])
    assert answer.differs is None
    assert dict(answer.outcome) == {"cpu": "exited", "seen": "-EFAULT"}


# Free runs


@pytest.mark.parametrize("driver", [Mirror, MirrorDereferencesLater])
def test_free_runs_of_a_right_mirror_stay_among_the_possible_ones(vm: VM, driver: type[Device]) -> None:
    result, possible = outcomes(remap)
    assert result.verdict is Verdict.HOLDS
    seen = vm.observe(remap, runs=150, driver=driver)
    assert frozenset(seen.outcomes) <= possible
    assert len(seen.outcomes) > 1


def test_free_runs_with_an_exit_stay_among_the_possible_ones(vm: VM) -> None:
    seen = vm.observe(leaves, runs=100)
    assert frozenset(seen.outcomes) <= outcomes(leaves)[1]


def test_a_device_reads_and_writes_what_the_process_does(vm: VM) -> None:
    @scenario
    def shares(s: Recorder) -> None:
        fd = s.memfd_create(pages=2)
        a, b = s.mmap(fd), s.mmap(pages=1)
        gpu = s.device()
        gpu.write(a, "x")
        s.read(a, into="cpu")
        gpu.read(a + 1, into="zero")
        gpu.snapshot(b, into="nothing")
        gpu.read(b, into="anonymous_zero")
        gpu.snapshot(b, into="readable")
        gpu.write(b, "y")
        gpu.snapshot(b, into="writable")
        gpu.compare(b, into="compared")
        s.munmap(a)
        gpu.read(a, into="gone")
        gpu.close()

    (outcome,) = vm.observe(shares, runs=1).outcomes
    assert dict(outcome) == {
        "cpu": "x",
        "zero": "\0",
        "nothing": "-",
        "anonymous_zero": "\0",
        "readable": "r",
        "writable": "w",
        "compared": "ok",
        "gone": "-EFAULT",
    }


@scenario
def pins(s: Recorder) -> None:
    """Where a pin and its address part ways, and where not."""
    fd = s.memfd_create(pages=2)
    m, a = s.mmap(fd), s.mmap(pages=2)
    s.write(m, "a")
    s.write(a, "a", pages=1)
    punched, mapped = s.pin(m, pages=1, longterm=True), s.pin(m + 1)
    forgotten = s.pin(a, pages=1)
    s.fallocate_punch_hole(fd, page=0)
    s.munmap(m)
    again = s.mmap(fd)
    s.write(again, "b")
    punched.read(into="of_a_punched_page")
    punched.write(0, "p")
    s.read(again, into="not_seen_by_the_cpu")
    mapped.read(into="of_a_page_mapped_again")
    s.madvise_dontneed(a, pages=1)
    s.write(a, "b", pages=1)
    forgotten.read(into="of_forgotten_memory")
    untouched = s.pin(a + 1, longterm=True, write=False)
    s.write(a + 1, "b")
    untouched.read(into="of_untouched_memory")
    untouched.write(0, "x", into="for_reading_only")
    forgotten.unpin()
    forgotten.read(into="unpinned")
    s.munmap(a)
    s.pin(a, pages=2, into="of_nothing")


def test_pins_hold_pages_and_not_addresses(vm: VM) -> None:
    (outcome,) = vm.observe(pins, runs=1).outcomes
    assert dict(outcome) == {
        "of_a_punched_page": "a",
        "not_seen_by_the_cpu": "b",
        "of_a_page_mapped_again": "b",
        "of_forgotten_memory": "a",
        "of_untouched_memory": "b",
        "for_reading_only": "-EPERM",
        "unpinned": "-EBADF",
        "of_nothing": "-EFAULT",
    }


def test_an_importer_keeps_the_pages_that_the_udmabuf_has(vm: VM) -> None:
    @scenario
    def imports(s: Recorder) -> None:
        fd = s.memfd_create(pages=2, seals="shrink")
        a = s.mmap(fd)
        s.write(a, "a")
        importer = s.importer(s.udmabuf_create(fd))
        importer.read(into="before")
        importer.map()
        importer.map(into="twice")
        s.fallocate_punch_hole(fd, page=1)
        s.write(a, "b")
        importer.read(0, into="kept")
        importer.read(1, into="stale")
        importer.unmap()
        importer.close()
        importer.map(into="closed")

    (outcome,) = vm.observe(imports, runs=1).outcomes
    expected = {"before": "-EFAULT", "twice": "-EBUSY", "kept": "b", "stale": "a", "closed": "-EBADF"}
    assert dict(outcome) == expected


# Many, and guests that die


class Fatal(GuestJob):
    """A job that its guest does not survive."""

    def loading(self) -> str:
        return "crash\n"


@pytest.mark.wide
def test_a_guest_that_dies_costs_one_job(kernel_6_12: Kernel) -> None:
    @scenario
    def last(s: Recorder) -> None:
        s.read(s.mmap(pages=1), into="zero")

    forced = GuestJob(remap, steps=RIGHT)
    with boot(kernel_6_12, module=True, answer_seconds=20) as machine:
        answers = list(machine.batch([forced, Fatal(last), forced, GuestJob(last, runs=3)]))
    before, died, after, observed = answers
    assert isinstance(died, Died)
    assert died.scenario == "last"
    assert "panicked while running last" in died.reason
    assert "Kernel panic" in died.console
    assert isinstance(before, ForcedRun)
    assert before.differs is None
    assert after == before
    assert isinstance(observed, Observation)
    assert dict(observed.outcomes) == {(("zero", "\0"),): 3}


def test_many_scenarios_in_one_boot(vm: VM, record_property: pytest.RecordProperty) -> None:
    """The figure is printed; what it must be depends on the machine, which other tests share."""

    def plain(number: int) -> Scenario:
        s = Recorder()
        fd = s.memfd_create(pages=2)
        a = s.mmap(fd)
        s.write(a, chr(ord("a") + number % 26))
        s.fallocate_punch_hole(fd, page=number % 2)
        s.read(a, into="first")
        s.read(a + 1, into="second")
        return s.scenario(f"plain{number}", "")

    scenarios = [plain(number) for number in range(300)]
    start = time.monotonic()
    answers = list(vm.batch(GuestJob(one) for one in scenarios))
    a_minute = len(answers) / (time.monotonic() - start) * 60
    for number, answer in enumerate(answers):
        assert isinstance(answer, Observation)
        letter = chr(ord("a") + number % 26)
        seen = {"first": letter, "second": "\0"} if number % 2 else {"first": "\0", "second": letter}
        assert [dict(outcome) for outcome in answer.outcomes] == [seen]
    record_property("kernel: different scenarios a minute in one boot", f"{a_minute:,.0f}")


def test_the_module_refuses_a_machine_that_the_tool_has_not_started(kernel_6_12: Kernel, vm: VM) -> None:
    archive = initramfs((*kernel_6_12.modules, built_for(kernel_6_12)))
    with Guest(kernel_6_12.image, archive, token="secondsight.guest=0") as guest:
        assert guest.hello["module"] is False
        assert "not loading" in guest.console()
        guest.send("scenario x 1 0 1\nop s device 0\n")
        with pytest.raises(KernelError, match=r"needs secondsight\.ko, which is not loaded"):
            guest.receive(20)


# Without a guest


def test_the_module_and_the_model_have_the_same_drivers_and_hold_points() -> None:
    drivers = (SOURCE / "drivers.c").read_text().split("drivers[] = {")[1].split("};")[0]
    assert re.findall(r'\{ "([\w-]+)"', drivers) == [*VARIANTS.values(), *FREELY.values()]
    header = points_header()
    used = set(re.findall(r"SS_POINT_\w+", "".join(path.read_text() for path in SOURCE.glob("*.c"))))
    assert used == {f"SS_POINT_{point.symbol}" for point in HOLDS.values()}
    assert all(f"{name} = " in header for name in used)


def test_a_driver_that_the_module_does_not_have_is_refused() -> None:
    class Own(Mirror):
        pass

    assert variant_of(None) == "right"
    assert variant_of(Own) is None
    with pytest.raises(KernelError, match=r"secondsight\.ko has no driver Own"):
        GuestJob(remap, driver=Own).loading()


def test_the_lines_of_a_forced_run() -> None:
    assert pages_of(remap) == [("mapping0", 0)]
    assert encode(remap, "no-test").splitlines()[:3] == ["scenario remap 3 2 7", "driver no-test", "probe 1 0+0"]
    steps = [("device", {"device": "accessing"}), ("cpu", {"cpu": "op:1", "device": "blocked"}), ("cpu", {"cpu": "ended"})]
    lines = encode_steps(remap, steps, ("op", "accessing")).splitlines()
    assert lines == ["forced 3 202", "step 1 1 9", "step 0 0 op:1 1 b", "step 0 0 e"]
    assert int(encode_steps(remap, [], USUAL).split()[2], 16) == sum(1 << HOLDS[name].number for name in USUAL)
    with pytest.raises(KernelError, match="remap has no thread gpu"):
        encode_steps(remap, [("gpu", {})], USUAL)
    with pytest.raises(KernelError, match="there is no hold point nowhere"):
        encode_steps(remap, [("cpu", {"cpu": "nowhere"})], USUAL)


def test_the_module_is_never_built_into_the_tree() -> None:
    assert {path.suffix for path in SOURCE.iterdir() if path.is_file()} <= {".c", ".h", ""}
    assert Path(SOURCE / "Makefile").is_file()
