"""What is kept of a program's code for other processes: used when nothing has changed, and never otherwise."""

from __future__ import annotations

import hashlib
import json
import linecache
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest

from secondsight.contract import ADVERSARIES, driver_program
from secondsight.devices.mirror import Mirror
from secondsight.lang import (
    U8,
    Bounds,
    Machine,
    Record,
    Ref,
    compiler,
    cuts,
    modules,
    native,
    require,
    shared,
    shared_array,
    stored,
)
from secondsight.lang.code import _shared
from secondsight.lang.cuts import cuts_of, functions_of
from secondsight.lang.errors import LangError
from secondsight.lang.native import Native, is_ready
from secondsight.lang.origin import Origin
from secondsight.lang.plain import PlainRun
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.lang.reference import Reference
from secondsight.lang.standins import Shared
from secondsight.search import Request, Result, Verdict, breadth_first
from secondsight.search.auto import why_not_native
from secondsight.search.kept import identity_of
from secondsight.search.native import native_search

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="no C compiler")

HELPERS = "LIMIT = 2\n\n\ndef helper(n: int) -> int:\n    return n + 1\n"
MODEL = """
from __future__ import annotations
from enum import IntEnum
from typing import Annotated
from secondsight.lang import Bounds, Record, atomic, const, hold_point, require, rule, shared, tracepoint
from kept_helpers import LIMIT, helper

Small = Annotated[int, Bounds(0, 40)]
step = const("step")


class Mode(IntEnum):
    OFF = 0
    ON = 1


class Cell(Record):
    value: Small
    top: Annotated[int, Bounds(0, 60)] = 30
    mode: Mode


cell = shared(Cell)


def made(extra: int):
    def bump(n: Small) -> int:
        return helper(n) + extra

    return bump


bump = made(0)


@tracepoint
def seen(value: Small) -> None: ...


@rule("too-much", on=seen)
def too_much(value: Small) -> None:
    require(value <= cell.top, "too-much", "too much")


def counts(n: Small) -> None:
    for _ in range(n):
        hold_point("round")
        now = cell.value
        with atomic:
            cell.value = bump(now) + step[0] + Mode.ON - 1
            seen(cell.value)


def ends() -> None:
    require(cell.value <= LIMIT * 100, "never", "never")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, own_cache: Path) -> Path:
    (tmp_path / "kept_helpers.py").write_text(HELPERS)
    (tmp_path / "kept_model.py").write_text(MODEL)
    return tmp_path


def load(folder: Path) -> ModuleType:
    """The model as another process would find it: nothing of it is known here."""
    _shared.clear()
    return modules.load("kept_model", folder / "kept_model.py")


def program(
    module: ModuleType,
    bound: int = 1,
    holds: bool = False,
    threads: int = 2,
    tables: tuple[str, ...] = ("step",),
    rules: bool = True,
) -> Program:
    machine = Machine({"unused": bound}, data={name: [0] for name in tables})
    with machine:
        module.cell.value = 0
    running = [Thread("one", module.counts, (3,)), Thread("two", module.counts, (2,))]
    watching = [module.too_much] if rules else []
    return build(machine, running, watching, holds, Room(threads, (module.counts, module.ends)))


def searched(made: Program) -> Result:
    return native_search(Native(made), Request(workers=1, watch=(1, made.layout.shared_size)))


def told(result: Result) -> tuple[object, ...]:
    return result.verdict, result.states, result.transitions, result.outcomes, result.violation


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "native").glob("*.json"))


def test_nothing_is_lowered_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = program(load(folder))
    result = searched(first)
    assert first.code.is_lowered
    monkeypatch.setattr(native, "render_c", None)
    monkeypatch.setattr(compiler, "_build", None)
    again = program(load(folder))
    assert is_ready(again)
    assert told(searched(again)) == told(result)
    assert not again.code.is_lowered
    assert again.code.places == first.code.places
    assert [c.number for c in again.counters] == [c.number for c in first.counters]  # lowered for who asks
    assert again.code.is_lowered


def test_the_rendered_python_is_kept_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Reference(program(load(folder)))
    result = breadth_first(first)
    again = Reference(program(load(folder)))
    assert told(breadth_first(again)) == told(result)
    assert not again.program.code.is_lowered  # nor by the search
    assert again.source == first.source
    (file,) = (folder / "cache" / "native").glob("*.python")
    for damaged in (b"", file.read_bytes()[:-9], b"garbage" * 99):
        file.write_bytes(damaged)
        mended = Reference(program(load(folder)))
        assert mended.program.code.is_lowered
        assert told(breadth_first(mended)) == told(result)
        assert not Reference(program(load(folder))).program.code.is_lowered


def test_where_functions_are_cut_is_kept_too(folder: Path) -> None:
    first = program(load(folder))
    assert cuts_of(first) == cuts._made(first)
    (file,) = (folder / "cache" / "native").glob("*.cuts")
    for damaged in (None, b"", file.read_bytes()[:-9], b"garbage" * 99):
        if damaged is not None:
            file.write_bytes(damaged)
            mended = program(load(folder))
            assert cuts_of(mended) == cuts._made(mended)
        again = program(load(folder))
        found = cuts_of(again)
        with PlainRun(again) as run:
            run.step(0)
        assert not again.code.is_lowered
        assert found == cuts._made(again)  # by its own classes and functions
        assert {f.__name__ for f in found} >= {"counts", "ends", "too_much", "bump", "helper"}


def test_which_functions_a_program_has_is_kept_too(folder: Path) -> None:
    first = program(load(folder))
    own = {f for f in cuts._made(first) if not f.__module__.startswith("secondsight.lang.")}
    assert functions_of(first) == cuts._made(first).keys() and own
    again = program(load(folder))
    assert again.code.origin is not None and functions_of(again) <= again.code.origin.functions.keys()
    assert not again.code.is_lowered
    assert {f.__name__ for f in functions_of(again)} == {f.__name__ for f in own}


def test_where_functions_of_other_source_are_cut_is_not_used(folder: Path) -> None:
    module = load(folder)
    file = folder / "kept_model.py"
    file.write_text(MODEL.replace("def counts", "\n\ndef counts"))
    linecache.checkcache(str(file))
    with suppress(LangError):  # the function is not where it was
        cuts_of(program(module))
    file.write_text(MODEL)
    Native(program(load(folder)))
    again = program(load(folder))
    assert cuts_of(again) == cuts._made(again)


@pytest.mark.parametrize("name", ["munmap", "fork", "swap"])
def test_where_a_drivers_program_is_cut_is_told_whole(name: str) -> None:
    one = driver_program(Mirror, ADVERSARIES[name].scenarios[0])
    made, origin = cuts._made(one), one.code.origin
    assert origin is not None
    content = cuts._told(made, origin)
    assert content is not None and cuts._read(content, origin) == made
    assert cuts._read(content[: len(content) // 2], origin) is None


def test_rendered_python_of_other_source_is_not_used(folder: Path) -> None:
    """Left over from a file that was edited while it was used: beside what is now known it counts for nothing."""
    module = load(folder)
    file = folder / "kept_model.py"
    file.write_text(MODEL.replace("bump(now) +", "bump(now) * 2 +"))
    linecache.checkcache(str(file))
    mixed = breadth_first(Reference(program(module)), Request(watch=(1, 4)))
    file.write_text(MODEL)
    made = program(load(folder))
    Native(made)  # writes the one file anew, and not the other
    again = Reference(program(load(folder)))
    assert breadth_first(again, Request(watch=(1, 4))).outcomes != mixed.outcomes


def test_an_error_is_told_from_the_same_place(folder: Path) -> None:
    (folder / "kept_model.py").write_text(MODEL.replace("= 30", "= 2"))
    first = searched(program(load(folder))).violation
    again = program(load(folder))
    found = searched(again).violation
    assert found is not None
    assert found.rule == "too-much"
    assert found == first
    assert not again.code.is_lowered


CHANGES: dict[str, tuple[str, str, str]] = {
    "a function": ("kept_model", "for _ in range(n)", "for _ in range(min(n, 1))"),
    "a helper in another file": ("kept_helpers", "n + 1", "n + 2"),
    "a constant in another file": ("kept_helpers", "LIMIT = 2", "LIMIT = 3"),
    "a closure's constant": ("kept_model", "made(0)", "made(1)"),
    "a field's range": ("kept_model", "Bounds(0, 60)", "Bounds(0, 50)"),
    "a field's default": ("kept_model", "= 30", "= 31"),
    "an annotation's name": ("kept_model", "Bounds(0, 40)", "Bounds(0, 39)"),
    "an enum": ("kept_model", "ON = 1", "ON = 2"),
    "a rule": ("kept_model", "value <= cell.top", "value < cell.top"),
    "a line": ("kept_model", "def counts", "\ndef counts"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_source_is_another_key(change: str, folder: Path) -> None:
    before = program(load(folder))
    Native(before)
    name, old, new = CHANGES[change]
    file = folder / f"{name}.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    after = program(load(folder))
    assert after.code.is_lowered
    assert before.code.origin is not None
    assert after.code.origin is not None
    assert before.code.origin.digest != after.code.origin.digest
    file.write_text(text)
    assert not program(load(folder)).code.is_lowered


VARIANTS: dict[str, dict[str, Any]] = {
    "a bound": {"bound": 2}, "hold points": {"holds": True}, "room": {"threads": 3}, "tables": {"tables": ("step", "other")}, "rules": {"rules": False},
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_another_shape_is_another_key(variant: str, folder: Path) -> None:
    Native(program(load(folder)))
    assert not program(load(folder)).code.is_lowered
    assert program(load(folder), **VARIANTS[variant]).code.is_lowered


def test_the_language_and_its_flags_are_part_of_the_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Native(program(load(folder)))
    monkeypatch.setenv("SECONDSIGHT_SANITIZE", "1")
    assert not is_ready(program(load(folder)))
    monkeypatch.setattr("secondsight.lang.origin.package_digest", lambda: "another version")
    assert program(load(folder)).code.is_lowered


def test_replaced_in_this_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of the model that somebody replaces: what was lowered before is not used, in this process nor in another."""
    module = load(folder)
    first = program(module)
    Native(first)
    assert program(module).code is first.code
    monkeypatch.setattr(module, "bump", module.made(2))
    other = program(module)
    assert other.code is not first.code
    assert searched(other).outcomes != searched(first).outcomes


