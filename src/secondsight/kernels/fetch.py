"""Fetching Debian's kernels: `get("6.12")` puts one into the cache, `Kernel.find` finds it there.

The package comes from the machine's own package client and its configured sources (`apt-get
download`, which checks signatures); no root is needed and nothing is installed. When the configured
lists do not have the release, the backports suite beside them is looked at too, with list folders
of our own. What is kept of the package is the kernel image and its configuration.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from secondsight.kernels.cache import cache_folder, locked
from secondsight.kernels.errors import KernelError

__all__ = ["GETTABLE", "Kernel", "get"]

GETTABLE = ("6.12",)  # the releases that `get` knows to carry what the agent needs

Progress = Callable[[str, int, int], None]  # what is being done, bytes so far, bytes in all (0: not known)


@dataclass(frozen=True)
class Kernel:
    """A kernel image that can be booted: `name` as the user gives it, and `release` as it calls itself."""

    name: str
    image: Path
    release: str

    @staticmethod
    def find(name: str) -> Kernel:
        """The fetched kernel of that name: `linux-6.12` and `6.12` mean the same. Raises KernelError
        when it is not in the cache, or does not pass its check."""
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
        problem = _damage(folder)
        if problem:
            raise KernelError(
                f"the cached kernel linux-{version} is damaged: {problem}",
                f"run: secondsight kernel get {version}",
            )
        image = folder / "vmlinuz"
        return Kernel(f"linux-{version}", image, _release(image))

    @staticmethod
    def from_path(path: str | Path) -> Kernel:
        """The user's own x86 kernel image (a bzImage, as in /boot/vmlinuz-*). It needs CONFIG_VIRTIO_PCI,
        VIRTIO_CONSOLE, DEVTMPFS and BLK_DEV_INITRD built in, and CONFIG_UDMABUF for scenarios with udmabufs.
        Raises KernelError when the file is not such an image."""
        path = Path(path)
        if not path.is_file():
            raise KernelError(f"no kernel image at {path}", "give the path of a bzImage")
        return Kernel(path.name, path, _release(path))


def get(name: str, progress: Progress | None = None) -> Kernel:
    """Fetch a kernel into the cache, unless it is there and passes its check, and return it.

    `progress(what, done, total)` is called now and then, with bytes. Processes that ask at the same
    time wait for the one that fetches. Raises KernelError: a tool is missing, or the release is not
    to be had from this machine's package sources.
    """
    version = _version(name)
    if version not in GETTABLE:
        raise KernelError(f"no kernel {name} to fetch", f"there are: {', '.join(GETTABLE)}")
    folder = _folder(version)
    with locked(folder):
        if not folder.exists() or _damage(folder):
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{version}-") as scratch:
                made = _fetch(version, Path(scratch), progress or (lambda what, done, total: None))
                shutil.rmtree(folder, ignore_errors=True)
                os.rename(made, folder)
    return Kernel.find(version)


def _version(name: str) -> str:
    return name.removeprefix("linux-")


def _folder(version: str) -> Path:
    if not re.fullmatch(r"[0-9][\w.+-]*", version):
        raise KernelError(f"no kernel {version}", f"kernels are named by their release: {', '.join(GETTABLE)}")
    return cache_folder() / "kernels" / version


def _cached() -> list[str]:
    return sorted(path.parent.name for path in (cache_folder() / "kernels").glob("[0-9]*/kernel.json"))


def _damage(folder: Path) -> str | None:
    """What is wrong with a cache entry; None: its image is the one that was fetched."""
    image = folder / "vmlinuz"
    try:
        entry = json.loads((folder / "kernel.json").read_text())
        size, digest = entry["size"], entry["sha256"]
        if image.stat().st_size != size:
            return f"the image has {image.stat().st_size} bytes, not {size}"
        if hashlib.sha256(image.read_bytes()).hexdigest() != digest:
            return "the image's checksum is wrong"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return str(error)
    return None


def _release(image: Path) -> str:
    """The release that a bzImage names in its header (Documentation/arch/x86/boot.rst)."""
    with open(image, "rb") as file:
        header = file.read(0x10000)
    if header[0x202:0x206] != b"HdrS":
        raise KernelError(f"{image} is not a bootable x86 kernel image", "give the path of a bzImage")
    start = int.from_bytes(header[0x20E:0x210], "little") + 0x200
    text = header[start : start + 200].split(b"\0")[0].decode(errors="replace")
    return text.split(" ")[0]


# The package client


def _fetch(version: str, scratch: Path, progress: Progress) -> Path:
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise KernelError(
                f"{tool} is not there: Debian's kernels are fetched with Debian's package client",
                "fetch on a Debian machine, or give a kernel image of your own with --kernel PATH",
            )
    progress("looking for the package", 0, 0)
    options, package = _find_package(version, scratch)
    file_name, size = _offer(options, package)
    _download(options, package, scratch / file_name, size, progress)
    progress("unpacking", size, size)
    return _unpack(scratch / file_name, package, scratch / "made")


def _find_package(version: str, scratch: Path) -> tuple[list[str], str]:
    """The package to download, and the apt options under which it is found."""
    options: list[str] = []
    package = _newest(version, options)
    if package is None:
        options = _own_lists(scratch)
        _run(["apt-get", *options, "update"])
        package = _newest(version, options)
    if package is None:
        raise KernelError(
            f"the configured package sources have no linux-image-{version}",
            "add a source that has it (Debian's security or backports suite), or use --kernel PATH",
        )
    return options, package


def _newest(version: str, options: list[str]) -> str | None:
    pattern = rf"linux-image-{re.escape(version)}[.](\d+)\S*-amd64(-unsigned)?"
    found = _run(["apt-cache", *options, "search", "--names-only", f"^linux-image-{re.escape(version)}"])
    names = [line.split(" ")[0] for line in found.splitlines()]
    names = [name for name in names if re.fullmatch(pattern, name) and not re.search(r"-(cloud|rt)-", name)]
    return max(
        names,
        key=lambda name: [int(n) for n in re.findall(r"\d+", name.removesuffix("-amd64"))],
        default=None,
    )


def _own_lists(scratch: Path) -> list[str]:
    """apt options for the configured sources plus their backports suite, with lists of our own."""
    lines = set()
    for target in _targets():
        trust = f"[signed-by={target['Signed-By']}] " if target.get("Signed-By") else ""
        uri, suite, component = target["Repo-URI"], target["Release"], target["Component"]
        lines.add(f"deb {trust}{uri} {suite} {component}")
        if "-" not in suite:
            lines.add(f"deb {trust}{uri} {target['Codename']}-backports {component}")
    if not lines:
        raise KernelError("the package client has no sources configured", "configure apt, or use --kernel PATH")
    (scratch / "sources.list").write_text("\n".join(sorted(lines)) + "\n")
    for folder in ("lists/partial", "archives/partial"):
        (scratch / folder).mkdir(parents=True)
    settings = {
        "Dir::Etc::sourcelist": scratch / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::Lists": scratch / "lists",
        "Dir::Cache": scratch,
        "APT::Sandbox::User": "",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _targets() -> Iterator[dict[str, str]]:
    for stanza in _run(["apt-get", "indextargets", "Created-By: Packages"]).split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if {"Repo-URI", "Release", "Codename", "Component"} <= fields.keys():
            yield fields


def _offer(options: list[str], package: str) -> tuple[str, int]:
    """The file name and size of a package as the client would download it."""
    offer = _run(["apt-get", *options, "download", "--print-uris", package])
    found = re.search(r"^'[^']*' (\S+) (\d+) ", offer, re.MULTILINE)
    if found is None:
        raise KernelError(f"the package client offers no file for {package}: {offer.strip()}", "run apt-get update")
    return found[1], int(found[2])


def _download(options: list[str], package: str, target: Path, size: int, progress: Progress) -> None:
    command = ["apt-get", *options, "-q", "-o", "APT::Sandbox::User=", "download", package]
    with subprocess.Popen(
        command,
        cwd=target.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    ) as client:
        try:
            while client.poll() is None:
                progress("downloading", _size_now(target), size)
                try:
                    client.wait(0.2)
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            client.terminate()
            raise
        said = client.stdout.read() if client.stdout else ""
    if client.returncode or _size_now(target) != size:
        raise KernelError(f"{package} could not be downloaded: {said.strip()[-1500:]}", "run apt-get update, try again")


def _size_now(target: Path) -> int:
    """The size of the file, or of the unfinished one that the client will rename to it."""
    for path in (target, *target.parent.glob("partial/*"), *target.parent.glob(f"{target.name}*")):
        if path.is_file():
            return path.stat().st_size
    return 0


def _unpack(package_file: Path, package: str, made: Path) -> Path:
    """Take the kernel and its configuration out of the package, and record what they are."""
    made.mkdir()
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package_file)], stdout=subprocess.PIPE) as unpacker:
        assert unpacker.stdout is not None
        with tarfile.open(fileobj=unpacker.stdout, mode="r|") as archive:
            for member in archive:
                kind = re.fullmatch(r"(?:\./)?boot/(vmlinuz|config)-.*", member.name)
                content = archive.extractfile(member) if kind and member.isfile() else None
                if kind and content:
                    (made / kind[1]).write_bytes(content.read())
    image = made / "vmlinuz"
    if unpacker.returncode or not image.exists():
        raise KernelError(f"the package {package} has no kernel image in it", "report this, with the package's name")
    data = image.read_bytes()
    entry = {
        "package": package,
        "file": package_file.name,
        "release": _release(image),
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    (made / "kernel.json").write_text(json.dumps(entry, indent=1) + "\n")
    return made


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        raise KernelError(f"{' '.join(command[:1])} failed: {(done.stderr or done.stdout).strip()[-1500:]}")
    return done.stdout
