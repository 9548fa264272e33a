"""Small drivers: each wrong one misplaces one thing, and the right one beside it does not.

Most are `MirrorInParts` with one part written otherwise. Where it is the order of everything that is wrong, the whole is there.
"""

from secondsight.devices.small.device_memory import (
    ClearsByItself,
    ClearsTheFirst,
    ClosesAndKeepsItsMemory,
    ClosesFull,
    EvictsBesideFaults,
    GivesItUnlocked,
    HoldsWhatGoesBack,
    IgnoresMigrate,
    KeepsWhatGoesBack,
    LeavesOldContents,
    MapsWhatDidNotMove,
    OwnsAllMemory,
    PassesOverItsOwn,
    TakesItsMemoryAwayTwice,
    TakesPagesBackEarly,
    TakesPagesForNothing,
    TakesPagesToTheEnd,
    TrustsItsMemory,
)
from secondsight.devices.small.failing import (
    AlwaysAsksToWrite,
    AlwaysWritable,
    AsksAgainForEver,
    AsksToWriteFirst,
    CollisionIsAnError,
    GivesUp,
    RemembersFailures,
    UnmappedIsAnError,
    WritesAllTheSame,
)
from secondsight.devices.small.huge import AsksTheMmapLock, MovedOneByOne, VcpuOneAtATime
from secondsight.devices.small.importing import (
    AddsItsFenceLate,
    AddsNoFence,
    AsksToBeCalled,
    AsksTwice,
    DetachesMapped,
    DropsTheJobsFence,
    ForgetsItsWorker,
    IgnoresMoves,
    KeepsItsFence,
    KeepsItsMapping,
    LocksInItsCallback,
    ReservesNothing,
    ReservesTooEarly,
    SignalsNothing,
    StaysAttached,
    SyncsImplicitly,
    UnmapsUnlocked,
)
from secondsight.devices.small.locking import ChangesOutsideTheLock, FaultsUnderItsLock, LooksIntoItsTable, MayNotSleep
from secondsight.devices.small.marking import IgnoresExclusive
from secondsight.devices.small.misusing import (
    KeepsItsLock,
    RefusesWhereItMaySleep,
    SubscribesTwice,
    TakesItsLocksInBothOrders,
    UnlocksTwice,
    UnsubscribesTwice,
)
from secondsight.devices.small.opening import (
    ClosesAndStays,
    ClosesByItsLock,
    ClosesKeepingItsTable,
    OpensWithoutBeingAUser,
    PrefaultsAfterwards,
    PrefaultsBeforeItSubscribes,
    RefusesAndStays,
    RefusesWhileSomethingGoesOn,
    StopsTheDeviceLast,
)
from secondsight.devices.small.parts import MirrorInParts
from secondsight.devices.small.pinning import (
    KeepsAPartOfItsPages,
    Pins,
    PinsAllOrNothing,
    PinsSeveral,
    StaysPinned,
    TakesAShortCountForAll,
    UnpinsBeforeItStops,
    UnpinsTwice,
)
from secondsight.devices.small.protecting import IgnoresFork, IgnoresProtection, KeepsForReading, LooksAtTheMapping, TrustsMlock
from secondsight.devices.small.ranges import CountsFromTheFirstPage, DropsEverything, IgnoresParts, TakesAPartForNothing
from secondsight.devices.small.references import (
    ForgetsThatItIsAUser,
    GivesReferencesBack,
    KeepsReferences,
    KeepsThePagemap,
    StaysAUser,
    WalksWithoutBeingAUser,
)
from secondsight.devices.small.sharing import RemembersByAddress, RemembersByProcess
from secondsight.devices.small.vcpu import Vcpu, VcpuWithoutCount
from secondsight.devices.small.writeback import (
    ForgetsWhatItWrote,
    MarksUnderThePageLock,
    MarksUnlessUnmapped,
    MarksWhenItDrops,
    NeverMarksDirty,
)

__all__ = [
    "AddsItsFenceLate", "AddsNoFence", "AlwaysAsksToWrite", "AlwaysWritable", "AsksAgainForEver", "AsksTheMmapLock",
    "AsksToBeCalled", "AsksToWriteFirst", "AsksTwice", "ChangesOutsideTheLock", "ClearsByItself", "ClearsTheFirst",
    "ClosesAndKeepsItsMemory", "ClosesAndStays", "ClosesByItsLock", "ClosesFull", "ClosesKeepingItsTable",
    "CollisionIsAnError", "CountsFromTheFirstPage", "DetachesMapped", "DropsEverything", "DropsTheJobsFence",
    "EvictsBesideFaults", "FaultsUnderItsLock", "ForgetsItsWorker", "ForgetsThatItIsAUser", "ForgetsWhatItWrote",
    "GivesItUnlocked", "GivesReferencesBack", "GivesUp", "HoldsWhatGoesBack", "IgnoresExclusive", "IgnoresFork",
    "IgnoresMigrate", "IgnoresMoves", "IgnoresParts", "IgnoresProtection", "KeepsAPartOfItsPages", "KeepsForReading",
    "KeepsItsFence", "KeepsItsLock", "KeepsItsMapping", "KeepsReferences", "KeepsThePagemap", "KeepsWhatGoesBack",
    "LeavesOldContents", "LocksInItsCallback", "LooksAtTheMapping", "LooksIntoItsTable", "MapsWhatDidNotMove",
    "MarksUnderThePageLock", "MarksUnlessUnmapped", "MarksWhenItDrops", "MayNotSleep", "MirrorInParts", "MovedOneByOne",
    "NeverMarksDirty", "OpensWithoutBeingAUser", "OwnsAllMemory", "PassesOverItsOwn", "Pins", "PinsAllOrNothing",
    "PinsSeveral", "PrefaultsAfterwards", "PrefaultsBeforeItSubscribes", "RefusesAndStays", "RefusesWhereItMaySleep",
    "RefusesWhileSomethingGoesOn", "RemembersByAddress", "RemembersByProcess", "RemembersFailures", "ReservesNothing",
    "ReservesTooEarly", "SignalsNothing", "StaysAUser", "StaysAttached", "StaysPinned", "StopsTheDeviceLast",
    "SubscribesTwice", "SyncsImplicitly", "TakesAPartForNothing", "TakesAShortCountForAll", "TakesItsLocksInBothOrders",
    "TakesItsMemoryAwayTwice", "TakesPagesBackEarly", "TakesPagesForNothing", "TakesPagesToTheEnd", "TrustsItsMemory",
    "TrustsMlock", "UnlocksTwice", "UnmappedIsAnError", "UnmapsUnlocked", "UnpinsBeforeItStops", "UnpinsTwice",
    "UnsubscribesTwice", "Vcpu", "VcpuOneAtATime", "VcpuWithoutCount", "WalksWithoutBeingAUser", "WritesAllTheSame",
]  # fmt: skip
