"""The wheel and the sdist as a user gets them: checked, installed into clean environments, and typed. Minutes: `make package`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
DIST = HOUSE / ".venv" / "dist"


def _runs(python: str) -> bool:
    """Whether it is more than a name: a shim may stand for a version that is not chosen."""
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


PYTHONS = [
    found for minor in range(11, 15) if (found := shutil.which(f"python3.{minor}")) and os.environ.get("SECONDSIGHT_PACKAGE") == "1" and _runs(found)
] or [sys.executable]

pytestmark = pytest.mark.skipif(os.environ.get("SECONDSIGHT_PACKAGE") != "1", reason="minutes, and the network: make package")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel() -> Path:
    (found,) = DIST.glob("secondsight-*.whl")
    return found


def test_everything_ships(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    for name in ("py.typed", "scenarios/two_devices.py", "cli/templates/driver.py", "kernels/agent/ops.c", "search/engine.c", "report/web/page.js"):
        assert f"secondsight/{name}" in inside
    here = {str(p.relative_to(HOUSE / "src")) for p in (HOUSE / "src" / "secondsight").rglob("*") if p.suffix in (".py", ".c", ".h")}
    assert here <= inside
    (sdist,) = DIST.glob("secondsight-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "pyproject.toml", "Makefile"} <= names


def test_twine_has_nothing_to_say(wheel: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *DIST.glob("secondsight-*"))


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: Path(path).name)
def test_it_works_in_a_clean_environment(python: str, wheel: Path, tmp_path: Path) -> None:
    run(python, "-m", "venv", tmp_path / "venv")
    there = tmp_path / "venv" / "bin"
    run(there / "python", "-m", "pip", "install", "--quiet", wheel, "pytest")
    assert run(there / "secondsight", "--version").startswith("secondsight ")
    run(there / "secondsight", "new", "driver", "my_gpu", cwd=tmp_path)
    assert "holds" in run(there / "secondsight", "check", "my_gpu.py", "--adversary", "open", cwd=tmp_path)
    assert "two_mirrors" in run(there / "secondsight", "list", "scenarios")


def test_types_are_seen_from_outside(wheel: Path, tmp_path: Path) -> None:
    """mypy --strict and pyright on the examples and on every file that `new` writes, against the installed wheel."""
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel)
    files = tmp_path / "files"
    shutil.copytree(HOUSE / "examples", files, ignore=shutil.ignore_patterns("__pycache__"))
    for kind in ("driver", "scenario", "table", "rule"):
        run(python, "-m", "secondsight", "new", kind, f"new_{kind}", cwd=files)
    typed = sorted(path.name for path in files.glob("*.py"))
    run(sys.executable, "-m", "mypy", "--strict", "--python-executable", python, *typed, cwd=files)
    if subprocess.run([sys.executable, "-m", "pyright", "--version"], capture_output=True, check=False).returncode == 0:  # it fetches what it runs on
        run(sys.executable, "-m", "pyright", "--pythonpath", python, *typed, cwd=files)
    (files / "new_driver.py").write_text((files / "new_driver.py").read_text().replace("self.page_table.map", "self.page_table.mapp"))
    with pytest.raises(AssertionError, match="mapp"):
        run(sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "new_driver.py", cwd=files)
