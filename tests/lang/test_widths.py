"""What has a width has room for everything that it may hold, or the program is refused: numbers, places, records, boundaries, choices."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from models import broken, holds, model

from secondsight.lang import (
    Array,
    Bounds,
    LangError,
    Machine,
    Record,
    atomic,
    choose,
    link,
    modules,
    require,
    shared,
    shared_array,
    wait_until,
)
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.errors import TooLarge
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.plain import PlainRun
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.lang.symmetry import symmetry_of
from secondsight.lang.types import LARGEST_NUMBER
from secondsight.search import Request, Result, Verdict, breadth_first
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_search
from secondsight.search.strategy import BreadthFirst, DepthFirst

try:
    compiler()
except CompilerMissing:
    pytest.skip("no C compiler", allow_module_level=True)

KINDS = (Reductions.none(), Reductions(True, False), Reductions(False, True), Reductions())


def told(result: Result) -> tuple[object, ...]:
    found = result.violation
    return result.verdict, found and (found.rule, len(found.trace)), result.reason, str(result.error)


def same(program: Program, **options: Any) -> Result:
    """The result of the reference executor, which all others have."""
    result = breadth_first(Reference(program), Request(**options))
    for reductions in KINDS:
        assert told(reduced_search(program, Request(reductions=reductions, workers=1, **options)).result) == told(result), reductions
    return result


# Numbers.

OPERATORS = ("+", "-", "*", "<<", ">>", "//", "%", "&", "|", "^")
SOURCE = """
from typing import Annotated
from secondsight.lang import Bounds, I16, Record, U8, shared
Huge = Annotated[int, Bounds(-(2**62 - 1), 2**62 - 1)]

class W(Record):
    which: U8
    a: I16
    b: I16
    n: U8
    big: Huge
    out: Annotated[int, Bounds(-1, 250)] = -1

w = shared(W)

def main() -> None:
    a = w.a
    n = w.n
    which = w.which
"""


def expression(draw: random.Random, depth: int) -> str:
    if depth == 0 or draw.random() < 0.1:
        return draw.choice(["a", "w.b", "w.big", "n"])
    if draw.random() < 0.2:
        inner = expression(draw, depth - 1)
        return draw.choice([f"(-{inner})", f"(~{inner})", f"abs({inner})", f"min({inner}, {expression(draw, depth - 1)})"])
    op = draw.choice(OPERATORS)
    right = expression(draw, depth - 1) if draw.random() < 0.7 else draw.choice(["1", "-1", "3", "32767", f"{2**62 - 1}"])
    right = draw.choice(["n", "3", "62"]) if op in ("<<", ">>") else right
    return f"({expression(draw, depth - 1)} {op} {right})"


def python_says(text: str, names: dict[str, Any]) -> int | None:
    """What CPython computes; None where a number on the way is too large, or there is none."""

    def within(value: int) -> int:
        if abs(value) > LARGEST_NUMBER:
            raise OverflowError
        return value

    class Number(int):
        pass

    for name in ("add", "sub", "mul", "lshift", "rshift", "floordiv", "mod", "and", "or", "xor", "neg", "invert", "abs"):
        plain = getattr(int, f"__{name}__")
        setattr(Number, f"__{name}__", lambda *values, plain=plain: Number(within(plain(*map(int, values)))))
    scope = {k: Number(v) for k, v in names.items() if isinstance(v, int)}
    record = type("W", (), {k: Number(v) for k, v in names.items() if isinstance(v, int)})
    literal = re.sub(r"(?<![\w.])(\d+)", r"Number(\1)", text)
    try:
        return int(eval(literal, {"Number": Number, "w": record, "abs": abs, "min": min, **scope}))
    except (OverflowError, ZeroDivisionError, ValueError):
        return None


def test_arithmetic_is_pythons_or_an_error(tmp_path: Path) -> None:
    """Drawn expressions with drawn values: reference, compiled code and plain execution agree with CPython's own integers."""
    draw = random.Random(7)
    texts = [expression(draw, 3) for _ in range(60)]
    body = "".join(f"    if which == {i}:\n        w.out = {text} % 251\n" for i, text in enumerate(texts))
    (tmp_path / "arithmetic.py").write_text(SOURCE + body)
    module: Any = modules.load("drawn_arithmetic", tmp_path / "arithmetic.py")
    ends = {"a": (0, 3, -3, 32767, -32768), "b": (0, 1, -32768, 77), "n": (0, 1, 7, 47, 61, 62, 63, 64), "big": (0, 2**62 - 1, 1 - 2**62, 2**40)}
    errors = 0
    machine = Machine({})
    with machine:
        module.w.which = 0
    program = build(machine, [Thread("t", module.main)])
    for _ in range(8):
        for i, text in enumerate(texts):
            values = {name: draw.choice(options) for name, options in ends.items()}
            machine = Machine({})
            with machine:
                module.w.which = i
                for name, value in values.items():
                    setattr(module.w, name, value)
            program.layout = program.layout.of(machine)
            shared_part = program.layout.encode()
            want = python_says(text, values)
            for executor in (Reference(program), Native(program)):
                last, error = shared_part + executor.initial[len(shared_part) :], None
                while error is None and (found := executor.successors(last)):
                    (step,) = found
                    last, error = step.state or b"", step.error
                if want is None:
                    assert error is not None, (text, values)
                    errors += isinstance(error, TooLarge)
                else:
                    assert error is None, (text, values, want)
                    out = {k: v for k, v, _ in program.layout.fields(last)}
                    assert next(v for k, v in out.items() if k.endswith("w.out")) == want % 251, (text, values)
    assert errors > 100


