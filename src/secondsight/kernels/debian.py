"""Debian's packaged kernels as cache entries: the image with what the agent needs, and the headers.

When the configured lists do not have the release, the backports suite beside them is looked at too.
Of the image's package are kept the image, its configuration, and those of the virtio modules that
are not built in. The headers' packages are unpacked whole, but for the type information that would ask
for another tool when a module is built.
"""

from __future__ import annotations

import lzma
import re
from pathlib import Path

from secondsight.kernels import cache
from secondsight.kernels.errors import KernelError
from secondsight.kernels.image import release_of
from secondsight.kernels.packages import CONFIGURED, Progress, Source, check_client, members, newest, unpack, with_backports

__all__ = ["fetch"]

LINE_MODULES = {"virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_console"}
"""What carries the agent's line, where it is not built in."""


def fetch(version: str, scratch: Path, progress: Progress) -> Path:
    """Make the entry of a packaged kernel in a scratch folder. Raises KernelError."""
    check_client()
    progress("looking for the packages", 0, 0)
    source, image = _find(version, scratch)
    names = [image, *_headers_of(source, image)]
    files = source.download(names, scratch / "packages", progress)
    progress("unpacking", 0, 0)
    made = scratch / "made"
    made.mkdir()
    _take_image(files[0], made)
    for file in files[1:]:
        unpack(file, made / "headers")
    tree = settle_headers(made / "headers")
    cache.write_record(
        made,
        ("vmlinuz", "config", "modules", "headers"),
        packages=[file.name for file in files],
        release=release_of(made / "vmlinuz"),
        modules=load_order(made / "modules"),
        headers=str(tree.relative_to(made)),
    )
    return made


def _find(version: str, scratch: Path) -> tuple[Source, str]:
    """The image's package, and the source in which it is found."""
    source = CONFIGURED
    package = _image_package(source, version)
    if package is None:
        source = with_backports(scratch)
        package = _image_package(source, version)
    if package is None:
        raise KernelError(
            f"the configured package sources have no linux-image-{version}",
            "add a source that has it (Debian's security or backports suite), or use --kernel PATH",
        )
    return source, package


def _image_package(source: Source, version: str) -> str | None:
    names = source.names(f"^linux-image-{re.escape(version)}")
    plain = [name for name in names if not re.search(r"-(cloud|rt)-", name)]
    return newest(plain, rf"linux-image-{re.escape(version)}[.](\d+)\S*-amd64(-unsigned)?")


def _headers_of(source: Source, image: str) -> list[str]:
    """The packages that make up the headers of an image's package."""
    flavour = "linux-headers-" + image.removeprefix("linux-image-").removesuffix("-unsigned")
    parts = [name for name in source.depends(flavour) if re.fullmatch(r"linux-(headers-.*-common|kbuild-.*)", name)]
    return [flavour, *parts]


def _take_image(package_file: Path, made: Path) -> None:
    """Take the kernel, its configuration and the modules of the agent's line out of a package."""
    modules = made / "modules"
    modules.mkdir()

    def wanted(name: str) -> Path | None:
        if kind := re.fullmatch(r"boot/(vmlinuz|config)-.*", name):
            return made / kind[1]
        module = re.fullmatch(r"(?:usr/)?lib/modules/[^/]+/kernel/.*/([^/]+)\.ko(\.xz)?", name)
        if module and (base := module[1].replace("-", "_")) in LINE_MODULES:
            return modules / f"{base}.ko{module[2] or ''}"
        return None

    members(package_file, wanted)
    for packed in modules.glob("*.xz"):
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()
    if not (made / "vmlinuz").exists() or not (made / "config").exists():
        raise KernelError(f"the package {package_file.name} has no kernel image in it", "report this, with the package's name")


def load_order(folder: Path) -> list[str]:
    """The names of the modules in a folder, each after those that it says it depends on. Raises KernelError
    when one of them is not there."""
    needs = {}
    for path in sorted(folder.glob("*.ko")):
        said = re.search(rb"\0depends=([\w,-]*)\0", path.read_bytes())
        needs[path.stem] = [name.replace("-", "_") for name in said[1].decode().split(",") if name] if said else []
    order: list[str] = []

    def add(name: str, user: str) -> None:
        if name not in needs:
            raise KernelError(f"the module {user} depends on {name}, which was not taken along", "report this, with the kernel's name")
        if f"{name}.ko" not in order:
            for needed in needs[name]:
                add(needed, name)
            order.append(f"{name}.ko")

    for name in needs:
        add(name, name)
    return order


def settle_headers(root: Path) -> Path:
    """Make headers that were unpacked below `root` usable there, and return the tree for `make -C`."""
    trees = [path for path in root.glob("usr/src/linux-headers-*") if (path / ".config").exists()]
    if len(trees) != 1:
        raise KernelError("the headers' packages have no tree in them", "report this, with the kernel's name")
    tree = trees[0]
    makefile = tree / "Makefile"
    # The tree includes its common half by an absolute path: make that a path from where the Makefile is.
    makefile.write_text(re.sub(r"^include /usr/src/", "include $(dir $(lastword $(MAKEFILE_LIST)))../", makefile.read_text(), flags=re.M))
    # With vmlinux there, each module would get type information (BTF), which takes a tool (pahole) and has no user here.
    (tree / "vmlinux").unlink(missing_ok=True)
    return tree
