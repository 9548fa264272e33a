"""The kernels there are: `Kernel.find` finds one, `get` and `build` put one into the cache.

    6.1, 6.12, 7.2                    Debian's packaged kernels     secondsight kernel get 6.12
    6.12-own                          built for the purpose         secondsight kernel build 6.12
    host                              the running kernel
    --kernel PATH [--headers DIR]     the user's own

A cached kernel is an entry (`cache`) with the image, its configuration, the modules that the agent
loads before it can speak, and the headers (see `modules`).
The image and the modules are checked whenever the kernel is looked up, the headers when a module is built.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from secondsight.kernels import cache, debian, own
from secondsight.kernels.dax_modules import get_dax_modules
from secondsight.kernels.errors import KernelError
from secondsight.kernels.image import release_of
from secondsight.kernels.packages import OnBytes

__all__ = ["BUILDABLE", "GETTABLE", "HOST", "Kernel", "build", "get", "get_modules", "selftest_sources"]

HOST = "host"

Make = Callable[[Path, OnBytes], Path]


@dataclass(frozen=True)
class Known:
    """A kernel that can be had: how its entry is made in a scratch folder, by which command, and from what."""

    make: Make
    command: str
    facts: dict[str, str] = field(default_factory=dict)


def _get(version: str, make: Callable[[str, Path, OnBytes], Path]) -> Known:
    return Known(lambda scratch, progress: make(version, scratch, progress), f"secondsight kernel get {version}")


def _build(version: str) -> Known:
    facts = {"fragment": cache.checksum(own.fragment(version))}
    return Known(lambda scratch, progress: own.build(version, scratch, progress), f"secondsight kernel build {version}", facts)


GETTABLE = {
    "6.1": _get("6.1", debian.fetch),
    "6.12": _get("6.12", debian.fetch),
    "7.2": _get("7.2", debian.fetch_unstable),
}
BUILDABLE = {f"{version}-own": _build(version) for version in own.BUILDABLE}


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted: `name` as the user gives it, and `release` as it calls itself.

    `image` is None for the running kernel, which is not booted. `modules` are files that the agent loads, in this order, before it has a line to the host.
    `headers` is the tree against which modules are built (`make -C headers M=...`); None: there is none.
    `root`, when there is one, is a system around that tree, in which (chroot) its modules have to be built.
    """

    name: str
    image: Path | None
    release: str
    modules: tuple[Path, ...] = ()
    headers: Path | None = None
    root: Path | None = None

    @staticmethod
    def find(name: str) -> Kernel:
        """The kernel of that name in the cache, or the running one for `host`; `linux-6.12` and `6.12` mean the
        same. Raises KernelError when it is not there, or does not pass its check."""
        version = _version(name)
        if version == HOST:
            return Kernel(HOST, None, os.uname().release)
        folder = _folder(version)
        if not folder.exists():
            if known := _known().get(version):
                raise KernelError(f"kernel linux-{version} is not here", f"run: {known.command}")
            here = ", ".join(f"linux-{found}" for found in _cached()) or "none"
            can = ", ".join(f"linux-{known}" for known in _known())
            raise KernelError(
                f"no kernel {name}: made so far: {here}; can be fetched or built: {can}",
                "or give your own image with --kernel PATH",
            )
        parts = ("vmlinuz", "config", "modules")
        _check(version, parts)
        entry = cache.record(folder)
        image = folder / "vmlinuz"
        modules = tuple(folder / "modules" / module for module in entry["modules"])
        headers, root = (folder / entry[part] if part in entry else None for part in ("headers", "root"))
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
        if tree is not None and not ((tree / "Makefile").is_file() and (tree / "include/config/kernel.release").is_file()):
            raise KernelError(
                f"{tree} is not a tree that modules can be built against",
                "give a kernel's headers (/lib/modules/RELEASE/build) or a source tree after make modules_prepare",
            )
        release = release_of(path)
        if tree is not None:
            theirs = (tree / "include/config/kernel.release").read_text().strip()
            if theirs != release:
                raise KernelError(f"{tree} is of Linux {theirs}, and {path} is Linux {release}", "a kernel loads modules of its own release")
        return Kernel(path.name, path, release, (), tree.absolute() if tree else None)


    @property
    def config(self) -> dict[str, str]:
        """What the kernel's configuration sets, without CONFIG_, as far as it is known: {"UDMABUF": "y"}."""
        paths = [Path(f"/boot/config-{self.release}")]
        if self.image is not None:
            beside = self.image.name.replace("vmlinuz", "config") if "vmlinuz" in self.image.name else "config"
            paths = [self.image.with_name(beside)]
        for path in [*paths, *([self.headers / ".config"] if self.headers else [])]:
            if path.is_file():
                return dict(re.findall(r"^CONFIG_(\w+)=(.*)$", path.read_text(errors="replace"), re.MULTILINE))
        return {}


