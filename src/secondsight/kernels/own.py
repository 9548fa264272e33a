"""A kernel of our own: built from Debian's packaged source with a configuration for the purpose.

`config/RELEASE.config` lists what is set on top of the kernel's own tinyconfig. After the kernel's
configuration has been settled every line of it is looked for: a wish that was taken away is an error, not
a kernel without it. The entry (`cache`) then holds the image, its configuration, the tree against which
modules are built, and the sources of the kernel's own tests (`selftests/`); the rest of source and objects,
some 2 GB, goes away with the scratch folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from secondsight.kernels import cache
from secondsight.kernels.errors import KernelError
from secondsight.kernels.image import release_of
from secondsight.kernels.packages import OnBytes, check_client, run, source_package, unpack

__all__ = ["BUILDABLE", "build", "fragment"]

BUILDABLE = {"6.12": 2740}
"""The releases with a configuration, and about how many steps (lines that make prints) their build has."""

TOOLS = {"gcc": "gcc", "make": "make", "flex": "flex", "bison": "bison", "bc": "bc", "tar": "tar", "xz": "xz-utils"}
"""What building a kernel takes, and the packages that have it."""

NEEDS_BYTES = 4_000_000_000

TREE = (
    "Makefile",
    ".config",
    "Module.symvers",
    "System.map",
    "include",
    "scripts",
    "arch/x86/Makefile",
    "arch/x86/Makefile_32.cpu",
    "arch/x86/include",
    "tools/objtool/objtool",
)
"""What building a module against the kernel takes, of the tree in which the kernel was built."""

SELFTESTS = (
    "lib/test_hmm_uapi.h",
    "mm/gup_test.h",
    "tools/testing/selftests/kselftest.h",
    "tools/testing/selftests/kselftest_harness.h",
    "tools/testing/selftests/drivers/dma-buf",
    "tools/testing/selftests/mm",
    "usr/include",
)
"""What building the kernel's own tests takes; usr/include is the kernel's interface as programs see it."""


def fragment(version: str) -> Path:
    """The file with what is set on top of tinyconfig."""
    return Path(__file__).parent / "config" / f"{version}.config"


def build(version: str, scratch: Path, progress: OnBytes) -> Path:
    """Make the entry of an own kernel in a scratch folder: some minutes and 3 GB. Raises KernelError."""
    try:
        return _build(version, scratch, progress)
    except BaseException:  # Ctrl-C too: what was made is a hundred thousand files, and removing them takes a while
        progress("stopping: removing what was made so far", 0, 0)
        raise


def _build(version: str, scratch: Path, progress: OnBytes) -> Path:
    check_client()
    _check_tools(scratch)
    source = _unpacked(version, scratch, progress)
    progress("configuring", 0, 0)
    configure(source, fragment(version))
    _make(source, BUILDABLE[version], progress)
    progress("packing, and removing what it was made from", 0, 0)
    made = scratch / "made"
    (made / "modules").mkdir(parents=True)
    shutil.copy(source / "arch/x86/boot/bzImage", made / "vmlinuz")
    shutil.copy(source / ".config", made / "config")
    for name in SELFTESTS:
        _take(source, name, made / "selftests")
    for name in TREE:
        _take(source, name, made / "headers")
    cache.write_record(
        made,
        ("vmlinuz", "config", "modules", "headers", "selftests"),
        packages=[f"linux-source-{version}"],
        release=release_of(made / "vmlinuz"),
        modules=[],
        headers="headers",
        fragment=cache.checksum(fragment(version)),
    )
    return made


def _check_tools(scratch: Path) -> None:
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if not missing:  # then there is a compiler to ask for the library
        asked = subprocess.run(
            ["gcc", "-fsyntax-only", "-x", "c", "-"], input="#include <gelf.h>\n", capture_output=True, text=True, check=False
        )
        missing = ["libelf-dev"] if asked.returncode else []
    if missing:
        raise KernelError(
            f"building a kernel takes {', '.join(missing)}, not to be found here",
            f"Debian: apt-get install {' '.join(missing)}",
        )
    free = shutil.disk_usage(scratch).free
    if free < NEEDS_BYTES:
        raise KernelError(
            f"building a kernel takes {NEEDS_BYTES / 1e9:.0f} GB for a while, and {scratch.parent} has {free / 1e9:.1f} GB free",
            "make room, or set SECONDSIGHT_CACHE to a folder on another disk",
        )
    if re.search(r"[\s:]", str(scratch)):
        raise KernelError(f"{scratch.parent}: a kernel cannot be built below a folder with a space or colon in its name", "set SECONDSIGHT_CACHE")


def _unpacked(version: str, scratch: Path, progress: OnBytes) -> Path:
    """The kernel's source, from its package."""
    progress("looking for the source", 0, 0)
    source, name = source_package(version, scratch)
    (file,) = source.download([name], scratch / "packages", progress)
    progress("unpacking the source", 0, 0)
    unpack(file, scratch / "source")
    run(["tar", "-C", str(scratch), "-xf", str(scratch / f"source/usr/src/{name}.tar.xz")])
    shutil.rmtree(scratch / "source")
    file.unlink()
    return scratch / name


def configure(source: Path, wanted: Path) -> None:
    """Settle the configuration: tinyconfig and the fragment `wanted`. Raises KernelError when a line of the
    fragment is not in what came out, which names every such line."""
    run(["make", "-C", str(source), "-s", "tinyconfig"])
    with open(source / ".config", "a") as config:
        config.write(wanted.read_text())
    run(["make", "-C", str(source), "-s", "olddefconfig"])
    settled = set((source / ".config").read_text().splitlines())
    wishes = [line for line in wanted.read_text().splitlines() if line.startswith("CONFIG_")]
    lost = [wish for wish in wishes if not (wish in settled or (wish.endswith("=n") and f"{wish[:-1]}y" not in settled))]
    if lost:
        raise KernelError(
            f"{wanted.name}: the kernel's configuration did not take {', '.join(lost)}",
            "an option that it depends on is not set, or the release has no such option",
        )


def _make(source: Path, steps: int, progress: OnBytes) -> None:
    """Build the image, what modules are built with, and the interface's header files."""
    command = ["make", "-C", str(source), f"-j{os.cpu_count() or 1}", "bzImage", "modules", "headers"]
    done, last = 0, [""] * 60
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0) as maker:
        assert maker.stdout is not None
        try:
            for line in maker.stdout:
                last = [*last[1:], line]
                done += line.startswith("  ")
                progress("building", min(done, steps), steps)
        except BaseException:
            os.killpg(maker.pid, 15)
            raise
    if maker.returncode:
        raise KernelError("the kernel does not build", "".join(last).strip()[-3000:])


def _take(source: Path, name: str, target: Path) -> None:
    """Move a file or folder of the tree to the same place below `target`."""
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    os.rename(source / name, target / name)
