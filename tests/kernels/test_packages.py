"""Kernels out of packages, with a package client of our own on PATH: what is taken, and what goes wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from secondsight.kernels import Kernel, KernelError, build_module, get, headers

Package = Callable[..., None]


def image(release: str) -> bytes:
    header = bytearray(0x400)
    header[0x202:0x206] = b"HdrS"
    header[0x20E:0x210] = (0x100).to_bytes(2, "little")
    header[0x300 : 0x300 + len(release) + 5] = release.encode() + b" (x)\0"
    return bytes(header)


def module(depends: str) -> bytes:
    return b"\x7fELF\0depends=" + depends.encode() + b"\0name=x\0"


@pytest.fixture
def packaged_6_1(package: Package) -> str:
    """A kernel as Debian packages it, with virtio as modules; its headers, whose make only says so."""
    release = "6.1.0-9-amd64"
    drivers = f"lib/modules/{release}/kernel/drivers"
    package(
        f"linux-image-{release}-unsigned",
        {
            f"boot/vmlinuz-{release}": image(release),
            f"boot/config-{release}": b"CONFIG_VIRTIO=m\n",
            f"{drivers}/virtio/virtio.ko": module("virtio_ring"),
            f"{drivers}/virtio/virtio_ring.ko": module(""),
            f"{drivers}/net/virtio_net.ko": module("virtio"),
        },
    )
    package(f"linux-image-{release}-dbg", {"x": b""})
    package("linux-image-6.1.0-4-amd64", {"x": b""})
    package("linux-image-6.1.0-11-cloud-amd64", {"x": b""})
    package(
        f"linux-headers-{release}",
        {
            f"usr/src/linux-headers-{release}/Makefile": b"include /usr/src/linux-headers-6.1.0-9-common/Makefile\n",
            f"usr/src/linux-headers-{release}/.config": b"CONFIG_VIRTIO=m\n",
            f"usr/src/linux-headers-{release}/vmlinux": b"large",
        },
        depends="linux-headers-6.1.0-9-common, linux-kbuild-6.1, gcc-12",
    )
    package("linux-headers-6.1.0-9-common", {"usr/src/linux-headers-6.1.0-9-common/Makefile": b"modules:\n\techo built > $(M)/made.ko\n"})
    package("linux-kbuild-6.1", {"usr/lib/linux-kbuild-6.1/x": b""})
    return release


def test_a_packaged_kernel_with_its_modules_in_order_and_headers_that_work_where_they_lie(packaged_6_1: str, tmp_path: Path) -> None:
    kernel = get("6.1")
    assert kernel == Kernel.find("linux-6.1")
    assert kernel.release == packaged_6_1
    assert [path.name for path in kernel.modules] == ["virtio_ring.ko", "virtio.ko"]
    tree = headers("6.1")
    assert not (tree / "vmlinux").exists()
    (tmp_path / "Makefile").write_text("obj-m := made.o\n")
    assert build_module(kernel, tmp_path).read_text() == "built\n"


def test_another_release_of_debian_is_looked_at_in_backports(packaged_6_1: str, store: Path) -> None:
    (store / "mode").write_text("nothing")
    with pytest.raises(KernelError, match=r"have no linux-image-6\.1"):
        get("6.1")
    updates = [line for line in (store / "calls").read_text().splitlines() if line.endswith(" update")]
    assert len(updates) == 1
    assert "Dir::Etc::sourceparts=-" in updates[0]


@pytest.mark.parametrize(
    ("mode", "message"),
    [("short", "did not arrive whole"), ("fails", r"the download failed: E: 404 Not Found(.|\n)*apt-get update"), ("full", r"No space left(.|\n)*make room for")],
)
def test_a_download_that_goes_wrong(mode: str, message: str, packaged_6_1: str, store: Path) -> None:
    (store / "mode").write_text(mode)
    with pytest.raises(KernelError, match=message):
        get("6.1")
    with pytest.raises(KernelError, match="is not here"):
        Kernel.find("6.1")
    (store / "mode").unlink()
    assert get("6.1").release == packaged_6_1


def test_a_package_without_an_image(package: Package, packaged_6_1: str, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / f"package/linux-image-{packaged_6_1}-unsigned")
    package(f"linux-image-{packaged_6_1}-unsigned", {f"boot/config-{packaged_6_1}": b""})
    with pytest.raises(KernelError, match="there is no vmlinuz in"):
        get("6.1")


UNSTABLE = "7.2.3+x-amd64"


@pytest.fixture
def packaged_7_2(package: Package, store: Path) -> Path:
    """A kernel of the unstable suite: it is nowhere else, and comes with a system to build its modules in."""
    place = f"usr/lib/modules/{UNSTABLE}"
    package(f"linux-binary-{UNSTABLE}", {f"{place}/vmlinuz": image(UNSTABLE)})
    package(f"linux-base-{UNSTABLE}", {f"{place}/config": b"CONFIG_VIRTIO=y\n"})
    package("linux-binary-7.1.9-amd64", {"x": b""})
    package("linux-binary-7.3.1-rt-amd64", {"x": b""})
    tree = f"usr/src/linux-headers-{UNSTABLE}"
    package(f"linux-headers-{UNSTABLE}", {f"{tree}/Makefile": b"include /usr/src/common\n", f"{tree}/.config": b""})
    for name in ("make", "dash", "coreutils", "findutils", "grep", "mawk", "sed"):
        package(name, {f"usr/bin/{name}": b"", f"usr/share/doc/{name}/copyright": b""})
    (store / "mode").write_text("unstable")
    return store


def test_the_unstable_suite_has_a_list_of_its_own(packaged_7_2: Path) -> None:
    kernel = get("7.2")
    assert (kernel.name, kernel.release) == ("linux-7.2", UNSTABLE)
    assert kernel.root is not None
    assert kernel.headers == kernel.root / f"usr/src/linux-headers-{UNSTABLE}"
    assert (kernel.root / "bin").readlink() == Path("usr/bin")
    assert (kernel.root / "usr/bin/awk").readlink() == Path("mawk")
    assert not (kernel.root / "usr/share/doc").exists()
    calls = (packaged_7_2 / "calls").read_text().splitlines()
    for call in calls:
        if "indextargets" not in call:
            for option in ("Dir::Etc::sourcelist", "Dir::Etc::sourceparts=-", "Dir::State::Lists", "Dir::State::status"):
                assert option in call


def test_only_debians_own_archive_is_asked_for_its_unstable_suite(packaged_7_2: Path, tmp_path: Path) -> None:
    from secondsight.kernels.packages import unstable

    (tmp_path / "scratch").mkdir()
    unstable(tmp_path / "scratch")
    assert (tmp_path / "scratch/sources.list").read_text() == "deb [signed-by=/k] http://mirror.example/d/ unstable main\n"


@pytest.mark.parametrize(("mode", "message"), [("down", "the mirror is down"), ("nothing", r"no kernel 7\.2 or newer"), ("short", "not whole")])
def test_an_unstable_suite_that_cannot_be_had(mode: str, message: str, packaged_7_2: Path) -> None:
    (packaged_7_2 / "mode").write_text(mode)
    with pytest.raises(KernelError, match=message):
        get("7.2")


def test_without_the_right_to_a_namespace_its_modules_are_not_built(
    packaged_7_2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = get("7.2")
    assert kernel.root is not None
    tools = tmp_path / "refuses"
    tools.mkdir()
    (tools / "unshare").write_text("#!/bin/sh\necho 'unshare: Operation not permitted' >&2\nexit 1\n")
    (tools / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr("secondsight.kernels.modules._compiler", lambda kernel: "gcc")
    (tmp_path / "Makefile").write_text("obj-m := x.o\n")
    with pytest.raises(KernelError, match=r"may not make a namespace: unshare: Operation not permitted(.|\n)*as root"):
        build_module(kernel, tmp_path)
