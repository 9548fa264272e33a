"""The pages that are made for the site: of the mail threads, the words, the limits of the model."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence

from secondsight.cases import TABLES, CaseTable
from secondsight.report.glossary import KERNEL, MACHINE, TERMS, terms_in
from secondsight.report.modelled import KernelFile, kernel_files
from secondsight.report.site import IN_ANOTHER_SENSE

__all__ = ["glossary", "limits", "thread", "threads"]


def threads() -> str:
    rows = "".join(f"| [{table.title}]({name}.md) | {_sentence(table.question)} |\n" for name, table in TABLES.items())
    return (
        "# Mail threads\n\nEach of these pages is about a discussion on the kernel's mailing lists. The question became a table: alternatives against what happens "
        "meanwhile, or against what is demanded. Each cell is a search through every interleaving.\n\n| thread | question |\n| --- | --- |\n"
        f"{rows}\n`secondsight settle` settles all of them again. `secondsight settle --html FOLDER` writes them as pages too, with a page for each trace.\n"
    )


def thread(table: CaseTable) -> str:
    """A thread's page: what its table's file says, the claims, the table as it was reviewed."""
    module = sys.modules[table.program.__module__]
    told = (inspect.getdoc(module) or "").partition("\n")[2].strip()
    text = f"# {table.title}\n\n**{linked(_sentence(table.question))}**\n\n"
    text += "## What was claimed, and what the table says\n\n"
    for finding in table.findings:
        text += f"> {linked(_sentence(finding.claim))}\n\n{linked(_sentence(finding.verdict(table.expected) or ''))}\n\n"
    text += "## The table\n\n| | " + " | ".join(column.name for column in table.columns) + " |\n|" + " --- |" * (len(table.columns) + 1) + "\n"
    for row in table.rows:
        verdicts = [table.expected.get((row.name, column.name)) for column in table.columns]
        text += f"| {row.name} | " + " | ".join(f'<span class="{one.value.replace(" ", "-")}">{one.value}</span>' if one else "-" for one in verdicts) + " |\n"
    text += f"\nThese verdicts were reviewed; the tests settle them again. So does `secondsight settle {table.name}`. The trace of a broken cell:\n\n"
    broken = next((place for place, verdict in table.expected.items() if verdict.value == "broken"), None)
    if broken is not None:
        text += f'```sh\nsecondsight settle {table.name} --trace "{broken[0]}:{broken[1]}"\n```\n\n'
    for title, entries in (("Rows", table.rows), ("Columns", table.columns)):
        text += f"## {title}\n\n" + "".join(f"`{one.name}`\n:   {linked(one.summary)}\n\n" for one in entries)
    return text + (f"## How it is asked\n\n{told}\n" if told else "")


def _sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!", ")")) else ".")


def linked(text: str, glossary: str = "../glossary.md", except_for: Sequence[str] = IN_ANOTHER_SENSE) -> str:
    """Its terms lead to the glossary."""
    parts, at = [], 0
    for start, end, term in terms_in(text):
        if term.name not in except_for:
            parts += [text[at:start], f"[{text[start:end]}]({glossary}#{term.anchor})"]
            at = end
    return "".join([*parts, text[at:]])


def glossary() -> str:
    """The words, a paragraph each."""
    text = "# Words\n\nA paragraph for each word. `secondsight explain NAME` shows them too.\n"
    for part in (KERNEL, MACHINE):
        text += f"\n## {part}\n"
        for term in TERMS:
            if term.part == part:
                text += f"\n### {term.name} {{ #{term.anchor} }}\n\n{linked(term.text, '', (term.name,))}\n"
    return text


_SUBSYSTEMS = (
    ("Mmu notifiers and HMM", ("mm/mmu_notifier", "include/linux/mmu_notifier", "mm/hmm", "include/linux/hmm", "lib/interval_tree")),
    ("Files in memory", ("fs/", "mm/shmem", "mm/memfd", "mm/filemap", "mm/truncate")),
    ("dma-buf and udmabuf", ("drivers/dma-buf/", "include/linux/dma-buf")),
    ("Device memory", ("drivers/dax/", "mm/memremap", "include/linux/memremap")),
    ("Processes", ("kernel/exit", "kernel/fork", "mm/oom_kill", "include/linux/sched")),
    ("Waiting for readers, and counts", ("kernel/rcu/", "kernel/sched/", "kernel/locking/", "lib/percpu", "include/linux/srcu")),
    ("Memory management", ("mm/", "arch/", "include/linux/")),
)
"""Subsystems, and the files that belong to each; the first that fits."""


def limits(readme: str) -> str:
    """What the model leaves out: everywhere, as README.md has it, and by subsystem, out of the docstrings."""
    everywhere = re.search(r"## What the model leaves out\n\n(.*?)\n\nEach file of", readme, re.DOTALL)
    assert everywhere is not None, "README.md has no section of that name any more"
    text = f"# Limits of the model\n\n## Everywhere\n\n{everywhere[1]}\n"
    rest = kernel_files()
    for title, prefixes in _SUBSYSTEMS:
        files = [file for file in rest if file.files and file.files[0].startswith(prefixes)]
        rest = [file for file in rest if file not in files]
        told = "".join(_left_out(file) for file in files)
        if told:
            text += f"\n## {title}\n\n{told}"
    if elsewhere := "".join(_left_out(file) for file in rest):
        text += f"\n## Elsewhere\n\n{elsewhere}"
    return text + "\n`secondsight model` has every function, with its release and its judge.\n"


def _left_out(file: KernelFile) -> str:
    """A file's part; nothing where nothing is left out."""
    lines = [f"* {file.left_out}\n"] if file.left_out else []
    lines += [f"* `{', '.join(f'{name}()' for name in one.functions)}`: {one.left_out}\n" for one in file.functions if one.left_out]
    return f"`{'`, `'.join(file.files)}` (in `linux/{file.model}`):\n\n{''.join(lines)}\n" if lines else ""
