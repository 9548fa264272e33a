"""The site of settled tables: where a reader begins, a page for each table, and the words. Static HTML, that loads nothing and runs nothing.

The page of a broken cell's trace is `page.html_page`.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from secondsight.report.glossary import KERNEL, MACHINE, TERMS, terms_in
from secondsight.report.page import hash_of
from secondsight.report.tables import Heading, figures
from secondsight.search import Result, Verdict

__all__ = ["IN_ANOTHER_SENSE", "Decided", "DecisionTable", "glossary_page", "index_page", "table_page"]

_WEB = Path(__file__).parent / "web"

Decided = Mapping[tuple[str, str], Result | None]
"""What was found in each cell, by row and column; None where the question makes no sense."""


class Claim(Protocol):
    """`cases.Finding`."""

    @property
    def claim(self) -> str: ...

    def verdict(self, cells: Mapping[tuple[str, str], Verdict]) -> str | None: ...


class DecisionTable(Protocol):
    """`cases.CaseTable`."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def question(self) -> str: ...
    @property
    def rows(self) -> Sequence[Heading]: ...
    @property
    def columns(self) -> Sequence[Heading]: ...
    @property
    def findings(self) -> Sequence[Claim]: ...


_BEGIN = (
    "A process's memory is cut into pages. The machine finds each page by a page table. A device that works on that memory, such as a graphics card, has a "
    "page table of its own: a copy.",
    "The kernel changes the process's page table all the time, on one CPU, while the device uses its copy, and the device's driver mends the copy on "
    "another. Each does a few small steps. Who comes first is up to chance. In most orders all goes well. In some the device reads memory that is "
    "somebody else's by now.",
    "Kernel developers argue about such orders in mail. secondsight tries all of them, on a model of the kernel, and says what it found.",
)
_READ = (
    "Each table below is one such discussion. A row is an alternative: a way to write the driver, or a design that was proposed. A column is what happens "
    "meanwhile, or what is demanded.",
    "Each cell is a search through every order of all steps. It holds: in no order is a rule broken. It is broken: there is an order that breaks a rule, and the "
    "cell leads to a page that goes through it step by step.",
    "What people claimed stands beside each table, with what the table says to it.",
)


def index_page(tables: Sequence[tuple[DecisionTable, Decided, str]]) -> str:
    """Where a reader begins. Each table comes with its page's file name."""
    body = [*_paragraphs(_BEGIN), "<h2>How to read the tables</h2>", *(f"<p>{_q(text)}</p>" for text in _READ), "<h2>The tables</h2>"]
    for table, cells, file in tables:
        verdicts = [result.verdict for result in cells.values() if result is not None]
        counts = ", ".join(f'<span class="{_kind(one)}">{verdicts.count(one)} {one.value}</span>' for one in Verdict if one in verdicts)
        body.append(f'<section class="card"><h3><a href="{_q(file)}">{_q(table.title)}</a></h3><p>{_linked(table.question)}</p><p>{counts}</p></section>')
    body.append('<p><a href="glossary.html">All words, a paragraph each</a></p>')
    return _page("What the tables say", body)


def table_page(table: DecisionTable, cells: Decided, traces: Mapping[tuple[str, str], str], cost: Sequence[str] = ()) -> str:
    """A table's page. `traces`: the page of each broken cell's trace. `cost`: what its rows cost, if that is part of the question."""
    verdicts = {place: result.verdict for place, result in cells.items() if result is not None}
    body = [f"<p><strong>{_linked(table.question)}</strong></p>"]
    if table.findings:
        body.append("<h2>What was claimed, and what the table says</h2>")
        for one in table.findings:
            said = one.verdict(verdicts) or "Not settled: cells that it needs have not finished."
            body.append(f"<section class=\"card\"><blockquote>{_linked(one.claim)}</blockquote><p>{_linked(said)}</p></section>")
    body += ["<h2>The table</h2>", "<p>A cell that is broken leads to the trace that shows it.</p>", _matrix(table, cells, traces)]
    if cost:
        body += ["<h2>What the rows cost</h2>", *cost]
    body += _meanings("row", "The rows", table.rows) + _meanings("column", "The columns", table.columns)
    body.append(f"<p>Again: <code>secondsight settle {_q(table.name)}</code></p>")
    return _page(table.title, body, up="index.html")


