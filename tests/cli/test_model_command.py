"""`secondsight model`: every public function of `linux/` is there, with a file and a release in which it can be looked up."""

from __future__ import annotations

import importlib
import json
import re
from types import FunctionType

import pytest

from secondsight.cli import main
from secondsight.kernels import KernelError
from secondsight.kernels.sources import find_source
from secondsight.lang import LangError
from secondsight.report.modelled import KernelFile, kernel_files

MADE_BY_MACROS = {"mm/interval_tree.c"}
"""INTERVAL_TREE_DEFINE() writes the functions: their names are in no file whole."""


@pytest.fixture(scope="module")
def files() -> list[KernelFile]:
    return kernel_files()


def test_every_public_function_is_there_once(files: list[KernelFile]) -> None:
    for file in files:
        module = importlib.import_module(f"secondsight.linux.{file.model.removesuffix('.py')}")
        public = [name for name in module.__all__ if type(getattr(module, name)) is FunctionType and getattr(module, name).__module__ == module.__name__]
        assert sorted([f.name for f in file.functions] + list(file.own)) == sorted(public)
        assert file.judge and file.reason


def test_functions_are_where_they_are_said_to_be(files: list[KernelFile]) -> None:
    try:
        tree = find_source("linux-6.12").tree
    except KernelError as error:
        pytest.skip(str(error))
    looked_at = 0
    for file in files:
        for one in file.functions:
            paths = [tree / path for path in one.paths]
            if one.release != "6.12" or not all(path.exists() for path in paths) or set(one.paths) & MADE_BY_MACROS:
                continue
            text = "".join(path.read_text() for path in paths)
            assert [n for n in one.functions if not re.search(rf"\b{n}\b", text)] == [], f"linux/{file.model}: {one.name}: {one.file}"
            looked_at += 1
    assert looked_at > 50


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "mm/hmm.c"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith("linux/hmm.py: mm/hmm.c judge: conform: mm/hmm.c of 6.1, 6.12, 7.2 runs beside it, step by step left out: entries that say")
    assert "hmm_range_fault() (mm/hmm.c, Linux 6.12)" in shown
    assert main(["model", "vm_munmap", "--json"]) == 0
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert [f["name"] for f in file["functions"]] == ["vm_munmap"]
    with pytest.raises(LangError, match="nothing that is modelled is called hmm_range_falt; is it hmm_range_fault"):
        kernel_files("hmm_range_falt")
