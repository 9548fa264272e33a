"""Results that are kept: they answer for what has not changed, and for nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from secondsight.contract import ADVERSARIES, check, driver_program, load_drivers, rests_on
from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror
from secondsight.lang import compiler, origin
from secondsight.lang.movers import Reductions
from secondsight.linux import mmu_notifier as mn
from secondsight.search import Limits, Result, Verdict
from secondsight.search.kept import identity_of
from secondsight.search.request import Request


class UnmapsNothing(Mirror):
    """Says that it has, and goes on."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        mn.mmu_interval_set_seq(self.notifier, seq)
        return True


DRIVER = """
import json
from pathlib import Path

from beside import MOST
from secondsight.devices.mirror import Mirror
from secondsight.lang import Errno
from secondsight.linux.mm_types import Va

LEAST = json.loads(Path(__file__).with_name("least.json").read_text())

class Gpu(Mirror):
    def fault(self, va: Va, write: bool) -> Errno:
        if va > MOST or va < LEAST:
            return 0
        return Mirror.fault(self, va, write)
"""


@pytest.fixture
def folder(tmp_path: Path, own_cache: Path) -> Iterator[Path]:
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "beside.py").write_text("MOST = 100\n")
    (tmp_path / "least.json").write_text("0")
    yield tmp_path


def of(folder: Path) -> type[Device]:
    (driver,) = load_drivers(folder / "driver.py")
    return driver


def ask(driver: type[Device], rules: list[str] | None = None, bounds: dict[str, int] | None = None, **asked: Any) -> list[Result]:
    request = Request(kept=True, executor="reference").but(**asked)
    return [c.result for c in check(driver, ["open"], rules or ["isolation"], request, bounds=bounds)]


def kept(results: list[Result]) -> set[bool]:
    return {result.kept for result in results}


def test_the_same_answers_at_once_and_says_so(folder: Path) -> None:
    first, again = ask(of(folder)), ask(of(folder))
    assert (kept(first), kept(again)) == ({False}, {True})
    assert [replace(result, kept=False) for result in again] == first
    assert kept(ask(of(folder), kept=False)) == {False}


def edited(name: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).write_text((folder / name).read_text().replace(old, new))

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        edited("driver.py", "va > MOST", "va >= MOST"),
        edited("beside.py", "100", "101"),
        edited("beside.py", "100", "50 * 2"),
        edited("least.json", "0", "-1"),
    ],
    ids=["the driver", "a constant beside it", "a text beside it", "a value that was read"],
)
def test_what_was_edited_is_searched_again(folder: Path, edit: Callable[[Path], None]) -> None:
    ask(of(folder))
    edit(folder)
    assert kept(ask(of(folder))) == {False}
    assert kept(ask(of(folder))) == {True}


@pytest.mark.parametrize(
    "other",
    [
        {"rules": ["teardown"]}, {"bounds": {"frames": 12}}, {"exact": True}, {"limits": Limits(states=900_000)}, {"lock_order": False},
        {"reductions": Reductions(False, False)}, {"collect": True, "executor": "native"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_asked_otherwise_is_searched_again(folder: Path, other: dict[str, Any]) -> None:
    ask(Mirror)
    assert kept(ask(Mirror)) == {True}
    assert kept(ask(Mirror, **other)) == {False}


def test_what_python_put_in_place_of_a_function_is_searched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(Mirror)
    monkeypatch.setattr(Mirror, "invalidate", UnmapsNothing.invalidate)
    assert kept(ask(Mirror)) == {False}


def test_another_package_or_compiler_searches_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = of(folder)
    ask(driver)
    monkeypatch.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-DOTHER"))
    assert kept(ask(driver)) == {False}
    assert kept(ask(driver)) == {True}
    monkeypatch.setattr(origin, "package_digest", lambda: "another")
    assert kept(ask(of(folder), bounds={"frames": 10})) == {False}
    monkeypatch.setattr(origin, "package_digest", lambda: None)
    assert [kept(ask(of(folder), bounds={"frames": 11})) for _ in range(2)] == [{False}, {False}]


def test_what_is_broken_or_not_finished_is_not_kept(folder: Path) -> None:
    request = Request(kept=True, executor="reference")
    for _ in range(2):
        (broken, *_) = check(UnmapsNothing, ["munmap"], ["as-if-cpu"], request)
        assert broken.result.verdict is Verdict.BROKEN and not broken.result.kept
        short = ask(Mirror, limits=Limits(states=10))
        assert {r.verdict for r in short} == {Verdict.NOT_FINISHED} and kept(short) == {False}


def test_an_answer_that_is_not_whole_is_none(folder: Path) -> None:
    ask(of(folder))
    for spoil in (lambda b: b[:-1], lambda b: b.replace(b'"states":', b'"status":'), lambda b: b""):
        for file in (folder / "cache" / "native").glob("*.answers"):  # of each shape one
            file.write_bytes(spoil(file.read_bytes()))
        assert kept(ask(of(folder))) == {False}
        assert kept(ask(of(folder))) == {True}


def test_programs_that_differ_are_told_apart(folder: Path) -> None:
    driver = of(folder)
    names = ("munmap", "exit", "open", "close")
    programs = [driver_program(driver, s) for name in names for s in ADVERSARIES[name].scenarios]
    assert {identity_of(p) for p in programs} == {None}, "no code is in the cache folder yet"
    for p in programs:
        p.code.fact("a test's", lambda: True)
    identities = [identity_of(p) for p in programs]
    assert None not in identities
    assert len(set(identities)) == len(programs)
    assert identities == [identity_of(driver_program(driver, s)) for name in names for s in ADVERSARIES[name].scenarios]


def test_what_a_verdict_rests_on_is_kept_with_the_text_that_it_is_about(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rests = importlib.import_module("secondsight.contract.rests")
    watched: list[int] = []
    real = rests.watch

    def watch(*given: Any) -> Any:
        watched.append(1)
        return real(*given)

    monkeypatch.setattr(rests, "watch", watch)

    def see() -> Any:
        return rests_on(of(folder), ["open"], ["isolation"], kept=True)

    first = see()
    assert see() == first and len(watched) == 1
    edited("driver.py", "            return 0\n", "            return int(0)  # a comment too\n")(folder)
    second = see()
    assert len(watched) == 2 and second.unseen[0].text == "return int(0)  # a comment too"
    assert see() == second and len(watched) == 2
    assert rests_on(of(folder), ["open"], ["isolation"]) == second and len(watched) == 3
    rests_on(of(folder), ["open"], ["teardown"], kept=True)
    assert len(watched) == 4
