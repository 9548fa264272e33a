"""An interleaving as people put it into mails, read: columns, one a thread, and the lines in order, each in its column.

Read are the form in which a trace is printed, and others like it: quoted (`> `), with tabs, with other titles or none, with columns
divided by `|`, two columns' lines beside each other, long lines wrapped, places (`my_gpu.py:31`) at the right or left out. What stands
before the columns' titles and what comes behind the last line is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from secondsight.lang import LangError

__all__ = ["ClaimText", "ClaimedLine", "joined", "read_claim"]

_QUOTED = re.compile(r"^(?:> ?)+")
_RULE = re.compile(r"^[\s|]*[-=~]{2,}[-=~\s|+]*$")
_PIECE = re.compile(r"\S+(?: \S+)*")
_PLACE = re.compile(r"(?:^|\s+)(\w[\w./-]*\.(?:py|c|h):\d+)\s*$")
_NUMBER = re.compile(r"^\s{0,3}(\d{1,4})(?=\s)")
_LIKE_A_CALL = re.compile(r"[(){};=]|^\.\.\.$")
_REMARK = re.compile(r"^(#|//|/\*|<-|\()")
_STANDS = re.compile(r"^\^+ (waits|never ends):")
_BELOW = re.compile(r"^(secondsight \w+|-- ?$|trace saved)")
_GAP = 6
"""How much further right a column begins than the one before has lines, where nothing else tells."""
_SLACK = 4
"""How far left of its column a line may begin where it does not go on with what is in the column before."""
_MOST_WRAPPED = 3
_WRAPPED = 4
"""How much further right than its beginning the rest of a wrapped line stands."""



@dataclass(slots=True)
class ClaimedLine:
    """A line: its number in the file, how far it is indented, the columns that it may be in (the likeliest first), its text, and the
    place in a source file that it names."""

    number: int
    indent: int
    columns: tuple[int, ...]
    text: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class ClaimText:
    """What was read: what stands before the table, the columns' titles, the lines."""

    above: str
    titles: tuple[str, ...]
    lines: tuple[ClaimedLine, ...]


def read_claim(text: str, name: str) -> ClaimText:
    """Read it; `name`: what the text is called in errors. Raises `LangError` where there is nothing like lines in columns, or twice."""
    raw = [line.expandtabs(8).replace("\u00a0", " ").rstrip() for line in text.splitlines()]
    filled = [line for line in raw if line]
    if filled and 2 * sum(1 for line in filled if line.startswith(">")) > len(filled):
        raw = [_QUOTED.sub("", line) for line in raw]
    rules = [i for i, line in enumerate(raw) if _RULE.match(line)]
    heads = {i: max((k for k in range(i) if raw[k].strip()), default=None) for i in rules}
    if len(rules) > 1:
        at = ", ".join(str(i + 1) for i in rules)
        raise LangError(f"{name} has several interleavings (with rules under their titles in lines {at}): leave one of them in the file")
    if rules:
        return _read(raw, heads[rules[0]], rules[0] + 1, name)
    return _read(raw, *_without_rule(raw), name)


def _without_rule(raw: Sequence[str]) -> tuple[int | None, int]:
    """The line of titles where no rule is under it, if there is one, and where the lines begin."""
    for i, line in enumerate(raw):
        pieces = _PIECE.findall(line.replace("|", "  "))
        if len(pieces) > 1 and not any(_LIKE_A_CALL.search(piece) for piece in pieces) and all(len(piece) < 24 for piece in pieces):
            return i, i + 1
        if re.search(r"\w\(", line):
            return None, i
    return None, 0


def _read(raw: Sequence[str], head: int | None, begin: int, name: str) -> ClaimText:
    titles, starts = _titles(raw, head)
    pieces = list(_pieces(raw, begin, starts))
    if not pieces:
        raise LangError(f"{name}: there is no line of an interleaving in it; one column a thread is wanted, as a trace has them")
    if not starts:
        starts = _clusters(pieces)
        titles = [""] * len(starts)
    bounds = _bounds(starts, [piece.indent for piece in pieces])
    deepest = list(bounds)
    for piece in pieces:
        if not piece.columns:
            piece.columns = _columns(piece.indent, bounds, deepest)
            for column in piece.columns:  # a line that may be in either is followed by one that may be deeper in either
                deepest[column] = piece.indent
    above = "\n".join(raw[: head or 0])
    return ClaimText(above, tuple(titles), tuple(_joined(pieces)))


def _columns(indent: int, bounds: Sequence[int], deepest: Sequence[int]) -> tuple[int, ...]:
    """The columns that a line may be in. `deepest`: of each how far its last line is indented: the next line is at most one call deeper,
    if none was left out, or the rest of that line, which is two deeper."""
    column = max([c for c, bound in enumerate(bounds) if indent >= bound], default=0)
    if column and deepest[column - 1] + _WRAPPED >= indent:
        return column, column - 1
    if column + 1 < len(bounds) and bounds[column + 1] - _SLACK <= indent and deepest[column] + 2 < indent:
        return column + 1, column
    return (column,)


def _titles(raw: Sequence[str], head: int | None) -> tuple[list[str], list[int]]:
    """The columns' titles and where they begin."""
    if head is None:
        return [], []
    line = raw[head]
    if "|" in line:
        cells, at = [], 0
        for cell in line.split("|"):
            if cell.strip():
                cells.append((cell.strip(), at + len(cell) - len(cell.lstrip())))
            at += len(cell) + 1
        return [title for title, _ in cells], [start for _, start in cells]
    found = list(_PIECE.finditer(line))
    return [m.group() for m in found], [m.start() for m in found]