def glossary_page() -> str:
    """All words."""
    body = []
    for part in (KERNEL, MACHINE):
        body.append(f"<h2>{part}</h2><dl>")
        for term in TERMS:
            if term.part == part:
                body.append(f'<dt id="{term.anchor}"><a href="#{term.anchor}">{_q(term.name)}</a></dt><dd>{_linked(term.text, except_for=(term.name,))}</dd>')
        body.append("</dl>")
    return _page("Words", body, up="index.html")


# Parts.


def _matrix(table: DecisionTable, cells: Decided, traces: Mapping[tuple[str, str], str]) -> str:
    """The table itself."""
    head = "".join(f'<th scope="col"><a href="#{_anchor("column", i)}">{_q(c.name)}</a></th>' for i, c in enumerate(table.columns))
    rows = []
    for i, row in enumerate(table.rows):
        line = "".join(f"<td>{_cell(cells, (row.name, column.name), traces)}</td>" for column in table.columns)
        rows.append(f'<tr><th scope="row"><a href="#{_anchor("row", i)}">{_q(row.name)}</a></th>{line}</tr>')
    return f'<div class="scrolls"><table class="matrix"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _cell(cells: Decided, place: tuple[str, str], traces: Mapping[tuple[str, str], str]) -> str:
    result = cells.get(place)
    if result is None:
        return '<span class="none">-</span>' if place in cells else '<span class="none">?</span>'
    word = f'<span class="{_kind(result.verdict)}">{result.verdict.value}</span>'
    if place in traces:
        word = f'<a class="{_kind(result.verdict)}" href="{_q(traces[place])}">{result.verdict.value}</a>'
    why = ", ".join(dict.fromkeys(violation.rule for violation in result.broken)) or result.reason or ""
    return "<br>".join(part for part in (word, _q(why), f'<span class="none">{figures(result.states, result.seconds)}</span>') if part)


def _meanings(kind: str, title: str, entries: Sequence[Heading]) -> list[str]:
    """What rows or columns stand for."""
    terms = [f'<dt id="{_anchor(kind, i)}">{_q(one.name)}</dt><dd>{_linked(one.summary)}</dd>' for i, one in enumerate(entries)]
    return [f"<h2>{title}</h2><dl>{''.join(terms)}</dl>"]


def _anchor(kind: str, number: int) -> str:
    return f"{kind}-{number + 1}"


def _kind(verdict: Verdict) -> str:
    return verdict.value.replace(" ", "-")


def _paragraphs(texts: Sequence[str]) -> Iterator[str]:
    return (f"<p>{_linked(text)}</p>" for text in texts)


IN_ANOTHER_SENSE = ("table", "thread", "holds", "broken")
"""Terms that a table's own texts use in another sense: of itself, of the mail, of references and locks."""


def _linked(text: str, except_for: Sequence[str] = IN_ANOTHER_SENSE) -> str:
    """A text whose terms lead to the glossary."""
    return marked(text, lambda anchor, words: f'<a class="term" href="glossary.html#{anchor}">{words}</a>', except_for)


def marked(text: str, link: Callable[[str, str], str], except_for: Sequence[str] = ()) -> str:
    """A text as HTML, the first occurrence of each term as `link` has it, of its anchor and the words."""
    parts, at = [], 0
    for start, end, term in terms_in(text):
        if term.name not in except_for:
            parts += [_q(text[at:start]), link(term.anchor, _q(text[start:end]))]
            at = end
    return "".join([*parts, _q(text[at:])])


def _q(text: str) -> str:
    return html.escape(text)


def _page(title: str, body: Sequence[str], up: str | None = None) -> str:
    style = (_WEB / "page.css").read_text() + (_WEB / "site.css").read_text()
    way = f'<p><a href="{up}">All tables</a>, <a href="glossary.html">words</a></p>' if up else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src '{hash_of(style)}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_q(title)}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body class="site">
<header>{way}<h1>{_q(title)}</h1></header>
<main>
{chr(10).join(body)}
</main>
</body>
</html>
"""
