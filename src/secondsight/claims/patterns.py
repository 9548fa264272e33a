"""What a line of a claim can mean in a program: a call, with arguments and a result as far as it names them; a lock taken or given back; a
statement; a rule that is broken.

A line is compared in the words in which a trace tells it (`report.words`). Of its arguments those count that are values (`P1`, `0-1`,
`UNMAP`, `-EBUSY`, `va=0`): they must be among the call's, in this order. Names of variables do not.
"""

from __future__ import annotations

import difflib
import linecache
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from secondsight.claims.text import ClaimedLine
from secondsight.lang import ir, tree
from secondsight.lang.records import Record, Value
from secondsight.lang.traced import Traced
from secondsight.lang.types import IntType
from secondsight.report.named_rules import LANGUAGE
from secondsight.report.story import LOCK_VERBS, QUEUED
from secondsight.report.words import is_harness, short, statement, types_of
from secondsight.world.declare import ASKED

__all__ = ["GIVEN", "Pattern", "Vocabulary", "Word", "are_among", "call_words", "parsed_call", "same", "squeezed", "told_word", "words_of"]

_CALL = re.compile(r"([A-Za-z_&*][\w.&*]*(?:(?:->|\.)\w+|\[\w*\])*)\s*\(")
_NAME = re.compile(r"[A-Za-z_]\w+")
_RESULT = re.compile(r"^\s*;?\s*(?:==?|->|=>|returns?|gives?|:)\s*(\S.*?)\s*;?$")
_BEFORE = re.compile(r"^(?:[-=]+>|[-*•+]|\d+[.):]|\[\d+\]|\(\d+\))\s+(?=\S)")
_AFTER = re.compile(r"\s*(?:\{|;|//.*|/\*.*|#\s.*|<[-=].*)\s*$")
_VALUE = re.compile(r"^(?:-?\d+|0x[0-9a-f]+|P\d+|mm\d+|'.'|\"[^\"]\"|\d+\s*-\s*\d+|-E[A-Z0-9]+|SIG[A-Z]+|[A-Z][A-Z0-9_]{2,}|[Tt]rue|[Ff]alse|\{[\d, ]*\})$")
GIVEN = re.compile(rf"{_VALUE.pattern}|^\(.*\)$|^\[.*\]$")
"""What a call gives back: a value, or several."""
_NAMED = re.compile(r"^(\w+)\s*=\s*(.+)$")
_BROKEN = re.compile(r"^\^+\s*([a-z][a-z-]*[a-z])\b(?:, line \d+)?$")
_STANDS = re.compile(r"^\^+\s*(?:waits|never ends):\s*(.*)$")
_REMARK = re.compile(r"^(?:\W*|\.{2,}|…|(?:\. ){2,}\.|:|\||\[\.\.\.\]|<\.\.\.>|\(.*\)?|\^.*|(?:device|CPU):\s.*|#.*|//.*|/\*.*|<[-=].*)$")
_NOT_STEPS = {"lock-order", "livelock"}
"""Rules that no step breaks by itself: what a line says of them is not looked at."""

C_LOCKS = {
    "mutex_lock": "lock", "mutex_unlock": "unlock", "mutex_trylock": "trylock", "spin_lock": "lock", "spin_unlock": "unlock",
    "spin_trylock": "trylock", "down_read": "read_lock", "up_read": "read_unlock", "down_read_trylock": "read_trylock",
    "down_write": "write_lock", "up_write": "write_unlock", "down_write_trylock": "write_trylock", "downgrade_write": "write_downgrade",
    "mmap_read_lock": "read_lock", "mmap_read_unlock": "read_unlock", "mmap_write_lock": "write_lock", "mmap_write_unlock": "write_unlock",
    "acquire": "lock", "release": "unlock",
}  # fmt: skip
"""What C calls the verbs of locks."""


class Word(NamedTuple):
    """An argument: its parameter's name, if that is known, and its value as text."""

    name: str
    value: str


