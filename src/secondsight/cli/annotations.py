"""`check --format`: broken rules as annotations, for GitHub's checks or as SARIF 2.1.0, each at a line of the driver."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from secondsight.lang.errors import LangError
    from secondsight.report.trace import Telling
    from secondsight.search import Result

__all__ = ["FORMATS", "Annotation", "Format", "broken_at", "github", "not_finished", "refused_at", "sarif"]

Format = Literal["text", "json", "github", "sarif"]
FORMATS: dict[str, str] = {
    "text": "for people",
    "json": "docs/json.md",
    "github": "for people, and then a line for each annotation that GitHub Actions shows beside the code",
    "sarif": "SARIF 2.1.0, for code scanning and editors",
}
_PLACE = r"([^:\n]+):(\d+):(?:(\d+):)? "
_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True, slots=True)
class Annotation:
    """Something to be shown beside a line of a file."""

    file: Path
    line: int
    level: Literal["error", "warning"]
    rule: str
    message: str
    column: int = 0
    """From 1; 0 is unknown."""


def broken_at(file: Path, told: Telling) -> Annotation:
    """A broken rule, at the last line of the driver that its trace shows for the thread that breaks it, else for any."""
    breaking = told.violation.trace.steps[-1].thread if told.violation.trace.steps else 0
    own = [entry for entry in told.entries if entry.where.startswith(f"{file.name}:")]
    placed = [entry for entry in own if entry.thread == breaking] or own
    line = int(placed[-1].where.rpartition(":")[2]) if placed else 1
    return Annotation(file, line, "error", told.violation.rule, f"{told.title}: {told.message}")


def not_finished(file: Path, driver: str, scenario: str, result: Result) -> list[Annotation]:
    """A search that came to no verdict, if that is what it did."""
    from secondsight.search import Verdict

    if result.verdict is not Verdict.NOT_FINISHED:
        return []
    return [Annotation(file, 1, "warning", "not-finished", f"{driver} ({scenario}): not finished: {result.error or result.reason}")]


def refused_at(file: Path, error: LangError) -> list[Annotation]:
    """What a driver is refused for, each at its line; of another error where that is known, else at the file's first line."""
    from secondsight.lang.errors import Refused

    if isinstance(error, Refused):
        refusals = [error, *error.find_others()]
        return [Annotation(Path(one.where.file), one.where.line, "error", "refused", f"{one.wrong}; instead: {one.instead}", one.where.column) for one in refusals]
    return [_placed(file, text) for text in error.whole().split("\n\n")]


def _placed(file: Path, text: str) -> Annotation:
    """A message at the place that it begins with, else at the last that a line of it begins with: the inmost of those that led there."""
    if place := re.match(_PLACE, text):
        return Annotation(Path(place[1]), int(place[2]), "error", "refused", text[place.end() :], int(place[3] or 0))
    inner = re.findall(rf"^  {_PLACE}", text, re.MULTILINE)
    where, line, column = inner[-1] if inner else (file, 1, 0)
    return Annotation(Path(where), int(line), "error", "refused", text, int(column or 0))


def github(annotations: Sequence[Annotation]) -> list[str]:
    """Workflow commands of GitHub Actions, with what has a meaning there escaped."""
    return [
        f"::{one.level} file={_property(_relative(one.file))},line={one.line}{f',col={one.column}' * (one.column > 0)},title={_property(one.rule)}::{_data(one.message)}"
        for one in annotations
    ]


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _relative(file: Path) -> str:
    """A path as those want it: from the folder at hand, if it is below that."""
    whole, here = file.resolve(), Path.cwd()
    return (whole.relative_to(here) if whole.is_relative_to(here) else whole).as_posix()


def sarif(annotations: Sequence[Annotation]) -> dict[str, Any]:
    """A SARIF log with one run."""
    from importlib.metadata import version

    rules = list(dict.fromkeys(one.rule for one in annotations))
    results = [
        {
            "ruleId": one.rule,
            "ruleIndex": rules.index(one.rule),
            "level": one.level,
            "message": {"text": one.message},
            "locations": [
                {"physicalLocation": {"artifactLocation": {"uri": _uri(one.file)}, "region": _region(one)}},
            ],
        }
        for one in annotations
    ]
    driver = {"name": "secondsight", "version": version("secondsight"), "rules": [{"id": rule} for rule in rules]}
    return {"$schema": _SARIF, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _region(one: Annotation) -> dict[str, int]:
    return {"startLine": one.line} | ({"startColumn": one.column} if one.column else {})


def _uri(file: Path) -> str:
    """A relative reference, or a `file:` URI for what is not below the folder at hand."""
    from urllib.parse import quote

    relative = _relative(file)
    return file.resolve().as_uri() if relative.startswith("/") else quote(relative)
