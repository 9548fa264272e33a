"""What the site has beside docs/: the project's own pages, a page for each mail thread, and the Python modules out of their docstrings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from pages import glossary, limits, thread, threads

from secondsight.cases import TABLES

HOUSE = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md", "ARCHITECTURE.md": "architecture.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md", "bench/README.md": "bench.md",
}  # fmt: skip
"""The project's files that are pages, and what they are called there."""

MODULES = {
    "secondsight": "What a driver's file imports",
    "secondsight.machine": "A machine by hand",
    "secondsight.devices.device": "Devices",
    "secondsight.scenario.recorder": "Scenarios",
    "secondsight.scenario.methods": "The operations of a scenario",
    "secondsight.scenario.schedule": "Schedules of forced runs",
    "secondsight.scenario.holds": "Hold points",
    "secondsight.world.forced": "Forced runs on the model",
    "secondsight.contract.check": "Checks of drivers",
    "secondsight.search.request": "What is asked of a search",
    "secondsight.search.result": "What a search found",
    "secondsight.cases.table": "Tables",
    "secondsight.testing": "Tests of one's own",
}
"""The modules with a page of their own, and its title."""


def on_files(files: Files, config: Any) -> Files:
    """The pages that are made, and the nav that has them."""
    made = {there: (HOUSE / here).read_text() for here, there in PAGES.items()}
    made |= {"threads/index.md": threads(), "glossary.md": glossary(), "limits.md": limits(made["index.md"])}
    made |= {f"threads/{name}.md": thread(table) for name, table in TABLES.items()}
    made["api/index.md"] = "# Python\n\nOut of the docstrings. What a driver may call of the kernel is in [reference.md](../reference.md).\n\n" + "".join(
        f"* [{title}]({module}.md): `{module}`\n" for module, title in MODULES.items()
    )
    made |= {f"api/{module}.md": f"# {title}\n\n`{module}`\n\n::: {module}\n" for module, title in MODULES.items()}
    made["site.css"] = (HOUSE / "site" / "site.css").read_text()
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    nav = [dict(part) for part in config.nav]
    named = str(nav)
    others = [path.name for path in sorted((HOUSE / "docs").glob("*.md")) if f"'{path.name}'" not in named]
    for part in nav:
        if "Mail threads" in part:
            part["Mail threads"] = ["threads/index.md", *(f"threads/{name}.md" for name in TABLES)]
        if "Reference" in part:
            part["Reference"] = [
                {"Python": ["api/index.md", *(f"api/{module}.md" for module in MODULES)]} if one == {"Python": "api/index.md"} else one
                for one in part["Reference"]
            ]
        if "Guides" in part:
            part["Guides"] = [*part["Guides"], *others]  # a page that nobody has given a place
    config.nav = nav
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has them: to a page that is elsewhere here, and to sources, which it has not."""
    source = page.file.src_uri
    here = next((Path(name).parent for name, there in PAGES.items() if there == source), Path("docs") / Path(source).parent)
    up = "../" * (len(Path(source).parts) - 1)

    def link(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        path = (HOUSE / here / target).resolve()
        if not path.exists() or not path.is_relative_to(HOUSE):
            return match[0]
        name = path.relative_to(HOUSE).as_posix()
        if name in PAGES:
            return f"[{words}]({up}{PAGES[name]}{anchor})"
        if name.startswith("docs/"):
            return f"[{words}]({up}{name.removeprefix('docs/')}{anchor})"
        return f"`{name}`"

    parts = re.split(r"(^```.*?^```$|`[^`\n]+`)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if i % 2 else re.sub(r"\[([^\]]*)\]\(([^)#:\s]+)(#[^)]*)?\)", link, part) for i, part in enumerate(parts))
