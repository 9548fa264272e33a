"""Compiling C text to a shared library, once: kept in the user's cache folder under the hash of text, flags and compiler.

What many libraries have in common, the search engine, is compiled by itself to an object file, which is kept there too and linked
with each of them. So are the parts of a large text (`lang.parts`): after an edit of a driver only its own is compiled.

Safe for several processes at once: each builds a file of its own and renames it. A file carries its checksum at its end,
and one that is cut short or garbled is made again. The folder is kept below `MAX_BYTES` and `MAX_FILES`: what was not
used for longest goes first.

`SECONDSIGHT_SANITIZE=1` compiles with the undefined-behaviour sanitizer and aborts at the first report. The address sanitizer
joins it where its runtime is in the process. That takes `ASAN_OPTIONS=detect_leaks=0`, as Python frees little at its end, and
`LD_PRELOAD="$(cc -print-file-name=libasan.so) $(cc -print-file-name=libstdc++.so.6)"`, the second for greenlet's sake.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from secondsight.lang.errors import LangError
from secondsight.lang.parts import parts_of, without_comments

__all__ = ["CompilerFailed", "CompilerMissing", "Library", "cache_folder", "compiler", "end_all", "load"]

FLAGS = ("-std=gnu11", "-fPIC", "-pthread", "-fno-strict-aliasing", "-Wno-unused")
LARGE = 25_000
"""Characters of a text that is compiled in two parts at once and with less care: in half of the time, to code that is a tenth
slower. A rendered text knows its parts by `SS_PART` (`search/prelude.c`)."""

COMMON, HASTY_COMMON = "-O1", "-Og"
"""The care that is taken of what is compiled once for many, and of that in haste: in half of the time, to code that is a tenth slower."""

MAX_BYTES, MAX_FILES = 500_000_000, 20_000
TIDIED = 16
"""The folder is tidied when so many libraries were made, about: that is to look at every file."""
LEFT_BEHIND = 24 * 3600
"""Seconds after which nobody builds any more in a folder that is there."""
_SUM = hashlib.sha256().digest_size


class CompilerMissing(LangError):
    """There is no C compiler: neither `cc` nor the package `ziglang`."""


class CompilerFailed(LangError):
    """There is a C compiler, but it did not compile, or what it made could not be kept or loaded."""


def cache_folder() -> Path:
    """Where compiled models lie: `$SECONDSIGHT_CACHE`, else `secondsight` in the XDG cache folder."""
    base = os.environ.get("SECONDSIGHT_CACHE")
    if base:
        return Path(base) / "native"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "secondsight" / "native"


@functools.cache
def compiler() -> tuple[tuple[str, ...], str]:
    """The compiler's command and what identifies it. Raises `CompilerMissing`."""
    named = os.environ.get("CC")
    for name in (named, "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return (found,), _identity((found,), Path(found))
    zig = importlib.util.find_spec("ziglang")
    if zig is None or zig.origin is None:
        raise CompilerMissing("no C compiler: install cc (gcc or clang), or pip install secondsight[compiler]")
    command = (sys.executable, "-m", "ziglang", "cc")
    return command, _identity(command, Path(zig.origin).parent)


def _identity(command: tuple[str, ...], file: Path) -> str:
    """What identifies a compiler: where its program really lies, how large it is, when it was put there."""
    real = file.resolve()
    found = real.stat()
    return f"{' '.join(command)} {real} {found.st_size} {found.st_mtime_ns}"


_at_work: set[subprocess.Popen[str]] = set()


def _kill(process: subprocess.Popen[str]) -> None:
    """End a process and what it has started, unless it has ended."""
    with contextlib.suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def end_all() -> None:
    """End every compiler that is at work for a thread of this process: for its end."""
    for process in list(_at_work):
        _kill(process)


def _run(*commands: list[str]) -> None:
    """Run commands of the compiler at once, each in a session of its own: Ctrl-C is for us, and ends what they started.

    Raises `CompilerFailed` with what the first that failed said.
    """
    running: list[subprocess.Popen[str]] = []
    try:
        for command in commands:
            running.append(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
            )
            _at_work.add(running[-1])
        said = [process.communicate()[1] for process in running]
    except BaseException:
        for process in running:
            _kill(process)
            process.wait()
            if process.stderr is not None:  # of one that had ended it is closed already: nothing more can be read
                process.stderr.close()
        raise
    finally:
        _at_work.difference_update(running)
    for process, words in zip(running, said, strict=True):
        if process.returncode:
            raise CompilerFailed(f"the C compiler failed ({' '.join(map(str, process.args))}):\n{words[:2000]}")  # type: ignore[arg-type]


def settings() -> tuple[object, ...]:
    """All that decides beside its text which library is loaded."""
    return compiler(), _flags(""), cache_folder()


def _care(text: str, hasty: bool) -> str:
    return "-O1" if len(text) <= LARGE else "-O0" if hasty else "-Og"


def _flags(care: str) -> tuple[str, ...]:
    base = (*FLAGS, care)
    if os.environ.get("SECONDSIGHT_SANITIZE", "0") in ("", "0"):
        # zig adds checks of its own where it is not told otherwise: five times slower to run
        return (*base, "-fno-sanitize=all", "-fno-stack-protector") if "ziglang" in compiler()[0] else base
    kinds = "address,undefined" if hasattr(ctypes.CDLL(None), "__asan_init") else "undefined"
    return (*base, "-g", f"-fsanitize={kinds}", "-fno-sanitize-recover=all")


class Library(ctypes.CDLL):
    """A loaded library. It is in the process once: `tables` are those that it has now, `lock` is held by who works with it."""

    tables: object = None

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.name = Path(path).stem
        self.lock = threading.RLock()


_loaded: dict[str, Library] = {}


def kept_library(name: str) -> Library | None:
    """The library of that name, if it is there and whole."""
    path = str(cache_folder() / f"{name}.so")
    try:
        if path not in _loaded and _is_whole(Path(path)):
            _loaded.setdefault(path, Library(path))
        return _loaded.get(path)
    except OSError:
        return None


def load(text: str, common: str = "", hasty: bool = False) -> Library:
    """The library that `text` compiles to, together with `common`, which other libraries have as well.

    `hasty`: a large text is compiled without care, in half of the time, to code that makes a search take a sixth longer. Raises `CompilerMissing`, or `CompilerFailed` with what the compiler said.
    """
    _, version = compiler()
    care, text = _care(text, hasty), without_comments(text)
    common_care = HASTY_COMMON if hasty else COMMON
    key = _key(version, *_flags(care), common_care, text, common)
    folder = cache_folder()
    library = folder / f"{key}.so"
    if str(library) in _loaded:
        return _loaded[str(library)]
    try:
        if not _is_whole(library):
            folder.mkdir(parents=True, exist_ok=True)
            _build(text, library, common, care, common_care)
            if int(key[:4], 16) % TIDIED == 0:
                _tidy(folder, library)
        return _loaded.setdefault(str(library), Library(str(library)))  # two threads may come here at once
    except OSError as error:
        said = error.strerror or str(error)
        raise CompilerFailed(f"{folder}: {said}; set SECONDSIGHT_CACHE to a folder that can be written and loaded from") from None


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _build(text: str, library: Path, common: str, care: str, common_care: str) -> None:
    command, version = compiler()
    flags = _flags(care)
    with tempfile.TemporaryDirectory(dir=library.parent, prefix="build-") as scratch:
        source, made = Path(scratch) / "model.c", Path(scratch) / "model.so"
        parts, work, new = [], [], []

        def kept(content: str, care: str, file: Path, *named: str) -> None:
            """The object file of a text: from the folder, or still to be made."""
            known = library.parent / f"{_key(version, *_flags(care), *named, content)}.o"
            parts.append(file.with_suffix(".o"))
            there = _whole(known)
            if there is not None:
                parts[-1].write_bytes(there)
                return
            file.write_text(content, encoding="utf-8")
            work.append([*command, *_flags(care), "-c", *named, "-o", str(parts[-1]), str(file)])
            new.append((parts[-1], known))

        divided = parts_of(text) if len(text) > LARGE else {}
        for number, part in divided.items():
            kept(part, care, Path(scratch) / f"{number}-model.c", f"-DSS_PART={number}")
        if not divided:
            source.write_text(text, encoding="utf-8")
            parts.append(source)
        if common:
            kept(common, common_care, Path(scratch) / "common.c")
        if work:
            _run(*work)
        _run([*command, *flags, "-shared", "-o", str(made), *map(str, parts)])
        for file, known in new:
            _sign(file).replace(known)
        _sign(made).replace(library)


def _sign(made: Path) -> Path:
    """A file with its checksum at the end."""
    content = made.read_bytes()
    with made.open("ab") as file:
        file.write(hashlib.sha256(content).digest())
    return made


def _whole(path: Path) -> bytes | None:
    """What a file was signed with, if it is there as it was built; then it is marked as used."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if len(content) <= _SUM or hashlib.sha256(content[:-_SUM]).digest() != content[-_SUM:]:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return content[:-_SUM]


def _is_whole(library: Path) -> bool:
    """Whether a library is there as it was built. (Loading half a file can kill the process.)"""
    return _whole(library) is not None


def _tidy(folder: Path, keep: Path) -> None:
    """Remove what was not used for longest, until the folder is as small as it must be, and what killed processes left.

    What is known of one shape, or one library, is files of one name: it goes together.
    """
    entries: dict[str, list[tuple[str, os.stat_result]]] = {}
    with os.scandir(folder) as found:
        for entry in found:
            with contextlib.suppress(OSError):  # another process may be at it, too
                what = entry.stat()
                entries.setdefault(entry.name.partition(".")[0], []).append((entry.path, what))
    for name in [name for name in entries if name.startswith("build-")]:
        for path, what in entries.pop(name):
            if time.time() - what.st_mtime > LEFT_BEHIND:
                with contextlib.suppress(OSError):
                    shutil.rmtree(path) if stat.S_ISDIR(what.st_mode) else os.unlink(path)
    entries.pop(keep.stem, None)
    total, count = sum(what.st_size for files in entries.values() for _, what in files), sum(map(len, entries.values()))
    for files in sorted(entries.values(), key=lambda files: max(what.st_mtime for _, what in files)):
        if total <= MAX_BYTES and count < MAX_FILES:
            return
        for path, what in files:
            with contextlib.suppress(OSError):
                os.unlink(path)
            total, count = total - what.st_size, count - 1
