"""Mutants of the kernel's C, and of the model, made by rule: each must be noticed, or the comparison proves nothing.

A mutant of the C is the file's text with one change in one of the functions that the target compares; one of the model is
the model's file with one change. Neither is ever written into the source; `fates` tries them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

__all__ = ["Mutant", "mutants_of_c", "mutants_of_model", "sample"]


@dataclass(frozen=True)
class Mutant:
    """One change: the function and the line that it is in, the rule that made it, what stood there and what stands there now."""

    function: str
    line: int
    rule: str
    was: str
    now: str
    text: str
    file: str = ""
    """The file of `linux/` that it is one of; "": of the kernel's C."""
    number: int = 0

    @property
    def name(self) -> str:
        """The form in which a target lists those that are equivalent: of which function, by which rule, the how manieth of these."""
        return f"{self.function}: {self.rule} {self.number}"


def sample(mutants: list[Mutant], most: int) -> list[Mutant]:
    """As many of them as that, in their order and spread evenly: so that each function and each rule has its share."""
    return [mutants[i * len(mutants) // most] for i in range(most)] if 0 < most < len(mutants) else mutants


# The C.


def mutants_of_c(text: str, functions: tuple[str, ...]) -> list[Mutant]:
    """The mutants of the functions of a C file, in the order of the text."""
    return _numbered(_mutants_of_c(text, functions))


def _numbered(mutants: Iterator[Mutant]) -> list[Mutant]:
    count: dict[tuple[str, str], int] = {}
    found = []
    for mutant in mutants:
        kind = mutant.function, mutant.rule
        count[kind] = count.get(kind, 0) + 1
        found.append(replace(mutant, number=count[kind]))
    return found


def _mutants_of_c(text: str, functions: tuple[str, ...]) -> Iterator[Mutant]:
    bare = _without_comments(text)
    for name, start, end in _bodies(bare, functions):
        body = bare[start:end]
        simple = list(_simple_statements(body))
        for at, to in simple:
            statement = body[at:to]
            if not _is_declaration(statement) and not statement.startswith("return"):
                yield _edit(text, name, start + at, start + to, ";", "drop")
        for (a, b), (c, d) in pairwise(simple):
            between = body[b:c]
            if not between.strip() and not any(
                _is_declaration(body[x:y]) or body[x:y].startswith("return") for x, y in ((a, b), (c, d))
            ):
                yield _edit(text, name, start + a, start + d, body[c:d] + between + body[a:b], "swap")
        for at, to in _tests(body):
            yield _edit(text, name, start + at, start + to, f"!({body[at:to]})", "negate")
        for found in re.finditer(r"(\+\+|--)|(?<![\w.])(\d+)(?![\w.])|(?<![=!<>])(==|!=)(?!=)", body):
            now = {"++": "--", "--": "++", "==": "!=", "!=": "=="}.get(found[0]) or str(int(found[0]) + 1)
            yield _edit(
                text,
                name,
                start + found.start(),
                start + found.end(),
                now,
                "off by one" if found[2] or found[1] else "turn round",
            )


def _edit(text: str, function: str, start: int, end: int, now: str, rule: str) -> Mutant:
    line = text.count("\n", 0, start) + 1
    around = text[
        text.rfind("\n", 0, start) + 1 : (text.find("\n", end) if rule in ("negate", "off by one", "turn round") else end)
    ]
    was = " ".join(
        _without_comments(text[start:end] if rule in ("drop", "swap", "negate") else f"{text[start:end]} in {around}").split()
    )
    return Mutant(function, line, rule, was, " ".join(now.split()), text[:start] + now + text[end:])


def _without_comments(text: str) -> str:
    """The text with comments and strings as blanks of the same length."""
    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\])*\"", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.DOTALL)


