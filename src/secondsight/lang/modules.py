"""The files that modules come from: loading a user's own from their text, and the content of all that a model reaches.

Python keeps a module's bytecode in `__pycache__` and takes it for the text's where size and second of change agree: two edits in
one second, or an archive whose files have one date, run as what was there before. So a user's file, and what it imports that
is not installed, is compiled from its text whenever it is loaded here (`load`).

`Files` names every file that a model can depend on: those of the modules where its functions and classes are written, and of
the modules whose names occur anywhere in these texts, and so on. A name counts wherever it stands, so that no way of importing
is overlooked; and of a package all modules that are loaded. This package itself counts as a whole, Python by its version.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import linecache
import os
import sys
import sysconfig
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from secondsight.lang.errors import LangError, OutOfRecords, Position, Refused, RuleBroken
from secondsight.lang.names import with_place

__all__ = ["Files", "FromText", "is_installed", "is_ours", "load", "package_digest", "set_up", "why_no_file"]

_BEGAN = time.time()
_OURS = __name__.partition(".")[0]
_SPACES = {ord(c): " " for c in map(chr, range(128)) if not (c.isalnum() or c == "_")}
_PYTHON = tuple(
    f"{form(sysconfig.get_path(kind))}{os.sep}" for kind in ("stdlib", "platstdlib") for form in (os.path.realpath, os.path.abspath)
)
_LARGE = 1_000_000
_run: set[str] = set()  # the names under which users' files were run, not imported
_imported: set[str] = set()  # the names of what they imported
_running = 0  # users' files that are run at this moment, one out of another
_folders: list[str] = []  # where these lie, the last one first


def is_ours(name: str) -> bool:
    """Whether a module is of this package."""
    return name.partition(".")[0] == _OURS


@functools.lru_cache(maxsize=4096)
def is_installed(file: str) -> bool:
    """Whether a file belongs to Python or to an installed package: nobody edits it and runs it again."""
    parts = Path(file).parts
    return "site-packages" in parts or "dist-packages" in parts or file.startswith(_PYTHON)


# Loading.


class FromText(SourceFileLoader):
    """Compiles a module from its text, and from nothing else. `digest`: the hash of that text's bytes; `words`: what is in it."""

    digest: str = ""
    words: frozenset[str] = frozenset()

    @property
    def root(self) -> Path:
        """The folder in which the name of the module, or of the package that it is in, was looked for."""
        path = Path(self.path)
        return (path.parent if path.name == "__init__.py" else path).parents[self.name.count(".")]

    def get_code(self, fullname: str) -> CodeType:
        """The module's code."""
        path = self.get_filename(fullname)
        raw = self.get_data(path)
        try:
            text = importlib.util.decode_source(raw)  # Python looks at the bytes of comments only when it shows them
        except (SyntaxError, UnicodeDecodeError) as error:
            raise LangError(f"{path}: {error}; save it as UTF-8, or say in its first line how it is encoded") from None
        self.digest, self.words = hashlib.sha256(raw).hexdigest(), _words(text)
        text += "" if text.endswith("\n") or not text else "\n"
        found = os.stat(path)
        linecache.cache[path] = (found.st_size, found.st_mtime, text.splitlines(keepends=True), path)
        code: CodeType = self.source_to_code(raw, path)
        return code


class _Finder:
    """Finds what is not installed, for `FromText`."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Where a module is to be loaded from; None: that is nothing of ours."""
        spec = None if is_ours(name) else PathFinder.find_spec(name, path, target)
        is_theirs = _running > 0
        if spec is None and path is None and not is_ours(name):  # imported by a module's `__getattr__`, later than the file was run
            spec, is_theirs = PathFinder.find_spec(name, list(_folders)), True
        if spec is None or type(spec.loader) is not SourceFileLoader or spec.origin is None or is_installed(spec.origin):
            return None
        spec.loader = FromText(spec.loader.name, spec.loader.path)
        spec.cached = None
        if is_theirs:
            _imported.add(name)
        return spec


def why_no_file(path: Path) -> str:
    """Why a path is no file that can be loaded: its lines are read again, for messages and traces."""
    if path.is_dir():
        return "is a folder"
    if str(path) == "-" or path.exists():
        return "is no regular file, and its lines are read more than once: write it to a file first"
    beside = path.with_name(f"{path.name}.py")
    return f"no such file, but {beside} is there" if path.name and beside.is_file() else "no such file"


