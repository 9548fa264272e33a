"""Mutants of the right drivers that ship which no adversary notices, and why they break nothing: generated names, reviewed reasons.

A driver is in `HARMLESS` when all its mutants have been tried. `UNTRIED` has the others, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["HARMLESS", "UNTRIED"]

_UNDER_ONE_LOCK = "both stand under the lock that whoever reads them takes: nobody sees one without the other"
_STILL_IN_THE_CALLBACK = (
    "the table is cleared before the callback returns, and from the new sequence number on nobody installs what was collected before: "
    "a fault that takes the lock in between finds that it has to start over"
)
_SEEN_LATER = "whoever looked before has the lock until the page is pinned, and it is given back after that"
_ASKED_BY_A_VMM = "for a VMM that unmaps and maps again (devices/vmm.py), which no adversary is: tests/devices/test_vmm_discards.py has it"
_PAST_A_LIMIT = "beyond RLIMIT_MEMLOCK, which no adversary sets: tests/devices/test_vmm_discards.py has it"
_STAYS = "what is read is written by `attach_to` and `close` alone, which nobody calls meanwhile"
_UNDER_RESV = "the reservation lock is held: that it is one step besides only saves states"
_FENCED = "the fence of a job that is under way keeps the memory: the exporter waits for it before the memory goes (`UnmapsAtOnce` counts on that)"
_WORKER_LOOKS = "the worker looks under the reservation lock whether anything is left to do, and finds nothing; that the driver itself is freed then is not modelled"


def _by_name(reasons: Mapping[str, str]) -> dict[str, str]:
    """The reason of each mutant, out of names by reason such as `f: drop 1, 2; g: swap 3`."""
    return {name: reason for reason, names in reasons.items() for name in _each_name(names)}


def _each_name(names: str) -> Iterator[str]:
    for group in names.split("; "):
        first, *others = group.split(", ")
        yield first
        yield from (f"{first.rpartition(' ')[0]} {number}" for number in others)


HARMLESS: dict[str, dict[str, str]] = {
    "Mirror": {
        "invalidate: swap 1": _UNDER_ONE_LOCK,
        "invalidate: swap 2": _STILL_IN_THE_CALLBACK,
    },
    "MirrorInParts": {
        "invalidate: swap 1": _UNDER_ONE_LOCK,
        "invalidate: swap 2": _STILL_IN_THE_CALLBACK,
    },
    "Pins": {
        "pin: swap 3": _UNDER_ONE_LOCK,
        "unpin: first out of the lock 1": _SEEN_LATER,
    },
    "VfioType1": {
        "map_dma: swap 3": _UNDER_ONE_LOCK,
        "map_dma: drop 7": _PAST_A_LIMIT,
        "close: first out of the lock 1": _SEEN_LATER,
        "unmap_dma: without the lock 1": _ASKED_BY_A_VMM,
        "unmap_dma: drop 1": _ASKED_BY_A_VMM,
        "unmap: drop 2": _ASKED_BY_A_VMM,
        "unmap: swap 3": "the page is out of the device's table already: whether it is counted a moment longer than it is pinned is all the same",
    },
    "FencedImporter": _by_name(
        {
            "it is attached before any thread begins: no adversary attaches while the exporter moves": "attach_to: swap 1",
            "`do_job` queues one job at a time": "submit: drop 1",
            "it does nothing and says that it is done: no rule asks an importer what a job has done": "submit: drop 7",
            _STAYS: (
                "submit: without the lock 1; submit: first out of the lock 1; submit: last out of the lock 1; submit: swap 2; "
                "close: without the lock 1; close: first out of the lock 1; close: last out of the lock 1; close: swap 7"
            ),
            _UNDER_RESV: (
                "queue: without the lock 1; queue: first out of the lock 1; queue: last out of the lock 1; queue: swap 1, 3; "
                "unmap: without the lock 1; unmap: first out of the lock 1; unmap: last out of the lock 1; close: swap 2"
            ),
            _FENCED: "work: drop 1; work: swap 1; wait_for_jobs: drop 2; give_back: drop 2; give_back: swap 2",
            "the worker is told of once, and looks itself: to say that it works a step sooner or later is not noticed while it has nothing in hand": (
                "work: without the lock 1; work: first out of the lock 1; work: last out of the lock 1; work: swap 2, 3"
            ),
            "another statement writes the same before anybody reads it": "unmap: drop 5; give_back: drop 1; give_back: swap 1",
            _WORKER_LOOKS: "close: swap 3, 5, 6; close: drop 6",
        }
    ),
    "MarksWhenItDrops": _by_name(
        {
            "the driver's lock is held, under which every change of the table is made": (
                "drop: without the lock 1; drop: first out of the lock 1; drop: last out of the lock 1; drop: swap 2"
            ),
        }
    ),
    "Vcpu": _by_name(
        {
            "who opens is a thread of the process, and so its user": "open: swap 1",
            "what is read is written by `open` and `close` alone, which nobody calls meanwhile": (
                "close: without the lock 1; close: first out of the lock 1; fault: without the lock 1; fault: first out of the lock 1"
            ),
            "the number is read before the page is looked at, and that is what matters": "fault: swap 1",
            "two looks in one step": "look: swap 1",
            "to count is one step in the language, with the lock or without: two that count at once, of which one is lost, are not tried": (
                "invalidate_range_start: first out of the lock 1"
            ),
            "who maps looks at the count first, and the table is cleared before the callback returns": "invalidate_range_start: last out of the lock 1",
            _UNDER_ONE_LOCK: "invalidate_range_start: swap 1; invalidate_range_end: swap 1",
            "the accesses are those of the process's threads: with the last of them nobody is left to make one": "release: without the lock 1; release: drop 1",
        }
    ),
    "Exclusive": _by_name(
        {
            "the second subscription does not fail: the caller is a user of the mm": "open: drop 5",
            _UNDER_ONE_LOCK: "exclusive_fault: swap 2",
            "the page is locked until then, so that nobody else comes to its place in `kept`": (
                "tried_again: without the lock 1; tried_again: first out of the lock 1; tried_again: last out of the lock 1"
            ),
            "it is written anew before it is read": "tried_again: drop 4",
        }
    ),
    "ClosesByItsLock": _by_name(
        {
            "who maps does so under the lock, before the table is emptied, or finds that it is closed": (
                "close: first out of the lock 1; close: last out of the lock 1; close: swap 1"
            ),
        }
    ),
    "RemembersByProcess": _by_name(
        {
            "one look is one step": "collect: without the lock 1",
            "what is not remembered is looked for": "install: drop 2",
        }
    ),
    "PrefaultsAfterwards": _by_name(
        {
            "what is not mapped at the beginning is mapped when it is used": "open: drop 2",
            "where it was refused there is no process whose pages it could find": "open: negate 1",
        }
    ),
    "GivesReferencesBack": _by_name(
        {
            "the driver's lock is held, under which every change of the table is made": (
                "install: without the lock 1; install: first out of the lock 1; drop: without the lock 1; drop: first out of the lock 1; "
                "drop: last out of the lock 1"
            ),
            "who is closed maps nothing any more, and the table is empty": "close: drop 1",
            "who maps does so under the lock, before the table is emptied, or finds that it is closed; to empty it is one step": (
                "close: first out of the lock 1; close: last out of the lock 1; close: swap 1"
            ),
        }
    ),
    "AsksToWriteFirst": {},
    "DropsEverything": {},
    "KeepsForReading": {},
    "LooksIntoItsTable": {},
    "UnmapsAtOnce": _by_name(
        {
            _STAYS: (
                "move_notify: without the lock 1; move_notify: first out of the lock 1; move_notify: last out of the lock 1; move_notify: swap 1"
            ),
        }
    ),
}
"""By driver and mutant (`driver_mutants`): why it may survive."""

_NOT_ALL = "not all of its mutants have been tried yet"
_BY_ITS_TABLE = "a table judges it, where adversaries of a kind of their own act (`secondsight settle`); the contract's adversaries break it by design"

UNTRIED: dict[str, str] = {
    "PrivateGpu": _NOT_ALL,
    "ClearsByItself": _NOT_ALL,
    "CoherentGpu": _NOT_ALL,
    "ClearsItsRange": _NOT_ALL,
    "OdpLater": _BY_ITS_TABLE,
    "Mirror2019": _BY_ITS_TABLE,
    "FillsPages": _BY_ITS_TABLE,
    "ForgetsByHook": _BY_ITS_TABLE,
    "ForgetsByEvents": _BY_ITS_TABLE,
}
"""By driver: why not all its mutants have been tried here."""
