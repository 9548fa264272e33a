"""The kernel inside a bzImage, uncompressed and kept in the cache.

A bzImage unpacks itself when it starts, which takes a guest under emulation longer than half of what comes after it. QEMU also starts the
kernel inside, by its PVH entry (arch/x86/platform/pvh/head.S), if it has one (CONFIG_PVH).
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import sys
import time
import zlib
from pathlib import Path
from typing import Any

from secondsight.kernels import cache

__all__ = ["startable"]

VMLINUX = "vmlinux"
KEPT_SECONDS = 30 * 24 * 3600  # since a kernel was last started
PAYLOAD = 0x248  # of the header: where the compressed kernel lies and how long it is, of protocol 2.08 on (Documentation/arch/x86/boot.rst)
PVH_ENTRY = [b"\x04\0\0\0" + bytes([size]) + b"\0\0\0\x12\0\0\0Xen\0" for size in (4, 8)]
"""The head of an ELF note XEN_ELFNOTE_PHYS32_ENTRY (include/xen/interface/elfnote.h), by which QEMU finds the entry."""


def startable(image: Path) -> Path:
    """What QEMU starts fastest of a bzImage: the kernel inside, or the image itself where that cannot be: it has no such entry, its form is
    unknown here, or the cache has no room."""
    content = image.read_bytes()
    folder = cache.cache_folder() / "unpacked" / hashlib.sha256(content).hexdigest()[:32]

    def make(scratch: Path) -> Path:
        made = scratch / "made"
        made.mkdir()
        kernel = _unpacked(content)
        if kernel is not None:
            (made / VMLINUX).write_bytes(kernel)
        cache.write_record(made, [] if kernel is None else [VMLINUX], what="the kernel of an image")
        return made

    try:
        cache.make_entry(folder, make)
        os.utime(folder)
        _tidy(folder)
    except OSError:
        return image
    return folder / VMLINUX if (folder / VMLINUX).exists() else image


def _unpacked(image: bytes) -> bytes | None:
    """The kernel of a bzImage, if it can be started by itself."""
    if image[0x202:0x206] != b"HdrS" or int.from_bytes(image[0x206:0x208], "little") < 0x208:
        return None
    begin = (image[0x1F1] or 4) * 512 + 512 + int.from_bytes(image[PAYLOAD : PAYLOAD + 4], "little")
    packed = image[begin : begin + int.from_bytes(image[PAYLOAD + 4 : PAYLOAD + 8], "little")]
    try:
        kernel = _decompressed(packed)
    except Exception:  # each decompressor has an error of its own
        return None
    return kernel if kernel.startswith(b"\x7fELF") and any(note in kernel for note in PVH_ENTRY) else None


def _decompressed(packed: bytes) -> bytes:
    """Raises ValueError for a form that is unknown here and for what ends too early, or what the decompressor raises. Behind what is packed
    stands its size."""
    if packed.startswith(b"\x1f\x8b"):
        unpacker: Any = zlib.decompressobj(wbits=31)
    elif packed.startswith(b"\xfd7zXZ"):
        unpacker = lzma.LZMADecompressor()
    elif packed.startswith(b"\x28\xb5\x2f\xfd"):
        unpacker = _zstd()
    else:
        raise ValueError("neither gzip nor xz nor zstd")
    content = bytes(unpacker.decompress(packed))
    if not unpacker.eof:
        raise ValueError("the end is missing")
    return content


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.ZstdDecompressor()
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()


def _tidy(mine: Path) -> None:
    """Remove kernels that were not started for long."""
    for folder in mine.parent.iterdir():
        if folder.is_dir() and folder != mine and folder.stat().st_mtime < time.time() - KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
