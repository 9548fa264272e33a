"""The parts of a C text that are compiled by themselves: each with no more of the head than it needs.

A rendered text is divided by lines `#if PART(n)` ... `#endif`. Before them stand the declarations of all. Of those a part keeps what it names: so it is
the same text, and the object file of before serves, where an edit has changed another part alone. Comments of one line go too: they say where in the
source something comes from.
"""

from __future__ import annotations

import re

__all__ = ["parts_of", "without_comments"]

_PART = re.compile(r"#if PART\((\d+)\)")
_COMMENT = re.compile(r"/\*(?:(?!\*/).)*\*/")
_DECLARED = re.compile(r"MODEL [^()]*\b(\w+)\([^()]*\);|static SS_WHERE const \w+ (\w+)\[\d*\] = \{.*\};|DATA (?:const )?i64 \*?(\w+);")
_WORD = re.compile(r"[A-Za-z_]\w*")


def without_comments(text: str) -> str:
    """A text without its lines that are comments."""
    return "\n".join(line for line in text.split("\n") if not _COMMENT.fullmatch(line))


def parts_of(text: str) -> dict[int, str]:
    """The text of each part, by its number; of a text that knows no parts, none."""
    shared: list[str] = []
    parts: dict[int, list[str]] = {}
    into, depth = shared, 0
    for line in without_comments(text).split("\n"):
        if depth == 0 and (found := _PART.fullmatch(line)):
            into, depth = parts.setdefault(int(found[1]), []), 1
            continue
        if depth and line.startswith("#if"):
            depth += 1
        elif depth and line == "#endif":
            depth -= 1
            if depth == 0:
                into = shared
                continue
        into.append(line)
    declared = [(line, _DECLARED.fullmatch(line)) for line in shared]
    always = _words([line for line, names in declared if names is None])
    texts = {}
    for number, lines in parts.items():
        used = always | _words(lines)
        texts[number] = "\n".join([*(line for line, names in declared if names is None or names[names.lastindex or 0] in used), *lines, ""])
    return texts


def _words(lines: list[str]) -> set[str]:
    return set(_WORD.findall("\n".join(lines)))
