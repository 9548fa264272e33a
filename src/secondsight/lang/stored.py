"""What is known of a shape's code, kept beside the compiled libraries: so that another process need not lower anything.

One file for each shape, `DIGEST.json` in the cache folder (and `DIGEST.python`, the rendered Python): where everything lies in a state, where each program counter
stands, what threads begin with, what the numbers in the compiled text stand for. `DIGEST` is that of `lang.origin`. `DIGEST.answers` has what was found out about
programs of the shape (`search.kept`), `DIGEST.cuts` where its functions are cut (`lang.cuts`). `HASH.piece` is the code of the model's functions in rendered Python, which many edits of a driver leave as it is. The
files that were read to make it are named with their hashes, and looked at again: an edited driver finds nothing here. Nor
does a file that is cut short, garbled, of another version, or about other state: then everything is made again, and the file
written anew, as a whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import marshal
import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from secondsight.lang import ir, source
from secondsight.lang.compiler import cache_folder
from secondsight.lang.errors import LangError, Position
from secondsight.lang.facts import meaning_of
from secondsight.lang.layout import Layout
from secondsight.lang.machines import Machine
from secondsight.lang.origin import Origin
from secondsight.lang.records import Record
from secondsight.lang.types import IntType, RefType, resolve

if TYPE_CHECKING:
    from secondsight.lang.code import Code

__all__ = ["StoredFacts", "find", "find_answer", "find_beside", "find_python", "has_python", "is_kept", "keep", "keep_answer", "keep_beside", "keep_python", "piece"]

VERSION = 7
MOST_ANSWERS = 300
"""Answers that are kept about the programs of one shape; the oldest goes first."""
_SUM = 64
_LANGUAGE = "secondsight.lang"


@dataclass(slots=True)
class StoredFacts:
    """What a file says, and the layout that it is about."""

    data: dict[str, Any]
    layout: Layout
    roots: list[tuple[str, bool, tuple[ir.Var, ...], int]]
    places: list[tuple[Position, str]]


def find(origin: Origin, machine: Machine) -> StoredFacts | None:
    """What is known of the code that `origin` stands for; None if that is nothing, or not to be trusted."""
    data = None if origin.unclear else _read(_path(origin))
    if data is None or not means_the_same(data["annotations"], list(origin.functions)):
        return None
    try:
        declared = [origin.declarations[name] for name in data["declarations"]]
        if not set(machine._states) <= set(declared):
            return None
        places = [(Position(*where), function) for *where, function in data["places"]]
        roots = [
            (name, atomic, tuple(_variable(p, origin) for p in params), number) for name, atomic, params, number in data["roots"]
        ]
        for declaration in declared:
            machine.state(declaration)
        written = frozenset((owner, name) for owner, name in data["written"])
        layout = Layout(machine, written)
        if layout.written != written or [layout.shared_size, layout.ref_width] != data["sizes"]:
            return None
        if layout.declarations != declared:  # modules were imported in another order: everything lies elsewhere
            return None
        return StoredFacts(data, layout, roots, places)
    except (KeyError, TypeError, ValueError, AttributeError, LangError):
        return None


def means_the_same(annotations: list[list[Any]], functions: Sequence[FunctionType]) -> bool:
    """Whether the annotations of locals, each with its function's place among `functions`, mean what they meant."""
    try:
        return all(repr(resolve(meaning_of(text, functions[at]))) == meant for at, text, meant in annotations)
    except Exception:
        return False


def keep(code: Code) -> None:
    """Keep what is known of some code. A folder that cannot be written, or code whose origin is unclear, is no error."""
    origin = code.origin
    if origin is None or not code.changed:
        return
    data = _data(code)
    if data is None:
        return
    path = _path(origin)
    there = _read(path)
    if there is not None and _meaning(there) == _meaning(data):  # another process may have learned something else
        for part in ("facts", "texts"):
            data[part] = there[part] | data[part]
    data["facts"] |= code.facts
    data["texts"] |= code.texts
    code.changed = False
    text = json.dumps(data, separators=(",", ":")).encode()
    _write(path, hashlib.sha256(text).hexdigest().encode() + text)


