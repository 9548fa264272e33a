"""The device's page table: whoever looks into it has it to itself."""

from __future__ import annotations

from secondsight.devices.device import DevicePageTable, table_changes
from secondsight.lang import current, require, rule

__all__ = ["no_change_while_it_is_walked"]


@rule("table-lock", on=table_changes)
def no_change_while_it_is_walked(table: DevicePageTable) -> None:
    """A driver changes the device's page table under the lock under which it looks into it.

    Broken by a change while another thread is in the middle of `is_mapped`: it may follow what is being freed, or find half a
    change. A driver that publishes whole entries and looks at them without a lock reads `entries` itself.
    """
    require(
        table.walker == 0 or table.walker == current(),
        "table-lock",
        "the device's page table is changed while another thread looks into it: no lock keeps them apart",
    )