def load(name: str, path: Path) -> ModuleType:
    """The module that a user's file makes, run now, under a name. What it imports from beside it is compiled from its text, too.

    Modules that were imported before, and edited since or of a name that is also beside this file, are loaded again. Raises what
    the file raises, and `LangError` for bytes that are no text.
    """
    if _Finder not in sys.meta_path:
        at = next((i for i, finder in enumerate(sys.meta_path) if finder is PathFinder), len(sys.meta_path))
        sys.meta_path.insert(at, _Finder)
    path = path.resolve()
    loader = FromText(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None:
        raise LangError(f"{path}: not a Python file")
    _drop_others(path.parent)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _run.add(name)
    folder = str(path.parent)
    _folders[:] = [folder, *(other for other in _folders if other != folder)]
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    global _running
    _running += 1
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results: a file that prints must not come between them
            loader.exec_module(module)
    except ImportError as error:
        sys.modules.pop(name, None)
        raise with_place(error).with_traceback(error.__traceback__) from None
    except BaseException:
        sys.modules.pop(name, None)
        raise
    finally:
        _running -= 1
        sys.path.remove(folder)
    return module


def _from_text() -> list[tuple[str, ModuleType, FromText]]:
    """The modules that were loaded here."""
    loaded = [(name, module, getattr(module, "__loader__", None)) for name, module in list(sys.modules.items())]
    return [(name, module, loader) for name, module, loader in loaded if isinstance(loader, FromText)]


def _drop_others(root: Path) -> None:
    """Forget all modules that were imported here if one of them was edited, or is another one for a file in `root`.

    All that users' files imported, as others may have taken its constants; what this process imported for itself stays. What
    their classes need of their modules is looked up before.
    """
    imported = [(name, module, loader) for name, module, loader in _from_text() if name in _imported - _run]
    for name, _, loader in imported:
        if _digest(loader.path) != loader.digest:
            break
        if loader.root != root and PathFinder.find_spec(name.partition(".")[0], [str(root)]) is not None:
            break
    else:
        return
    for name, module, _ in imported:
        for value in [v for v in vars(module).values() if type(v) is type]:
            for look in (getattr(value, "fields", None), getattr(value, "value_fields", None)):
                if callable(look):
                    with contextlib.suppress(Exception):
                        look()
        del sys.modules[name]


@contextlib.contextmanager
def set_up(what: str) -> Iterator[None]:
    """Setting something up runs a user's code in plain Python, where it is not checked yet: an error out of it is a `LangError` that
    names the user's own line."""
    try:
        yield
    except (OutOfRecords, Refused):
        raise  # the one is answered with a larger bound, the other has its place
    except Exception as error:
        ours = str(Path(__file__).parents[1]) + os.sep
        lines = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ours) and not is_installed(f.filename)]
        if not lines:
            raise
        if isinstance(error, RuleBroken):
            error.where = error.where or Position(lines[-1].filename, lines[-1].lineno or 0)
            raise
        kind = "" if isinstance(error, LangError) else f"{type(error).__name__}: "
        reason = f"{lines[-1].filename}:{lines[-1].lineno}: {kind}{error}"
        raise LangError(f"{reason}\n    {lines[-1].line}\n  raised while {what} was set up, before any thread ran") from error


# Content.


def _words(text: str) -> frozenset[str]:
    """Everything in a text that could be a name."""
    return frozenset(text.translate(_SPACES).split())


@functools.cache
def package_digest() -> str | None:
    """A hash of this package and of the Python that runs it; None if a file was edited since this process began."""
    return digest_of(Path(__file__).parents[1])


def digest_of(folder: Path) -> str | None:
    """The same of the package that lies in a folder."""
    total = hashlib.sha256(sys.version.encode())
    for file in sorted(_sources(str(folder))):
        if _is_new(file):
            return None
        total.update(f"{file[len(str(folder)) + 1 :]}\0".encode())
        with open(file, "rb") as content:
            total.update(content.read())
    return total.hexdigest()


def _sources(folder: str) -> Iterator[str]:
    """The files of Python and of C in a folder and below."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _sources(entry.path)
            elif entry.name.endswith((".py", ".c", ".h")):
                yield entry.path


def _is_new(file: str) -> bool:
    """Whether a file was written since this process began: then its content may not be what was loaded."""
    try:
        found = os.stat(file)
    except OSError:
        return True
    return max(found.st_mtime, found.st_ctime) > _BEGAN


def _digest(file: str) -> str | None:
    """A hash of a file's bytes; of a large one its size and when it was written. None: it cannot be read."""
    try:
        found = os.stat(file)
        if found.st_size > _LARGE:
            return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return None


class Files:
    """The files of all modules that some modules reach, with their content; see the module.

    `digests`: for each file a hash of the bytes that it was loaded from. `unclear`: files of which that is not known.
    """

    def __init__(self, spaces: Iterable[dict[str, Any]]) -> None:
        self.digests: dict[str, str] = {}
        self.unclear: set[str] = set()
        packages: dict[str, list[str]] = {}
        for name in sorted(sys.modules):
            packages.setdefault(name.partition(".")[0], []).append(name)
        reached = {_OURS, "__main__"}
        todo = list(spaces)
        for space in todo:
            words = self._file(space) | {str(space.get("__name__", "")).partition(".")[0]}
            for package in sorted((words & packages.keys()) - reached):
                reached.add(package)
                todo += [vars(sys.modules[name]) for name in packages[package] if isinstance(sys.modules[name], ModuleType)]

    def _file(self, space: dict[str, Any]) -> frozenset[str]:
        """Take a module's file into account; the words in it."""
        file = space.get("__file__")
        if not isinstance(file, str) or is_ours(str(space.get("__name__", ""))) or _is_pythons(file):
            return frozenset()
        loader = space.get("__loader__")
        if isinstance(loader, FromText):
            self.digests[file] = loader.digest
            return loader.words
        digest = None if _is_new(file) else _digest(file)
        if digest is None:
            self.unclear.add(file)
            return frozenset()
        self.digests[file] = digest
        return _words_in(file, digest)


def _is_pythons(file: str) -> bool:
    return file.startswith(_PYTHON) and not ("site-packages" in file or "dist-packages" in file)


@functools.lru_cache(maxsize=4096)
def _words_in(file: str, digest: str) -> frozenset[str]:
    """The words in a file of that content."""
    try:
        return _words(Path(file).read_text(errors="replace")) if file.endswith(".py") else frozenset()
    except OSError:
        return frozenset()
