"""Kernel images: what a bzImage says of itself."""

from __future__ import annotations

from pathlib import Path

from secondsight.kernels.errors import KernelError

__all__ = ["release_of"]


def release_of(image: Path) -> str:
    """The release that a bzImage names in its header (Documentation/arch/x86/boot.rst)."""
    with open(image, "rb") as file:
        header = file.read(0x10000)
    if header[0x202:0x206] != b"HdrS":
        raise KernelError(f"{image} is not a bootable x86 kernel image", "give the path of a bzImage")
    start = int.from_bytes(header[0x20E:0x210], "little") + 0x200
    text = header[start : start + 200].split(b"\0")[0].decode(errors="replace")
    return text.split(" ")[0]
