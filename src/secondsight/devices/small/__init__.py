"""Small drivers: each wrong one misplaces one thing, and the right one beside it does not.

Most are `MirrorInParts` with one part written otherwise. Where it is the order of everything that is wrong, the whole is there.
"""

from secondsight.devices.small.device_memory import (
    ClearsByItself,
    ClearsTheFirst,
    ClosesAndKeepsItsMemory,
    ClosesFull,
    EvictsBesideFaults,
    FailsWhileItMoves,
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
    PinsUntold,
    ReservesNothing,
    ReservesTooEarly,
    SignalsNothing,
    StaysAttached,
    TakesItsCallbackBack,
    TakesTheLastForItsOwn,
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
from secondsight.devices.small.overdropping import (
    AssertsThatItMaySleep,
    DropsItsReferencesTwice,
    FreesItsRequestEarly,
    FreesItsRequestTwice,
    KeepsRequests,
    LeavesTwice,
    LooksBeforeItMaps,
)
from secondsight.devices.small.parts import MirrorInParts
from secondsight.devices.small.pinning import (
    Pins,
    PinsAllTheSame,
    PinsFilesForLong,
    StaysPinned,
    UnpinsBeforeItStops,
    UnpinsTwice,
)
from secondsight.devices.small.protecting import (
    IgnoresFork,
    IgnoresProtection,
    KeepsForReading,
    LooksAtTheMapping,
    ProtectsForUserfaultfd,
    TrustsMlock,
)
from secondsight.devices.small.ranges import (
    CountsFromTheFirstPage,
    DropsEverything,
    IgnoresParts,
    ServesOneFaultAtATime,
    TakesAPartForNothing,
)
from secondsight.devices.small.references import (
    ForgetsThatItIsAUser,
    GivesReferencesBack,
    KeepsReferences,
    KeepsThePagemap,
    StaysAUser,
    WalksWithoutBeingAUser,
)
from secondsight.devices.small.resetting import ComesBackClosed, Resets, RestoresItsTable, StaysOff
from secondsight.devices.small.sharing import RemembersByAddress, RemembersByProcess
from secondsight.devices.small.two_passes import HasOneStructure, InTwoPasses
from secondsight.devices.small.vcpu import Vcpu, VcpuWithoutCount
from secondsight.devices.small.writeback import (
    ForgetsWhatItWrote,
    MarksUnderThePageLock,
    MarksUnlessUnmapped,
    MarksWhenItDrops,
    NeverMarksDirty,
)

__all__ = [
    "FailsWhileItMoves",
    "ProtectsForUserfaultfd",
    "ServesOneFaultAtATime",
    "PinsAllTheSame",
    "PinsFilesForLong",
    "ComesBackClosed",
    "Resets",
    "RestoresItsTable",
    "StaysOff",
    "PinsUntold",
    "TakesItsCallbackBack",
    "TakesTheLastForItsOwn",
    "AssertsThatItMaySleep",
    "DropsItsReferencesTwice",
    "FreesItsRequestEarly",
    "FreesItsRequestTwice",
    "KeepsRequests",
    "LeavesTwice",
    "LooksBeforeItMaps",
    "HasOneStructure",
    "InTwoPasses",
    "UnpinsTwice",
    "TakesPagesToTheEnd",
    "TakesItsMemoryAwayTwice",
    "ReservesNothing",
    "DropsTheJobsFence",
    "AsksTwice",
    "AsksToBeCalled",
    "ClearsByItself",
    "ClearsTheFirst",
    "ClosesAndKeepsItsMemory",
    "ClosesFull",
    "EvictsBesideFaults",
    "GivesItUnlocked",
    "HoldsWhatGoesBack",
    "IgnoresMigrate",
    "KeepsWhatGoesBack",
    "LeavesOldContents",
    "MapsWhatDidNotMove",
    "OwnsAllMemory",
    "PassesOverItsOwn",
    "TakesPagesBackEarly",
    "TakesPagesForNothing",
    "TrustsItsMemory",
    "AddsItsFenceLate", "AddsNoFence", "AlwaysAsksToWrite", "AlwaysWritable", "AsksAgainForEver", "AsksTheMmapLock", "AsksToWriteFirst",
    "ChangesOutsideTheLock", "ClosesAndStays", "ClosesByItsLock", "ClosesKeepingItsTable", "CollisionIsAnError", "CountsFromTheFirstPage",
    "DetachesMapped", "DropsEverything", "FaultsUnderItsLock", "ForgetsItsWorker", "ForgetsThatItIsAUser", "ForgetsWhatItWrote",
    "GivesReferencesBack", "GivesUp", "IgnoresExclusive", "IgnoresFork", "IgnoresMoves", "IgnoresParts", "IgnoresProtection",
    "KeepsForReading", "KeepsItsFence", "KeepsItsLock", "KeepsItsMapping", "KeepsReferences", "KeepsThePagemap", "LocksInItsCallback",
    "LooksAtTheMapping", "LooksIntoItsTable", "MarksUnderThePageLock", "MarksUnlessUnmapped", "MarksWhenItDrops", "MayNotSleep",
    "MirrorInParts", "MovedOneByOne", "NeverMarksDirty", "OpensWithoutBeingAUser", "Pins", "PrefaultsAfterwards",
    "PrefaultsBeforeItSubscribes", "RefusesAndStays", "RefusesWhereItMaySleep", "RefusesWhileSomethingGoesOn", "RemembersByAddress",
    "RemembersByProcess", "RemembersFailures", "ReservesTooEarly", "SignalsNothing", "StaysAUser", "StaysAttached", "StaysPinned",
    "StopsTheDeviceLast", "SubscribesTwice", "TakesAPartForNothing", "TakesItsLocksInBothOrders", "TrustsMlock", "UnlocksTwice",
    "UnmappedIsAnError", "UnmapsUnlocked", "UnpinsBeforeItStops", "UnsubscribesTwice", "Vcpu", "VcpuOneAtATime", "VcpuWithoutCount",
    "WalksWithoutBeingAUser", "WritesAllTheSame",
]  # fmt: skip
