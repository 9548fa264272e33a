"""From a function object to its syntax tree, with the user's own positions."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import io
import linecache
import tokenize
import types
from collections.abc import Callable
from typing import Any

from secondsight.lang.errors import LangError, Position, Refused
from secondsight.lang.sugar import plainer
from secondsight.lang.syntax import definitions

__all__ = ["function_tree", "line_of", "position", "refuse"]

FunctionTree = ast.FunctionDef

read: dict[str, str] = {}
"""The files that functions were read from, each with the hash of its text."""

_latest: dict[str, tuple[list[str], dict[int, ast.FunctionDef]]] = {}
"""Of each file the lines that were read last, and the functions in them: to put the lines together takes longer than to find one."""


def _functions(file: str) -> dict[int, ast.FunctionDef]:
    """The functions of a file, as it is now known, by the line their code object starts at (that of the first decorator)."""
    lines = linecache.getlines(file)
    known = _latest.get(file)
    if known is not None and known[0] is lines:
        return known[1]
    text = "".join(lines)
    if not text:
        raise LangError(f"{file}: the source is not there; the language reads it (a model cannot be typed in at a prompt)")
    found = _functions_of(file, text)
    _latest[file] = lines, found
    return found


@functools.lru_cache(maxsize=512)
def _functions_of(file: str, text: str) -> dict[int, ast.FunctionDef]:
    read[file] = hash_of(text)
    try:
        tree = ast.parse(text, file)
    except SyntaxError as error:
        raise LangError(f"{file}:{error.lineno}: {error.msg}") from None
    return {min([node.lineno, *(d.lineno for d in node.decorator_list)]): plainer(node) for node in definitions(tree)}


def hash_of(text: str) -> str:
    """The hash of a source text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def as_read(raw: bytes) -> str:
    """A file's bytes as the text that would be read from it; empty if they are no source text."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        text = io.TextIOWrapper(io.BytesIO(raw), encoding, line_buffering=True).read()
    except (SyntaxError, UnicodeDecodeError):
        return ""
    return text if text.endswith("\n") or not text else text + "\n"


def function_tree(function: Callable[..., Any]) -> ast.FunctionDef:
    """The syntax tree of a plain function. Raises `LangError` when it has no source."""
    if not isinstance(function, types.FunctionType):
        raise LangError(f"{function!r} is not a plain Python function: the language calls functions and methods defined with def")
    code = function.__code__
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        where = Position(code.co_filename, code.co_firstlineno, 1)
        raise refuse(where, "async is not in the language", "a plain function: every thread of the model is one already")
    tree = _functions(code.co_filename).get(code.co_firstlineno)
    if tree is None or tree.name != function.__name__:
        raise LangError(f"{code.co_filename}:{code.co_firstlineno}: {function.__qualname__} is not defined there with def")
    return tree


def position(file: str, node: ast.AST) -> Position:
    """Where a node starts."""
    return Position(file, getattr(node, "lineno", 0), getattr(node, "col_offset", -1) + 1)


def line_of(where: Position) -> str:
    """The source line of a position, without its newline."""
    return linecache.getline(where.file, where.line).rstrip("\n")


def refuse(where: Position, wrong: str, instead: str) -> Refused:
    """The error for a construct outside the language."""
    return Refused(where, line_of(where), wrong, instead)
