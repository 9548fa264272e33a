"""The modules of a packaged kernel that make a device of memory for a special purpose, with a file to map (device-dax).

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

__all__ = ["dax_modules", "get_dax_modules", "has_dax_modules"]

MODULES = {"device_dax", "dax_hmem"}
"""The driver of the file, and what makes the device. dax_hmem would have others loaded first that may want the memory; there are none here."""
IMAGE = re.compile(r"linux-(image|binary)-(.*)_[^_]*_amd64\.deb")


def has_dax_modules(release: str) -> bool:
    """Whether they are here, for the kernel that calls itself so."""
    return cache.damage(_folder(release)) is None


def dax_modules(release: str, name: str) -> tuple[Path, ...]:
    """The files of the modules for the kernel that calls itself `release`, in the order in which they are loaded. Raises KernelError: they are not here."""
    folder = _folder(release)
    problem = cache.damage(folder)
    if problem:
        raise KernelError(f"the modules for device-dax of {name} are not here: {problem}", f"run: secondsight kernel get {name.removeprefix('linux-')}")
    return tuple(folder / "modules" / module for module in cache.record(folder)["modules"])


def get_dax_modules(release: str, packages: Iterable[str], progress: OnBytes) -> None:
    """Fetch them into the cache, unless they are there and whole: of the kernel that calls itself `release` and came from files of these names. Raises KernelError."""
    image = next((found for package in packages if (found := IMAGE.fullmatch(package))), None)
    if image is None:
        raise KernelError(f"no package of a kernel among {', '.join(packages)}", "report this")
    cache.make_entry(_folder(release), lambda scratch: _make(release, image, scratch, progress))


def _make(release: str, image: re.Match[str], scratch: Path, progress: OnBytes) -> Path:
    check_client()
    progress("looking for the kernel's modules", 0, 0)
    source, package = _find(image, scratch)
    (file,) = source.download([package], scratch / "packages", progress)
    made = scratch / "made"
    (made / "modules").mkdir(parents=True)
    progress("unpacking", 0, 0)
    members(file, lambda name: module_of(name, made / "modules", MODULES))
    unpack_modules(made / "modules")
    missing = MODULES - {path.stem for path in (made / "modules").glob("*.ko")}
    if missing:
        raise KernelError(f"{file.name} has no {', '.join(sorted(missing))}", "report this, with the kernel's name")
    cache.write_record(made, ("modules",), package=file.name, release=release, modules=load_order(made / "modules"))
    return made


def _find(image: re.Match[str], scratch: Path) -> tuple[Source, str]:
    """The package with a kernel's modules, and where it comes from: the image's own; of the unstable suite one beside it."""
    if image[1] == "binary":
        return unstable(scratch), f"linux-modules-{image[2]}"
    package = f"linux-image-{image[2]}"
    source = CONFIGURED if package in CONFIGURED.names(f"^{re.escape(package)}$") else with_backports(scratch)
    return source, package


def _folder(release: str) -> Path:
    return cache.cache_folder() / "dax" / release