BIG = """
Huge = Annotated[int, Bounds(-(2**62 - 1), 2**62 - 1)]
class Big(Record):
    wide: Huge
    row: Array[Huge, Literal[2]]
big = shared(Big)
"""
HOLDS_BY_OVERFLOW = {
    "a shift": ("world.log[0] = 3\nworld.n = 62\nrequire((world.log[0] << world.n) <= 0, 'r', 'm')", "too-large", 4),
    "by 63": ("world.n = 63\nrequire((1 << world.n) % 7 == 4, 'r', 'm')", "too-large", 3),
    "what is lost": ("world.n = 62\nx = (world.n - 58) << world.n\nrequire(x == 0, 'r', 'm')", "too-large", 3),
    "a power": ("world.log[0] = 8192 * 3\nx = world.log[0]\nrequire(x * x * x * x * x < 1, 'r', 'm')", "too-large", 4),
    "a complement": ("world.n = 1\nx: Annotated[int, Bounds(0, 2**62 - 1)] = 2**62 - 1 if world.n else 0\nrequire(~x * 2 < 0, 'r', 'm')", "refused", 0),
    "a local augmented": ("world.n = 62\nx: Annotated[int, Bounds(0, 2**62 - 1)] = world.n\nx <<= world.n\nrequire(x == 0, 'r', 'm')", "too-large", 4),
    "a field augmented": ("big.wide = 4611686018427387903\nbig.wide += 1\nrequire(big.wide <= 0, 'r', 'm')", "too-large", 3),
    "a field of many augmented": ("world.n = 1\nbig.row[world.n] = 2305843009213693952\nbig.row[world.n] *= 2\nrequire(big.row[1] <= 0, 'r', 'm')", "too-large", 4),
    "counted on": ("world.n = 250\nx = 1\nfor i in range(9):\n    x = x * world.n\nrequire(x < 5, 'r', 'm')", "left-range", 5),
}  # fmt: skip


@pytest.mark.parametrize("name", [n for n, (_, rule, _) in HOLDS_BY_OVERFLOW.items() if rule != "refused"])
def test_what_is_too_large_is_never_a_verdict(name: str) -> None:
    text, rule, line = HOLDS_BY_OVERFLOW[name]
    whole = "def main() -> None:\n" + "".join(f"    {row}\n" for row in text.splitlines()) + BIG
    assert broken(whole) == (rule, line)  # its trace replays in plain execution, too
    with model(whole) as program:
        result = same(program)
        assert result.verdict is Verdict.NOT_FINISHED
        assert result.error is not None
        assert ":" in str(result.error)