def piece(text: str, compile_it: Callable[[], CodeType]) -> CodeType:
    """The code of a piece of Python text that is the same after many an edit: from the cache folder, or compiled now and kept there."""
    name = hashlib.sha256(b"\0".join((str(VERSION).encode(), importlib.util.MAGIC_NUMBER, text.encode()))).hexdigest()
    path = cache_folder() / f"{name[:40]}.piece"
    with contextlib.suppress(OSError, ValueError, EOFError, TypeError, zlib.error):
        content = path.read_bytes()
        if hashlib.sha256(name.encode() + content[_SUM:]).hexdigest().encode() == content[:_SUM]:
            known = marshal.loads(zlib.decompress(content[_SUM:]))
            os.utime(path)
            if isinstance(known, CodeType):
                return known
    made = compile_it()
    content = zlib.compress(marshal.dumps(made), 1)
    _write(path, hashlib.sha256(name.encode() + content).hexdigest().encode() + content)
    return made


def find_python(code: Code) -> tuple[tuple[CodeType, ...], list[tuple[Position, str]], dict[str, str]] | None:
    """The rendered Python of some code that was found here, compiled: with its sites and its tables; None if it is not there."""
    content = find_beside(code, "python")
    if content is None:
        return None
    try:
        text, sites, tables = marshal.loads(content)
        return text, [(Position(*where), name) for where, name in sites], tables
    except (ValueError, EOFError, TypeError):
        return None


def has_python(code: Code) -> bool:
    """Whether `find_python` will probably find something."""
    return code.known is not None and code.origin is not None and _path(code.origin).with_suffix(".python").exists()


def keep_python(code: Code, text: tuple[CodeType, ...], sites: list[tuple[Position, str]], tables: dict[str, str]) -> None:
    """Keep rendered Python, for `find_python`."""
    keep_beside(code, "python", marshal.dumps((text, [((w.file, w.line, w.column), name) for w, name in sites], tables)))


def find_beside(code: Code, kind: str) -> bytes | None:
    """What `keep_beside` kept of that kind, for code that was found here; None if it is not there as it was written."""
    if code.known is None or code.origin is None:
        return None
    try:
        content = _path(code.origin).with_suffix(f".{kind}").read_bytes()
        return zlib.decompress(content[_SUM:]) if _signed(code, content[_SUM:]) == content[:_SUM] else None
    except (OSError, zlib.error):
        return None


def keep_beside(code: Code, kind: str, content: bytes) -> None:
    """Keep what was found out about some code in a file beside what is known of it, signed with that."""
    keep(code)
    if code.origin is not None and _data(code) is not None:
        packed = zlib.compress(content, 1)
        _write(_path(code.origin).with_suffix(f".{kind}"), _signed(code, packed) + packed)


def is_kept(code: Code) -> bool:
    """Whether what is known of some code is in the cache folder: so its origin says everything that it depends on."""
    return code.origin is not None and not code.origin.unclear and (code.known is not None or not code.changed)


def find_answer(code: Code, question: str) -> Any:
    """What was kept for a question about some code; None if nothing was, or nothing may be."""
    return _answers(code).get(question) if is_kept(code) else None


def keep_answer(code: Code, question: str, answer: Any) -> None:
    """Keep what JSON can say, for `find_answer`. `question` must say everything that the answer depends on beside the code."""
    if not is_kept(code):
        return
    assert code.origin is not None
    answers = _answers(code)
    answers.pop(question, None)
    kept = dict(list(answers.items())[-MOST_ANSWERS + 1 :]) | {question: answer}
    content = json.dumps(kept, separators=(",", ":")).encode()
    _write(_answers_path(code.origin), _signed(code, content) + content)


def _answers(code: Code) -> dict[str, Any]:
    """All that is kept about some code."""
    assert code.origin is not None
    try:
        content = _answers_path(code.origin).read_bytes()
        if _signed(code, content[_SUM:]) != content[:_SUM]:
            return {}
        answers = json.loads(content[_SUM:])
    except (OSError, ValueError):
        return {}
    return answers if isinstance(answers, dict) else {}


def _answers_path(origin: Origin) -> Path:
    return _path(origin).with_suffix(".answers")


def _data(code: Code) -> dict[str, Any] | None:
    """What there is to keep of some code, as it was read or as it was lowered; None: nothing may be."""
    origin = code.origin
    assert origin is not None
    return code.known.data if code.known is not None else code.keep("told", lambda: _told(code, origin))


def _meaning(data: dict[str, Any]) -> str:
    """All of it that facts, rendered text and answers are about: what annotations meant, where everything lies."""
    return json.dumps([part for name, part in data.items() if name not in ("facts", "texts")])


