"""What `bfs.cu` and `engine_main.c` are compiled with: a program's C text as it is, and a header with what else is known of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path

from secondsight.lang.compiler import LARGE
from secondsight.lang.native import engine_text
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.lang.render_c import CText, prelude, render_c

__all__ = ["emit", "facts"]


def _row(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers)) or "0"


def facts(program: Program, rendered: CText) -> str:
    """The header: where the search begins, the tables, what its places and rules are called."""
    tables = [list(program.row(name)) for name in rendered.tables]
    places = [counter.number for counter in program.counters]
    rules = [f"{rule}: {said}" for rule, said in rendered.rules]
    sites = [f"{where} {said}".strip() for where, said in rendered.sites]
    lines = [
        f"enum {{ PLACES = {max(places)}, TABLE_COUNT = {len(tables)}, RULE_COUNT = {len(rules)}, SITE_COUNT = {len(sites)} }};",
        f"#define DAEMONS {sum(1 << i for i, t in enumerate(program.threads) if t.daemon)}u",
        f"#define EACH_PLACE(make) {' '.join(f'make({n})' for n in places)}",
        f"static const u8 INITIAL[] = {{ {_row(Reference(program).initial)} }};",
        f"static const i64 TABLE_ITEMS[] = {{ {_row(n for table in tables for n in table)} }};",
        f"static SS_WHERE const i64 TABLE_FROM[] = {{ {_row(accumulate((len(t) for t in tables), initial=0))} }};",
        f"static const char *const RULES[] = {{ {', '.join(map(json.dumps, rules)) or '0'} }};",
        f"static const char *const SITES[] = {{ {', '.join(map(json.dumps, sites)) or '0'} }};",
    ]
    return "\n".join(lines) + "\n"


def emit(program: Program, folder: Path) -> CText:
    """Write a program's files into a folder: `model.c`, `facts.h`, and `engine.c`, which is our own engine for states of its size.

    A large model has `apart` beside them: its functions are not to be put into each other (`bfs.cu`).
    """
    rendered = render_c(program)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.c").write_text(rendered.text, encoding="utf-8")
    (folder / "facts.h").write_text(facts(program, rendered), encoding="utf-8")
    (folder / "engine.c").write_text(prelude() + engine_text(program.size), encoding="utf-8")
    (folder / "flags").write_text("-DSS_APART\n" if len(rendered.text) > LARGE else "\n", encoding="utf-8")
    return rendered
