"""What to learn a rule or an adversary from: small wrong drivers, and right ones that look much like them.

The drivers are in `devices/small`. Tests run every row; `secondsight explain` prints them.
"""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.devices.exclusive import Exclusive, ExclusiveByEvent, ExclusiveRetriesLocked
from secondsight.devices.fenced_importer import FencedImporter, UnmapsAtOnce, UsesTheOldMapping
from secondsight.devices.mirror import Mirror, MirrorWithoutTest
from secondsight.devices.small import (
    AddsItsFenceLate,
    AddsNoFence,
    AlwaysAsksToWrite,
    AsksAgainForEver,
    AsksTheMmapLock,
    AsksToWriteFirst,
    ChangesOutsideTheLock,
    ClosesAndStays,
    ClosesByItsLock,
    ClosesKeepingItsTable,
    CollisionIsAnError,
    CountsFromTheFirstPage,
    DetachesMapped,
    DropsEverything,
    FaultsUnderItsLock,
    ForgetsThatItIsAUser,
    GivesReferencesBack,
    GivesUp,
    IgnoresExclusive,
    IgnoresFork,
    IgnoresMoves,
    IgnoresParts,
    IgnoresProtection,
    KeepsForReading,
    KeepsItsMapping,
    KeepsReferences,
    KeepsThePagemap,
    LocksInItsCallback,
    LooksAtTheMapping,
    LooksIntoItsTable,
    MarksUnderThePageLock,
    MarksWhenItDrops,
    MayNotSleep,
    MirrorInParts,
    NeverMarksDirty,
    OpensWithoutBeingAUser,
    Pins,
    PrefaultsAfterwards,
    PrefaultsBeforeItSubscribes,
    RefusesAndStays,
    RefusesWhileSomethingGoesOn,
    RemembersByAddress,
    RemembersByProcess,
    RemembersFailures,
    ReservesTooEarly,
    SignalsNothing,
    StaysAttached,
    StaysAUser,
    StaysPinned,
    StopsTheDeviceLast,
    TakesAPartForNothing,
    UnmapsUnlocked,
    UnpinsBeforeItStops,
    Vcpu,
    VcpuOneAtATime,
    VcpuWithoutCount,
    WalksWithoutBeingAUser,
    WritesAllTheSame,
)
from secondsight.devices.vfio_type1 import VfioType1, VfioUncounted, VfioUncountsNothing, VfioUnpinsFirst, VfioWithoutLongterm

__all__ = ["ALSO_BROKEN", "ALWAYS_CHECKED", "KEPT", "ONLY_HERE", "RULES_BROKEN"]

