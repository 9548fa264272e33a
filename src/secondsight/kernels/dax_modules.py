"""The modules of a packaged kernel for memory that is a device's and has files: one for a special purpose (device-dax), and one with a file system (fs-dax).

They are in the package that the kernel's image came from, or beside it, and are an entry of the cache of their own: a kernel boots without them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from secondsight.kernels import cache
from secondsight.kernels.debian import load_order, module_of, unpack_modules
from secondsight.kernels.errors import KernelError
from secondsight.kernels.packages import CONFIGURED, OnBytes, Source, check_client, members, unstable, with_backports

__all__ = ["DEVICE_DAX", "FS_DAX", "dax_modules", "get_dax_modules", "has_dax_modules"]

DEVICE_DAX, FS_DAX = "device-dax", "fs-dax"
MODULES = {
    DEVICE_DAX: ("device_dax", "dax_hmem"),
    FS_DAX: ("nd_e820", "nd_pmem", "ext4"),
}
"""The driver of the file, and what makes the device: dax_hmem would have others loaded first that may want the memory; there are none here. And what makes a device of
memory that the boot line calls persistent, its driver, and the file system."""
NEEDED = {
    DEVICE_DAX: (),
    FS_DAX: ("libnvdimm", "nd_btt", "jbd2", "mbcache", "crc16", "crc32c_generic"),
}
"""What those depend on, where it is not in the kernel itself. crc32c_generic is asked for by name, and no module says so."""
IMAGE = re.compile(r"linux-(image|binary)-(.*)_[^_]*_amd64\.deb")
WANTED = " ".join(name for purpose in MODULES for name in (*MODULES[purpose], *NEEDED[purpose]))


def has_dax_modules(release: str) -> bool:
    """Whether they are here, for the kernel that calls itself so."""
    return cache.damage(_folder(release), wanted=WANTED) is None


def dax_modules(release: str, name: str, purpose: str) -> tuple[Path, ...]:
    """The files of the modules for device-dax or fs-dax for the kernel that calls itself `release`, in the order in which they are loaded. Raises KernelError: they are
    not here."""
    folder = _folder(release)
    problem = cache.damage(folder, wanted=WANTED)
    if problem:
        raise KernelError(f"the modules for {purpose} of {name} are not here: {problem}", f"run: secondsight kernel get {name.removeprefix('linux-')}")
    return tuple(folder / "modules" / purpose / module for module in cache.record(folder)["modules"][purpose])


def get_dax_modules(release: str, packages: Iterable[str], progress: OnBytes) -> None:
    """Fetch them into the cache, unless they are there and whole: of the kernel that calls itself `release` and came from files of these names. Raises KernelError."""
    image = next((found for package in packages if (found := IMAGE.fullmatch(package))), None)
    if image is None:
        raise KernelError(f"no package of a kernel among {', '.join(packages)}", "report this")
    cache.make_entry(_folder(release), lambda scratch: _make(release, image, scratch, progress), wanted=WANTED)


def _make(release: str, image: re.Match[str], scratch: Path, progress: OnBytes) -> Path:
    check_client()
    progress("looking for the kernel's modules", 0, 0)
    source, package = _find(image, scratch)
    (file,) = source.download([package], scratch / "packages", progress)
    made = scratch / "made"
    folders = {purpose: made / "modules" / purpose for purpose in MODULES}
    for folder in folders.values():
        folder.mkdir(parents=True)
    progress("unpacking", 0, 0)
    members(file, lambda name: _where(name, folders))
    for purpose, folder in folders.items():
        unpack_modules(folder)
        if missing := set(MODULES[purpose]) - {path.stem for path in folder.glob("*.ko")}:
            raise KernelError(f"{file.name} has no {', '.join(sorted(missing))}", "report this, with the kernel's name")
    orders = {purpose: load_order(folder) for purpose, folder in folders.items()}
    cache.write_record(made, ("modules",), package=file.name, release=release, wanted=WANTED, modules=orders)
    return made


def _where(name: str, folders: dict[str, Path]) -> Path | None:
    """Where a package's file goes, if it is one of the modules."""
    places = (module_of(name, folder, {*MODULES[purpose], *NEEDED[purpose]}) for purpose, folder in folders.items())
    return next((place for place in places if place), None)


def _find(image: re.Match[str], scratch: Path) -> tuple[Source, str]:
    """The package with a kernel's modules, and where it comes from: the image's own; of the unstable suite one beside it."""
    if image[1] == "binary":
        return unstable(scratch), f"linux-modules-{image[2]}"
    package = f"linux-image-{image[2]}"
    source = CONFIGURED if package in CONFIGURED.names(f"^{re.escape(package)}$") else with_backports(scratch)
    return source, package


def _folder(release: str) -> Path:
    return cache.cache_folder() / "dax_modules" / release