def _pieces(raw: Sequence[str], begin: int, starts: Sequence[int]) -> Iterator[ClaimedLine]:
    """What stands in each line, in order; of a line with two columns' texts both."""
    blank = False
    divided = sum(1 for line in raw[begin:] if "|" in line) > (len([line for line in raw[begin:] if line]) // 2)
    left = min(starts, default=0)
    last: ClaimedLine | None = None
    for number, line in enumerate(raw[begin:], begin + 1):
        if not line.strip():
            blank = True
            continue
        if _BELOW.match(line.strip()) or (blank and _is_prose(line)) or (blank and left > 1 and len(line) - len(line.lstrip()) < left - 1 and not divided):
            return
        blank = False
        if divided:
            yield from _cells(line, number, starts)
            continue
        counted = _NUMBER.match(line)
        if counted is not None and left >= 4:
            line = " " * counted.end() + line[counted.end() :]
        place = _PLACE.search(line)
        if place is not None:
            line = line[: place.start()]
            if not line.strip():
                if last is not None and not last.place:
                    last.place = place[1]
                continue
        for last in _beside(line, number, starts):
            yield last
        if place is not None and last is not None:
            last.place = place[1]


def _is_prose(line: str) -> bool:
    """Whether a line is one of a text that goes on below the table."""
    return len(line.split()) > 4 and not re.search(r"\w\(|[=^]|\.{3}", line)


def _beside(line: str, number: int, starts: Sequence[int]) -> list[ClaimedLine]:
    """A line's pieces, each the beginning of a column's text; what is set apart within a text belongs to it."""
    found: list[ClaimedLine] = []
    for piece in _PIECE.finditer(line):
        text, at = piece.group(), piece.start()
        if found and (not any(found[-1].indent + 2 < start <= at + 2 for start in starts[1:]) or _REMARK.match(text)):
            found[-1].text += f" {text}"
            continue
        found.append(ClaimedLine(number, at, (), text))
    return found


def _cells(line: str, number: int, starts: Sequence[int]) -> Iterator[ClaimedLine]:
    """The cells of a line whose columns are divided by `|`."""
    cells = line.split("|")
    if len(cells) > len(starts) and not cells[0].strip():
        cells = cells[1:]
    for column, cell in enumerate(cells):
        if cell.strip() and (not starts or column < len(starts)) and not _RULE.match(cell):
            place = _PLACE.search(cell)
            text = cell[: place.start()] if place is not None else cell
            indent = len(cell) - len(cell.lstrip())
            yield ClaimedLine(number, indent, (column,), text.strip(), place[1] if place is not None else "")


def _clusters(pieces: Sequence[ClaimedLine]) -> list[int]:
    """Where columns begin that have no titles: at each wide gap between how far lines are indented."""
    indents = sorted({piece.indent for piece in pieces})
    return [indents[0], *(b for a, b in pairwise(indents) if b - a >= _GAP)]


def _bounds(starts: Sequence[int], indents: Sequence[int]) -> list[int]:
    """From where on a line is in each column: where its title begins; of titles that stand in the middle, behind the widest gap near it."""
    there = sorted(set(indents))
    if not there or there[0] >= starts[0]:
        return list(starts)
    bounds = [0]
    for before, start in pairwise(starts):
        gaps = [(b - a, b) for a, b in pairwise(there) if before < b <= start]
        gap, bound = max(gaps, default=(0, start))
        bounds.append(bound if gap >= _GAP else start)
    return bounds


_GOES_ON = (" =", " and", " or", " not", " in", " is", " if", " else", " +", " -", " |", " &", " ==", " !=", " <", " >")
"""A statement does not end so."""


def _joined(pieces: Sequence[ClaimedLine]) -> Iterator[ClaimedLine]:
    """The lines, those that were wrapped in one piece again."""
    i = 0
    while i < len(pieces):
        piece = pieces[i]
        i += 1
        while rest := _rest(piece, pieces[i : i + _MOST_WRAPPED]):
            for further in pieces[i : i + rest]:
                piece.text, piece.place = joined(piece.text, further.text), further.place
            i += rest
        yield piece


def _rest(piece: ClaimedLine, following: Sequence[ClaimedLine]) -> int:
    """How many of the following lines are the rest of a line: one that goes on with `(` or `=`, one that ends with an operator or in the middle of a name, or up to where an
    open bracket is closed."""
    deeper = [further for further in following if further.indent > piece.indent and piece.columns[0] in further.columns]
    stands = _STANDS.match(piece.text) is not None
    if piece.place or (piece.text.startswith("^") and not stands) or deeper[:1] != list(following[:1]):
        return 0
    if following and (following[0].text.startswith(("= ", "()", "(0", "(1")) or piece.text.endswith((*_GOES_ON, "_")) or (stands and piece.text.endswith(":"))):
        return 1
    text = piece.text
    if _open(text) > 0:
        for count, further in enumerate(following, 1):
            text = joined(text, further.text)
            if further not in deeper:
                return 0
            if _open(text) <= 0:
                return count
            if further.place:
                return 0
    return 0


def joined(text: str, further: str) -> str:
    """Two parts of a line as one."""
    return f"{text}{further}" if further.startswith("(") or text.endswith("_") else f"{text} {further}"


def _open(text: str) -> int:
    """How many brackets are open at the end; those in quotes do not count."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", text)
    return bare.count("(") - bare.count(")")
