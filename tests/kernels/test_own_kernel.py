"""A kernel of our own, from a source package that is a few lines: what is asked of it, kept of it, and refused."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from secondsight.kernels import Kernel, KernelError, build, headers
from secondsight.kernels.catalog import BUILDABLE, Known, selftest_sources
from secondsight.kernels.own import SELFTESTS, TREE, configure, fragment

MAKEFILE = """\
tinyconfig:
\techo '# CONFIG_MODULES is not set' > .config
olddefconfig:
\tgrep -v CONFIG_LOST .config > settled; mv settled .config
bzImage:
\t@mkdir -p arch/x86/boot arch/x86/include tools/objtool include usr/include
\t@touch Module.symvers System.map arch/x86/Makefile arch/x86/Makefile_32.cpu tools/objtool/objtool
\t@echo '  CC      one.o'
\t@echo '  BUILD   bzImage'
\tcp image arch/x86/boot/bzImage
modules headers:
"""


@pytest.fixture
def source(package: Callable[..., None], tmp_path: Path) -> Path:
    """The source as it is before it is packed; `pack` puts it into the package."""
    tree = tmp_path / "linux-source-6.12"
    for name in (*SELFTESTS, "scripts/mod/modpost"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if "." in Path(name).name or name.startswith("scripts"):
            (tree / name).write_text("x")
        else:
            (tree / name).mkdir(exist_ok=True)
    (tree / "Makefile").write_text(MAKEFILE)
    header = bytearray(0x400)
    header[0x202:0x206] = b"HdrS"
    header[0x20E:0x210] = (0x100).to_bytes(2, "little")
    header[0x300:0x310] = b"6.12.1-own (x)\0\0"
    (tree / "image").write_bytes(header)
    return tree


@pytest.fixture
def pack(source: Path, package: Callable[..., None], tmp_path: Path) -> Callable[[], None]:
    def packed() -> None:
        with tarfile.open(tmp_path / "x.tar.xz", "w:xz") as archive:
            archive.add(source, source.name)
        package("linux-source-6.12", {"usr/src/linux-source-6.12.tar.xz": (tmp_path / "x.tar.xz").read_bytes()})

    return packed


@pytest.fixture(autouse=True)
def tools(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tools that a kernel's build asks for, whether this machine has them or not."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("flex", "bison", "bc", "gcc"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_a_build_keeps_what_it_takes_to_boot_to_build_modules_and_to_run_the_kernels_own_tests(pack: Callable[[], None]) -> None:
    pack()
    reports: list[tuple[str, int, int]] = []
    kernel = build("6.12", lambda *report: reports.append(report))
    assert kernel == Kernel.find("6.12-own") == Kernel.find("linux-6.12-own")
    assert (kernel.name, kernel.release, kernel.modules) == ("linux-6.12-own", "6.12.1-own", ())
    assert all((headers("6.12-own") / name).exists() for name in TREE)
    assert all((selftest_sources(kernel) / name).exists() for name in SELFTESTS)
    assert kernel.config["TEST_HMM"] == "y"
    steps = [report for report in reports if report[0] == "building"]
    assert [done for _, done, _ in steps][-1] == 2
    assert build("6.12") == kernel, "the package is there no more: nothing is fetched or built a second time"


def test_an_option_that_the_kernel_does_not_take_is_an_error_not_a_kernel_without_it(source: Path, tmp_path: Path) -> None:
    wanted = tmp_path / "6.99.config"
    wanted.write_text("# Why.\nCONFIG_64BIT=y\nCONFIG_LOST_ONE=y\nCONFIG_SIZE=16\nCONFIG_LOST_TWO=m\nCONFIG_UNWANTED=n\n")
    with pytest.raises(KernelError, match=r"6\.99\.config: .*did not take CONFIG_LOST_ONE=y, CONFIG_LOST_TWO=m\n"):
        configure(source, wanted)


def test_a_kernel_that_does_not_build_leaves_nothing_and_says_why(source: Path, pack: Callable[[], None]) -> None:
    (source / "Makefile").write_text(MAKEFILE.replace("cp image", "echo 'mm/hmm.c:1: error: no' >&2; false"))
    pack()
    with pytest.raises(KernelError, match=r"the kernel does not build(.|\n)*mm/hmm\.c:1: error: no"):
        build("6.12")
    with pytest.raises(KernelError, match=r"linux-6\.12-own is not here\n  run: secondsight kernel build 6\.12"):
        Kernel.find("6.12-own")
    (source / "Makefile").write_text(MAKEFILE)
    pack()
    assert build("6.12").release == "6.12.1-own"


def test_ctrl_c_says_that_it_is_stopping_and_leaves_nothing_and_the_next_build_goes_well(pack: Callable[[], None], tmp_path: Path) -> None:
    pack()
    reports: list[str] = []

    def interrupt(what: str, done: int, total: int) -> None:
        reports.append(what)
        if what == "building":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build("6.12", interrupt)
    assert reports[-2:] == ["building", "stopping: removing what was made so far"]
    assert [path.name for path in (tmp_path / "cache/kernels").iterdir()] == ["6.12-own.lock"]
    assert build("6.12").release == "6.12.1-own"


def test_another_configuration_or_damage_means_another_build(pack: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    pack()
    build("6.12")
    known = BUILDABLE["6.12-own"]
    monkeypatch.setitem(BUILDABLE, "6.12-own", Known(known.make, known.command, {"fragment": "another"}))
    with pytest.raises(KernelError, match=r"made from another fragment\n  run: secondsight kernel build 6\.12"):
        Kernel.find("6.12-own")
    monkeypatch.setitem(BUILDABLE, "6.12-own", known)
    folder = selftest_sources(Kernel.find("6.12-own"))
    (folder / SELFTESTS[0]).write_text("changed")
    with pytest.raises(KernelError, match="selftests has another checksum"):
        selftest_sources(Kernel.find("6.12-own"))
    build("6.12")
    assert (selftest_sources(Kernel.find("6.12-own")) / SELFTESTS[0]).read_text() == "x"


def test_what_is_missing_is_named_before_anything_is_fetched(
    tools: Path, store: Path, pack: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack()
    (tools / "gcc").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(KernelError, match=r"takes libelf-dev, not to be found here\n  Debian: apt-get install libelf-dev"):
        build("6.12")
    found = shutil.which

    def which(tool: str, path: str | None = None) -> str | None:
        return None if tool in ("flex", "bc") else found(tool, path=path)

    monkeypatch.setattr(shutil, "which", which)
    with pytest.raises(KernelError, match="takes flex, bc, not to be found here"):
        build("6.12")
    monkeypatch.setattr(shutil, "which", found)
    (tools / "gcc").write_text("#!/bin/sh\n")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    with pytest.raises(KernelError, match=r"takes 4 GB for a while, and .* has 1\.0 GB free"):
        build("6.12")
    assert not (store / "calls").exists()


def test_no_other_release_is_built() -> None:
    with pytest.raises(KernelError, match=r"no kernel 6\.1 to build\n  there are: 6\.12"):
        build("6.1")


def test_every_wish_is_written_once_and_settable() -> None:
    wishes = [line for line in fragment("6.12").read_text().splitlines() if line and not line.startswith("#")]
    names = [wish.split("=")[0] for wish in wishes]
    assert all(name.startswith("CONFIG_") for name in names)
    assert len(set(names)) == len(names)
    assert {f"CONFIG_{name}=y" for name in ("TEST_HMM", "DEVICE_PRIVATE", "UDMABUF", "GUP_TEST", "USERFAULTFD")} <= set(wishes)
    assert {f"CONFIG_{name}=y" for name in ("CMA", "MEMORY_HOTPLUG", "PROVE_LOCKING", "DEBUG_VM", "FUNCTION_TRACER")} <= set(wishes)
