"""Debian's packages through the machine's own package client: found, downloaded, unpacked.

`apt-get download` checks signatures, needs no root and installs nothing. Where packages come from is
a `Source`: the machine's configured lists, or lists of our own in a scratch folder, written from the
configured sources with another suite beside or instead. The machine's own lists are left alone.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from secondsight.kernels.errors import KernelError

__all__ = [
    "CONFIGURED", "OnBytes", "Source", "check_client", "members", "newest", "run", "source_package", "unpack", "unstable", "with_backports",
]  # fmt: skip

OnBytes = Callable[[str, int, int], None]  # what is being done, how much so far, how much in all (0: not known)


@dataclass(frozen=True)
class Source:
    """Where packages come from: the package client's options for it."""

    options: tuple[str, ...] = ()

    def names(self, pattern: str) -> list[str]:
        """The packages whose names match a regular expression, as the client understands it."""
        found = run(["apt-cache", *self.options, "search", "--names-only", pattern])
        return [line.split(" ")[0] for line in found.splitlines()]

    def depends(self, package: str) -> list[str]:
        """What a package depends on, first alternatives only."""
        found = run(["apt-cache", *self.options, "show", "--no-all-versions", package])
        line = re.search(r"^Depends: (.*)$", found, re.MULTILINE)
        return [re.split(r"[\s:|(]", part.strip())[0] for part in line[1].split(",")] if line else []

    def offers(self, packages: Iterable[str]) -> list[tuple[str, int]]:
        """File name and size of each package as the client would download it."""
        names = list(packages)
        offer = run(["apt-get", *self.options, "download", "--print-uris", *names])
        found = re.findall(r"^'[^']*' (\S+) (\d+) ", offer, re.MULTILINE)
        if len(found) != len(names):
            raise KernelError(f"the package client does not offer all of {', '.join(names)}: {offer.strip()}", "run apt-get update")
        return [(file_name, int(size)) for file_name, size in found]

    def download(self, packages: Iterable[str], folder: Path, progress: OnBytes) -> list[Path]:
        """Download packages into a new folder; their files, in the order asked for. Raises KernelError."""
        names = list(packages)
        offers = self.offers(names)
        folder.mkdir()
        command = ["apt-get", *self.options, "-q", "-o", "APT::Sandbox::User=", "download", *names]
        _download(command, folder, sum(size for _, size in offers), progress)
        for file_name, size in offers:
            if not (folder / file_name).is_file() or (folder / file_name).stat().st_size != size:
                raise KernelError(f"{file_name} did not arrive whole", "run apt-get update, try again")
        file_of = {file_name.split("_")[0]: folder / file_name for file_name, _ in offers}
        return [file_of[name] for name in names]

    def closure(self, packages: Iterable[str], folder: Path, progress: OnBytes) -> list[Path]:
        """Download packages with all that they depend on into a new folder; every file. For a source with an
        empty status: elsewhere what the machine has installed is left out. Raises KernelError."""
        (folder / "archives/partial").mkdir(parents=True)
        command = ["apt-get", *self.options, "-o", f"Dir::Cache={folder}", "-q", "-y", "--no-install-recommends", "install"]
        offer = run([*command, "--print-uris", *packages])
        sizes = [int(size) for size in re.findall(r"^'[^']*' \S+ (\d+) ", offer, re.MULTILINE)]
        _download([*command, "--download-only", *packages], folder / "archives", sum(sizes), progress)
        files = sorted((folder / "archives").glob("*.deb"))
        if sorted(path.stat().st_size for path in files) != sorted(sizes):
            raise KernelError(f"of {len(sizes)} packages {len(files)} arrived, or not whole", "try again")
        return files


def _download(command: list[str], folder: Path, size: int, progress: OnBytes) -> None:
    """Run a command of the package client that downloads `size` bytes into a folder."""
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    ) as client:
        try:
            while client.poll() is None:
                progress("downloading", min(_bytes_in(folder), size), size)
                try:
                    client.wait(0.2)
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            client.terminate()
            raise
        said = client.stdout.read() if client.stdout else ""
    if client.returncode:
        is_full = re.search(rf"\({errno.ENOSPC}: |{os.strerror(errno.ENOSPC)}", said)  # in whatever language the client speaks
        remedy = f"make room for {size / 1e6:.0f} MB, or set SECONDSIGHT_CACHE to a folder on another disk" if is_full else "run apt-get update, try again"
        raise KernelError(f"the download failed: {said.strip()[-1500:]}", remedy)


CONFIGURED = Source()


def check_client() -> None:
    """Raises KernelError unless Debian's package tools are there."""
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise KernelError(
                f"{tool} is not there: Debian's kernels are fetched with Debian's package client",
                "fetch on a Debian machine, or give a kernel image of your own with --kernel PATH",
            )


