"""Teardown: no callback runs once unsubscribing has returned."""

from __future__ import annotations

from secondsight.lang import require, rule
from secondsight.linux.mm_types import Event, MmuNotifier, Va, VaEnd
from secondsight.linux.mmu_notifier import mmu_notifier_callback

__all__ = ["no_callback_after_unregister"]


@rule("teardown", on=mmu_notifier_callback)
def no_callback_after_unregister(subscriber: MmuNotifier, start: Va, end: VaEnd, event: Event) -> None:
    """A subscriber that has been unregistered is not called. Broken by a callback after the unregistration returned."""
    require(not subscriber.unregistered, "teardown", "a callback runs after the driver was unregistered")
