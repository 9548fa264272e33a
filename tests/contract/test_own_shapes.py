"""What a driver's author writes first: it works, or the first error says what is wrong and what to write instead."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from secondsight.contract.adversaries import ADVERSARIES
from secondsight.contract.check import check, driver_program, load_drivers, rules_for
from secondsight.lang import LangError, OutOfRecords
from secondsight.search import Result

HEAD = """
from __future__ import annotations
from typing import Literal
from secondsight import Device, DevicePageTable, Mutex, Va
from secondsight.lang import Array, Errno, List, Record, RwLock, U8, pool
from secondsight.linux import EBUSY, hmm, mmu_notifier as mn
from secondsight.linux.mm_types import Pfn

class Extent(Record):
    seq: U8

extents = pool(Extent, "extents")

"""


def result(tmp_path: Path, text: str, bounds: dict[str, int] | None = None) -> Result:
    """What the first of munmap's scenarios comes to."""
    file = tmp_path / "driver.py"
    file.write_text(HEAD + textwrap.dedent(text))
    (driver,) = load_drivers(file)
    return next(check(driver, ["munmap"], bounds=bounds)).result


MIRROR = """
class Own(Device):
    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
{fields}

    def invalidate(self, rng: mn.Range, seq: int) -> bool:
        with self.lock:
            mn.mmu_interval_set_seq(self.notifier, seq)
            self.page_table.unmap(rng)
        return True

{fault}
"""

FAULTS = {
    "two results": """
    def looked_up(self, va: Va, write: bool) -> tuple[U8, Pfn]:
        seq = mn.mmu_interval_read_begin(self.notifier)
        pfn = hmm.hmm_range_fault(self.notifier, va, write)
        return seq, pfn

    def fault(self, va: Va, write: bool) -> Errno:
        while True:
            seq, pfn = self.looked_up(va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
                return 0
""",
    "a field, and :=": """
    def fault(self, va: Va, write: bool) -> Errno:
        while True:
            self.seq = mn.mmu_interval_read_begin(self.notifier)
            seq = self.seq
            while (pfn := hmm.hmm_range_fault(self.notifier, va, write)) == -EBUSY:
                seq = mn.mmu_interval_read_begin(self.notifier)
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
                return 0
""",
    "a list, and a record of its own": """
    def fault(self, va: Va, write: bool) -> Errno:
        extent = extents.alloc()
        while True:
            extent.seq = mn.mmu_interval_read_begin(self.notifier)
            pfns: List[Pfn, 2] = []
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            pfns.append(pfn)
            if pfn == -EBUSY:
                continue
            if pfns[0] < 0:
                extents.free(extent)
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, extent.seq):
                    continue
                for i, one in enumerate(pfns):
                    self.page_table.map(va + i, one, write)
            extents.free(extent)
            return 0
""",
}


@pytest.mark.parametrize("form", FAULTS)
def test_a_right_driver_holds_however_it_is_written(form: str, tmp_path: Path) -> None:
    found = result(tmp_path, MIRROR.format(fields="    seq: U8", fault=FAULTS[form].strip("\n")))
    assert found.verdict.value == "holds", found.violation or found.error


def test_the_record_of_a_drivers_own_is_used_after_it_was_freed(tmp_path: Path) -> None:
    wrong = FAULTS["a list, and a record of its own"].replace(
        "            with self.lock:\n", "            extents.free(extent)\n            with self.lock:\n", 1
    )
    found = result(tmp_path, MIRROR.format(fields="", fault=wrong.strip("\n")))
    assert found.violation is not None
    assert found.violation.rule == "use-after-free"


POOL = """
class Own(Device):
{bounds}
    def fault(self, va: Va, write: bool) -> Errno:
        first = extents.alloc()
        second = extents.alloc()
        extents.free(second)
        extents.free(first)
        return -14
"""


def test_a_drivers_own_pool_has_one_record_or_as_many_as_it_says(tmp_path: Path) -> None:
    found = result(tmp_path, POOL.format(bounds=""))
    assert isinstance(found.error, OutOfRecords)
    assert "raise with extents=2" in str(found.error)
    assert result(tmp_path, POOL.format(bounds=""), {"extents": 2}).error is None
    assert result(tmp_path, POOL.format(bounds='    bounds = {"subscribers": 1, "extents": 2}')).error is None
    raised = result(tmp_path, POOL.format(bounds='    bounds = {"extents": 2}'))
    assert raised.error is None and "subscribers ran out" in raised.note  # nobody has to know of the machinery's
    with pytest.raises(LangError, match=r"Own\.bounds: there is no bound extent; is it extents"):
        result(tmp_path, POOL.format(bounds='    bounds = {"subscribers": 1, "extent": 2}'))


def test_a_driver_without_arrays_of_its_own_has_the_bounds_of_all(tmp_path: Path) -> None:
    file = tmp_path / "driver.py"
    file.write_text("from secondsight.devices.mirror import Mirror as M\nfrom secondsight import Device\n\nclass Own(M):\n    pass\n")
    own = next(d for d in load_drivers(file) if d.__name__ == "Own")
    scenario = ADVERSARIES["munmap"].scenarios[0]
    base = own.__mro__[1]
    assert driver_program(own, scenario, rules_for(own)).machine.bounds == driver_program(base, scenario, rules_for(base)).machine.bounds  # type: ignore[arg-type, type-var]


FIRST_ERRORS = {
    "pfns: Array[Pfn, Literal[2]]\n        pfns[0] = 1": "on the stack, pfns: List\\[Pfn, 2\\] = \\[\\]",
    "pfns = [0 for i in range(2)]\n        return pfns[0]": "comprehension",
    "for i, x in enumerate(range(3)):\n            pass\n        return i": "enumerate",
    "x = [y := 1, 2]\n        return y": "list without a type|:=",
    "try:\n            return -14\n        finally:\n            pass": "try is not in the language",
    "return [1, 2][0]": "list without a type",
    "if va > 1:\n            x = 1\n        return x": "no value",
}


@pytest.mark.parametrize("body", FIRST_ERRORS)
def test_the_first_error_names_the_cause(body: str, tmp_path: Path) -> None:
    with pytest.raises(LangError, match=FIRST_ERRORS[body]):
        result(tmp_path, f"class Own(Device):\n    def fault(self, va: Va, write: bool) -> int:\n        {body}\n        return 0\n")


def test_a_parameter_without_a_type_is_told_the_one_that_it_overrides(tmp_path: Path) -> None:
    with pytest.raises(LangError, match="instead: write: bool"):
        result(tmp_path, "class Own(Device):\n    def fault(self, va: Va, write) -> int:\n        return 0\n")


def test_a_callback_with_other_names_is_refused_where_it_is_written(tmp_path: Path) -> None:
    text = "class Region(mn.IntervalNotifier):\n    def invalidate(self, span: mn.Range, cur_seq: int) -> bool:\n        return True\n\n\n"
    with pytest.raises(LangError, match=r"(?s)driver.py:\d+:\d+: Region.invalidate has other parameters than IntervalNotifier.invalidate.*instead: \(self, rng, cur_seq\)"):
        result(tmp_path, text + "class Own(Device):\n    region: Region\n\n    def fault(self, va: Va, write: bool) -> int:\n        return -14\n")
