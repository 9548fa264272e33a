"""docs/judges.md: which file of `linux/` has which judge, what is compared, what is meant to differ. Written by `make docs`."""

from __future__ import annotations

from pathlib import Path

import secondsight
from secondsight.conform.judges import WITHOUT
from secondsight.conform.target import Target
from secondsight.conform.targets import TARGETS

__all__ = ["page"]

HEAD = """\
# Who judges the model

*Conform*: the kernel's own C, step by step ([conform.md](conform.md)). *Agreement*: what scenarios do on real kernels must be
among what the model does ([agree.md](agree.md)). *Neither*: nothing but reading, and the tests here. (`make docs` writes this
page from the targets in `conform/targets/` and the table in `conform/judges.py`.)
"""


def page() -> str:
    """The document."""
    targets = [target() for target in TARGETS]
    by_model = {target.model: target for target in targets}
    whole = {part: target.file for target in targets for part in target.parts}
    text = HEAD + "\n| file of `linux/` | judge | what of it, or why not |\n| --- | --- | --- |\n"
    for path in sorted((Path(secondsight.__file__).parent / "linux").glob("*.py")):
        if path.name in by_model:
            target = by_model[path.name]
            releases = ", ".join(target.releases)
            text += f"| `{path.name}` | conform | `{target.file}` of {releases}: {len(target.functions)} functions |\n"
        elif path.name in whole:
            text += f"| `{path.name}` | conform | with `{whole[path.name]}` |\n"
        elif path.name in WITHOUT:
            judge, reason = WITHOUT[path.name]
            text += f"| `{path.name}` | {judge} | {reason} |\n"
    return text + "".join(_section(target) for target in targets)


def _section(target: Target) -> str:
    """What is compared of a file, where the model's steps are coarser than the C's, and what differs on purpose."""
    text = f"\n## {target.file}\n\nCompared: {', '.join(f'`{name}`' for name in target.functions)}.\n"
    if target.linked:
        text += f"Linked to it as they are: {', '.join(f'`{name}`' for name in target.linked)}.\n"
    if target.merged:
        text += "\n| the C may be left here, the model not | why nothing is lost |\n| --- | --- |\n"
        text += "".join(f"| {stop} | {_reason(reason)} |\n" for stop, reason in target.merged.items())
    if target.differences:
        text += "\n| meant to differ | reason | direction |\n| --- | --- | --- |\n"
        text += "".join(f"| {d.what} | {_reason(d.reason)} | {d.direction} |\n" for d in target.differences)
    for whose, table in (("the C", target.equivalent), ("the model", target.equivalent_model)):
        if table:
            text += f"\n| mutant of {whose} that cannot be told from it | reason |\n| --- | --- |\n"
            text += "".join(f"| {name} | {_reason(reason)} |\n" for name, reason in table.items())
    return text


def _reason(text: str) -> str:
    return text.replace("|", "\\|")