@dataclass(frozen=True)
class Pattern:
    """What a line means: calls of `functions` (by their numbers in `Traced.functions`, of which these are the `sources` and `names`),
    steps that begin at `places`, a broken rule, a thread that stands at one of the places at the end. `takes_lock`: the functions are a
    lock's own. `remark`: why nothing is looked for."""

    line: ClaimedLine
    functions: frozenset[int] = frozenset()
    sources: frozenset[Callable[..., Any]] = frozenset()
    names: frozenset[str] = frozenset()
    owner: str = ""
    words: tuple[Word, ...] = ()
    result: str | None = None
    lock: str = ""
    takes_lock: bool = False
    places: frozenset[tuple[str, int]] = frozenset()
    choices: str | None = None
    rule: str = ""
    stands: bool = False
    remark: str = ""


def squeezed(text: str) -> str:
    """A statement without what people write in different ways: spaces, the colon or semicolon at its end."""
    return re.sub(r"\s+", "", text).rstrip(":;")


def told_word(value: str) -> str:
    """A value as it is compared."""
    text = value.strip().strip(";,")
    if len(text) == 3 and text[0] in "'\"" and text[-1] in "'\"":
        return f"'{text[1]}'"
    if re.fullmatch(r"0x[0-9a-fA-F]+", text):
        return str(int(text, 16))
    if re.fullmatch(r"\d+\s*(?:-|\.\.)\s*\d+", text):
        first, last = re.findall(r"\d+", text)
        return first if first == last else f"{first}-{last}"
    return {"true": "true", "false": "false", "null": "none", "none": "none"}.get(text.lower(), text)


def same(claimed: str, told: str | None) -> bool:
    """Whether two values are the same."""
    return told is not None and told_word(claimed) == told_word(told)


def split_words(text: str) -> Iterator[str]:
    """What is divided by commas, outside of brackets and quotes."""
    depth, quote, begin = 0, "", 0
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == "," and not depth:
            yield text[begin:i].strip()
            begin = i + 1
    if text[begin:].strip():
        yield text[begin:].strip()


def words_of(text: str) -> list[Word]:
    """The arguments in brackets, as they were written or told."""
    found = []
    for part in split_words(text):
        named = _NAMED.match(part)
        found.append(Word(named[1], told_word(named[2])) if named else Word("", told_word(part)))
    return found


def are_among(claimed: Sequence[Word], told: Iterable[Word]) -> bool:
    """Whether a call's arguments have those that are claimed, in this order."""
    rest = iter(told)
    return all(any(one.value == word.value and (not one.name or not word.name or one.name == word.name) for one in rest) for word in claimed)


def call_words(function: Any, given: dict[str, Any]) -> list[Word]:
    """A call's arguments as a trace tells them, each with its parameter's name."""
    types, found = types_of(function), []
    for name, value in given.items():
        if name == "self" or value is None:
            continue
        if isinstance(value, bool):
            found += [Word("", name)] if value else []
            found.append(Word(name, "true" if value else "false"))
            continue
        text = short(value, types.get(name))
        if text is None:
            continue
        parts = list(split_words(text)) if isinstance(value, Value) else [text]
        found += [Word("" if isinstance(value, Record | Value) else name, told_word(part)) for part in parts]
    return found


def parsed_call(text: str) -> Iterator[tuple[str, str, str, str]]:
    """The calls in a text, from the left: the path before the name, the name, what is in the brackets, what comes behind them."""
    for found in _CALL.finditer(text):
        path = re.sub(r"->|::", ".", found[1]).lstrip("&*")
        owner, _, name = path.rpartition(".")
        depth, end = 1, found.end()
        while end < len(text) and depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        yield owner, name, text[found.end() : end - 1 if not depth else end], text[end:]


