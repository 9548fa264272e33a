"""What to learn a rule or an adversary from: small wrong drivers, and right ones that look much like them.

The drivers are in `devices/small`. Tests run every row; `secondsight explain` prints them.
"""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.devices.exclusive import Exclusive, ExclusiveByEvent, ExclusiveRetriesLocked
from secondsight.devices.fenced_importer import FencedImporter, UnmapsAtOnce, UsesTheOldMapping
from secondsight.devices.mirror import Mirror, MirrorWithoutTest
from secondsight.devices.private_gpu import PrivateGpu
from secondsight.devices.small import (
    AddsItsFenceLate,
    AddsNoFence,
    AlwaysAsksToWrite,
    AsksAgainForEver,
    AsksToWriteFirst,
    ChangesOutsideTheLock,
    ClearsByItself,
    ClosesAndKeepsItsMemory,
    ClosesAndStays,
    ClosesByItsLock,
    ClosesFull,
    ClosesKeepingItsTable,
    CollisionIsAnError,
    CountsFromTheFirstPage,
    DetachesMapped,
    DropsEverything,
    EvictsBesideFaults,
    FaultsUnderItsLock,
    ForgetsThatItIsAUser,
    GivesReferencesBack,
    GivesUp,
    IgnoresExclusive,
    IgnoresFork,
    IgnoresMigrate,
    IgnoresMoves,
    IgnoresParts,
    IgnoresProtection,
    KeepsForReading,
    KeepsItsMapping,
    KeepsReferences,
    KeepsThePagemap,
    KeepsWhatGoesBack,
    LeavesOldContents,
    LocksInItsCallback,
    LooksIntoItsTable,
    MapsWhatDidNotMove,
    MarksUnderThePageLock,
    MarksWhenItDrops,
    MayNotSleep,
    MirrorInParts,
    NeverMarksDirty,
    OpensWithoutBeingAUser,
    OwnsAllMemory,
    PassesOverItsOwn,
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
    TakesPagesBackEarly,
    TakesPagesForNothing,
    UnmapsUnlocked,
    UnpinsBeforeItStops,
    Vcpu,
    VcpuWithoutCount,
    WalksWithoutBeingAUser,
    WritesAllTheSame,
)

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
    ("as-if-cpu", "fork", IgnoresFork, KeepsForReading),
    ("balance", "open", KeepsReferences, GivesReferencesBack),
    ("balance", "munmap", ForgetsThatItIsAUser, Mirror),
    ("deadlock", "exit", StaysAUser, Mirror),
    ("no-use-after-free", "open", WalksWithoutBeingAUser, Mirror),
    ("table-lock", "open", ChangesOutsideTheLock, LooksIntoItsTable),
    ("livelock", "munmap", AsksAgainForEver, Mirror),
    ("pinned", "close", UnpinsBeforeItStops, Pins),
    ("balance", "close", StaysPinned, Pins),
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
    ("deadlock", "migration", MarksUnderThePageLock, MarksWhenItDrops),
    ("as-if-cpu", "device-memory", KeepsWhatGoesBack, ClearsByItself),
    ("as-if-cpu", "device-memory", PassesOverItsOwn, ClearsByItself),
    ("as-if-cpu", "device-memory", MapsWhatDidNotMove, PrivateGpu),
    ("device-memory", "device-memory", LeavesOldContents, PrivateGpu),
    ("livelock", "device-memory", TakesPagesForNothing, PrivateGpu),
    ("device-memory", "device-memory-goes", TakesPagesBackEarly, PrivateGpu),
    ("device-memory", "device-memory-goes", ClosesAndKeepsItsMemory, PrivateGpu),
    ("deadlock", "device-memory-goes", ClosesFull, PrivateGpu),
    ("livelock", "device-memory-goes", EvictsBesideFaults, PrivateGpu),
    ("as-if-cpu", "device-memory-shared", OwnsAllMemory, PrivateGpu),
    ("as-if-cpu", "device-memory-shared", IgnoresMigrate, PrivateGpu),
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
    "fork": IgnoresFork,
    "open": PrefaultsBeforeItSubscribes,
    "close": StopsTheDeviceLast,
    "two-processes": RemembersByAddress,
    "buffer-moves": IgnoresMoves,
    "buffer-revoked": DetachesMapped,
    "swap": NeverMarksDirty,
    "exclusive-access": IgnoresExclusive,
    "atomics": ExclusiveByEvent,
    "device-memory": LeavesOldContents,
    "device-memory-goes": ClosesFull,
    "device-memory-shared": OwnsAllMemory,
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
