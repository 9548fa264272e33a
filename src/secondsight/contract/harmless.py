"""Mutants of the right drivers that ship which no adversary notices, and why they break nothing: generated names, reviewed reasons.

Every right driver that ships is in `HARMLESS`, and what is a record within one. `JUDGED` has those that adversaries of their own judge, and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["HARMLESS", "JUDGED", "by_name", "by_reason", "each_of"]

_THE_CALLS_OWN = "the array is of one call alone, which writes what it reads"
_UNDER_ONE_LOCK = "both stand under the lock that whoever reads them takes: nobody sees one without the other"
_STILL_IN_THE_CALLBACK = (
    "the table is cleared before the callback returns, and from the new sequence number on nobody installs what was collected before: "
    "a fault that takes the lock in between finds that it has to start over"
)
_SEEN_LATER = "whoever looked before has the lock until the page is pinned, and it is given back after that"
_ASKED_BY_A_VMM = "for a VMM that unmaps and maps again (devices/vmm.py), which no adversary is: tests/devices/test_vmm_discards.py has it"
_STAYS = "what is read is written by `attach_to` and `close` alone, which nobody calls meanwhile"
_UNDER_RESV = "the reservation lock is held: that it is one step besides only saves states"
_ASKED_AGAIN = "whether there is a job still is asked again under the lock, which is given back then"
_ONE_JOB = "no adversary has two threads with jobs for one device: tests/contract/test_importers.py has them"
_SAYS_IT_IS_DONE = "it does nothing and says that it is done: no rule asks an importer what a job has done"
_FENCED = "the fence of a job that is under way keeps the memory: the exporter waits for it before the memory goes (`UnmapsAtOnce` counts on that)"
_WORKER_LOOKS = "the worker looks under the reservation lock whether anything is left to do, and finds nothing; that the driver itself is freed then is not modelled"


_NOTHING_ALLOCATED = "what is allocated is not modelled: nobody asks whether there is memory for what is entered"
_CLEARED_ALREADY = (
    "the CPU's entry has changed before the callback is called: whoever looks from then on finds the new page; whoever looked before finds that the number has gone on, or has its "
    "entry dropped"
)
_FLUSHES_MORE = "nobody asks whether more is flushed than has to be, and what is allocated is not modelled"
_ONE_STEP = "to clear it is one step"
_NOT_CLOSED = "no column closes the device while it works, and nothing is asked of a process that ends"
_WAIT_SAVES = "hmm_range_fault() says -EBUSY while the range is not valid, and the loop goes on: the wait saves rounds"
_RELEASED = "unregistering calls `release`, which takes the page table away too, unless the process's end has"
_ANSWERED = "the worker is a user of the mm while it answers, and whoever waits gets its answer; that the driver itself is freed then is not modelled"
_MM_STAYS = "`notifier.mm` is there before `open` is called, and stays; mmget_not_zero() looks by itself"
_NOBODY_LEFT = "the accesses are those of the process's threads: with the last of them nobody is left to make one"
_NEVER_FREED = "memory that is never freed: no rule counts what a driver allocates"
_A_FIGURE = "how many pages have moved is a figure for who asked: no rule asks a driver what it says"


def by_name(reasons: Mapping[str, str]) -> dict[str, str]:
    """The reason of each mutant, out of names by reason such as `f: drop 1, 2; g: swap 3`."""
    return {name: reason for reason, names in reasons.items() for name in _each_name(names)}


def each_of(names: Mapping[str, str]) -> dict[str, str]:
    """The key of each name, out of names by key such as `one; other`."""
    return {name: key for key, listed in names.items() for name in listed.split("; ") if name}


def by_reason(table: Mapping[str, str]) -> dict[str, list[str]]:
    """The mutants of each reason, out of reasons by name."""
    reasons: dict[str, list[str]] = {}
    for mutant, reason in table.items():
        reasons.setdefault(reason, []).append(mutant)
    return reasons


def _each_name(names: str) -> Iterator[str]:
    for group in names.split("; "):
        first, *others = group.split(", ")
        yield first
        yield from (f"{first.rpartition(' ')[0]} {number}" for number in others)


_GETS_A_USER = "`mm` stays what it is while the device is open, and to get a user is one step"
HARMLESS: dict[str, dict[str, str]] = {
    "Mirror": {
        "invalidate: swap 1": _UNDER_ONE_LOCK,
        "invalidate: swap 2": _STILL_IN_THE_CALLBACK,
    },
    "IsAUserWhileItFaults": by_name(
        {
            _GETS_A_USER: "fault: without the lock 1; fault: first out of the lock 1; fault: last out of the lock 1",
            "hmm_range_fault() is a user of its own": "fault: swap 1",
        }
    ),
    "StaysAUser": by_name(
        {
            "the notifier's `mm` stays what it is": "fault: first out of the lock 1; close: without the lock 1; close: first out of the lock 1",
            "when the page table is disabled nobody becomes a user any more, so nobody else counts": "close: without the lock 2",
        }
    ),
    "GetsItsNotifier": by_name(
        {
            "who opens it is a thread of the process, and so its user": "open: swap 1",
            "one step, in which nobody looks": "alloc_notifier: swap 2",
            _NEVER_FREED: "free: drop 1",
            "`mm` and the notifier stay what they are while the device is open": "work: without the lock 1; work: first out of the lock 1; put: without the lock 1",
        }
    ),
    "MirrorInParts": {
        "invalidate: swap 1": _UNDER_ONE_LOCK,
        "invalidate: swap 2": _STILL_IN_THE_CALLBACK,
    },
    "Pins": {
        "pin: swap 3": _UNDER_ONE_LOCK,
        "unpin: first out of the lock 1": _SEEN_LATER,
    },
    "PinsFilesForAMoment": by_name(
        {
            "nobody asks whether a page that is pinned for one write is given back before `close` returns: it is pinned, and all is given back": "write: without the lock 1; "
            "write: first out of the lock 1; write: last out of the lock 1; pin_for_a_moment: swap 3",
            "a device that promises to pin may be refused a page, and may write one twice: no rule asks what its write says": "write: negate 1; write: drop 3; pin_for_a_moment: negate 1; "
            "write_pinned: drop 1",
        }
    ),
    "LooksUpEachPagemap": dict.fromkeys(("collect: drop 2", "read_ahead: drop 4", "read_page: drop 2"), "what it reads ahead goes nowhere: a driver that reads less keeps every rule"),
    "PinsAllOrNothing": {},
    "LeavesInItsCallback": by_name({_GETS_A_USER: "invalidate: without the lock 1; invalidate: first out of the lock 1; invalidate: last out of the lock 1"}),
    "PinsSeveral": {
        "pin: swap 1": "which pages are wanted is the driver's own to say, under its lock: the mmap lock is not asked",
        "take: swap 1": _UNDER_ONE_LOCK,
        "take: swap 2": _THE_CALLS_OWN,
        "take: drop 4": _THE_CALLS_OWN,
    },
    "Sva": {
        "close: drop 1": _RELEASED,
        "close: swap 1": _ANSWERED,
        "close: drop 2": _ANSWERED,
        "close: without the lock 1": _MM_STAYS,
        "close: first out of the lock 1": _MM_STAYS,
        "handle: without the lock 1": _MM_STAYS,
        "handle: first out of the lock 1": _MM_STAYS,
        "handle: last out of the lock 1": _MM_STAYS,
    },
    "DmaMirror": by_name(
        {
            _UNDER_ONE_LOCK: "map: swap 1; invalidate: swap 1; close: swap 1",
            "whoever looked before has the lock until its page is mapped, and that one is unmapped with the others": "close: first out of the lock 1",
            "its table is empty then, and nothing is entered any more": "close: drop 1",
        }
    ),
    "HasAccessedBits": by_name(
        {
            "nothing that is right rests on whether a page was used lately: no rule asks a driver what it says of that": (
                "access: negate 1; access: drop 2; test_and_clear: negate 1; test_and_clear: drop 2, 3; test_and_clear: swap 1"
            ),
            "one step, in which nobody looks": "clear_young: without the lock 1; test_young: without the lock 1",
        }
    ),
    "UnmapsThenUnpins": by_name(
        {
            _UNDER_ONE_LOCK: "unpin_one: swap 1, 2",
            _SEEN_LATER: "close: first out of the lock 1",
            "nothing is mapped any more once it says that it is closed, and it is closed once": "close: last out of the lock 1; unpin_one: drop 3",
        }
    ),
    "DmaMirrorLazy": {"open: drop 1": "flushed at once it is right too"},
    "VfioType1": {
        "map_dma: swap 3": _UNDER_ONE_LOCK,
        "close: first out of the lock 1": _SEEN_LATER,
        "unmap_dma: without the lock 1": _ASKED_BY_A_VMM,
        "unmap_dma: drop 1": _ASKED_BY_A_VMM,
        "unmap: drop 2": _ASKED_BY_A_VMM,
        "unmap: swap 3": "the page is out of the device's table already: whether it is counted a moment longer than it is pinned is all the same",
    },
    "RdmaMr": by_name(
        {
            _UNDER_ONE_LOCK: "close: swap 1; ib_umem_get: swap 2",
            _SEEN_LATER: "close: first out of the lock 1",
            "nothing is registered any more once it says that it is closed, and it is closed once": "close: last out of the lock 1; fault: drop 4",
            "it concerns a local of one thread, or a list that is written anew before it is read": "fault: first out of the lock 1; append: drop 2",
            "an application that does without two pages where it cannot have both has no access to the other: a pinned device may fail": "fault: drop 7",
            "one registers at a time, under the lock of the application": (
                "count: without the lock 1; count: first out of the lock 1; count: last out of the lock 1; count: swap 1"
            ),
        }
    ),
    "AllocatesBeforeItsLock": {"fault: drop 1": _NOTHING_ALLOCATED},
    "AllocatesWithoutReclaim": {"allocate_at_once: drop 3": "no rule asks whether PF_MEMALLOC is left over: what the thread allocates afterwards may fail, and what is allocated is not modelled"},
    "AllocatesWithoutWaiting": by_name(
        {
            _NOTHING_ALLOCATED: "fault: drop 2, 3; fault: swap 1, 2; install: negate 1; install: drop 2, 3",
            "the driver's lock is held: that it is one step besides only saves states": (
                "install: without the lock 1; install: first out of the lock 1; install: last out of the lock 1; install: swap 1"
            ),
        }
    ),
    "WaitsForItsWorker": by_name(
        {
            "what the worker flushes is not modelled: the callback itself drops what the device has": (
                "invalidate: without the lock 1; invalidate: first out of the lock 1; invalidate: last out of the lock 1; invalidate: drop 1, 2; invalidate: swap 1; "
                "work: drop 1, 2; work: swap 1, 2"
            ),
            _NOTHING_ALLOCATED: "allocate: drop 1",
        }
    ),
    "DropsWhatChanges": by_name(
        {
            _CLEARED_ALREADY: "invalidate_page: first out of the lock 1; invalidate_page: last out of the lock 1",
            _UNDER_ONE_LOCK: "invalidate_page: swap 1",
        }
    ),
    "NotifiedIn2011": by_name(
        {
            _CLEARED_ALREADY: "change_pte: first out of the lock 1; change_pte: last out of the lock 1",
            _UNDER_ONE_LOCK: "change_pte: swap 1",
            "what is entered takes the old entry's place": "set_page: drop 1",
            "the device has no entry then, and faults": "set_page: drop 2; set_page: swap 1",
        }
    ),
    "FaultQueue": by_name(
        {
            _UNDER_ONE_LOCK: "report: swap 1, 2, 3; handle: swap 1, 2, 3; stop: swap 1",
            "an answer of a later moment is one of the access's own time too": "fault: without the lock 1; fault: first out of the lock 1",
            "it looks at one flag after the other, and whoever sets one behind it has queued the work once more": (
                "next_fault: without the lock 1; next_fault: first out of the lock 1"
            ),
            "whoever came in between came before the page was looked for; where it wanted to write and the page was asked for to read it faults once more": (
                "handle: without the lock 1; handle: first out of the lock 1; handle: last out of the lock 1"
            ),
            "no fault is taken any more, and those that wait are answered either way": "close: swap 1",
            "the work answers whoever waits, and finds nothing more; that the driver itself is freed then is not modelled": "close: drop 2",
            "the work is over, and nobody else writes there": "stop: without the lock 1",
            "the device has stopped: whoever tries again fails": "stop: drop 2",
        }
    ),
    "FencedImporter": by_name(
        {
            "it is attached before any thread begins: no adversary attaches while the exporter moves": "attach_to: swap 1",
            _ASKED_AGAIN: "submit: drop 3",
            _ONE_JOB: "submit: drop 5",
            _SAYS_IT_IS_DONE: "submit: drop 6",
            _STAYS: (
                "submit: without the lock 1; submit: first out of the lock 1; submit: last out of the lock 1; submit: swap 1; "
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
    "AllocatesAnEntry": by_name({_NOTHING_ALLOCATED: "fault: without the lock 1; fault: first out of the lock 1"}),
    "AllocatesAtOpen": {},
    "PinsAndNotes": {"pin: swap 3": "the driver's lock is held"},
    "ClearsAllWithoutMemory": {"drop: negate 1": _FLUSHES_MORE},
    "FlushesAllWithoutReclaim": {"drop: negate 1": _FLUSHES_MORE},
    "LocksBoth": by_name(
        {
            _ASKED_AGAIN: "submit: drop 1",
            _ONE_JOB: "submit: drop 6; submit: last out of the lock 2",
            _SAYS_IT_IS_DONE: "submit: drop 9",
            _STAYS: "submit: without the lock 1; submit: first out of the lock 1; submit: last out of the lock 1; submit: swap 1",
            _UNDER_RESV: "unmap: without the lock 2; unmap: first out of the lock 2; unmap: last out of the lock 2",
            "another statement writes the same before anybody reads it": "unmap: drop 6",
            "nobody looks in between": "map_again: swap 1; lock_the_other: swap 2",
            "it only says that no more are taken, and none is": "lock_both: drop 3",
            "both are given back, and nobody waits for one with the other": "unlock_both: swap 1",
        }
    ),
    "MarksWhenItDrops": by_name(
        {
            "the driver's lock is held, under which every change of the table is made": (
                "drop: without the lock 1; drop: first out of the lock 1; drop: last out of the lock 1; drop: swap 2"
            ),
        }
    ),
    "Vcpu": by_name(
        {
            "who opens is a thread of the process, and so its user": "open: swap 1",
            "what is read is written by `open` and `close` alone, which nobody calls meanwhile": (
                "close: without the lock 1; close: first out of the lock 1; fault: without the lock 1; fault: first out of the lock 1"
            ),
            "to count is one step in the language, with the lock or without: two that count at once, of which one is lost, are not tried": (
                "invalidate_range_start: first out of the lock 1"
            ),
            "who maps looks at the count first, and the table is cleared before the callback returns": "invalidate_range_start: last out of the lock 1",
            _UNDER_ONE_LOCK: "invalidate_range_start: swap 1; invalidate_range_end: swap 1",
            _NOBODY_LEFT: "release: without the lock 1; release: drop 1",
        }
    ),
    "Exclusive": by_name(
        {
            "the second subscription does not fail: the caller is a user of the mm": "open: drop 5",
            _UNDER_ONE_LOCK: "exclusive_fault: swap 2",
            "the page is locked until then, so that nobody else comes to its place in `kept`": (
                "tried_again: without the lock 1; tried_again: first out of the lock 1; tried_again: last out of the lock 1"
            ),
            "it is written anew before it is read": "tried_again: drop 4",
        }
    ),
    "ClosesByItsLock": by_name(
        {
            "who maps does so under the lock, before the table is emptied, or finds that it is closed": (
                "close: first out of the lock 1; close: last out of the lock 1; close: swap 1"
            ),
        }
    ),
    "RemembersByProcess": by_name(
        {
            "one look is one step": "collect: without the lock 1",
            "what is not remembered is looked for": "install: drop 2",
        }
    ),
    "PrefaultsAfterwards": by_name(
        {
            "what is not mapped at the beginning is mapped when it is used": "open: drop 2",
            "where it was refused there is no process whose pages it could find": "open: negate 1",
        }
    ),
    "GivesReferencesBack": by_name(
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
    "HoldsTheMmapLockAndAsks": {},
    "UnmapsAtOnce": by_name(
        {
            _STAYS: (
                "move_notify: without the lock 1; move_notify: first out of the lock 1; move_notify: last out of the lock 1; move_notify: swap 1"
            ),
        }
    ),
    "PrivateGpu": by_name(
        {
            "nobody asks anything of the device before `open` has returned": "open: swap 1",
            "the subscription does not fail: the caller is a user of the mm": "open: drop 5",
            "nothing is in the memory any more, and the device is stopped: nobody finds either": "close: swap 1",
            "what lies beyond `nr_free` is not read": "alloc: drop 3",
            "one step, in which nobody looks": "alloc: swap 2; copy_to_ram: swap 2, 3",
            "the page is where it can be used: the access faults again, and finds it": "fault: negate 4",
            _UNDER_ONE_LOCK: "invalidate: swap 1",
            _STILL_IN_THE_CALLBACK: "invalidate: swap 2",
            _GETS_A_USER: (
                "migrate: without the lock 1; migrate: first out of the lock 1; migrate: last out of the lock 1; "
                "bring_back: without the lock 1; bring_back: first out of the lock 1; bring_back: last out of the lock 1"
            ),
            _A_FIGURE: "migrate: negate 2; migrate: drop 7, 8; to_device: negate 4; to_device: drop 9; evict: negate 1; evict: drop 5",
            "nobody else has the arguments": "to_device: without the lock 3; to_ram: without the lock 2",
            "it is empty here: a driver that is derived from this one fills it": (
                "to_device: drop 3, 6; to_device: swap 1, 3; to_ram: drop 2; to_ram: swap 1"
            ),
        }
    ),
    "ClearsByItself": {"cut_off: without the lock 1": _ONE_STEP},
    "CoherentGpu": {},
    "ClearsItsRange": by_name({_ONE_STEP: "cut_off: without the lock 1; cut_off_range: without the lock 1"}),
    "OdpLater": by_name(
        {
            "the driver's lock is held, under which every change of the table is made": (
                "install: without the lock 1; install: first out of the lock 1; install: last out of the lock 1; flush_range: without the lock 1"
            ),
            "a page that is held is not moved, and comes back from the swap cache: what was put off is of the same page": "install: drop 1",
            "the zero page is not reclaimed and not moved, and nothing else is put off where the driver holds": "put_off: drop 2",
            "one step, in which nobody looks": "put_off: swap 1; flush_page: swap 2",
            "what the worker does not flush is flushed when the page is mapped again, or the device is closed": (
                "work: drop 1, 2; flush_kept: negate 1; flush_kept: drop 1"
            ),
            _ONE_STEP: "work: without the lock 1",
            "no column closes the device while it works": (
                "close: drop 1, 3; close: swap 1; close: without the lock 1; close: first out of the lock 1; close: last out of the lock 1"
            ),
        }
    ),
    "Mirror2019": by_name(
        {
            "no column closes the device while it works": "close: drop 1; close: swap 1",
            _WAIT_SAVES: "fault: drop 2; fault: swap 1",
            "the loop holds beside exit alone, and there a registered range keeps the mm alive: `Mirror2019MmapSem` has its own": (
                "fault: without the lock 1; fault: first out of the lock 1; fault: drop 4"
            ),
            "to clear it is one step, and who maps does so under the mmap lock": "sync_cpu_device_pagetables: without the lock 1",
            "to clear it is one step, and nobody accesses what an mm without users has": "release: without the lock 1",
            "an entry without a page may not be used, whatever else it says": "clear_all: swap 1; clear_all: drop 2",
        }
    ),
    "Mirror2019MmapSem": by_name(
        {
            _WAIT_SAVES: "fault: drop 3; fault: swap 1",
            "the mmap lock keeps out what the cells that hold change": "fault: without the lock 2; fault: first out of the lock 2",
        }
    ),
    "FillsPages": by_name(
        {
            "who waits is served still: the thread goes on until the process ends": "close: negate 1; close: drop 3",
            "who closes is a thread of the process, and so its user: nobody counts the users of a handler": "close: swap 1; close: drop 4",
        }
    ),
    "ForgetsByHook": {"forget: without the lock 1": "what is kept is forgotten in one step, and nobody looks it up meanwhile"},
    "AsksToBeCalled": by_name(
        {
            _UNDER_RESV: "queue: without the lock 1; queue: first out of the lock 1; queue: last out of the lock 1; queue: swap 1, 3, 4",
            _FENCED: "queue: drop 3; wait_for_jobs: drop 1",
        }
    ),
    "KeepsRequests": dict.fromkeys(("fault: without the lock 1", "fault: first out of the lock 1", "fault: last out of the lock 1"), "nobody else has the record"),
    "SaysWhatIsMapped": by_name(
        {
            "what is taken out is one step": "clear_flush_young: without the lock 1",
            "what it answers decides whether a page is taken now or later": "take_out: drop 2; take_out: negate 1",
            "a page that stays mapped is invalidated when it is taken": "take_out: drop 3",
        }
    ),
    "Resets": by_name(
        {
            "to save is one step, and whether it is closed is asked again before anything is put back": (
                "reset: without the lock 1; reset: first out of the lock 1; reset: last out of the lock 1"
            ),
            "what is not put back is faulted in again": "go_on: drop 2; save: drop 4; restore: drop 2",
            "no rule asks whether a device was reset: it goes on with a table that is right": "reset: negate 1; reset: drop 2; save: drop 2, 3",
            "one step, in which nobody looks": "save: swap 1",
            "the device is stopped until it goes on, whoever has the lock": "reset: first out of the lock 2",
        }
    ),
    "RevokesItsKey": by_name(
        {
            "the entries of its table go all the same: no rule asks whether the key was updated": "drop: drop 2",
            "a key that is never given back: no rule counts those": "close: drop 3; revoke: drop 1",
            _UNDER_ONE_LOCK: "revoke: swap 1",
        }
    ),
    "ImporterRevokesItsKey": by_name(
        {
            "the notification goes on all the same: no rule asks whether the key was updated": "move_notify: drop 2",
            "a key that is never given back: no rule counts those": "close: drop 2; revoke: drop 1",
            _UNDER_RESV: "revoke: swap 1",
            _STAYS: "close: without the lock 1",
        }
    ),
    "SyncsImplicitly": by_name(
        {
            _UNDER_RESV: "queue: without the lock 1; queue: first out of the lock 1; queue: last out of the lock 1; queue: swap 1, 3",
        }
    ),
    "GfnToPfnCache": by_name(
        {
            "who opens it is a thread of the process, and so its user": "open: swap 1",
            _MM_STAYS: "close: without the lock 1; close: first out of the lock 1; hva_to_pfn: without the lock 1; hva_to_pfn: first out of the lock 1",
            "it tells the rules that an access has failed, and does nothing: who does not say so is not asked": "use: drop 4",
            "a write that is not made: device and CPU are compared with each other, and both read what was there before": "by_khva: drop 2",
            "both are given back, and nobody waits for one with the other": "kvm_gpc_refresh: last out of the lock 1",
            "a cache that is not valid, or not active, is used by nobody, whatever is left in it": (
                "kvm_gpc_refresh: drop 5; unmap_khva: drop 1, 2, 3; end_use: drop 2"
            ),
            "one step, in which nobody looks": "unmap_khva: swap 1, 2; take: swap 1, 2; end_use: swap 1",
            "each cache stays at its address, and is not valid before it has one: `GfnToOnePfnCache` counts on it": "is_to_be_looked_up: swap 1",
            "what is valid still is of this address and may be read: the notifier takes it away if it goes": "hva_to_pfn_retry: drop 1",
            "the number is read before the page is looked for, and that is what matters": "hva_to_pfn_retry: swap 1",
            "it does nothing here: a driver that is derived from this one holds the page until then": "hva_to_pfn_retry: drop 7; take: drop 4",
            "nobody uses the device before `open` has returned, and the notifier has nothing to take away yet": (
                "kvm_gpc_activate: without the lock 1, 2, 3; kvm_gpc_activate: first out of the lock 1"
            ),
            "the notifier finds it, and that it is not valid": "kvm_gpc_deactivate: without the lock 3; kvm_gpc_deactivate: drop 2",
            "`open` and `close` alone put a cache on the list, or take it off, when it is not valid": (
                "gfn_to_pfn_cache_invalidate_start: without the lock 1"
            ),
        }
    ),
    "TakesItsCallbackBack": by_name(
        {
            _FENCED: "wait_for_jobs: drop 2",
            "who is called all the same only comes off the list": "wait_for_jobs: drop 4",
        }
    ),
    "InTwoPasses": by_name(
        {
            _UNDER_ONE_LOCK: "invalidate_start: swap 1",
            _STILL_IN_THE_CALLBACK: "invalidate_start: swap 2",
            "who has no structure left does all in the first pass": "take: negate 1; invalidate_finish: negate 1; invalidate_finish: drop 1",
        }
    ),
    "ForgetsByEvents": by_name(
        {
            _NOT_CLOSED: (
                "fault: first out of the lock 1; close: drop 1, 4, 6; close: swap 1, 2; close: without the lock 1; close: first out of the lock 1; "
                "close: last out of the lock 1"
            ),
            "the memory is registered before it is unmapped: a message can come only then": "fault: swap 1",
            "the worker takes the lock more often, and finds no message": "work: drop 1; await_message: drop 2",
            "memory is registered for write protection, of which no use is made: no message says that a page is touched": "next_message: drop 5",
        }
    ),
    "KeepsEverything": by_name(
        {
            _NOT_CLOSED: "fault: first out of the lock 1; close: drop 1, 2; close: swap 1; close: without the lock 1; close: first out of the lock 1; close: last out of the lock 1",
            "no column has the device write": "write: negate 1; write: drop 2",
            "in the column in which two threads look an address up, the driver has a `fault` of its own": "fault: without the lock 1",
            "the page is pinned, whoever is a user of the mm": "register: swap 1",
            "the cache's lock is held": "register: without the lock 1; register: first out of the lock 1; register: last out of the lock 1",
            "one step, in which nobody looks": "register: swap 2; forget_range: swap 1, 2",
            "the device works by what the cache finds, and that is mapped anew": "forget_range: drop 2",
        }
    ),
    "PrivateRangeGpu": by_name(
        {
            _GETS_A_USER: "migrate: without the lock 1; migrate: first out of the lock 1; migrate: last out of the lock 1",
            "what does not come stays where the CPU has it, and the device finds it there": "migrate: negate 2",
            _A_FIGURE: "migrate: drop 8, 10; range_to_device: negate 4; range_to_device: drop 8; evict: negate 1; evict: drop 5",
            "both are of one thread, and neither is read in between": "migrate: swap 3",
            "one step, in which nobody looks": "in_one_vma: swap 1",
            "nobody else has the arguments": "range_to_device: without the lock 3, 4; evict: without the lock 2",
            "it is empty here: `ClearsItsRange` fills it": "range_to_device: drop 3; range_to_device: swap 1",
        }
    ),
    "UnsubscribesByEntry": by_name(
        {
            "what is kept is forgotten in one step": "forget: without the lock 1; forget_watched: swap 1, 2",
            "nothing is kept of the address then, and to forget that does nothing; whoever registers it anew subscribes anew": "forget_watched: drop 2",
            "to end a registration does nothing here: a driver that is derived from this one ends its subscription there": (
                "forget_watched: drop 3; work: drop 1, 2; work: without the lock 1; end_registrations: negate 1; end_registrations: drop 1, 2; end_registrations: swap 1"
            ),
        }
    ),
    "Marking": {},
    "GpuMemory": {},
    "SharedNotifier": {
        "release: drop 2": _NOBODY_LEFT,
        "free_notifier: drop 2": _NEVER_FREED,
    },
}
"""By driver, or part of one, and mutant (`driver_mutants`): why it may survive."""

_BY_ITS_TABLE = "the cells that hold in its table; the contract's adversaries break it by design"

JUDGED: dict[str, str] = {
    "OdpLater": _BY_ITS_TABLE + ". Through `OdpLaterWhereTold` too, which is told when it may put a flush off",
    "Mirror2019": _BY_ITS_TABLE + ". Through `Mirror2019MmapSem` too",
    "Mirror2019MmapSem": _BY_ITS_TABLE,
    "FillsPages": "scenarios of its own: it has no device, and whoever touches its pages waits for it",
    "KeepsEverything": "what it shares with `ForgetsByHook` and `ForgetsByEvents`, where those hold",
    "ForgetsByHook": _BY_ITS_TABLE,
    "ForgetsByEvents": _BY_ITS_TABLE,
    "PrivateRangeGpu": "of the adversaries those about a device's memory, but for some large ones: what else it does is `PrivateGpu`'s. And one of its own: two pages come while it is closed",
    "UnsubscribesByEntry": "scenarios of its own, of what is freed and allocated anew at the same address",
}
"""By driver: who judges its mutants, where it is not the contract's adversaries."""