@pytest.mark.parametrize(
    "text",
    [
        "x: Annotated[int, Bounds(0, 2**62)] = 0",
        "x: Annotated[int, Bounds(-2**63, 0)] = 0",
        "x: Annotated[int, Bounds(5, 1)] = 5",
        "x = 1 << 63",
        "world.n = 4611686018427387904 // 4611686018427387904 + world.n * 4611686018427387904",
    ],
)
def test_larger_numbers_are_refused(text: str) -> None:
    with pytest.raises(LangError, match=r"63 bits|63-bit|not in the language"), model(f"def main() -> None:\n    {text}\n"):
        pass


def test_the_largest_numbers() -> None:
    assert holds("""
        Huge = Annotated[int, Bounds(-(2**62 - 1), 2**62 - 1)]
        def main() -> None:
            low: Huge = -4611686018427387903
            high: Huge = 4611686018427387903
            world.n = 1
            require(low + high == 0, "r", "m")
            low = low + 1
            high = high - 1
            world.n = 2
            require(low + high == 0 and high // -1 == low and -low == high, "r", "m")
    """.replace("2**62", "4611686018427387904"))


# A computed local.


def test_the_range_of_a_computed_local() -> None:
    """That of what is computed first, and at least that of a plain int; later values must be in it, or in that of a plain int."""
    assert holds("""
        def main() -> None:
            world.wide = 0
            x = world.n * 1000
            x = 255 * 1000
    """.replace("world.wide = 0", "world.n = 255"))
    assert broken("""
        def main() -> None:
            world.n = 255
            x = world.n * 1000
            x = x + 1
    """) == ("left-range", 4)
    assert broken("""
        def main() -> None:
            world.n = 255
            x = world.n + 1
            x = x * 128 + x
    """) == ("left-range", 4)
    assert holds("""
        def main() -> None:
            world.n = 255
            x = world.n + 1
            x = x * 127
    """)


# Choices.


def test_choosing_among_too_many() -> None:
    text = """
        Huge = Annotated[int, Bounds(0, 8589934592)]
        def main() -> None:
            n: Huge = 4294967297
            i = choose(n)
            require(i == 0, "r", "m")
    """
    with model(text) as program:
        assert "more than 2147483647" in str(same(program).error)


class Two(Record):
    a: Annotated[int, Bounds(0, 255)]
    b: Annotated[int, Bounds(0, 255)]


two = shared(Two)


def returns_early() -> None:
    two.a = 1
    for _ in range(40):
        if choose(2) == 0:
            return
    wait_until(two.b == 1)


def test_more_choices_than_a_merged_step_has() -> None:
    program = build(Machine({}), [Thread("t", returns_early)])
    assert same(program).violation is not None
    for strategy in (BreadthFirst(), DepthFirst(1000)):
        found = reduced_search(program, Request(reductions=Reductions(True, False), workers=1, strategy=strategy)).result.violation
        assert found is not None
        assert found.rule == "deadlock"
        found.trace.replay(program)


# Loops that are cut into pieces.


Late = Annotated[int, Bounds(0, 100_001)]


def touch() -> None:
    two.a = 1


def stays(stay: int) -> None:
    two.a = 2
    i: int = 0
    while i < 3:
        if i == 2:
            touch()
            i += 1
        else:
            i = stay


def goes_on(rounds: int) -> None:
    two.a = 2
    for i in range(rounds):
        if i == 30000:
            touch()


def never_ends(rounds: int) -> None:
    with atomic:
        two.a = 2
        i: int = 0
        while i < rounds:
            if two.a == 2:
                continue
            i += 1


def ends_late(rounds: Late) -> None:
    with atomic:
        for _ in range(2):
            i: Late = 0
            while i < rounds:
                i += 1
        two.a = 1


@pytest.mark.parametrize(
    ("function", "argument", "rounds"),
    [(stays, 0, 1000), (goes_on, 1001, 1000), (goes_on, 30000, 1000), (never_ends, 1, 100_000), (ends_late, 100_001, 100_000)],
)
def test_a_loop_without_a_boundary_ends(function: Any, argument: int, rounds: int) -> None:
    """In the user's own functions too: the trace to the error is replayed, and ends there."""
    program = build(Machine({}), [Thread("t", function, (argument,))])
    result = same(program)
    assert f"went round {rounds} times" in str(result.error)
    assert result.error_trace is not None
    last = result.error_trace.replay(program)[-1]
    assert str(last.error) == str(result.error)


