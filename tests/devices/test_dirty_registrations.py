"""A page that a device has written is marked dirty when it is unpinned: by the way it was pinned it may be clean."""

from __future__ import annotations

import pytest

from secondsight.contract.check import check
from secondsight.devices.registration_cache import ForgetsByEvents, ForgetsByHook, KeepsEverything
from secondsight.devices.vfio_type1 import VfioType1
from secondsight.lang import atomic
from secondsight.linux.gup import unpin_user_page
from secondsight.linux.mm_types import Event, Range, Va, VaEnd


class MarksNothing(ForgetsByHook):
    """Wrong: unpins, and no more."""

    @atomic
    def forget_range(self, start: Va, end: VaEnd) -> None:
        for va in range(start, end):
            folio = self.kept[va]
            if folio is not None:
                self.page_table.unmap(Range(va, va + 1, Event.UNMAP, True))
                unpin_user_page(folio)
                self.kept[va] = None


@pytest.mark.parametrize(
    ("driver", "rules"), [(MarksNothing, {"lost-write"}), (ForgetsByHook, set()), (ForgetsByEvents, set()), (KeepsEverything, set()), (VfioType1, set())]
)
@pytest.mark.parametrize("steps", [0, 1])
def test_what_a_device_wrote_is_not_lost(driver: type[KeepsEverything], rules: set[str], steps: int) -> None:
    found = list(check(driver, ["swap"], bounds={"gup_fast_steps": steps}))
    assert all(one.result.error is None for one in found)
    broken = {one.result.violation.rule for one in found if one.result.violation is not None}
    assert broken - {"left-out"} == rules  # write protection of a memfd's pages by userfaultfd, which `ForgetsByEvents` asks for
