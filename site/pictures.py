"""The pictures of docs/pictures/, as SVG: the states of `examples/counts.py`, out of the model itself, and the house.

`python site/pictures.py` writes them; a test compares.
"""

from __future__ import annotations

import sys
from collections import Counter
from html import escape
from pathlib import Path

HOUSE = Path(__file__).parent.parent
sys.path.insert(0, str(HOUSE / "examples"))

from counts import program  # noqa: E402

from secondsight.lang.reference import Reference  # noqa: E402

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1b1f24; } .mono, .mono tspan { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 12px; }
.paper { fill: #fff; } .box { fill: #f6f8fa; stroke: #8c959f; } .end { fill: #dafbe1; stroke: #1a7f37; } .bad { fill: #ffebe9; stroke: #b3261e; }
.one { stroke: #0550ae; fill: none; stroke-width: 2; } .two { stroke: #9a3412; fill: none; stroke-width: 2; stroke-dasharray: 6 3; }
.faint { fill: #57606a; } .bold { font-weight: bold; } .middle { text-anchor: middle; } .note { stroke: #8c959f; fill: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #e2e7ee; } .paper { fill: #0f1318; } .box { fill: #1c2430; stroke: #6e7681; } .end { fill: #12351f; stroke: #6fdd8b; } .bad { fill: #45191a; stroke: #ff8a80; }
  .one { stroke: #79b8ff; } .two { stroke: #ffab70; } .faint { fill: #9aa5b1; } .note { stroke: #6e7681; }
}
"""


def _svg(width: int, height: int, title: str, parts: list[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{escape(title)}">\n'
        f'<style>{STYLE}</style>\n<rect class="paper" width="{width}" height="{height}"/>\n{body}\n</svg>\n'
    )


def steps() -> str:
    """Every state of two threads that each read a number and write it one larger."""
    reference = Reference(program)
    todo, place, edges = [reference.initial], {reference.initial: (0, 0)}, []
    for state in todo:
        for way in reference.successors(state):
            assert way.state is not None
            if way.state not in place:
                one, two = place[state]
                place[way.state] = (one + (way.thread == 0), two + (way.thread == 1))
                todo.append(way.state)
            edges.append((state, way.state, way.thread))
    crowd, beside = Counter(place.values()), Counter[tuple[int, int]]()
    at = {}
    for state, (one, two) in place.items():
        x = 400 + (two - one) * 150 + (beside[one, two] - (crowd[one, two] - 1) / 2) * 128
        beside[one, two] += 1
        at[state] = (x, 60 + (one + two) * 96)
    parts = []
    for start, end, thread in edges:
        (x1, y1), (x2, y2) = at[start], at[end]
        parts.append(f'<path class="{("one", "two")[thread]}" d="M{x1:g} {y1 + 23}L{x2:g} {y2 - 23}"/>')
    for state, (x, y) in at.items():
        final = reference.finished(state)
        n = next(value for _, value, _ in program.layout.fields(state))
        kind = ("end" if n == 2 else "bad") if final else "box"
        saw = _saw(reference, state)
        parts.append(f'<rect class="{kind}" x="{x - 62:g}" y="{y - 23}" width="124" height="46" rx="6"/>')
        parts.append(f'<text class="mono bold middle" x="{x:g}" y="{y - (3 if saw else -4)}">n = {n}</text>')
        if saw:
            parts.append(f'<text class="mono faint middle" x="{x:g}" y="{y + 14}">{saw}</text>')
    parts.append('<path class="one" d="M24 40H64"/><text x="72" y="44">a step of one</text>')
    parts.append('<path class="two" d="M24 64H64"/><text x="72" y="68">a step of two</text>')
    said = f"{len(place)} states, {len(edges)} steps, two ends. In one of them both have added, and n is 1."
    parts.append(f'<text class="faint" x="24" y="500">{said}</text>')
    return _svg(800, 520, "The states of two threads that each add one to a number", parts)


def _saw(reference: Reference, state: bytes) -> str:
    """What the threads that have read and not yet written have read."""
    counters = [(i, reference.counter(state, i)) for i in range(2)]
    reads = [(i, program.counters[number - 1].frame.slots) for i, number in counters if number == 2]
    saw = [(("one", "two")[i], slot.value(state, program.bases[i])) for i, slots in reads for slot in slots.values()]
    if len(saw) == 2 and saw[0][1] == saw[1][1]:
        return f"both read {saw[0][1]}"
    return ", ".join(f"{name} read {value}" for name, value in saw)


ROWS = (
    ("what a user calls", (("cli", "the commands"), ("testing.py", "pytest, tests"), ("machine.py", "by hand"), ("claims", "claims, tried"))),
    ("what people see", (("report", "verdicts, traces, pages"),)),
    ("questions", (("cases", "mail threads as tables"), ("contract", "rules, adversaries"), ("agree", "model beside kernel"))),
    ("judges", (("kernels", "real kernels, modules"), ("conform", "the kernel's own C"))),
    ("the machine", (("world", "scenarios on the model"), ("devices", "drivers"), ("linux", "the kernel's functions"))),
    ("the engine", (("search", "every state"), ("scenario", "scenarios as data"), ("lang", "the language, its executors"))),
)
"""The rooms, from the roof down."""


def house() -> str:
    """The folders of the project: each row may use those below it."""
    parts = []
    for number, (title, rooms) in enumerate(ROWS):
        y, width = 20 + number * 74, 600 / len(rooms)
        parts.append(f'<text class="faint" x="16" y="{y + 34}">{title}</text>')
        for i, (name, what) in enumerate(rooms):
            x = 150 + i * width
            parts.append(f'<rect class="box" x="{x:g}" y="{y}" width="{width - 10:g}" height="58" rx="6"/>')
            parts.append(f'<text class="mono bold middle" x="{x + width / 2 - 5:g}" y="{y + 25}">{name}{"" if "." in name else "/"}</text>')
            parts.append(f'<text class="middle faint" x="{x + width / 2 - 5:g}" y="{y + 44}" style="font-size: 12px">{escape(what)}</text>')
    parts.append('<path class="note" d="M764 30V440m-5 -8l5 8l5 -8"/><text class="faint" transform="rotate(90 776 160)" x="776" y="160">uses what is below</text>')
    return _svg(800, 470, "The folders of the project, each row uses those below it", parts)


PICTURES = {"steps.svg": steps, "house.svg": house}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (HOUSE / "docs" / "pictures" / name).write_text(draw())