def test_a_loop_without_a_boundary_may_have_many_rounds() -> None:
    for function, rounds in ((goes_on, 1000), (ends_late, 100_000)):
        program = build(Machine({}), [Thread("t", function, (rounds,))])
        assert same(program, livelock=True).verdict is Verdict.HOLDS
        with PlainRun(program) as run:
            while not run.threads[0].ended:
                assert run.step(0).error is None


# Boundaries and calls.


def loaded(folder: Path, text: str) -> Any:
    (folder / "many.py").write_text("from secondsight.lang import Record, U8, require, shared\nclass W(Record):\n    n: U8\nw = shared(W)\n" + text)
    return modules.load("many", folder / "many.py")


def test_more_boundaries_than_a_byte_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = "".join(f"    w.n = {i % 200}\n" for i in range(300))
    module = loaded(tmp_path, f"def main() -> None:\n{steps}    require(w.n == 0, 'last', 'the last is {299 % 200}')\n")
    program = build(Machine({}), [Thread("one", module.main)])
    assert program.counter_width == 2
    found = same(program)
    assert found.violation is not None
    assert len(found.violation.trace) == 301
    monkeypatch.setattr(link, "MOST_COUNTERS", 300)
    with pytest.raises(LangError, match="301 step boundaries; the limit is 300"):
        build(Machine({}), [Thread("one", module.main)])


def test_more_calls_than_a_byte_counts(tmp_path: Path) -> None:
    for calls, fits in ((254, True), (255, False)):
        text = "def set(n: U8) -> None:\n    w.n = n\n\ndef main() -> None:\n" + "".join(f"    set({i % 250})\n" for i in range(calls))
        module = loaded(tmp_path, text + f"    require(w.n == {(calls - 1) % 250}, 'last', 'x')\n")
        if fits:
            assert same(build(Machine({}), [Thread("one", module.main)])).verdict is Verdict.HOLDS
        else:
            with pytest.raises(LangError, match="more than 254 places"):
                build(Machine({}), [Thread("one", module.main)])


# Renaming.


class F(Record):
    interchangeable = True
    n: Annotated[int, Bounds(0, 255)]


class Pad(Record):
    bytes: Array[Annotated[int, Bounds(0, 255)], Literal["pad"]]


class Out(Record):
    x: Annotated[int, Bounds(0, 255)]


Number = Annotated[int, Bounds(-(2**40), 300)]
frames = shared_array(F, "frames")
pad = shared(Pad)
out = shared(Out)


def done() -> None:
    out.x = 0


def writes() -> None:
    g = choose(frames)
    if choose(2) == 0:
        f = choose(q for q in frames if q is not g)
        f.n = 1
    else:
        out.x = 0
        out.x = 0
        h: F = g
        out.x = 0
        h.n = 1
    out.x = 0
    require(g.n == 0, "g", "g was written")


def by_number() -> None:
    g = choose(frames)
    number: Number = frames.index(g)
    out.x = 1
    g.n = 1
    out.x = 2
    require(frames[number].n == 1, "number", "it is the number of another")


def searched_renamed(threads: list[Thread], frames: int, bytes: int) -> tuple[Result, Result | None]:
    machine = Machine({"frames": frames, "pad": bytes})
    with machine:
        pad.bytes[0] = 0
    program = build(machine, threads)
    assert symmetry_of(program)[0] is not None
    plain = native_search(Native(program), Request(workers=1))
    reduced = reduced_search(program, Request(reductions=Reductions(False, True), workers=1))
    assert told(reduced.result) == told(plain)
    return plain, reduced.merged


@pytest.mark.parametrize("bytes", [100, 65529])
def test_renaming_beside_much_state(bytes: int) -> None:
    """Locals of threads lie beyond 64 KiB."""
    plain, renamed = searched_renamed([*(Thread(f"i{i}", done) for i in range(3)), Thread("t", writes)], 4, bytes)
    assert plain.violation is not None
    assert renamed is not None
    assert renamed.violation is not None


@pytest.mark.parametrize("frames", [3, 257, 300])
def test_renaming_of_many_records(frames: int) -> None:
    for function in (by_number, writes):
        plain, renamed = searched_renamed([Thread("t", function)], frames, 1)
        assert renamed is not None
        assert (plain.violation is None) == (function is by_number)
        assert renamed.states < plain.states
        assert function is writes or renamed.states < 10