def test_the_same_names_are_followed_once_for_all_shapes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load(folder)
    first = program(module).code.origin
    assert first is not None
    with monkeypatch.context() as within:
        within.setattr(Origin, "_function", None)
        other = program(module, bound=2).code.origin
    assert other is not None
    assert other.digest != first.digest
    assert other.functions == first.functions


@pytest.mark.parametrize("change", ["a function", "a method", "another method"])
def test_names_that_mean_something_else_are_followed_again(change: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load(folder)
    module.Cell.grows = module.made(1)
    first = program(module).code
    if change == "a function":
        monkeypatch.setattr(module, "bump", module.made(2))
    else:
        monkeypatch.setattr(module.Cell, "grows" if change == "a method" else "shrinks", module.made(2), raising=False)
    digests = {code.origin.digest for code in (first, program(module).code, program(module, bound=2).code) if code.origin}
    assert len(digests) == 3


def test_a_file_edited_while_it_was_used(folder: Path) -> None:
    """The front end reads the new text of functions that were imported as they were: nobody gets that who has the old text."""
    module = load(folder)
    file = folder / "kept_model.py"
    file.write_text(MODEL.replace("bump(now) +", "bump(now) * 2 +"))
    linecache.checkcache(str(file))
    mixed = searched(program(module))
    file.write_text(MODEL)
    again = program(load(folder))
    assert again.code.is_lowered
    assert searched(again).outcomes != mixed.outcomes


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flipped(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])