def _bodies(bare: str, functions: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """Each function's name, and where its body begins and ends."""
    for found in re.finditer(rf"\b({'|'.join(functions)})\([^;{{}}]*?\)\s*\n\{{", bare):
        start = found.end()
        yield found[1], start, bare.index("\n}", start)


_BEFORE = re.compile(r"(?:\s*(?:[{}]|else\b|do\b|\w+:(?!:)|(?:if|for|while|switch|\w*for_each\w*)\s*(?=\()))*\s*")
"""What may stand before a simple statement."""


def _simple_statements(body: str) -> Iterator[tuple[int, int]]:
    """Where each statement that is no block and no `if`, `for`, `while` begins and ends, its semicolon included."""
    at = 0
    while at < len(body):
        found = _BEFORE.match(body, at)
        assert found is not None
        at = found.end()
        if at < len(body) and body[at] == "(" and re.search(r"(if|for|while|switch|for_each\w*)\s*$", body[:at]):
            at = _closing(body, at) + 1
            continue
        if at >= len(body):
            return
        depth, end = 0, at
        while end < len(body) and (body[end] != ";" or depth):
            depth += (body[end] in "([{") - (body[end] in ")]}")
            end += 1
        if end > at and body[at] not in "{}":
            yield at, min(end + 1, len(body))
        at = end + 1


def _closing(text: str, at: int) -> int:
    """The parenthesis that closes the one at a place."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
    return len(text) - 1


def _tests(body: str) -> Iterator[tuple[int, int]]:
    """Where the test of each `if` and `while` is."""
    for found in re.finditer(r"\b(?:if|while)\s*\(", body):
        at = found.end()
        yield at, _closing(body, at - 1)


def _is_declaration(statement: str) -> bool:
    return (
        bool(re.match(r"(const |unsigned |struct |int |bool |long |static |enum |\w+_t |[A-Z_]+\()", statement))
        and "WARN_ON" not in statement
    )


# The model.


def mutants_of_model(text: str, functions: tuple[str, ...], file: str) -> list[Mutant]:
    """The mutants of the functions of a file of `linux/`; lines keep their numbers. Function names lose the kernel's leading
    underscores."""
    return [replace(mutant, file=file) for mutant in _numbered(_mutants_of_model(text, functions))]


NO_STEP = ("hold_point", "out_of_records", "mmu_notifier_callback", "notifier_registered", "notifier_unregistered")
"""Calls that neither side of a conformer has: hold points, tracepoints, bounds."""


def _mutants_of_model(text: str, functions: tuple[str, ...]) -> Iterator[Mutant]:
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    data = text.encode()

    def span(node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

    def source(start: int, end: int) -> str:
        return data[start:end].decode()

    def edit(function: str, start: int, end: int, now: str, rule: str) -> Mutant:
        was = source(start, end)
        now += "\n" * (was.count("\n") - now.count("\n"))
        line = data.count(b"\n", 0, start) + 1
        return Mutant(function, line, rule, " ".join(was.split()), now.strip(), source(0, start) + now + data[end:].decode())

    wanted = {name.lstrip("_") for name in functions}
    for function in ast.parse(text).body:
        if not isinstance(function, ast.FunctionDef) or function.name not in wanted:
            continue
        in_step = {id(node) for block in ast.walk(function) if _is_step(block) for node in ast.walk(block)}
        for node in ast.walk(function):
            if isinstance(node, ast.If | ast.While) and not isinstance(node.test, ast.Constant):
                start, end = span(node.test)
                yield edit(function.name, start, end, f"not ({source(start, end)})", "negate")
            if isinstance(node, ast.stmt) and _is_simple(node):
                yield edit(function.name, *span(node), "pass", "drop")
            if isinstance(node, ast.Constant) and type(node.value) is int:
                yield edit(function.name, *span(node), str(node.value + 1), "off by one")
            for first, second in _neighbours(node, id(node) in in_step):
                (a, b), (c, d) = span(first), span(second)
                yield edit(function.name, a, d, source(c, d) + source(b, c) + source(a, b), "swap")


def _neighbours(node: ast.AST, is_step: bool) -> Iterator[tuple[ast.stmt, ast.stmt]]:
    """Each two simple statements of a block that follow each other; not those of one step that touch nothing of each other's:
    they are the same program in either order."""
    for name in ("body", "orelse"):
        block = getattr(node, name, None)
        for one, two in pairwise(block) if isinstance(block, list) else ():
            if _is_simple(one) and _is_simple(two) and not (is_step and _are_apart(one, two)):
                yield one, two


def _is_step(node: ast.AST) -> bool:
    """Whether what is in it is one step: `with atomic`, or a function that is `@atomic`."""
    if isinstance(node, ast.With):
        return ast.unparse(node.items[0]) == "atomic"
    return isinstance(node, ast.FunctionDef) and any(ast.unparse(decorator) == "atomic" for decorator in node.decorator_list)


def _are_apart(one: ast.stmt, two: ast.stmt) -> bool:
    """Whether neither of two statements calls anything, or writes what the other reads or writes: a local, or a field of that name."""
    if any(isinstance(node, ast.Call) for statement in (one, two) for node in ast.walk(statement)):
        return False
    return not (_written(one) & (_written(two) | _read(two)) or _written(two) & _read(one))


def _written(statement: ast.stmt) -> set[str]:
    assert isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign)
    return {_name(target) for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])}


def _name(node: ast.expr) -> str:
    return _name(node.value) if isinstance(node, ast.Subscript) else node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)


def _read(statement: ast.stmt) -> set[str]:
    """Every name in it; what it only writes is there too, which errs on the side of a mutant more."""
    names = {node.attr for node in ast.walk(statement) if isinstance(node, ast.Attribute)}
    return names | {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}


def _is_simple(node: ast.stmt) -> bool:
    """An assignment, or a call that either side could notice."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call) and not ast.unparse(node).startswith(NO_STEP)
    return isinstance(node, ast.Assign | ast.AugAssign) or (isinstance(node, ast.AnnAssign) and node.value is not None)
