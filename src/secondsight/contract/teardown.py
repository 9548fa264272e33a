"""Teardown: no callback runs once a driver has unsubscribed, and one that is closed has."""

from __future__ import annotations

from secondsight.devices.device import device_closed, device_opened
from secondsight.lang import Errno, atomic, require, rule
from secondsight.linux.device import is_of
from secondsight.linux.dma_buf import attachments
from secondsight.linux.hmm_2019 import hmms
from secondsight.linux.mm_types import Driver, Event, Mm, Subscriber, Va, VaEnd
from secondsight.linux.mmu_notifier import mmu_notifier_callback

__all__ = ["detached_when_closed", "no_callback_after_unregister", "unsubscribed_when_closed", "unsubscribed_when_refused"]


@rule("teardown", on=mmu_notifier_callback)
def no_callback_after_unregister(subscriber: Subscriber, start: Va, end: VaEnd, event: Event) -> None:
    """A subscriber that has been unregistered is not called, and one that is closed is not subscribed.

    Broken by a callback after the unregistration returned, and by a driver that leaves a subscription behind when its `close`
    has returned or its `open` has failed: the callbacks that follow run into memory that is freed by then. Source:
    mmu_notifier_unregister() and mmu_interval_notifier_remove() (mm/mmu_notifier.c, Linux 6.12).
    """
    require(not subscriber.unregistered, "teardown", "a callback runs after the driver was unregistered")


@rule("teardown", on=device_closed)
def unsubscribed_when_closed(device: Driver, mm: Mm) -> None:
    """Nothing is subscribed when `close` has returned."""
    require(not is_subscribed(device, mm), "teardown", "close() has returned and the driver is still subscribed")


@rule("teardown", on=device_closed)
def detached_when_closed(device: Driver, mm: Mm) -> None:
    """No attachment is left: the exporter would call a driver that is not there any more (dma_buf_detach())."""
    require(not is_attached(device), "teardown", "close() has returned and the driver is still attached to a buffer")


@rule("teardown", on=device_opened)
def unsubscribed_when_refused(device: Driver, mm: Mm, error: Errno) -> None:
    """Nothing is subscribed when `open` has failed: `close` is not called."""
    require(error == 0 or not is_subscribed(device, mm), "teardown", "open() has failed and the driver is still subscribed")


@atomic
def is_attached(device: Driver) -> bool:
    """Whether the driver is an importer of a buffer."""
    for i in range(len(attachments)):
        if attachments.is_used(attachments[i]):
            if attachments[i].importer is device:
                return True
    return False


@atomic
def is_subscribed(device: Driver, mm: Mm) -> bool:
    """Whether the driver subscribes to the mm, or mirrors one by the interface of 2019."""
    subs = mm.subscriptions
    for i in range(len(subs.itree)):
        if is_of(subs.itree[i], device) or is_of(subs.deferred_list[i], device):
            return True
    for hmm in hmms:
        if any(mirror is device for mirror in hmm.mirrors):
            return True
    return any((node.subscription is device and node.hashed) or (node.ops is device and (node.users > 0 or node.freeing)) for node in subs.nodes)
