"""Compiling a kernel's file for user space: the unmodified file and a conformer's own C with the packaged headers and
configuration, the runtime with the C library's. What is built goes to the cache folder, by the contents of all it is made of.

What ties code to the kernel is left out of the flags that the kernel is compiled with (code model, function tracing,
retpolines, stack protector), and functions that the file does not call `inline` stay whole, so that a place knows which one
it is in.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from secondsight.conform.errors import ConformError
from secondsight.conform.target import Target
from secondsight.kernels import cache
from secondsight.kernels.sources import KernelSource

__all__ = ["build"]

OURS = Path(__file__).parent / "c"

INCLUDED = ("compiler-version.h", "kconfig.h", "config.h", "compiler_types.h")

FLAGS = (
    "-nostdinc", "-D__KERNEL__", "-std=gnu11", "-fms-extensions", "-fshort-wchar", "-funsigned-char", "-fno-common",
    "-fno-strict-aliasing", "-fno-pie", "-mno-sse", "-mno-mmx", "-mno-80387", "-mno-red-zone", "-fno-asynchronous-unwind-tables",
    "-fno-stack-protector", "-fcf-protection=none", "-fno-omit-frame-pointer", "-fno-zero-initialized-in-bss", "-O1",
    "-fno-inline-functions-called-once", "-fno-inline-small-functions", "-fno-inline-functions", "-fno-partial-inlining",
    "-fno-ipa-sra", "-fno-ipa-cp", "-fno-optimize-sibling-calls", '-DKBUILD_MODNAME="conform"', '-DKBUILD_BASENAME="conform"',
    '-DKBUILD_MODFILE="conform"', "-D__KBUILD_MODNAME=kmod_conform", "-DCC_USING_FENTRY",
    "-w",
)  # fmt: skip

DISCARDED = (".discard.addressable", ".discard.reachable", ".discard.annotate_insn")
"""Sections that the kernel's own linking leaves out."""


def build(target: Target, source: KernelSource, text: str | None = None) -> Path:
    """The program that runs a target's file of a release; `text` instead of the file's own, for a mutant.

    Raises ConformError: there is no compiler, or the file does not compile, or calls what there is no stub for.
    """
    compiler = _compiler()
    base = _objects(target, source, compiler)
    kernel_file = source.tree / target.file
    if not kernel_file.is_file():
        raise ConformError(f"the source of {source.release} has no {target.file}", f"remove {source.tree.parent} and try again")
    own = kernel_file.read_bytes() if text is None else text.encode()
    folder = _folder(_key(own, _ours(target), str(base).encode()))
    program = folder / "conform"
    with cache.locked(folder):
        if program.exists():
            return program
        scratch = folder.with_name(f"{folder.name}.making")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            if text is not None:
                kernel_file = scratch / kernel_file.name
                kernel_file.write_text(text)
            _compile(
                target,
                source,
                compiler,
                OURS / target.c,
                scratch / "file.o",
                [
                    f'-DSS_KERNEL_FILE="{kernel_file}"',
                    f"-fmacro-prefix-map={kernel_file.parent}=.",
                    "-I" + str((source.tree / target.file).parent),
                ],
            )
            _link(target, source, compiler, [scratch / "file.o", *sorted(base.glob("*.o"))], scratch)
            for path in scratch.iterdir():
                if path.name != "conform":
                    path.unlink()
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return program


