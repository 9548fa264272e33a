"""Lines over a scale, both logarithmic, as a picture in a page: SVG that loads nothing and runs nothing."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence

__all__ = ["line_plot"]

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 70, 110, 28, 42


def line_plot(title: str, along: Sequence[float], lines: Mapping[str, Sequence[float | None]], x_words: Callable[[float], str], y_words: Callable[[float], str], x_title: str) -> str:
    """A picture of some lines by their names. A point that is None or not above 0 is not drawn: the scale is logarithmic; the name of a
    line that has none says so."""
    points = [y for line in lines.values() for y in line if y]
    low, high = _decades(points or [1.0])
    left, right = math.log10(along[0]), math.log10(along[-1])

    def x(value: float) -> float:
        return LEFT + (math.log10(value) - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text class="title" x="{LEFT}" y="16">{html.escape(title)}</text>']
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="y" x="{LEFT - 6}" y="{at + 4:.1f}">{html.escape(y_words(10.0**power))}</text>')
    for power in range(math.ceil(left - 1e-9), math.floor(right + 1e-9) + 1):
        at = x(10.0**power)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="x" x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}">{html.escape(x_words(10.0**power))}</text>')
    parts.append(f'<text class="x" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}">{html.escape(x_title)}</text>')
    for number, (name, line) in enumerate(lines.items()):
        drawn = [(x(a), y(b)) for a, b in zip(along, line, strict=True) if b]
        kind = f"line-{number % 6}"
        if drawn:
            parts.append(f'<polyline class="{kind}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in drawn)}"/>')
        label = name if drawn else f"{name}: 0"
        row = TOP + 12 + 18 * number
        parts.append(f'<line class="{kind}" x1="{WIDTH - RIGHT + 8}" x2="{WIDTH - RIGHT + 22}" y1="{row - 4}" y2="{row - 4}"/>')
        parts.append(f'<text class="name" x="{WIDTH - RIGHT + 26}" y="{row}">{html.escape(label)}</text>')
    return f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">{"".join(parts)}</svg>'


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten that values lie between."""
    low, high = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
    return low, max(high, low + 1)
