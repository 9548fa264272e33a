"""Debian's packaged kernels as cache entries: the image with what the agent needs, and the headers.

`fetch`: a release of the configured lists, or of the backports suite beside them. Of the image's
package are kept the image, its configuration, and those of the virtio modules that are not built in.
The headers' packages are unpacked whole, but for the type information that would ask for another tool
when a module is built.

`fetch_unstable`: a release that only the unstable suite has. Its headers want that suite's compiler and
C library, so `headers/` is a small system of that suite, in which its modules are built (`modules`).
"""

from __future__ import annotations

import lzma
import re
import shutil
from pathlib import Path

from secondsight.kernels import cache
from secondsight.kernels.errors import KernelError
from secondsight.kernels.image import release_of
from secondsight.kernels.packages import (
    CONFIGURED,
    OnBytes,
    Source,
    check_client,
    members,
    newest,
    unpack,
    unstable,
    with_backports,
)

__all__ = ["fetch", "fetch_unstable", "load_order", "module_of", "unpack_modules"]

TOOLS = ("make", "dash", "coreutils", "findutils", "grep", "mawk", "sed")
"""What building a module takes besides the packages that the headers depend on."""

MOUNT_POINTS = ("proc", "dev", "module")

LINE_MODULES = {"virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_console"}
"""What carries the agent's line, where it is not built in."""


def fetch(version: str, scratch: Path, progress: OnBytes) -> Path:
    """Make the entry of a packaged kernel in a scratch folder. Raises KernelError."""
    check_client()
    progress("looking for the packages", 0, 0)
    source, image = _find(version, scratch)
    names = [image, *_headers_of(source, image)]
    files = source.download(names, scratch / "packages", progress)
    progress("unpacking", 0, 0)
    made = scratch / "made"
    _take_image(files[0], made)
    for file in files[1:]:
        unpack(file, made / "headers")
    tree = _tree(made / "headers")
    makefile = tree / "Makefile"
    # The tree includes its common half by an absolute path: make that a path from where the Makefile is.
    here = "include $(dir $(lastword $(MAKEFILE_LIST)))../"
    makefile.write_text(re.sub(r"^include /usr/src/", here, makefile.read_text(), flags=re.MULTILINE))
    _record(made, files, tree)
    return made


def fetch_unstable(version: str, scratch: Path, progress: OnBytes) -> Path:
    """Make the entry of the unstable suite's kernel, of this release or a newer one, in a scratch folder.
    Raises KernelError."""
    check_client()
    progress("looking for the packages", 0, 0)
    source = unstable(scratch)
    at_least = [int(n) for n in version.split(".")]
    binary = newest(source.names(r"^linux-binary-[0-9.]+"), r"linux-binary-(\d+[.]){2}\d+[^-]*-amd64")
    if binary is None or [int(n) for n in re.findall(r"\d+", binary)[:2]] < at_least:
        raise KernelError(f"Debian's unstable suite has no kernel {version} or newer: its newest is {binary}")
    release = binary.removeprefix("linux-binary-")
    files = source.closure([binary, f"linux-base-{release}", f"linux-headers-{release}", *TOOLS], scratch / "packages", progress)
    progress("unpacking", 0, 0)
    made = scratch / "made"
    root = made / "headers"
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in MOUNT_POINTS:
        (root / name).mkdir()
    for file in files:
        if file.name.startswith(("linux-binary-", "linux-base-")):
            _take_image(file, made)
        else:
            unpack(file, root)
    for name in ("doc", "man", "locale"):
        shutil.rmtree(root / "usr/share" / name, ignore_errors=True)
    (root / "usr/bin/awk").symlink_to("mawk")
    _record(made, files, _tree(root), root="headers")
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
    """Take the kernel, its configuration and the modules of the agent's line out of a package, where it has them."""
    modules = made / "modules"
    modules.mkdir(parents=True, exist_ok=True)

    def wanted(name: str) -> Path | None:
        if kind := re.fullmatch(r"boot/(vmlinuz|config)-.*|usr/lib/modules/[^/]+/(vmlinuz|config)", name):
            return made / (kind[1] or kind[2])
        return module_of(name, modules, LINE_MODULES)

    members(package_file, wanted)
    unpack_modules(modules)


def module_of(name: str, folder: Path, wanted: set[str]) -> Path | None:
    """Where in a folder the file of a package belongs, if it is one of the modules of those names."""
    module = re.fullmatch(r"(?:usr/)?lib/modules/[^/]+/kernel/.*/([^/]+)\.ko(\.xz)?", name)
    if module and (base := module[1].replace("-", "_")) in wanted:
        return folder / f"{base}.ko{module[2] or ''}"
    return None


def unpack_modules(folder: Path) -> None:
    """Unpack the packed ones among the modules in a folder."""
    for packed in folder.glob("*.xz"):
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()


def _record(made: Path, files: list[Path], tree: Path, **more: str) -> None:
    """Write the entry's record."""
    for name in ("vmlinuz", "config"):
        if not (made / name).exists():
            raise KernelError(f"there is no {name} in {', '.join(file.name for file in files)}", "report this")
    cache.write_record(
        made,
        ("vmlinuz", "config", "modules", "headers"),
        packages=[file.name for file in files],
        release=release_of(made / "vmlinuz"),
        modules=load_order(made / "modules"),
        headers=str(tree.relative_to(made)),
        **more,
    )


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


def _tree(root: Path) -> Path:
    """The tree for `make -C` among headers that were unpacked below `root`."""
    trees = [path for path in root.glob("usr/src/linux-headers-*") if (path / ".config").exists()]
    if len(trees) != 1:
        raise KernelError("the headers' packages have no tree in them", "report this, with the kernel's name")
    # With vmlinux there, each module would get type information (BTF), which takes a tool (pahole) and has no user here.
    (trees[0] / "vmlinux").unlink(missing_ok=True)
    return trees[0]
