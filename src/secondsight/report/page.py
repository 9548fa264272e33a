"""A page that steps through traces: one file that needs nothing else, neither a network nor a build step.

The page is a template with its style and script (`web/`), and its data as one JSON object (docs/json.md). Everything that comes
from a user's file is in that object, and the script puts it on the page as text; nothing else may run there or be loaded
(Content-Security-Policy).
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from secondsight.report.sequence import sequence_diagram
from secondsight.report.trace import SCHEMA

__all__ = ["hash_of", "html_page", "page_data"]

_WEB = Path(__file__).parent / "web"


def page_data(title: str, traces: Sequence[dict[str, Any]], results: dict[str, Any] | None = None, up: str | None = None) -> dict[str, Any]:
    """All that a page shows: its title, its traces (`scene.scene`), and a table of verdicts.

    `results`: `columns`, `rows` (each its `cells`, and the name of its `trace` or None), which column is the `verdict`, `notes`. `up`: the page that this one belongs to.
    """
    return {"schema": SCHEMA, "kind": "page", "title": title, "traces": [trace | {"picture": sequence_diagram(trace)} for trace in traces], "results": results, "up": up}


def html_page(data: dict[str, Any]) -> str:
    """The page of `page_data`."""
    style, script = (_WEB / "page.css").read_text(), (_WEB / "page.js").read_text()
    text = "\n".join(trace["text"] for trace in data["traces"]) or _results_text(data["results"])
    return Template((_WEB / "page.html").read_text()).substitute(
        title=html.escape(data["title"]), style=style, style_hash=hash_of(style), script=script, script_hash=hash_of(script),
        text=html.escape(text), data=_json(data),
    )  # fmt: skip


def _json(data: Any) -> str:
    """JSON that may stand in a script element: nothing in it ends the element or begins a comment."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def hash_of(text: str) -> str:
    """What the policy calls a script or a style by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _results_text(results: dict[str, Any] | None) -> str:
    return "" if results is None else "\n".join("  ".join(row["cells"]) for row in results["rows"])
