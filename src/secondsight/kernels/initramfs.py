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
import time
from collections.abc import Sequence
from pathlib import Path

from secondsight.kernels import cache
from secondsight.kernels.c_tables import limits_header, operations_header
from secondsight.kernels.errors import KernelError

__all__ = ["agent", "compiler", "initramfs"]

AGENT = Path(__file__).parent / "agent"
KEPT_SECONDS = 7 * 24 * 3600  # since an archive was last used
FOLDERS = ("dev", "proc", "sys", "tmp", "modules", "programs")
HALVES = {"guest": ("guest.c", "modules.c", "programs.c"), "host": ("host.c",)}  # what only one machine's agent has
MODULE_CALLS = Path(__file__).parent / "module" / "secondsight.h"  # what the agent and secondsight.ko say to each other
FLAGS = ("-static", "-O2", "-pthread")


def initramfs(modules: Sequence[Path] = (), programs: Sequence[Path] = ()) -> Path:
    """The path of an initramfs with the agent as /init, which loads these modules, in this order, before
    anything else, and can run these programs. It lies in the cache under its own checksum; what differs from
    that is written again. Raises KernelError when there is no C compiler or no static C library."""
    numbered = [(f"modules/{number:02}-{path.name}", 0o644, path) for number, path in enumerate(modules)]
    files = [*numbered, *((f"programs/{path.name}", 0o755, path) for path in programs)]
    archive = cpio(agent("guest").read_bytes(), [(name, mode, path.read_bytes()) for name, mode, path in files])
    name = hashlib.sha256(archive).hexdigest()
    made = cache.cache_folder() / "agent" / f"{name[:32]}.cpio"
    with cache.locked(made.with_name("initramfs")):
        if not made.exists() or cache.checksum(made) != name:
            with tempfile.TemporaryDirectory(dir=made.parent) as folder:
                new = Path(folder) / "initramfs.cpio"
                new.write_bytes(archive)
                os.replace(new, made)
        os.utime(made)
        for path in made.parent.glob("*.cpio"):
            if path.stat().st_mtime < time.time() - KEPT_SECONDS:
                path.unlink(missing_ok=True)
    return made


def agent(machine: str) -> Path:
    """The agent's program for a machine, `guest` or `host`, compiled if it is not in the cache. Raises KernelError."""
    cc = compiler()
    version = subprocess.run([cc, "--version"], capture_output=True, text=True, check=False).stdout
    sources = [path.read_bytes() for path in [*sorted(AGENT.glob("*.[ch]")), MODULE_CALLS]]
    sources += [text.encode() for text in _headers().values()]
    key = hashlib.sha256(b"\0".join([*sources, machine.encode(), cc.encode(), version.encode(), *map(str.encode, FLAGS)]))
    folder = cache.cache_folder() / "agent" / key.hexdigest()[:16]

    def make(scratch: Path) -> Path:
        made = scratch / "made"
        made.mkdir()
        _compile(cc, machine, made)
        cache.write_record(made, ["init"], what=f"the {machine}'s agent")
        return made

    cache.make_entry(folder, make)
    return folder / "init"


def compiler() -> str:
    """The C compiler for programs of the guests. Raises KernelError."""
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


def _headers() -> dict[str, str]:
    """What is made from the tables of scenarios."""
    return {"limits.h": limits_header(), "operations.h": operations_header()}


def _compile(cc: str, machine: str, folder: Path) -> None:
    others = {name for half in HALVES.values() for name in half} - set(HALVES[machine])
    sources = [str(path) for path in sorted(AGENT.glob("*.c")) if path.name not in others]
    with tempfile.TemporaryDirectory() as made:
        for name, text in _headers().items():
            (Path(made) / name).write_text(text)
        command = [cc, *FLAGS, f"-I{MODULE_CALLS.parent}", f"-I{made}", "-o", str(folder / "init"), *sources]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if "cannot find -l" in done.stderr:
            raise KernelError(
                "the guest agent needs a static C library, which is missing",
                "install libc6-dev (Debian) or glibc-static (Fedora)",
            )
        raise KernelError(f"the agent does not compile: {' '.join(command)}", done.stderr.strip()[-2000:])


def cpio(init: bytes, files: Sequence[tuple[str, int, bytes]] = ()) -> bytes:
    """A newc cpio archive: /init, the folders it mounts on, a console for it to speak to, and files in /modules
    and /programs: name, mode, contents."""
    folders = [(name, stat.S_IFDIR | 0o755, b"") for name in FOLDERS]
    whole = [*folders, ("init", stat.S_IFREG | 0o755, init), *((name, stat.S_IFREG | mode, data) for name, mode, data in files)]
    entries = [_entry(number, *entry) for number, entry in enumerate(whole, 2)]
    return b"".join([*entries, _entry(1, "dev/console", stat.S_IFCHR | 0o600, device=(5, 1)), _entry(len(whole) + 2, "TRAILER!!!", 0)])


def _entry(inode: int, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    # inode, mode, uid, gid, nlink, mtime, size, device it is on, device it is, name's size, checksum
    numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    header = b"070701" + "".join(f"{n:08x}" for n in numbers).encode() + name.encode() + b"\0"
    return _padded(header) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