def _signed(code: Code, content: bytes) -> bytes:
    """What a file beside the first begins with: it was made from the same source, and is about the same places."""
    assert code.origin is not None
    about = code.keep("meaning", lambda: hashlib.sha256(_meaning(_data(code) or {}).encode()).hexdigest())
    return hashlib.sha256(f"{VERSION} {code.origin.digest} {about}".encode() + content).hexdigest().encode()


def _write(path: Path, content: bytes) -> None:
    """Write a file as a whole, if the folder can be written; else leave nothing of it."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = tempfile.NamedTemporaryFile(dir=path.parent, prefix="build-", delete=False)  # noqa: SIM115
        try:
            with file:
                file.write(content)
            os.replace(file.name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(file.name)
            raise


def _path(origin: Origin) -> Path:
    return cache_folder() / f"{origin.digest}.json"


def _read(path: Path) -> dict[str, Any] | None:
    """A file's contents, if it is whole and of this version; then it is marked as used."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content[_SUM:]).hexdigest().encode() != content[:_SUM]:
            return None
        data = json.loads(content[_SUM:])
        with contextlib.suppress(OSError):
            os.utime(path)
        return data if isinstance(data, dict) and data.get("version") == VERSION else None
    except (OSError, ValueError):
        return None


def _told(code: Code, origin: Origin) -> dict[str, Any] | None:
    """What there is to keep of lowered code; None where `origin` may not say everything that it depends on."""
    linked = code.linked
    sources = {i.source for i in linked.frontend.instances.values() if i.source is not None}
    ours = {f for f in sources if not f.__module__.startswith("secondsight.lang.")}
    declared = linked.layout.declarations
    names = [d.name for d in declared]
    if not ours <= origin.functions.keys() or any(origin.declarations.get(d.name) is not d for d in declared) or origin.unclear:
        return None
    if any(not _is_covered(origin, *read) for read in linked.frontend.reads.values()):
        return None
    for file in {f.__code__.co_filename for f in sources}:
        if not _is_unchanged(file, origin):
            return None  # it is not any more what was loaded
    roots = []
    for root in code.roots.values():
        params = [_told_variable(p, origin) for p in root.params]
        if any(p is None for p in params):
            return None
        roots.append([root.name, root.atomic, params, root.number])
    return {
        "version": VERSION,
        "annotations": [
            [origin.functions[f], text, meant] for (f, text), meant in linked.frontend.annotations.items() if f in origin.functions
        ],
        "declarations": names,
        "sizes": [code.layout.shared_size, code.layout.ref_width],
        "written": sorted(code.layout.written or ()),
        "region": code.region,
        "counter_width": code.counter_width,
        "places": [[p.where.file, p.where.line, p.where.column, p.function] for p in code.places],
        "roots": roots,
        "tables": [[t.name, t.low, t.high, t.kind, t.where] for t in code.tables],
        "facts": {},
        "texts": {},
    }


def _is_covered(origin: Origin, space: Any, name: str) -> bool:
    """Whether what the front end took is in the digest: as a value, or with the whole language."""
    if origin.covers(space, name):
        return True
    if isinstance(space, dict):
        value, module = space[name], space.get("__name__", "")
        home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""
        return str(module).startswith(_LANGUAGE) or (callable(value) and home.startswith(_LANGUAGE)) or home == "builtins"
    return (space.__name__ if isinstance(space, ModuleType) else space.__module__).startswith((_LANGUAGE, "builtins"))


def _is_unchanged(file: str, origin: Origin) -> bool:
    """Whether the text that functions were lowered from is the one that the digest was made of."""
    try:
        raw = Path(file).read_bytes()
    except OSError:
        return False
    same = source.hash_of(source.as_read(raw)) == source.read.get(file)
    return same and origin.files.get(file, hashed := hashlib.sha256(raw).hexdigest()) == hashed


def _told_variable(var: ir.Var, origin: Origin) -> list[Any] | None:
    kind = var.type
    if isinstance(kind, IntType):
        return [var.name, kind.low, kind.high, kind.display]
    name = f"{kind.record.__module__}:{kind.record.__qualname__}"
    return [var.name, name, kind.nullable] if origin.classes.get(name) is kind.record else None


def _variable(told: list[Any], origin: Origin) -> ir.Var:
    if len(told) == 4:
        name, low, high, display = told
        return ir.Var(name, IntType(low, high, display))
    name, cls, nullable = told
    record = origin.classes[cls]
    if not issubclass(record, Record):
        raise TypeError(cls)
    return ir.Var(name, RefType(record, nullable))
