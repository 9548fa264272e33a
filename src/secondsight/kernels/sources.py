"""The packaged source of a kernel, the part that files of it are compiled from: an entry of the cache beside the kernels'.

Kept are every header, and the C files of the folders in `FOLDERS`. Nothing of it is part of this project: it is fetched by
the machine's package client, and checked whenever it is used.
"""

from __future__ import annotations

import lzma
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from secondsight.kernels import cache
from secondsight.kernels.catalog import Kernel, checked_headers, get
from secondsight.kernels.errors import KernelError
from secondsight.kernels.packages import OnBytes, check_client, members, source_package

__all__ = ["KernelSource", "find_source", "get_source"]

RELEASES = ("6.1", "6.12", "7.2")

FOLDERS = ("mm", "lib", "fs", "drivers/dma-buf", "virt/kvm", "kernel/rcu", "kernel/locking")
"""The folders whose C files are kept."""
HEADERS = re.compile(r"(include|arch/x86|mm|lib|kernel|fs|drivers/dma-buf|drivers/base|virt/kvm|security)/.*\.h$")


@dataclass(frozen=True)
class KernelSource:
    """The source of a release and what it is compiled with: `tree` is the source, `headers` what the kernel was built with.

    `key` stands for the contents of both.
    """

    release: str
    tree: Path
    headers: Path
    key: str


def find_source(release: str) -> KernelSource:
    """The source of a release in the cache, after its check. Raises KernelError: it is not here, or is damaged."""
    version = _version(release)
    remedy = f"run: secondsight conform linux-{version}, which fetches it"
    folder = _folder(version)
    if not folder.exists():
        raise KernelError(f"the source of linux-{version} is not here", remedy)
    problem = cache.damage(folder, folders=" ".join(FOLDERS))
    if problem:
        raise KernelError(f"the source of linux-{version} is damaged: {problem}", remedy)
    kernel = Kernel.find(version)
    headers = checked_headers(kernel)
    parts = cache.record(folder)["parts"]["tree"]["sha256"], kernel.release
    return KernelSource(f"linux-{version}", folder / "tree", headers, " ".join(parts))


def get_source(release: str, progress: OnBytes | None = None) -> KernelSource:
    """Fetch the source of a release and the kernel that it is the source of, unless they are here and whole; mend them where
    they are not. `progress(what, done, total)` counts bytes. Raises KernelError."""
    version = _version(release)
    tell = progress or (lambda what, done, total: None)
    get(version, tell)
    cache.make_entry(_folder(version), lambda scratch: _make(version, scratch, tell), folders=" ".join(FOLDERS))
    return find_source(version)


def _make(version: str, scratch: Path, progress: OnBytes) -> Path:
    """Make the entry in a scratch folder."""
    check_client()
    progress("looking for the source", 0, 0)
    source, name = source_package(version, scratch)
    (package,) = source.download([name], scratch / "packages", progress)
    archive = scratch / "source.tar.xz"
    progress("unpacking the source", 0, 0)
    members(package, lambda member: archive if member == f"usr/src/{name}.tar.xz" else None)
    if not archive.exists():
        raise KernelError(f"{package.name} has no {name}.tar.xz", "report this, with the kernel's name")
    entry = scratch / "entry"
    size = archive.stat().st_size
    with open(archive, "rb") as packed, lzma.open(packed) as text, tarfile.open(fileobj=text, mode="r|") as tar:
        for count, member in enumerate(tar):
            inside = member.name.partition("/")[2]
            if member.isfile() and _is_kept(inside):
                target = entry / "tree" / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None
                target.write_bytes(content.read())
            if count % 500 == 0:
                progress("unpacking the source", packed.tell(), size)
    cache.write_record(entry, ("tree",), package=package.name, folders=" ".join(FOLDERS))
    return entry


def _is_kept(name: str) -> bool:
    """Whether a file of the source is kept."""
    folder, _, file = name.rpartition("/")
    return bool(HEADERS.match(name)) or (file.endswith(".c") and folder in FOLDERS)


def _version(release: str) -> str:
    version = release.removeprefix("linux-")
    if version not in RELEASES:
        raise KernelError(f"no source of {release}", f"there are: {', '.join(f'linux-{known}' for known in RELEASES)}")
    return version


def _folder(version: str) -> Path:
    return cache.cache_folder() / "sources" / version