def newest(packages: Iterable[str], pattern: str) -> str | None:
    """The package of the highest version among those that a regular expression matches whole."""
    return max(
        (name for name in packages if re.fullmatch(pattern, name)),
        key=lambda name: [int(n) for n in re.findall(r"\d+", name.removesuffix("-unsigned").removesuffix("-amd64"))],
        default=None,
    )


def with_backports(scratch: Path) -> Source:
    """The configured sources plus the backports suite beside each, with lists of our own."""
    lines = set()
    for target in _targets():
        lines.add(_line(target, target["Release"]))
        if "-" not in target["Release"]:
            lines.add(_line(target, f"{target['Codename']}-backports"))
    return _own_lists(scratch, lines)


def unstable(scratch: Path) -> Source:
    """Debian's unstable suite, from where the configured sources have Debian's main archive, with lists of our
    own and as if nothing were installed."""
    lines = {_line(target, "unstable") for target in _targets() if "-" not in target["Release"] and target["Component"] == "main"}
    (scratch / "status").write_text("")
    return _own_lists(scratch, lines, {"Dir::State::status": scratch / "status"})


def _line(target: dict[str, str], suite: str) -> str:
    trust = f"[signed-by={target['Signed-By']}] " if target.get("Signed-By") else ""
    return f"deb {trust}{target['Repo-URI']} {suite} {target['Component']}"


def _own_lists(scratch: Path, lines: set[str], more: dict[str, Path] | None = None) -> Source:
    """A source with these lines, its lists fetched into the scratch folder."""
    if not lines:
        raise KernelError("the package client has no sources of Debian configured", "configure apt, or use --kernel PATH")
    (scratch / "sources.list").write_text("\n".join(sorted(lines)) + "\n")
    for folder in ("lists/partial", "archives/partial"):
        (scratch / folder).mkdir(parents=True)
    settings = {
        "Dir::Etc::sourcelist": scratch / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::Lists": scratch / "lists",
        "Dir::Cache": scratch,
        "APT::Sandbox::User": "",
        **(more or {}),
    }
    options = tuple(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))
    run(["apt-get", *options, "update"])
    return Source(options)


def _targets() -> Iterator[dict[str, str]]:
    """Debian's archives among the machine's sources, as the package client tells."""
    for stanza in run(["apt-get", "indextargets", "Created-By: Packages"]).split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if {"Repo-URI", "Release", "Codename", "Component"} <= fields.keys() and fields.get("Origin", "Debian") == "Debian":
            yield fields


FROM_UNSTABLE = ("7.2",)
"""Releases that only the unstable suite has."""


def source_package(version: str, scratch: Path) -> tuple[Source, str]:
    """The package with the source of a release, and where it comes from. Raises KernelError: there is none."""
    name = f"linux-source-{version}"
    if version in FROM_UNSTABLE:
        source = unstable(scratch)
        found = name in source.names(f"^{re.escape(name)}$")
    else:
        source = CONFIGURED
        found = name in source.names(f"^{re.escape(name)}$")
        if not found:
            source = with_backports(scratch)
            found = name in source.names(f"^{re.escape(name)}$")
    if not found:
        where = "Debian's unstable suite has" if version in FROM_UNSTABLE else "the configured package sources have"
        raise KernelError(f"{where} no {name}", "add a source that has it (Debian's security or backports suite)")
    return source, name


def unpack(package_file: Path, folder: Path) -> None:
    """Unpack a package's files below a folder, which need not be there."""
    run(["dpkg-deb", "-x", str(package_file), str(folder)])


def members(package_file: Path, wanted: Callable[[str], Path | None]) -> None:
    """Take single files out of a package: `wanted` says for each name, such as boot/vmlinuz-6.12, where to."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package_file)], stdout=subprocess.PIPE) as unpacker:
        assert unpacker.stdout is not None
        with tarfile.open(fileobj=unpacker.stdout, mode="r|") as archive:
            for member in archive:
                target = wanted(member.name.removeprefix("./")) if member.isfile() else None
                content = archive.extractfile(member) if target else None
                if target and content:
                    with content, open(target, "wb") as file:
                        shutil.copyfileobj(content, file)
    if unpacker.returncode:
        raise KernelError(f"{package_file.name} cannot be unpacked", "try again; report this if it happens twice")


def run(command: list[str]) -> str:
    """A tool's output. Raises KernelError with what it said when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        raise KernelError(f"{' '.join(command[:1])} failed: {(done.stderr or done.stdout).strip()[-1500:]}")
    return done.stdout


def _bytes_in(folder: Path) -> int:
    """The bytes that have arrived: whole files, and unfinished ones that the client will rename."""
    size = 0
    for path in (*folder.iterdir(), *folder.glob("partial/*")):
        try:
            size += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # renamed just now
            continue
    return size
