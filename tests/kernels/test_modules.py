"""Modules: built against a kernel's own headers, kept, checked, and never built in the user's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from secondsight.kernels import Kernel, KernelError, build_module
from secondsight.kernels.catalog import checked_headers

HELLO = """\
#include <linux/module.h>
static int __init hello(void) { return WORD; }
module_init(hello);
MODULE_LICENSE("GPL");
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "hello"
    folder.mkdir()
    (folder / "hello.c").write_text(HELLO.replace("WORD", "0"))
    (folder / "Makefile").write_text("obj-m := hello.o\n")
    return folder


@pytest.fixture
def kernel(kernel_6_12: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """The real kernel's headers, with what is built kept in a cache of the test's own."""
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path / "cache"))
    return kernel_6_12


@pytest.mark.wide
def test_a_module_is_built_once_and_again_after_a_change(kernel: Kernel, source: Path) -> None:
    built = build_module(kernel, source)
    assert kernel.release.encode() in built.read_bytes()  # vermagic
    assert sorted(path.name for path in source.iterdir()) == ["Makefile", "hello.c"]
    before = built.stat().st_mtime_ns
    assert build_module(kernel, source) == built
    assert built.stat().st_mtime_ns == before
    (source / "hello.c").write_text(HELLO.replace("WORD", "-1"))
    assert build_module(kernel, source) != built


@pytest.mark.wide
def test_a_damaged_module_is_built_again(kernel: Kernel, source: Path) -> None:
    built = build_module(kernel, source)
    good = built.read_bytes()
    built.write_bytes(good[:-1] + b"!")
    assert build_module(kernel, source).read_bytes() == good


def test_what_the_compiler_says_is_passed_on(kernel: Kernel, source: Path) -> None:
    with pytest.raises(KernelError, match=r"does not build as a module for linux-6\.12(.|\n)*hello\.c:2:\d+: error"):
        (source / "hello.c").write_text(HELLO)
        build_module(kernel, source)


def test_a_folder_without_a_makefile_and_a_kernel_without_headers(kernel: Kernel, source: Path) -> None:
    with pytest.raises(KernelError, match="there are no headers"):
        build_module(Kernel.from_path(kernel.image), source)
    (source / "Makefile").unlink()
    with pytest.raises(KernelError, match="no Makefile and no Kbuild"):
        build_module(kernel, source)


def test_own_headers_are_looked_at(kernel: Kernel, tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="is not a tree that modules can be built against"):
        Kernel.from_path(kernel.image, headers=tmp_path)
    assert Kernel.from_path(kernel.image, headers=kernel.headers).headers == kernel.headers
    (tmp_path / "include/config").mkdir(parents=True)
    (tmp_path / "Makefile").write_text("")
    (tmp_path / "include/config/kernel.release").write_text("6.99-other\n")
    with pytest.raises(KernelError, match=r"is of Linux 6\.99-other, and .* is Linux 6\.12"):
        Kernel.from_path(kernel.image, headers=tmp_path)


def test_a_cached_kernel_given_as_ones_own_is_checked_all_the_same(kernel_6_12: Kernel) -> None:
    own = Kernel.from_path(kernel_6_12.image, headers=kernel_6_12.headers)
    assert checked_headers(own) == kernel_6_12.headers