def signed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        data = json.loads(file.read_bytes()[64:])
        change(data)
        text = json.dumps(data).encode()
        file.write_bytes(hashlib.sha256(text).hexdigest().encode() + text)

    return damage


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut short": cut,
    "one bit": flipped,
    "empty": lambda file: file.write_bytes(b""),
    "garbage": lambda file: file.write_bytes(b"garbage" * 99),
    "another version": signed(lambda data: data.update(version=0)),
    "a part is missing": signed(lambda data: data.pop("roots")),
    "other sizes": signed(lambda data: data.update(sizes=[1, 1])),
    "other state": signed(lambda data: data.update(declarations=["nothing"])),
    "another annotation": signed(lambda data: data.update(annotations=[[0, "Small", ""]])),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_broken_is_made_again(damage: str, folder: Path) -> None:
    result = searched(program(load(folder)))
    (file,) = kept(folder)
    DAMAGES[damage](file)
    mended = program(load(folder))
    assert mended.code.is_lowered
    assert told(searched(mended)) == told(result)
    assert not program(load(folder)).code.is_lowered


@pytest.mark.parametrize("gone", [True, False])
def test_a_library_that_is_gone_or_broken_is_made_again(gone: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = searched(program(load(folder)))
    monkeypatch.setattr(compiler, "_loaded", {})
    (library,) = (folder / "cache" / "native").glob("*.so")
    library.unlink()
    if not gone:
        library.write_bytes(b"broken" * 99)
    assert told(searched(program(load(folder)))) == told(result)
    assert library.stat().st_size > 5000


def test_a_folder_that_cannot_be_written_is_no_error(folder: Path) -> None:
    result = searched(program(load(folder)))
    (file,) = kept(folder)
    file.unlink()
    file.mkdir()
    assert told(searched(program(load(folder)))) == told(result)


def test_processes_share_what_is_kept(folder: Path) -> None:
    with get_context("fork").Pool(4) as pool:
        results = pool.map(in_a_process, [folder] * 12)
        pool.close()
        pool.join()
    assert len(set(results)) == 1
    assert len(kept(folder)) == 1
    assert not list((folder / "cache" / "native").glob("build-*"))
    assert not program(load(folder)).code.is_lowered


def in_a_process(folder: Path) -> tuple[object, ...]:
    return told(searched(program(load(folder))))[:4]


@pytest.mark.wide
def test_a_driver_file_in_two_processes(folder: Path) -> None:
    """The command itself: the second process lowers nothing, and an edited driver is seen at once."""
    example = Path(__file__).parents[2] / "examples" / "my_gpu.py"
    driver = folder / "driver.py"
    driver.write_text(example.read_text())
    code = (
        "import sys; from secondsight.contract import ADVERSARIES, driver_program, load_drivers;"
        "from secondsight.search.auto import search; from secondsight.search import Request;"
        "made = driver_program(load_drivers(sys.argv[1])[0], ADVERSARIES['munmap'].scenarios[0]);"
        "result = search(made, Request(executor='native', livelock=True)); print(result.verdict.value, result.states, made.code.is_lowered)"
    )

    def run() -> str:
        env = os.environ | {"SECONDSIGHT_CACHE": str(folder / "cache")}
        done = subprocess.run([sys.executable, "-c", code, str(driver)], env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    first = run()
    assert first.startswith("holds ")
    assert first.endswith(" True")
    again = first.replace("True", "False")
    assert run() == again  # reduced, with livelocks: all that a search wants to know is kept
    text = driver.read_text()
    driver.write_text(re.sub(r".*mmu_interval_read_retry.*\n.*\n", "", text))
    assert driver.read_text() != text
    assert run().startswith("broken")
    driver.write_text(text)
    assert run() == again


def test_threads_that_ask_at_once_get_the_same_lowered_functions(folder: Path) -> None:
    """Of a program that is in the cache folder nothing is lowered before somebody asks: then once, whoever asks."""
    from concurrent.futures import ThreadPoolExecutor

    from secondsight.contract import ADVERSARIES, driver_program
    from secondsight.devices import Mirror

    scenario = ADVERSARIES["munmap"].scenarios[0]
    Native(driver_program(Mirror, scenario))
    for _ in range(3):
        made = driver_program(Mirror, scenario)
        made.code._linked = None
        with ThreadPoolExecutor(8) as pool:
            assert len({id(linked) for linked in pool.map(lambda code: code.linked, [made.code] * 8)}) == 1


class Kind(Record):
    """A class above two others."""

    n: U8

    def work(self) -> None:
        """What is overridden."""


class One(Kind):
    """The first below it."""

    def work(self) -> None:
        """One more."""
        self.n += 1


class Other(Kind):
    """The second."""

    def work(self) -> None:
        """Two more."""
        self.n += 2


one, other = shared(One), shared(Other)


def works(any_kind: Ref[Kind]) -> None:
    """Work, whichever it is."""
    if any_kind is not None:
        any_kind.work()


def test_numbers_do_not_depend_on_what_was_touched_first(folder: Path) -> None:
    """They are kept for processes that begin with another scenario."""
    places = []
    for first, second in ((one, other), (other, one)):
        _shared.clear()
        shutil.rmtree(folder / "cache", ignore_errors=True)
        with Machine() as machine:
            first.n = 1
            second.n = 2
        places.append(Program(machine, [Thread("t", works, (one,))]).code.places)
    assert len({str(p) for p in places}) == 1 and len(places[0]) >= 2


first = shared(One)
second = shared(Other)


def adds() -> None:
    """The second becomes two, then the first one."""
    second.n += 2
    first.n += 1
    require(first.n == 1 and second.n == 2, "sums", "as they were added")


def test_modules_that_are_imported_in_another_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared state lies in the order of its declarations, which another process may come to in another order."""
    results, identities = [], set()
    for order in (Shared.declared, [*reversed(Shared.declared)]):
        _shared.clear()
        monkeypatch.setattr(Shared, "declared", order)
        with Machine() as machine:
            first.n, second.n = 0, 0
        made = build(machine, [Thread("t", adds)], room=Room(1, (adds,)))
        stored.keep(made.code)
        identities.add(identity_of(made))
        results.append((made.code.known is None, searched(made), breadth_first(Reference(made), Request(workers=1))))
    assert len(identities) == 2 and None not in identities, "nor an answer, though the initial states are the same bytes"
    for fresh, native_result, reference_result in results:
        assert fresh, "what the other keeps is not taken"
        assert native_result.verdict is reference_result.verdict is Verdict.HOLDS
        assert native_result.states == reference_result.states


class Marked(Record):
    interchangeable = True
    count: U8
    mark: Annotated[int, Bounds(0, 3)]


items = shared_array(Marked, "unused")


def counts_marked() -> None:
    """Count in all that are marked, and see that nobody else did."""
    for item in items:
        if item.mark:
            item.count += 1
    for item in items:
        require(item.count == (1 if item.mark else 0), "counted", "what is marked is counted")


ROOM = Room(1, (counts_marked,))


def marked(*marks: int, room: Room | None = ROOM) -> Program:
    with Machine({"unused": 3}) as machine:
        for item, mark in zip(items, marks, strict=True):
            item.count, item.mark = 0, mark
    return build(machine, [Thread("t", counts_marked)], room=room)


PLAIN, MARKED = (0, 0, 0), (0, 2, 0)


def by_native(one: Program) -> Result:
    return native_search(Native(one), Request(workers=1))


def by_reference(one: Program) -> Result:
    return breadth_first(Reference(one))


@pytest.mark.parametrize("runs", [by_native, by_reference])
@pytest.mark.parametrize("keeps", [by_native, by_reference])
@pytest.mark.parametrize("later", [False, True])
def test_what_lies_elsewhere_takes_nothing_of_what_is_kept(
    runs: Callable[[Program], Result], keeps: Callable[[Program], Result], later: bool, folder: Path
) -> None:
    """A field that no thread writes is in the state where renaming must not lose it: so it is the initial state that says where all lies."""
    expected = [breadth_first(Reference(marked(*marks, room=None))).states for marks in (MARKED, PLAIN)]  # of which nothing is kept
    _shared.clear()
    by_native(marked(*PLAIN)), by_reference(marked(*PLAIN))
    _shared.clear()
    plain = marked(*PLAIN)
    other = marked(*MARKED)
    assert plain.layout.shared_size < other.layout.shared_size
    keeps(other)
    if later:
        _shared.clear()
        other, plain = marked(*MARKED), marked(*PLAIN)
    results = [runs(one) for one in (other, plain)]
    assert [(r.verdict, r.states) for r in results] == [(Verdict.HOLDS, states) for states in expected]
