"""The mirror protocol is the same one in every language: everybody finds the same states and transitions."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from bench.checkers import CHECKERS, Checker, Ours
from bench.mirror import mirror
from bench.ours import mutant
from bench.promela import promela
from bench.sizes import SIZES, TINY, Size
from bench.tools import run

from sampled import some
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.reference import Reference
from secondsight.search import Verdict, breadth_first


def has_compiler() -> bool:
    try:
        compiler()
    except CompilerMissing:
        return False
    return True


@pytest.mark.parametrize("size", [TINY, SIZES["A"]], ids=lambda s: s.name)
def test_the_reference_executor_finds_the_published_counts(size: Size) -> None:
    result = breadth_first(Reference(mirror(*size.program)))
    assert (result.verdict, result.states, result.transitions) == (Verdict.HOLDS, size.states, size.transitions)


@pytest.mark.parametrize("checker", some(CHECKERS), ids=lambda c: c.title)
def test_everybody_counts_the_same(checker: Checker, tmp_path: Path) -> None:
    if not all(shutil.which(n) for n in checker.needs) or (isinstance(checker, Ours) and not has_compiler()):
        pytest.skip(f"needs {', '.join(checker.needs) or 'a C compiler'}")
    checker.build(TINY, tmp_path)
    found = checker.search(TINY, tmp_path, 60)
    assert found is not None
    if checker.reduction == "none":
        assert (found.states, found.transitions) == (TINY.states, TINY.transitions)
    else:
        assert found.states < TINY.states
        assert found.transitions < TINY.transitions


TWO = replace(TINY, operations=2, cpus=2, pages=2)
"""Small, and large enough for the mutant to go wrong."""


def test_the_mutant_breaks_the_same_rule_for_us() -> None:
    result = breadth_first(Reference(mirror(*TWO.program, retry_test=False)))
    assert result.violation is not None
    assert result.violation.rule in ("use-after-free", "as-if-cpu")
    assert breadth_first(Reference(mirror(*TWO.program))).verdict is Verdict.HOLDS


@pytest.mark.skipif(not has_compiler(), reason="needs a C compiler")
def test_the_mutants_trace_is_printed() -> None:
    letter = mutant(TWO, 1)
    assert "shortest of" in letter
    assert "wait_until(mm.sequence & 1 == 0)" in letter


@pytest.mark.skipif(not (shutil.which("spin") and shutil.which("gcc")), reason="needs spin and gcc")
@pytest.mark.parametrize("retry_test", [True, False])
def test_the_mutant_breaks_an_assertion_for_spin(tmp_path: Path, retry_test: bool) -> None:
    (tmp_path / "mirror.pml").write_text(promela(TWO, retry_test))
    run(["spin", "-a", "mirror.pml"], tmp_path)
    run(["gcc", "-O1", "-DSAFETY", "-o", "pan", "pan.c"], tmp_path)
    assert ("assertion violated" in run([tmp_path / "pan", "-n"], tmp_path).output) is not retry_test
