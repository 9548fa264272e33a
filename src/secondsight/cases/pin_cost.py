"""What it costs to pin a picture for each frame, beside the verdicts on whether that is right: how many pins and unpins a second, and how long they take.

Arithmetic: a picture has so many bytes and pages, and is shown so many times a second. The time for one page is measured (`PIN_SECONDS`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from secondsight.cases.cost import time_words

__all__ = ["PIN_SECONDS", "PinCost", "PinLoad", "Picture"]

PIN_SECONDS: Final = 75e-9
"""To take a page and to give it back: measured, 256 pages at a time, best of 400, by vmsplice(2) and close(2) of the pipe (get_user_pages_fast(),
put_page(), and a pipe's own bookkeeping), on Linux 6.18 in a virtual machine on x86. No cited figure is used."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is shown, how often."""

    width: int
    height: int
    hertz: int
    pixel: int = 4

    def pages(self, page: int) -> int:
        """How many pages of a size it takes."""
        return -(-self.width * self.height * self.pixel // page)

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.width}x{self.height}, {self.hertz} Hz"


@dataclass(frozen=True, slots=True)
class PinLoad:
    """What a design costs with pages of a size: `pages` of the picture, `pins` a second and as many unpins, and the `share` of a CPU's time."""

    pages: int
    pins: int
    share: float


@dataclass(frozen=True, slots=True)
class PinCost:
    """By the names of a table's rows, how often a design pins all of the picture: for each frame, or not any more while it is shown."""

    picture: Picture
    each_frame: dict[str, bool]
    sizes: tuple[tuple[str, int], ...] = (("4 KiB", 4 << 10), ("2 MiB", 2 << 20))

    def cells(self) -> dict[tuple[str, str], PinLoad]:
        """All costs, by row and size of page."""
        found = {}
        for row, each in self.each_frame.items():
            for name, size in self.sizes:
                pages = self.picture.pages(size)
                pins = pages * self.picture.hertz if each else 0
                found[row, name] = PinLoad(pages, pins, pins * PIN_SECONDS)
        return found

    def lines(self) -> list[str]:
        """As text."""
        lines = [f"cost of {self.picture.name}, at {time_words(PIN_SECONDS)} for a pin and an unpin (measured)", ""]
        rows: list[tuple[str, ...]] = [("design", "pages of", "pages", "pins/s", "unpins/s", "of a CPU")]
        for (row, size), load in self.cells().items():
            share = f"{load.share:.1%}" if load.share >= 0.0005 else "0" if load.share == 0 else "< 0.1%"
            rows.append((row, size, f"{load.pages:,}", f"{load.pins:,}", f"{load.pins:,}", share))
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        for line in rows:
            texts = [text.ljust(width) if k < 2 else text.rjust(width) for k, (text, width) in enumerate(zip(line, widths, strict=True))]
            lines.append("  ".join(texts).rstrip())
        return lines

    def data(self) -> list[dict[str, Any]]:
        """As data (docs/json.md)."""
        return [{"row": row, "page": size, **asdict(load)} for (row, size), load in self.cells().items()]
