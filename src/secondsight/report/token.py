"""A trace in a few characters, which can stand in a mail: who takes how many steps, one after the other, and what is chosen.

    secondsight replay my_gpu.py munmap:reads 3k8w0v5c7mx2

The steps are told by the program itself: a choice is a number among those that there are at that moment. A part of the hash of all states
along the way is in it, so that a driver (or a secondsight) in which the way leads elsewhere is told from the one that it was found in.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, islice
from pathlib import Path
from shlex import quote

from secondsight.lang import LangError
from secondsight.lang.errors import ModelError, RuleBroken
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference, Successor
from secondsight.report.columns import WIDTH
from secondsight.search import Step, Trace, Violation
from secondsight.search.messages import deadlock_message, livelock_message

__all__ = ["plain_name", "replay_command", "token_of", "violation_of"]

_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # none that is read as another
_STEP, _DEADLOCK, _LIVELOCK, _NO_WAY_OUT = range(4)  # what is at the end
_WAY, _CHECK = 20, 10  # bits: of the way's hash, of what finds a slip of the pen
_MOST = 100_000  # steps

CHANGED = "the token does not fit: the driver was edited since, or this is another version of secondsight; check it again for a new one"
MISTYPED = "this is not a whole token: copy it again, all of it"


def token_of(program: Program, violation: Violation) -> str | None:
    """A trace as a token; None where the trace alone does not show what is broken (an order of locks), or there is none."""
    kind = _kind(violation)
    if kind is None or not violation.trace.steps:
        return None
    reference = Reference(program)
    bits = f"{kind:02b}" + (_gamma(violation.loop) if violation.rule == "livelock" else "")
    runs = [(thread, list(steps)) for thread, steps in groupby(violation.trace.steps, key=lambda step: step.thread)]
    bits += _gamma(len(runs))
    state, way = reference.initial, hashlib.blake2b(violation.rule.encode())
    for thread, steps in runs:
        bits += _number(thread, len(program.threads)) + _gamma(len(steps))
        for step in steps:
            ways = list(reference.thread_successors(state, thread))
            index = next(i for i, one in enumerate(ways) if one.choices == step.choices)
            bits += _number(index, len(ways))
            state = ways[index].state or b""
            way.update(state)
    bits += _hashed(way)
    return _written(bits + f"{_check(bits):0{_CHECK}b}")


def violation_of(program: Program, token: str) -> Violation:
    """What a token stands for in a program. Raises `LangError` where it is none, or one of another program."""
    bits = _read(token)
    reference = Reference(program)
    try:
        return _decoded(program, reference, bits)
    except (IndexError, _Elsewhere):
        raise LangError(CHANGED) from None


class _Elsewhere(Exception):
    """The program does not take the way."""


def _decoded(program: Program, reference: Reference, text: str) -> Violation:
    bits = iter(text)
    kind = _take(bits, 2)
    loop = _take_gamma(bits) if kind in (_LIVELOCK, _NO_WAY_OUT) else 0
    state: bytes | None = reference.initial
    steps: list[Step] = []
    states: list[bytes] = []
    last: Successor | None = None
    for _ in range(_take_gamma(bits)):
        thread, length = _take(bits, _width(len(program.threads))), _take_gamma(bits)
        if thread >= len(program.threads) or len(steps) + length > _MOST:
            raise _Elsewhere
        for _ in range(length):
            if state is None:
                raise _Elsewhere
            ways = list(reference.thread_successors(state, thread))
            last = ways[_take(bits, _width(len(ways)))]
            steps.append(Step(thread, last.choices))
            state = last.state
            if state is not None:
                states.append(state)
    violation = _violation(reference, kind, Trace(tuple(steps), tuple(states)), last, loop)
    way = hashlib.blake2b(violation.rule.encode())
    for one in states:
        way.update(one)
    if "".join(bits) != _hashed(way):
        raise _Elsewhere
    return violation


def _violation(reference: Reference, kind: int, trace: Trace, last: Successor | None, loop: int) -> Violation:
    """What is broken at the end of a trace, in the words of a search."""
    if kind == _STEP:
        error = last.error if last is not None else None
        if isinstance(error, RuleBroken):
            return Violation(error.rule, error.message, error.where, trace)
        if isinstance(error, ModelError):
            return Violation(error.rule, str(error), error.where, trace)
        raise _Elsewhere
    if len(trace.states) < len(trace) or loop > len(trace):
        raise _Elsewhere
    if kind == _DEADLOCK:
        if any(True for _ in reference.successors(trace.states[-1])):
            raise _Elsewhere
        return Violation("deadlock", deadlock_message(reference, trace.states[-1]), None, trace)
    start = len(trace) - loop
    going = {step.thread for step in trace.steps[start:]}
    before = trace.states[start - 1] if start else reference.initial
    return Violation("livelock", livelock_message(reference, before, going, kind == _LIVELOCK), None, trace, loop)


def _kind(violation: Violation) -> int | None:
    if violation.rule == "livelock":
        if not violation.loop:
            return None
        return _NO_WAY_OUT if violation.message.startswith("from here no schedule") else _LIVELOCK
    if violation.rule == "deadlock":
        return _DEADLOCK
    return _STEP if len(violation.trace.states) < len(violation.trace) else None


# Bits.


def _width(count: int) -> int:
    return (count - 1).bit_length()


def _number(number: int, count: int) -> str:
    """A number below a count; nothing where there is only one."""
    return f"{number:0{_width(count)}b}" if count > 1 else ""


def _gamma(number: int) -> str:
    """A number from 1 on that says itself how long it is: small ones are short."""
    return "0" * (number.bit_length() - 1) + f"{number:b}"


def _take(bits: Iterator[str], width: int) -> int:
    taken = "".join(islice(bits, width))
    if len(taken) < width:
        raise _Elsewhere
    return int(taken or "0", 2)


def _take_gamma(bits: Iterator[str]) -> int:
    zeros = 0
    while _take(bits, 1) == 0:
        zeros += 1
    return 1 << zeros | _take(bits, zeros)


def _hashed(way: hashlib.blake2b) -> str:
    return f"{int.from_bytes(way.digest()[:8], 'big') >> (64 - _WAY):0{_WAY}b}"


def _check(bits: str) -> int:
    return zlib.crc32(bits.encode()) & (1 << _CHECK) - 1


def _written(bits: str) -> str:
    number, text = int("1" + bits, 2), ""
    while number:
        number, digit = divmod(number, 32)
        text = _LETTERS[digit] + text
    return text


def _read(token: str) -> str:
    """The bits of a token, checked."""
    number = 0
    for letter in token.strip().lower().translate(str.maketrans("oil", "011")):
        if letter not in _LETTERS:
            raise LangError(MISTYPED)
        number = number * 32 + _LETTERS.index(letter)
    bits = f"{number:b}"[1:]
    if len(bits) <= _CHECK or int(bits[-_CHECK:], 2) != _check(bits[:-_CHECK]):
        raise LangError(MISTYPED)
    return bits[:-_CHECK]


# The command.

_LONGEST = 56


def plain_name(name: str) -> str:
    """A scenario's or a cell's name as one word of a command: `munmap:two-engines`."""
    return name.replace(": ", ":").replace(" ", "-")


def replay_command(file: str, which: str, token: str, options: Mapping[str, Iterable[str]]) -> str:
    """The command that replays a token, in several lines where it is too long for one. Of a path that is too long for a line the file's name
    alone: who reads the mail has a folder of their own.
    """
    name = file if len(quote(file)) <= _LONGEST else Path(file).name
    given = [f"--{option} {quote(value)}" for option, values in options.items() for value in values]
    line, lines = "secondsight replay", []
    for part in (quote(name), quote(plain_name(which)), *given, token):
        if len(line) + 1 + len(part) > WIDTH - 2:  # two for the backslash
            lines.append(f"{line} \\")
            line = f"    {part}"
        else:
            line += f" {part}"
    return "\n".join([*lines, line])
