"""Device memory that has a file, on a real kernel: its teardown in every order that user space can ask for, as the model says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from booting import drawn_ones_agree, refused, with_module
from test_confirm import question_of

from secondsight.agree.confirm import Confirmed, confirm
from secondsight.agree.freely import run_freely
from secondsight.agree.generate import HUGE, WITH_DAX, DrawnKind
from secondsight.cases import TABLES, FreeRun
from secondsight.cases.thread_2019_hmm import DRIVERS, RIGHT_ORDER
from secondsight.kernels import VM, Kernel, KernelError
from secondsight.kernels.dax_modules import DEVICE_DAX, dax_modules
from secondsight.scenario import OK, Recorder, Scenario, scenario
from secondsight.world.model import only_outcome, outcomes


@pytest.fixture(scope="module")
def dax_vm(kernel_6_12: Kernel) -> Iterator[VM]:
    """A kernel with device memory that has a file, and secondsight.ko."""
    with with_module(kernel_6_12, "device dax", dax=True) as machine:
        yield machine


@scenario
def mapped_until_it_goes(s: Recorder) -> None:
    """Two mappings of it, one by a second process, and what each does then; taken away twice."""
    dax = s.dax(pages=2)
    a = s.mmap(dax)
    other = s.process()
    with other:
        b = s.mmap(dax, page=1, pages=1)
    s.write(a + 1, "A")
    with other:
        s.read(b, into="shared")
    s.madvise_dontneed(a)
    s.read(a + 1, into="kept")
    s.dax_remove(dax, into="removed")
    s.read(a + 1, into="gone")
    with other:
        s.write(b, "B", into="gone_too")
    s.mmap(dax, pages=1)
    s.dax_remove(dax, into="again")
    s.munmap(a)
    s.close(dax)
    s.mmap(dax, pages=1)


@scenario
def a_mapping_made_over_another(s: Recorder) -> None:
    """What is refused when the device has gone has been unmapped by then; private mappings are refused at any time."""
    dax = s.dax(pages=1)
    a = s.mmap(pages=2)
    s.write(a, "A", pages=2)
    s.mmap_private(dax, at=a)
    s.read(a, into="unmapped")
    s.dax_remove(dax)
    s.mmap(dax, at=a + 1)
    s.read(a + 1, into="unmapped_too")


@scenario
def beside_a_fork(s: Recorder) -> None:
    """A child has the mapping, and no entries: it faults after the removal."""
    dax = s.dax(pages=1)
    a = s.mmap(dax)
    s.write(a, "A")
    child = s.fork()
    with child:
        s.read(a, into="child")
    s.dax_remove(dax)
    with child:
        s.read(a, into="child_after")


@scenario
def a_device_that_has_it(s: Recorder) -> None:
    dax = s.dax(pages=1)
    a = s.mmap(dax)
    s.write(a, "A")
    gpu = s.device()
    gpu.read(a, into="read")
    gpu.write(a, "D", into="written")
    s.read(a, into="cpu")
    s.dax_remove(dax)
    gpu.read(a, into="gone")
    gpu.snapshot(a, into="snapshot")


@scenario
def two_who_take_it_away(s: Recorder) -> None:
    """One of them does; the other waits for that, or comes too late."""
    dax = s.dax(pages=1)
    a = s.mmap(dax)
    s.write(a, "A")
    for name in ("one", "two"):

        def removes(name: str = name) -> None:
            s.dax_remove(dax, into=name)

        removes.__name__ = name
        s.thread(removes)

    @s.thread
    def cpu() -> None:
        s.read(a, into="before")
        s.write(a, "B", into="written")


def test_it_is_mapped_and_goes_as_the_model_says(dax_vm: VM) -> None:
    for recorded in (mapped_until_it_goes, a_mapping_made_over_another, beside_a_fork):
        assert isinstance(recorded, Scenario)
        assert set(dax_vm.observe(recorded, runs=2).outcomes) == {only_outcome(recorded)}
    assert isinstance(mapped_until_it_goes, Scenario)
    assert {("gone", "SIGBUS"), ("kept", "A"), ("again", "-ENODEV")} <= set(only_outcome(mapped_until_it_goes))


def test_a_device_reaches_it_until_then(dax_vm: VM) -> None:
    assert isinstance(a_device_that_has_it, Scenario)
    _, possible = outcomes(a_device_that_has_it)
    assert set(dax_vm.observe(a_device_that_has_it, runs=2).outcomes) == possible
    (outcome,) = possible
    assert {("cpu", "D"), ("gone", "-EFAULT"), ("snapshot", "-")} <= set(outcome)


@scenario
def pinned(s: Recorder) -> None:
    """What is pinned, for a moment and for long, is the device's memory itself, and stays so when nothing maps it."""
    dax = s.dax(pages=2)
    a = s.mmap(dax)
    s.write(a, "a")
    one = s.pin(a, into="for_a_moment")
    long = s.pin(a + 1, longterm=True, into="for_long")
    long.write(0, "d", into="written")
    s.read(a + 1, into="seen")
    s.munmap(a, pages=2)
    one.read(into="kept")
    b = s.mmap(dax)
    s.write(b + 1, "e")
    long.read(into="same")
    s.pin(s.mmap(dax, page=1, pages=1), write=False, into="read_only")
    long.unpin()
    one.unpin()