def _objects(target: Target, source: KernelSource, compiler: str) -> Path:
    """A folder with the objects that do not depend on the file itself: stubs, runtime, the kernel's other files."""
    parts = [(OURS / name).read_bytes() for name in ("conform.h", "config.h", "runtime.c", "stubs.c")]
    linked = [source.tree / name for name in target.linked]
    folder = _folder(
        _key(
            *parts,
            source.key.encode(),
            repr((target.linked, _definitions(target, source), target.heap, FLAGS)).encode(),
            _version(compiler),
        )
    )
    with cache.locked(folder):
        if folder.exists():
            return folder
        scratch = folder.with_name(f"{folder.name}.making")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            _compile(target, source, compiler, OURS / "stubs.c", scratch / "stubs.o", [])
            for file in linked:
                if file.is_file():  # of some releases only
                    _compile(target, source, compiler, file, scratch / f"kernel_{file.stem}.o", [])
            heap = f"-DSS_HEAP=({target.heap} << 10)"
            _run(
                [compiler, "-O2", "-fno-pie", heap, "-c", str(OURS / "runtime.c"), "-o", str(scratch / "runtime.o")],
                "the runtime",
            )
            os.rename(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _compile(target: Target, source: KernelSource, compiler: str, file: Path, to: Path, more: Sequence[str]) -> None:
    headers, tree = source.headers, source.tree
    includes = [
        tree / "arch/x86/include", headers / "arch/x86/include/generated", tree / "include", headers / "include",
        tree / "arch/x86/include/uapi", headers / "arch/x86/include/generated/uapi", tree / "include/uapi", headers / "include/generated/uapi",
    ]  # fmt: skip
    folders = {tree / name.rpartition("/")[0] for name in (target.file, *target.linked)} | {file.parent}
    command = [compiler, *FLAGS, *(f"-I{path}" for path in includes)]
    for name in INCLUDED:
        command += ["-include", str(tree / "include/linux" / name if name != "config.h" else OURS / name)]
    command += [*(f"-I{path}" for path in sorted(folders)), f"-I{OURS}", *_definitions(target, source), *more]
    _run([*command, "-c", str(file), "-o", str(to)], f"{target.file} of {source.release} (with {file.name})")


def _definitions(target: Target, source: KernelSource) -> list[str]:
    return [f"-D{name}" for name in target.definitions(source.release.removeprefix("linux-"))]


def _link(target: Target, source: KernelSource, compiler: str, objects: Iterable[Path], scratch: Path) -> None:
    """Link the kernel's half into one object whose variables are in a section of their own, then all."""
    paths = list(objects)
    runtime = next(path for path in paths if path.name == "runtime.o")
    whole, half = scratch / "whole.o", scratch / "half.o"
    what = f"{target.file} of {source.release}"
    _run(["ld", "-r", *(str(path) for path in paths if path is not runtime), "-o", str(whole)], what)
    removed = [word for name in DISCARDED for word in ("-R", name, "-R", f".rela{name}")]
    sections = [
        "--set-section-flags", ".bss=alloc,load,contents,data", "--rename-section", ".bss=ss_data,alloc,load,contents,data",
        "--rename-section", ".data=ss_data",
        "--rename-section", ".data.once=ss_data", "--rename-section", ".data..once=ss_data",  # what was warned of once
    ]  # fmt: skip
    _run(["objcopy", *removed, *sections, str(whole), str(half)], what)
    _run([compiler, "-no-pie", "-static", "-Wl,-z,noexecstack", str(runtime), str(half), "-o", str(scratch / "conform")], what)


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if not done.returncode:
        return
    missing = sorted(set(re.findall(r"undefined reference to `([^']+)'", done.stderr)))
    if missing:
        raise ConformError(
            f"{what} calls what there is no stub for: {', '.join(missing)}", "add stubs to the target's C file in conform/c/"
        )
    errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
    raise ConformError(
        f"{what} does not compile for user space:\n  " + "\n  ".join(errors[:8]),
        "a release that changed it needs a change of the target's C file in conform/c/",
    )


def _compiler() -> str:
    """The C compiler: gcc, or what CC names."""
    name = os.environ.get("CC") or "gcc"
    missing = [tool for tool in (name, "ld", "objcopy", "nm") if shutil.which(tool) is None]
    if missing:
        raise ConformError(
            f"compiling a kernel's file takes {', '.join(missing)}, not to be found here",
            "Debian: apt-get install gcc libc6-dev binutils",
        )
    return name


def _version(compiler: str) -> bytes:
    return subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout


def _ours(target: Target) -> bytes:
    """A target's own C, and the headers here that it includes: an edit of one of them makes a program anew."""
    texts: dict[str, bytes] = {}
    waiting = [target.c]
    while waiting:
        name = waiting.pop()
        if name not in texts and (OURS / name).is_file():
            texts[name] = (OURS / name).read_bytes()
            waiting += re.findall(r'^\s*#\s*include\s+"([^"]+)"', texts[name].decode(), flags=re.MULTILINE)
    return b"".join(name.encode() + b"\0" + hashlib.sha256(texts[name]).digest() for name in sorted(texts))


def _key(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:32]


def _folder(key: str) -> Path:
    return cache.cache_folder() / "conform" / key
