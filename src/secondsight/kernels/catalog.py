"""The kernels there are: `Kernel.find` finds one in the cache, `get` puts it there.

    GETTABLE: Debian's packaged kernels, by release       secondsight kernel get 6.12
    --kernel PATH [--headers DIR]: the user's own

A cached kernel is an entry (`cache`) with the image, its configuration, the modules that the agent
loads before it can speak, and the headers (see `modules`).
The image and the modules are checked whenever the kernel is looked up, the headers when a module is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from secondsight.kernels import cache, debian
from secondsight.kernels.errors import KernelError
from secondsight.kernels.image import release_of
from secondsight.kernels.packages import Progress

__all__ = ["GETTABLE", "Kernel", "get"]

GETTABLE: dict[str, Callable[[Path, Progress], Path]] = {
    "6.1": lambda scratch, progress: debian.fetch("6.1", scratch, progress),
    "6.12": lambda scratch, progress: debian.fetch("6.12", scratch, progress),
    "7.2": lambda scratch, progress: debian.fetch_unstable("7.2", scratch, progress),
}
"""How each kernel that `get` knows is made, in a scratch folder."""


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted: `name` as the user gives it, and `release` as it calls itself.

    `modules` are files that the agent loads, in this order, before it has a line to the host.
    `headers` is the tree against which modules are built (`make -C headers M=...`); None: there is none.
    `root`, when there is one, is a system around that tree, in which (chroot) its modules have to be built.
    """

    name: str
    image: Path
    release: str
    modules: tuple[Path, ...] = ()
    headers: Path | None = None
    root: Path | None = None

    @staticmethod
    def find(name: str) -> Kernel:
        """The kernel of that name in the cache: `linux-6.12` and `6.12` mean the same. Raises KernelError
        when it is not there, or does not pass its check."""
        version = _version(name)
        folder = _folder(version)
        if not folder.exists():
            here = ", ".join(f"linux-{found}" for found in _cached()) or "none"
            can = ", ".join(f"linux-{gettable}" for gettable in GETTABLE)
            if version in GETTABLE:
                raise KernelError(f"kernel linux-{version} is not here", f"run: secondsight kernel get {version}")
            raise KernelError(
                f"no kernel {name}: fetched so far: {here}; can be fetched: {can}",
                "or give your own image with --kernel PATH",
            )
        parts = ("vmlinuz", "config", "modules")
        _check(version, parts)
        known = cache.record(folder)
        image = folder / "vmlinuz"
        modules = tuple(folder / "modules" / module for module in known["modules"])
        headers, root = (folder / known[part] if part in known else None for part in ("headers", "root"))
        return Kernel(f"linux-{version}", image, release_of(image), modules, headers, root)

    @staticmethod
    def from_path(path: str | Path, headers: str | Path | None = None) -> Kernel:
        """The user's own x86 kernel image (a bzImage, as in /boot/vmlinuz-*), and where its headers are. It needs
        CONFIG_VIRTIO_PCI, VIRTIO_CONSOLE, DEVTMPFS and BLK_DEV_INITRD built in, and CONFIG_UDMABUF for
        scenarios with udmabufs. Raises KernelError when the file is not such an image."""
        path = Path(path)
        if not path.is_file():
            raise KernelError(f"no kernel image at {path}", "give the path of a bzImage")
        tree = Path(headers) if headers is not None else None
        if tree is not None and not ((tree / "Makefile").is_file() and (tree / "include/config/auto.conf").is_file()):
            raise KernelError(
                f"{tree} is not a tree that modules can be built against",
                "give a kernel's headers (/lib/modules/RELEASE/build) or a source tree after make modules_prepare",
            )
        return Kernel(path.name, path, release_of(path), (), tree)


def get(name: str, progress: Progress | None = None) -> Kernel:
    """Fetch a kernel with its headers into the cache, unless it is there and passes its check, and return it.

    `progress(what, done, total)` is called now and then, with bytes. Processes that ask at the same
    time wait for the one that fetches. Raises KernelError: a tool is missing, or the release is not
    to be had from this machine's package sources.
    """
    version = _version(name)
    if version not in GETTABLE:
        raise KernelError(f"no kernel {name} to fetch", f"there are: {', '.join(GETTABLE)}")
    tell = progress or (lambda what, done, total: None)
    cache.make_entry(_folder(version), lambda scratch: GETTABLE[version](scratch, tell))
    return Kernel.find(version)


def checked_headers(kernel: Kernel) -> Path:
    """The tree against which a kernel's modules are built, after its check. Raises KernelError."""
    if kernel.headers is None:
        raise KernelError(f"there are no headers for {kernel.name}", "give its tree with --headers DIR")
    version = _version(kernel.name)
    if kernel.headers.is_relative_to(cache.cache_folder() / "kernels"):
        _check(version, ("headers",))
    return kernel.headers


def _check(version: str, parts: tuple[str, ...]) -> None:
    problem = cache.damage(_folder(version), parts)
    if problem:
        raise KernelError(
            f"the cached kernel linux-{version} is damaged: {problem}",
            f"run: secondsight kernel get {version}",
        )


def _version(name: str) -> str:
    return name.removeprefix("linux-")


def _folder(version: str) -> Path:
    if not re.fullmatch(r"[0-9][\w.+-]*", version):
        raise KernelError(f"no kernel {version}", f"kernels are named by their release: {', '.join(GETTABLE)}")
    return cache.cache_folder() / "kernels" / version


def _cached() -> list[str]:
    return sorted(path.parent.name for path in (cache.cache_folder() / "kernels").glob(f"[0-9]*/{cache.RECORD}"))