def test_it_is_pinned_as_the_model_says(dax_vm: VM) -> None:
    assert isinstance(pinned, Scenario)
    assert dict(only_outcome(pinned)) == {"for_a_moment": OK, "for_long": OK, "written": OK, "seen": "d", "kept": "a", "same": "e", "read_only": OK}
    assert set(dax_vm.observe(pinned, runs=2).outcomes) == {only_outcome(pinned)}


@scenario
def pinned_and_gone(s: Recorder) -> None:
    """Pins are not waited for when it is taken away."""
    dax = s.dax(pages=1)
    s.pin(s.mmap(dax), longterm=True)
    s.dax_remove(dax, into="removed")


def test_what_is_pinned_and_goes_is_the_models_alone(dax_vm: VM) -> None:
    assert isinstance(pinned_and_gone, Scenario)
    assert dict(only_outcome(pinned_and_gone)) == {"removed": OK}
    with pytest.raises(KernelError, match="pin beside a dax device that goes"):
        dax_vm.observe(pinned_and_gone, runs=1)


def test_two_who_take_it_away(dax_vm: VM) -> None:
    assert isinstance(two_who_take_it_away, Scenario)
    _, possible = outcomes(two_who_take_it_away)
    assert {(dict(o)["one"], dict(o)["two"]) for o in possible} == {("ok", "ok"), ("ok", "-ENODEV"), ("-ENODEV", "ok")}
    assert set(dax_vm.observe(two_who_take_it_away, runs=50).outcomes) <= possible


def test_the_right_driver_beside_the_threads_teardown(dax_vm: VM) -> None:
    ask = TABLES["2019-08-hmm"].runs_on_kernel
    assert ask is not None
    run = ask("today loop", RIGHT_ORDER)
    assert isinstance(run, FreeRun) and "device dax" in run.kernels.abilities
    found = run_freely(dax_vm, run.scenario, run.shows, runs=60)
    assert found.verdict is Confirmed.CONFIRMED, found.why


@pytest.mark.parametrize("row", [row for row in DRIVERS if row.startswith("today") and row != "today loop"])
def test_every_wrong_driver_beside_it(dax_vm: VM, row: str) -> None:
    """The device reads what is there no more: by a mapping of its own, for the kernel has none."""
    question = question_of("2019-08-hmm", row, RIGHT_ORDER)
    found = confirm(dax_vm, question.schedule, question.driver)
    assert found.verdict is Confirmed.CONFIRMED, found.why


@pytest.mark.wide
@pytest.mark.parametrize(("kind", "count"), [("sequential", 60), ("free", 12), ("forced", 25)])
def test_drawn_ones_agree(dax_vm: VM, kind: DrawnKind, count: int) -> None:
    drawn_ones_agree(dax_vm, kind, 61, count, WITH_DAX, (HUGE,), "dax")


def test_what_a_real_device_does_otherwise_is_refused() -> None:
    assert "past the end" in refused(lambda s: s.mmap(s.dax(pages=1), pages=2))
    assert "one dax device" in refused(lambda s: (s.dax(pages=1), s.dax(pages=1)))
    assert "pin beside a dax device that goes" in refused(lambda s: (dax := s.dax(pages=1), s.pin(s.mmap(dax)), s.dax_remove(dax)))


def test_modules_that_are_not_here_are_told_how_to_have(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path))
    with pytest.raises(KernelError, match=r"secondsight kernel get 6\.12"):
        dax_modules("6.12.0", "linux-6.12", DEVICE_DAX)
