"""What the documents show is what one gets."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from documents import EXAMPLES, HOUSE, agree_page, hmm_tests, mm_tests, run, same, with_holds
from reference import reference

from secondsight.cases import TABLES
from secondsight.cases.claims import claims_page
from secondsight.cases.table_mutants import designs_page
from secondsight.conform.page import page
from secondsight.contract.adequacy import page as adequacy_page
from secondsight.kernels import Kernel, KernelError
from secondsight.linux.releases import DIFFERENCES
from secondsight.scenario.holds import HOLDS
from secondsight.world.encoder import CAME_LATER


def _kernel() -> bool:
    """Whether the examples that need a real kernel can run; where one is required, it must be there."""
    required = os.environ.get("SECONDSIGHT_REQUIRE_KERNELS") == "1"
    try:
        Kernel.find("linux-6.12")
    except KernelError:
        return required
    return required or shutil.which("qemu-system-x86_64") is not None


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.wide) if n in ("README.md", "docs/tutorial.md") else n for n in EXAMPLES])
def test_examples_are_true(name: str) -> None:
    for block in run(HOUSE / name, _kernel()):
        assert same(block.now) == same(block.text), f"{name} shows something else; `make docs` writes what is true now"


def test_the_hold_points_are_as_in_the_table() -> None:
    text = (HOUSE / "docs" / "forced.md").read_text()
    assert text == with_holds(text) and all(f"| `{name}` |" in text for name in HOLDS), "`make docs` writes what is true now"


def test_the_releases_are_as_in_the_table() -> None:
    text = (HOUSE / "docs" / "agree.md").read_text()
    assert text == agree_page(), "`make docs` writes what is true now"
    assert all(f"| {mechanism} |" in text for mechanism in DIFFERENCES)


def test_every_difference_of_releases_is_asked_for_where_it_occurs() -> None:
    asked = {name for path in (HOUSE / "src").rglob("*.py") for name in re.findall(r'differs\("([\w-]+)"', path.read_text())}
    assert asked | set(CAME_LATER.values()) == set(DIFFERENCES)


def test_the_kernels_own_tests_are_as_in_the_table() -> None:
    assert (HOUSE / "docs" / "hmm-tests.md").read_text() == hmm_tests(), "`make docs` writes what is true now"
    assert (HOUSE / "docs" / "mm-tests.md").read_text() == mm_tests(), "`make docs` writes what is true now"


def test_the_claims_are_as_in_the_tables() -> None:
    assert (HOUSE / "docs" / "claims.md").read_text() == claims_page(TABLES.values()), "`make docs` writes what is true now"


def test_the_judges_are_as_in_the_targets_and_every_file_has_one() -> None:
    text = (HOUSE / "docs" / "judges.md").read_text()
    assert text == page(), "`make docs` writes what is true now"
    files = {path.name for path in (HOUSE / "src/secondsight/linux").glob("*.py")} - {"__init__.py"}
    assert [name for name in sorted(files) if f"| `{name}` |" not in text] == []


def test_what_breaks_the_contract_is_as_in_the_lessons() -> None:
    assert (HOUSE / "docs" / "adequacy.md").read_text() == adequacy_page() + designs_page(), "`make docs` writes what is true now"


def test_the_reference_is_what_the_docstrings_say() -> None:
    assert (HOUSE / "docs" / "reference.md").read_text() == reference(), "`make docs` writes what is true now"


@pytest.mark.parametrize(
    "path", [HOUSE / "README.md", HOUSE / "ARCHITECTURE.md", *(HOUSE / "docs").glob("*.md")], ids=lambda p: p.name
)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", re.sub(r"`[^`]*`", "", path.read_text())):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("name", ["README.md", "docs/language.md", "docs/tutorial.md"])
def test_what_the_documents_import_is_there(name: str) -> None:
    found = re.findall(r"^from secondsight\S* import (?:\([^)]*\)|[^\n(]+)$", (HOUSE / name).read_text(), re.MULTILINE)
    assert found
    for statement in found:
        exec(statement, {})


def test_the_architecture_page_names_every_folder() -> None:
    text = (HOUSE / "ARCHITECTURE.md").read_text()
    folders = [p.parent.name for p in (HOUSE / "src" / "secondsight").glob("*/__init__.py")]
    assert [name for name in folders if f"`{name}/`" not in text] == []
    assert [line for line in text.split("\n") if len(line) > 132] == [], "a terminal shows it as it is"
