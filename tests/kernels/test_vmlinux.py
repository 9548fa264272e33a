"""The kernel inside a bzImage is what a guest starts, where it can be."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from secondsight.kernels import VM
from secondsight.kernels.vmlinux import PVH_ENTRY, startable

KERNEL = b"\x7fELF" + PVH_ENTRY[0] + b"a kernel"


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def image(folder: Path, packed: bytes, protocol: int = 0x20F) -> Path:
    """A bzImage of two sectors of set-up code, as Documentation/arch/x86/boot.rst has them."""
    header = bytearray(2 * 512)
    header[0x1F1], header[0x202:0x206], header[0x206:0x208] = 1, b"HdrS", protocol.to_bytes(2, "little")
    header[0x248:0x250] = (16).to_bytes(4, "little") + (len(packed) + 4).to_bytes(4, "little")
    path = folder / "bzImage"
    path.write_bytes(bytes(header) + bytes(16) + packed + len(packed).to_bytes(4, "little") + b"what follows")
    return path


def zstd(content: bytes) -> bytes:
    return pytest.importorskip("zstandard").ZstdCompressor().compress(content)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstd], ids=["gzip", "xz", "zstd"])
def test_the_kernel_inside_is_kept(pack: Callable[[bytes], bytes], tmp_path: Path, own_cache: Path) -> None:
    packed = image(tmp_path, pack(KERNEL))
    kernel = startable(packed)
    assert kernel.read_bytes() == KERNEL and own_cache in kernel.parents
    kernel.write_bytes(b"damage")
    assert startable(packed).read_bytes() == KERNEL


@pytest.mark.parametrize(
    ("packed", "protocol"),
    [(b"lzo, perhaps", 0x20F), (gzip.compress(b"\x7fELF without the entry"), 0x20F), (gzip.compress(KERNEL)[:30], 0x20F), (gzip.compress(KERNEL), 0x207)],
    ids=["not packed", "no entry", "cut off", "an old protocol"],  # what is packed has the time in it, and two workers must name a test alike
)
def test_what_cannot_be_started_by_itself_is_started_as_it_is(packed: bytes, protocol: int, tmp_path: Path, own_cache: Path) -> None:
    packed_kernel = image(tmp_path, packed, protocol)
    assert startable(packed_kernel) == startable(packed_kernel) == packed_kernel


def test_a_cache_without_room_only_costs_time(tmp_path: Path, own_cache: Path) -> None:
    own_cache.write_text("a file where the folder would be")
    packed = image(tmp_path, gzip.compress(KERNEL))
    assert startable(packed) == packed


def test_a_guest_starts_the_kernel_inside(vm: VM) -> None:
    words = Path(f"/proc/{vm.pid}/cmdline").read_text().split("\0")
    assert Path(words[words.index("-kernel") + 1]).name == "vmlinux"
