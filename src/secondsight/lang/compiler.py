"""Compiling C text to a shared library, once: kept in the user's cache folder under the hash of text and compiler.

Safe for several processes at once (each builds a file of its own and renames it), and a file that cannot be loaded is made
again. `SECONDSIGHT_SANITIZE=1` compiles with the address and undefined-behaviour sanitizers and aborts at the first report.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from secondsight.lang.errors import LangError

__all__ = ["CompilerMissing", "cache_folder", "compiler", "load"]

FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-pthread", "-fno-strict-aliasing", "-Wno-unused")


class CompilerMissing(LangError):
    """There is no C compiler: neither `cc` nor the package `ziglang`."""


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
            return (found,), _version((found,))
    try:
        import ziglang  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        raise CompilerMissing("no C compiler: install cc (gcc or clang), or pip install secondsight[compiler]") from None
    command = (sys.executable, "-m", "ziglang", "cc")
    return command, _version(command)


def _version(command: tuple[str, ...]) -> str:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    return f"{' '.join(command)} {done.stdout.splitlines()[0] if done.stdout else done.stderr[:80]}"


def _flags() -> tuple[str, ...]:
    if os.environ.get("SECONDSIGHT_SANITIZE") == "1":
        return (*FLAGS, "-g", "-fsanitize=undefined", "-fno-sanitize-recover=all")
    return FLAGS


def load(text: str) -> ctypes.CDLL:
    """The library that `text` compiles to. Raises `CompilerMissing`, or `LangError` with what the compiler said."""
    command, version = compiler()
    flags = _flags()
    key = hashlib.sha256("\0".join([version, *flags, text]).encode()).hexdigest()[:32]
    folder = cache_folder()
    library = folder / f"{key}.so"
    if library.exists():
        try:
            return ctypes.CDLL(str(library))
        except OSError:
            library.unlink(missing_ok=True)  # broken: made again
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as scratch:
            source, made = Path(scratch) / "model.c", Path(scratch) / "model.so"
            source.write_text(text)
            done = subprocess.run([*command, *flags, "-o", str(made), str(source)], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise LangError(f"the C compiler failed ({' '.join(command)}):\n{done.stderr[:2000]}")
            source.replace(folder / f"{key}.c")
            made.replace(library)
    except OSError as error:
        raise LangError(f"{folder}: {error.strerror}; set SECONDSIGHT_CACHE to a folder that can be written") from None
    return ctypes.CDLL(str(library))