def get(name: str, progress: OnBytes | None = None) -> Kernel:
    """Fetch a kernel with its headers into the cache, unless it is there and passes its check, and return it.

    `progress(what, done, total)` is called now and then, with bytes. Processes that ask at the same
    time wait for the one that fetches. Raises KernelError: a tool is missing, or the release is not
    to be had from this machine's package sources.
    """
    version = _version(name)
    if version not in GETTABLE:
        raise KernelError(f"no kernel {name} to fetch", f"there are: {', '.join(GETTABLE)}")
    return _make(version, GETTABLE[version], progress)


def get_modules(kernel: Kernel, progress: OnBytes) -> None:
    """Fetch the modules for device-dax of a fetched kernel, unless they are here and whole: a kernel boots without them. Raises KernelError as `get` does."""
    get_dax_modules(kernel.release, cache.record(_folder(_version(kernel.name)))["packages"], progress)


def build(name: str, progress: OnBytes | None = None) -> Kernel:
    """Build the kernel of our own of a release (`6.12`), unless it is in the cache, passes its check and has the
    present configuration, and return it. `progress(what, done, total)` counts bytes, then steps of the build.
    Some minutes, and 3 GB of disk meanwhile. Raises KernelError."""
    version = _version(name).removesuffix("-own") + "-own"
    if version not in BUILDABLE:
        raise KernelError(f"no kernel {name} to build", f"there are: {', '.join(own.BUILDABLE)}")
    return _make(version, BUILDABLE[version], progress)


def _make(version: str, known: Known, progress: OnBytes | None) -> Kernel:
    tell = progress or (lambda what, done, total: None)
    cache.make_entry(_folder(version), lambda scratch: known.make(scratch, tell), **known.facts)
    return Kernel.find(version)


def selftest_sources(kernel: Kernel) -> Path:
    """The folder with the sources of the kernel's own tests, after its check. Raises KernelError: only a kernel
    of our own has them."""
    version = _version(kernel.name)
    if version not in BUILDABLE or kernel.image is None:
        can = ", ".join(f"linux-{name}" for name in BUILDABLE)
        raise KernelError(f"{kernel.name} comes without the kernel's own tests", f"those that have them: {can}")
    _check(version, ("selftests",))
    return kernel.image.with_name("selftests")


def checked_headers(kernel: Kernel) -> Path:
    """The tree against which a kernel's modules are built, after its check. Raises KernelError."""
    if kernel.headers is None:
        raise KernelError(f"there are no headers for {kernel.name}", "give its tree with --headers DIR")
    entries = cache.cache_folder() / "kernels"
    if kernel.headers.is_relative_to(entries):
        _check(kernel.headers.relative_to(entries).parts[0], ("headers",))
    return kernel.headers


def _check(version: str, parts: tuple[str, ...]) -> None:
    known = _known().get(version)
    problem = cache.damage(_folder(version), parts, **(known.facts if known else {}))
    if problem:
        folder = _folder(version)
        remedy = f"run: {known.command}" if known else f"remove the folder {folder}, which this version has no use for"
        raise KernelError(f"the cached kernel linux-{version} is damaged: {problem}", remedy)


def _known() -> dict[str, Known]:
    return {**GETTABLE, **BUILDABLE}


def _version(name: str) -> str:
    return name.removeprefix("linux-")


def _folder(version: str) -> Path:
    if not re.fullmatch(r"[0-9][\w.+-]*", version):
        raise KernelError(f"no kernel {version}", f"kernels are named by their release: {', '.join(_known())}")
    return cache.cache_folder() / "kernels" / version


def _cached() -> list[str]:
    return sorted(path.parent.name for path in (cache.cache_folder() / "kernels").glob(f"[0-9]*/{cache.RECORD}"))
