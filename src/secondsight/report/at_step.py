"""The machine at one step of a trace, as text: what the step is, what it changed, and every table of the state.

It is what the page shows at that step (`scene.scene` is the data of both).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from secondsight.report.columns import WIDTH

__all__ = ["at_step"]

_CHANGED = "bold yellow"


def at_step(shown: dict[str, Any], number: int, whole: bool = False, width: int = WIDTH) -> list[Text | Table]:
    """The machine after step `number` of a trace (0: before the first), from what a page shows of it. `whole`: with what is as in a new
    machine through the whole trace, and with what the checker keeps beside the machine."""
    before, now = _state(shown, number - 1 if number else 0), _state(shown, number)
    changed = {place: before[place] for place, _ in shown["changes"][number - 1]} if number else {}
    parts: list[Text | Table] = [_step(shown, number), Text()]
    told = [place for place in changed if whole or place not in shown["ours"]]
    for place in told:
        parts.append(Text(f"  {shown['cells'][place]}: {before[place]} -> {now[place]}", _CHANGED))
    if number and not told:
        parts.append(Text("  it changes nothing", "dim"))
    for table in shown["tables"]:
        if (whole or not table["ours"]) and (made := _table(table, now, set(changed), whole, width)) is not None:
            parts += [Text(), Text(table["title"], "bold"), made]
    return parts


def _state(shown: dict[str, Any], number: int) -> list[str]:
    """Every cell after a step."""
    cells = list(shown["initial"])
    for changes in shown["changes"][:number]:
        for place, value in changes:
            cells[place] = value
    return cells


def _step(shown: dict[str, Any], number: int) -> Text:
    """Which step it is, of whom, and where it begins."""
    count = f"step {number} of {len(shown['steps'])}"
    if not number:
        return Text(f"{count}: the machine before the first step", "bold")
    taken = shown["steps"][number - 1]
    said = [line["text"] for line in shown["lines"] if line["step"] == number]
    what = "; ".join(said) or (taken["statement"] if taken["stack"] else "") or "on to what it is to do next"
    text = Text(f"{count}, {shown['threads'][taken['thread']]}: {what}", "bold")
    if taken["line"]:
        text.append(f"  {taken['file']}:{taken['line']}", "not bold")
    return text


def _table(table: dict[str, Any], now: Sequence[str], changed: set[int], whole: bool, width: int) -> Table | None:
    """A table of the state, what changed marked by `*`; None where nothing of it is to be shown."""
    idle = [all(row["idle"][i] for row in table["rows"]) for i in range(len(table["columns"]))]
    columns = [i for i, is_idle in enumerate(idle) if whole or not is_idle]
    rows = [row for row in table["rows"] if whole or not all(row["idle"])]
    if not columns or not rows:
        return None
    headed = table["columns"] != ["value"]
    made = Table(box=None, show_header=headed, padding=(0, 2, 0, 0), pad_edge=False, width=None)
    made.add_column("", overflow="fold", max_width=width // 2)
    for i in columns:
        made.add_column(table["columns"][i] if headed else "", header_style="dim", overflow="fold")
    for row in rows:
        cells = [row["cells"][i] for i in columns]
        texts = [Text("") if cell is None else Text(f"{now[cell]} *", _CHANGED) if cell in changed else Text(now[cell]) for cell in cells]
        made.add_row(Text(f"  {row['name']}"), *texts)
    return made
