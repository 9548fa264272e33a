"""The guest's whole file system: the agent, compiled on demand, and modules, in a cpio archive written here.

The agent is kept in the cache folder under a hash of what it is made from, the archive under its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from secondsight.kernels import cache
from secondsight.kernels.errors import KernelError

__all__ = ["agent", "initramfs"]

AGENT = Path(__file__).parent / "agent"
HALVES = {"guest": ("guest.c", "modules.c"), "host": ("host.c",)}  # what only one machine's agent has
FLAGS = ("-static", "-O2", "-pthread")


def initramfs(modules: Sequence[Path] = ()) -> Path:
    """The path of an initramfs with the agent as /init, which loads these modules, in this order, before
    anything else. It lies in the cache under its own checksum; what differs from that is written again.
    Raises KernelError when there is no C compiler or no static C library."""
    archive = cpio(agent("guest").read_bytes(), [(path.name, path.read_bytes()) for path in modules])
    name = hashlib.sha256(archive).hexdigest()
    made = cache.cache_folder() / "agent" / f"{name[:32]}.cpio"
    with cache.locked(made.with_name("initramfs")):
        if not made.exists() or cache.checksum(made) != name:
            with tempfile.TemporaryDirectory(dir=made.parent) as folder:
                new = Path(folder) / "initramfs.cpio"
                new.write_bytes(archive)
                os.replace(new, made)
    return made


def agent(machine: str) -> Path:
    """The agent's program for a machine, `guest` or `host`, compiled if it is not in the cache. Raises KernelError."""
    compiler = _compiler()
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    sources = [path.read_bytes() for path in sorted(AGENT.glob("*.[ch]"))]
    key = hashlib.sha256(b"\0".join([*sources, machine.encode(), compiler.encode(), version.encode(), *map(str.encode, FLAGS)]))
    folder = cache.cache_folder() / "agent" / key.hexdigest()[:16]

    def make(scratch: Path) -> Path:
        made = scratch / "made"
        made.mkdir()
        _compile(compiler, machine, made)
        cache.write_record(made, ["init"], what=f"the {machine}'s agent")
        return made

    cache.make_entry(folder, make)
    return folder / "init"


def _compiler() -> str:
    wanted = os.environ.get("CC", "cc")
    found = shutil.which(wanted)
    if found is None:
        raise KernelError(f"no C compiler: {wanted} is not there", "install gcc and libc6-dev, or set CC")
    target = subprocess.run([found, "-dumpmachine"], capture_output=True, text=True, check=False).stdout.strip()
    if not target.startswith("x86_64"):
        raise KernelError(
            f"{wanted} compiles for {target or 'an unknown machine'}, and the guests are x86-64",
            "set CC to a compiler for x86-64, such as x86_64-linux-gnu-gcc",
        )
    return found


def _compile(compiler: str, machine: str, folder: Path) -> None:
    others = {name for half in HALVES.values() for name in half} - set(HALVES[machine])
    sources = [str(path) for path in sorted(AGENT.glob("*.c")) if path.name not in others]
    command = [compiler, *FLAGS, "-o", str(folder / "init"), *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if "cannot find -l" in done.stderr:
            raise KernelError(
                "the guest agent needs a static C library, which is missing",
                "install libc6-dev (Debian) or glibc-static (Fedora)",
            )
        raise KernelError(f"the agent does not compile: {' '.join(command)}", done.stderr.strip()[-2000:])


def cpio(init: bytes, modules: Sequence[tuple[str, bytes]] = ()) -> bytes:
    """A newc cpio archive: /init, the folders it mounts on, a console for it to speak to, and the modules, with
    names and contents, numbered in /modules."""
    entries = [
        _entry(1, "dev", stat.S_IFDIR | 0o755),
        _entry(2, "proc", stat.S_IFDIR | 0o755),
        _entry(3, "dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
        _entry(4, "init", stat.S_IFREG | 0o755, init),
        _entry(5, "modules", stat.S_IFDIR | 0o755),
    ]
    for number, (name, content) in enumerate(modules):
        entries.append(_entry(6 + number, f"modules/{number:02}-{name}", stat.S_IFREG | 0o644, content))
    entries.append(_entry(6 + len(modules), "TRAILER!!!", 0))
    return b"".join(entries)


def _entry(inode: int, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    # inode, mode, uid, gid, nlink, mtime, size, device it is on, device it is, name's size, checksum
    numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    header = b"070701" + "".join(f"{n:08x}" for n in numbers).encode() + name.encode() + b"\0"
    return _padded(header) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
