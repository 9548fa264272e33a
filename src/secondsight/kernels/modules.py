"""Modules for a kernel: its headers, and `build_module`, which keeps what it built.

A built module lies in the cache under a hash of its sources, the kernel it is for, and the compiler.
Headers that want another compiler and C library than the machine's come with a system around them: their
modules are built in it, in a mount namespace of its own, and nothing of the machine but its /proc, its
/dev and the sources is seen there.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from secondsight.kernels import cache
from secondsight.kernels.catalog import Kernel, checked_headers
from secondsight.kernels.errors import KernelError

__all__ = ["build_module", "headers"]

SOURCES = ("*.c", "*.h", "Makefile", "Kbuild")


def headers(name: str) -> Path:
    """The tree in which `make -C TREE M=DIR modules` builds for the kernel of that name; where the kernel
    has a `root`, that works in there only, as `build_module` does it.
    Raises KernelError when the kernel is not in the cache, or the tree does not pass its check."""
    return checked_headers(Kernel.find(name))


def build_module(kernel: Kernel, source: Path) -> Path:
    """The module (a .ko file) built from the folder `source` for a kernel; from the cache if it was built before.

    `source` holds C files, headers and a Makefile or Kbuild with one `obj-m`; nothing is written there.
    Raises KernelError: there are no headers, a tool is missing, or the compiler's messages.
    """
    if kernel.headers is None:
        raise KernelError(f"there are no headers for {kernel.name}", "give its tree with --headers DIR")
    compiler = _compiler(kernel)
    folder = cache.cache_folder() / "modules" / f"{kernel.release}-{_key(kernel, source, compiler)}"

    def make(scratch: Path) -> Path:
        built = _build(kernel, source, compiler, scratch)
        made = scratch / "made"
        made.mkdir()
        shutil.copy(built, made)
        cache.write_record(made, [built.name], module=built.name, kernel=kernel.release)
        return made

    cache.make_entry(folder, make)
    return folder / str(cache.record(folder)["module"])


def _key(kernel: Kernel, source: Path, compiler: str) -> str:
    """What decides how a module comes out: its sources, the kernel's tree, the compiler."""
    assert kernel.headers is not None
    whole = hashlib.sha256(f"{kernel.release}\0{compiler}\0".encode())
    for path in _sources(source):
        whole.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    for name in (".config", "Module.symvers", "include/config/kernel.release"):
        path = kernel.headers / name
        whole.update(path.read_bytes() if path.exists() else b"")
    return whole.hexdigest()[:16]


def _sources(source: Path) -> list[Path]:
    found = sorted(path for pattern in SOURCES for path in source.glob(pattern) if not path.name.endswith(".mod.c"))
    if not any(path.name in ("Makefile", "Kbuild") for path in found):
        raise KernelError(f"{source} has no Makefile and no Kbuild", "a module's folder has one, with a line obj-m := NAME.o")
    return found


def _compiler(kernel: Kernel) -> str:
    """The compiler to name to make; the one that the tree asks for, when it is here, else the system's."""
    assert kernel.headers is not None
    variables = kernel.headers / ".kernelvariables"
    asked = re.search(r"^CC = .*?(gcc-\d+)$", variables.read_text(), re.MULTILINE) if variables.exists() else None
    folder = str(kernel.root / "usr/bin") if kernel.root else None
    for name in ((f"x86_64-linux-gnu-{asked[1]}", asked[1], "gcc") if asked else ("gcc",)):
        if shutil.which(name, path=folder):
            return name
    raise KernelError("no C compiler for modules: gcc is not there", "install gcc")


def _build(kernel: Kernel, source: Path, compiler: str, scratch: Path) -> Path:
    tree = checked_headers(kernel)
    work = scratch / "work"
    work.mkdir()
    for path in _sources(source):
        shutil.copy(path, work)
    command = _inside(kernel.root, tree, work, compiler) if kernel.root else _make(tree, work, compiler)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        said = done.stdout.replace(f"{work}/", "").strip()
        raise KernelError(f"{source} does not build as a module for {kernel.name}", said[-3000:])
    built = list(work.glob("*.ko"))
    if len(built) != 1:
        raise KernelError(f"{source} makes {len(built)} modules, and one is wanted", "its Makefile has one obj-m := NAME.o")
    return built[0]


def _make(tree: Path, work: Path, compiler: str) -> list[str]:
    if shutil.which("make") is None:
        raise KernelError("make is not there, and modules are built with it", "install make")
    for path in (tree, work):
        if re.search(r"[\s:]", str(path)):
            raise KernelError(f"{path}: modules cannot be built below a folder with a space or colon in its name", "set SECONDSIGHT_CACHE")
    # The map: what is built does not depend on where it was built.
    return ["make", "-C", str(tree), f"M={work}", f"CC={compiler}", f"KCFLAGS=-ffile-prefix-map={work}/=", "modules"]


INSIDE = """\
root=$1 work=$2
shift 2
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mkdir -p "$root/module"
mount --bind "$work" "$root/module"
exec chroot "$root" /usr/bin/env -i PATH=/usr/bin TMPDIR=/module "$@"
"""


def _inside(root: Path, tree: Path, work: Path, compiler: str) -> list[str]:
    """The command that makes in a system of its own: a new mount namespace, which ends with it."""
    for tool in ("unshare", "mount", "chroot"):
        if shutil.which(tool) is None:
            raise KernelError(f"{tool} is not there: this kernel's modules are built in a system of their own", "install util-linux and coreutils")
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    tried = subprocess.run([*own, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise KernelError(
            "this kernel's modules are built in a system of their own, for which this process may not make a namespace: "
            + tried.stderr.strip(),
            "run it as root, or with user namespaces allowed; linux-6.12's modules need neither",
        )
    arguments = ["make", "-C", f"/{tree.relative_to(root)}", "M=/module", f"CC={compiler}", "KCFLAGS=-ffile-prefix-map=/module/=", "modules"]
    return [*own, "sh", "-ec", INSIDE, "sh", str(root), str(work), *arguments]
