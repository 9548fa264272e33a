"""The table of the kernel's own tests of memory: every scenario in it is there, and every test of the programs is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from secondsight.kernels import Kernel, KernelError
from secondsight.kernels.catalog import selftest_sources
from secondsight.kernels.mm_tests_table import MM_TESTS, ON_MEMORY
from secondsight.scenario import load_expected, load_scenarios

SCENARIOS = Path(__file__).parents[2] / "scenarios"
ROWS = [row for rows in MM_TESTS.values() for row in rows.values()]


def test_every_scenario_of_the_table_is_there_and_each_of_its_files_is_used() -> None:
    assert set(ON_MEMORY) <= set(MM_TESTS)
    assert all((row.scenario is None) is (row.file is None) is (row.missing is not None) for row in ROWS)
    for file in ("cow_tests", "gup_longterm", "mremap_tests", "uffd_tests"):
        path = SCENARIOS / f"{file}.py"
        named = {row.scenario for row in ROWS if row.file == file}
        there = [found.name for found in load_scenarios(path)]
        notes = " ".join(row.note for row in ROWS if row.file == file)
        assert named <= set(there) and [more for more in there if more not in named and f"`{more}`" not in notes] == []
        assert list(load_expected(path.with_suffix(".expected.json"))) == there


@pytest.mark.parametrize("program", MM_TESTS)
def test_every_test_of_the_table_is_one_of_its_program(program: str) -> None:
    try:
        sources = selftest_sources(Kernel.find("6.12-own"))
    except KernelError as error:
        pytest.skip(f"{error.reason}: {error.remedy}")
    text = (sources / f"tools/testing/selftests/mm/{program}.c").read_text()
    assert [name for name in MM_TESTS[program] if f'"{name}"' not in text] == []
