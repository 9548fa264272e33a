"""A version is one number: in pyproject.toml, in CHANGELOG.md, in what `--version` says, and in the tag of its commit."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib.metadata import metadata, version
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]


def headings() -> list[tuple[str, str]]:
    """The versions that the changelog has, the newest first, each with when it was released."""
    return re.findall(r"^## (\S+) \((.*)\)$", (HOUSE / "CHANGELOG.md").read_text(), re.MULTILINE)


def git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=HOUSE, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no git here: {done.stderr.strip()}")
    return done.stdout.split()


def test_the_version_is_one_number() -> None:
    (newest, _), *older = headings()
    assert newest == PROJECT["version"] == version("secondsight")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", when) for _, when in older)
    assert [one for one, _ in headings()] == sorted({one for one, _ in headings()}, key=lambda one: [int(n) for n in one.split(".")], reverse=True)


def test_a_version_that_is_tagged_has_a_date() -> None:
    tagged, dates = git("tag", "--list", "v*"), dict(headings())
    assert set(tagged) <= {f"v{one}" for one in dates}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", dates[tag.removeprefix("v")]) for tag in tagged)
    assert set(git("tag", "--points-at", "HEAD", "--list", "v*")) <= {f"v{PROJECT['version']}"}


def test_what_an_index_says_of_it_is_there() -> None:
    data = metadata("secondsight")
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)} <= set(data.get_all("Classifier") or ())
    assert data["Requires-Python"] == PROJECT["requires-python"] and data["Summary"] == PROJECT["description"]