RULES_BROKEN: list[tuple[str, str, type[Device], type[Device]]] = [
    ("as-if-cpu", "close", ClosesKeepingItsTable, Mirror),
    ("as-if-cpu", "close", StopsTheDeviceLast, ClosesByItsLock),
    ("teardown", "close", ClosesAndStays, ClosesByItsLock),
    ("as-if-cpu", "open", PrefaultsBeforeItSubscribes, PrefaultsAfterwards),
    ("teardown", "open", RefusesAndStays, Mirror),
    ("mm-without-users", "open", OpensWithoutBeingAUser, Mirror),
    ("as-if-cpu", "open", RefusesWhileSomethingGoesOn, Mirror),
    ("as-if-cpu", "read-only", CollisionIsAnError, Mirror),
    ("as-if-cpu", "read-only", AlwaysAsksToWrite, AsksToWriteFirst),
    ("as-if-cpu", "read-only", WritesAllTheSame, AsksToWriteFirst),
    ("as-if-cpu", "part", TakesAPartForNothing, DropsEverything),
    ("as-if-cpu", "part", IgnoresParts, DropsEverything),
    ("as-if-cpu", "part", CountsFromTheFirstPage, DropsEverything),
    ("as-if-cpu", "mprotect", IgnoresProtection, MirrorInParts),
    ("as-if-cpu", "write-protect", LooksAtTheMapping, MirrorInParts),
    ("as-if-cpu", "fork", IgnoresFork, KeepsForReading),
    ("balance", "open", KeepsReferences, GivesReferencesBack),
    ("balance", "munmap", ForgetsThatItIsAUser, Mirror),
    ("deadlock", "exit", StaysAUser, Mirror),
    ("no-use-after-free", "open", WalksWithoutBeingAUser, Mirror),
    ("table-lock", "open", ChangesOutsideTheLock, LooksIntoItsTable),
    ("livelock", "munmap", AsksAgainForEver, Mirror),
    ("pinned", "close", UnpinsBeforeItStops, Pins),
    ("balance", "close", StaysPinned, Pins),
    ("movable", "offline", VfioWithoutLongterm, VfioType1),
    ("memlock", "offline", VfioUncounted, VfioType1),
    ("balance", "offline", VfioUncountsNothing, VfioType1),
    ("pinned", "close", VfioUnpinsFirst, VfioType1),
    ("as-if-cpu", "open", VcpuWithoutCount, Vcpu),
    ("as-if-cpu", "two-processes", RemembersByAddress, RemembersByProcess),
    ("as-if-cpu", "exclusive-access", IgnoresExclusive, MirrorInParts),
    ("exclusive", "atomics", ExclusiveByEvent, Exclusive),
    ("deadlock", "atomics", ExclusiveRetriesLocked, Exclusive),
    ("no-freed-frame", "buffer-moves", AddsNoFence, FencedImporter),
    ("no-freed-frame", "buffer-moves", AddsItsFenceLate, FencedImporter),
    ("no-freed-frame", "buffer-moves", IgnoresMoves, FencedImporter),
    ("no-freed-frame", "buffer-moves", UsesTheOldMapping, FencedImporter),
    ("not-reserved", "buffer-moves", ReservesTooEarly, FencedImporter),
    ("lock-not-held", "buffer-moves", UnmapsUnlocked, UnmapsAtOnce),
    ("double-lock", "buffer-moves", LocksInItsCallback, UnmapsAtOnce),
    ("deadlock", "buffer-moves", SignalsNothing, FencedImporter),
    ("teardown", "buffer-moves", StaysAttached, FencedImporter),
    ("deadlock", "buffer-revoked", KeepsItsMapping, UnmapsAtOnce),
    ("deadlock", "buffer-revoked", DetachesMapped, FencedImporter),
    ("lost-write", "swap", NeverMarksDirty, MirrorInParts),
    ("deadlock", "thp-split", VcpuOneAtATime, Vcpu),
    ("as-if-cpu", "collapse", AsksTheMmapLock, MirrorInParts),
    ("deadlock", "migration", MarksUnderThePageLock, MarksWhenItDrops),
]
"""A rule, an adversary, a driver that breaks it there, and a right one that looks much like it."""

ONLY_HERE: dict[str, type[Device]] = {
    "munmap-mmap": RemembersFailures,
    "zero-page": GivesUp,
    "oom-reaper": MayNotSleep,
    "punch-hole": FaultsUnderItsLock,
    "dax-teardown": KeepsThePagemap,
    "part": TakesAPartForNothing,
    "read-only": WritesAllTheSame,
    "mprotect": IgnoresProtection,
    "write-protect": LooksAtTheMapping,
    "fork": IgnoresFork,
    "open": PrefaultsBeforeItSubscribes,
    "close": StopsTheDeviceLast,
    "two-processes": RemembersByAddress,
    "buffer-moves": IgnoresMoves,
    "buffer-revoked": DetachesMapped,
    "swap": NeverMarksDirty,
    "thp-split": VcpuOneAtATime,
    "collapse": AsksTheMmapLock,
    "exclusive-access": IgnoresExclusive,
    "atomics": ExclusiveByEvent,
    "offline": VfioWithoutLongterm,
}
"""For an adversary a driver that no other makes fail."""

KEPT = {
    "munmap": "the smallest of all, so its traces are the shortest",
    "madvise-dontneed": "the smallest in which the mapping stays and the page goes; `zero-page` is ten times as large",
    "mmap-fixed": "the only one in which a page is unmapped and a CPU's access never fails: a driver that takes the event for the "
    "end of the mapping (UnmappedIsAnError) fails there in the shortest way",
    "migration": "the only one in which the contents go to another frame and the address keeps them; the smallest in which a driver is called "
    "under the folio lock",
    "exit": "the device is open from beginning to end; in `open` and `close` it is not, and more goes on",
}
"""Those whose drivers others make fail too, and why they are kept."""

ALSO_BROKEN: dict[str, tuple[str, type[Device], type[Device]]] = {"isolation": ("munmap-mmap", MirrorWithoutTest, Mirror)}
"""Rules that are broken together with a stronger one, which is reported where both are watched."""

ALWAYS_CHECKED = {
    "deadlock": "nobody can go on, and somebody has not ended",
    "livelock": "threads go round for ever though each is scheduled fairly",
    "sleep-in-atomic": "something that may sleep, under a spinlock or where the caller must not sleep (`blockable` is false)",
    "not-owner": "a lock is released by somebody who does not hold it",
    "lock-held-at-exit": "a thread ends with a lock held",
    "lock-order": "two locks are taken in both orders",
}
"""What the rule `progress` stands for: names that a trace may have."""