class Vocabulary:
    """What lines can mean in a program."""

    def __init__(self, traced: Traced) -> None:
        self.traced = traced
        self.by_name: dict[str, set[int]] = {}
        self.locks: dict[str, set[int]] = {}
        self.flags: set[str] = {"nonblock"}
        for number, function in enumerate(traced.functions):
            source: Any = function.source
            assert source is not None
            if hasattr(source, "__on__") or is_harness(source):
                continue
            if hasattr(source, "__operation__"):
                self.locks.setdefault(source.__name__, set()).add(number)
                continue
            for name in {source.__name__, ASKED.get(source.__name__, source.__name__)}:
                self.by_name.setdefault(name, set()).add(number)
            self.flags |= {var.name for var in function.params if isinstance(var.type, IntType) and var.type.display == "bool"}
        self.steps = {(place.where.file, place.where.line) for place in traced.program.code.places}
        self.statements: dict[str, set[tuple[str, int]]] = {}
        for file, line in self.steps | {(place.file, place.line) for place in traced.places}:
            for text in {linecache.getline(file, line), statement(file, line)}:
                if text.strip():
                    self.statements.setdefault(squeezed(text), set()).add((file, line))

    @cached_property
    def owners(self) -> set[str]:
        """The names by which a call can say whose method it is: classes, and fields that are records."""
        found = {name for kind in self._kinds() for name in kind.fields()}
        return found | {cls.__name__ for kind in self._kinds() for cls in kind.__mro__ if issubclass(cls, Record)}

    def _kinds(self) -> set[type[Record]]:
        return {kind for _, kind in self.traced.program.layout.records}

    @cached_property
    def rules(self) -> set[str]:
        """Every rule that a step can break."""
        bodies = [function.body for function in self.traced.functions]
        named = {s.rule for body in bodies for s in tree.statements(body) if isinstance(s, ir.Require)}
        return named | {"deadlock", "sleep-in-atomic", "lock-held-at-exit", *LANGUAGE}

    @cached_property
    def source_lines(self) -> set[str]:
        """Every line of a function of the program, steps or not."""
        found = set()
        for function in self.traced.functions:
            code = function.source.__code__ if function.source is not None else None
            if code is not None:
                lines = [line for _, _, line in code.co_lines() if line]
                found |= {squeezed(linecache.getline(code.co_filename, n)) for n in range(min(lines), max(lines) + 1)}
        return found - {""}

    # A line.

    def understand(self, line: ClaimedLine) -> Pattern | None:
        """What a line means; None if nothing in the program is like it."""
        whole = _BEFORE.sub("", line.text.strip()).strip()
        text = whole if self._places(whole)[0] else _AFTER.sub("", whole).strip() or line.text.strip()  # what looks like a remark may be `//` or `<=`
        if (found := self._end(line, text)) is not None:
            return found
        places, choices = self._places(text)
        if text.endswith(QUEUED):
            return self._locks(line, text.removesuffix(QUEUED).strip(), True)
        called = self._called(line, text)
        if called is not None:
            return replace(called, places=frozenset(places), choices=choices)
        if places:
            return Pattern(line, places=frozenset(places), choices=choices)
        locked = self._with(line, text)
        if locked is not None:
            return locked
        if squeezed(text) in self.source_lines:
            return Pattern(line, remark="no step begins there")
        return None

    def _end(self, line: ClaimedLine, text: str) -> Pattern | None:
        """A mark at the end of a trace, or a line that says nothing of the program."""
        broken, stands = _BROKEN.match(text), _STANDS.match(text)
        if stands is not None:
            places, _ = self._places(stands[1])
            if places:
                return Pattern(line, places=frozenset(places), stands=True)
        if broken is not None and broken[1] in self.rules and broken[1] not in _NOT_STEPS:
            return Pattern(line, rule=broken[1])
        if _REMARK.match(text) and squeezed(text) not in self.statements:
            return Pattern(line, remark="a remark")
        return None

    def _places(self, text: str) -> tuple[set[tuple[str, int]], str | None]:
        """The steps whose statement a text is, and what it says that they choose."""
        found = self.statements.get(squeezed(text))
        if found:
            return found, None
        before, chosen, choices = text.rpartition(" = ")
        if chosen and re.fullmatch(r"[\d, ]+", choices):
            return self.statements.get(squeezed(before), set()), choices
        return set(), None

    def _called(self, line: ClaimedLine, text: str) -> Pattern | None:
        """The first call in a text that the program has."""
        for owner, name, inside, behind in parsed_call(text):
            if name in self.by_name:
                return self._call(line, owner, name, inside, behind)
            if (name in LOCK_VERBS or name in C_LOCKS) and (found := self._locks(line, f"{owner}.{name}({inside})" if owner else f"{name}({inside})", False)):
                return found
        for word in _NAME.findall(text):
            if word in self.by_name and (len(word) == len(text) or "_" in word):
                return self._call(line, "", word, "", text.partition(word)[2])
        return None

    def _call(self, line: ClaimedLine, owner: str, name: str, inside: str, behind: str) -> Pattern:
        said = _RESULT.match(behind)
        result = said[1] if said is not None and GIVEN.match(told_word(said[1])) else None
        words = [w for w in words_of(inside) if _VALUE.match(w.value) or (not w.name and w.value in self.flags)]
        whose = owner.rpartition(".")[2]
        functions = self.by_name[name]
        if whose in self.owners:
            of_class = {n for n in functions if self._is_of(n, whose)}
            functions = of_class or functions
        return Pattern(line, frozenset(functions), self._sources(functions), frozenset([name]), whose if whose in self.owners else "", tuple(words), result)

    def _sources(self, numbers: Iterable[int]) -> frozenset[Callable[..., Any]]:
        return frozenset(source for number in numbers if (source := self.traced.functions[number].source) is not None)

    def _is_of(self, number: int, whose: str) -> bool:
        """Whether a function is a method of a class of that name, or could be called on a field of it."""
        receiver = self.traced.functions[number].receiver
        if receiver is None:
            return False
        if any(cls.__name__ == whose for cls in receiver.__mro__):
            return True
        return any(getattr(kind.fields().get(whose), "record", None) is receiver for kind in self._kinds())

    def _locks(self, line: ClaimedLine, text: str, queues: bool) -> Pattern | None:
        for owner, name, inside, _ in parsed_call(text):
            verb = C_LOCKS.get(name, name)
            if verb not in LOCK_VERBS:
                continue
            given = "mmap_lock" if name.startswith("mmap_") else inside.strip() or owner
            lock = re.split(r"->|\.|&", given)[-1].strip() if given else ""
            numbers = self.locks.get("queue_for_writing" if queues else verb, set())
            return Pattern(line, frozenset(numbers), self._sources(numbers), frozenset([verb]), lock=lock, takes_lock=True) if numbers else None
        return None

    def _with(self, line: ClaimedLine, text: str) -> Pattern | None:
        """`with self.lock`: the lock is taken."""
        found = re.fullmatch(r"with ([\w.]+?)(\.reading\(\)|\.writing\(\))?:?", text)
        if found is None:
            return None
        verb = {".reading()": "read_lock", ".writing()": "write_lock"}.get(found[2] or "", "lock")
        return self._locks(line, f"{verb}({found[1]})", False)

    # What is like it.

    def nearest(self, text: str) -> list[str]:
        """Names, or statements, that a text may have meant."""
        names = [*self.by_name, *(f"^ {rule}" for rule in sorted(self.rules))]
        wanted = next((name for _, name, _, _ in parsed_call(text)), text)
        found = difflib.get_close_matches(wanted, names, 3, 0.6)
        told = {squeezed(statement(f, n)): f"{statement(f, n)} ({Path(f).name}:{n})" for f, n in sorted(self.steps)}
        return found or [told[one] for one in difflib.get_close_matches(squeezed(text), told, 2, 0.6)]
