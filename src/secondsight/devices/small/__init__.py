"""Small drivers: each wrong one misplaces one thing, and the right one beside it does not.

Most are `MirrorInParts` with one part written otherwise. Where it is the order of everything that is wrong, the whole is there.
"""

from secondsight.devices.small.allocating import (
    AllocatesBeforeItsLock,
    AllocatesInItsCallback,
    AllocatesUnderItsLock,
    AllocatesWithoutIo,
    AllocatesWithoutReclaim,
    AllocatesWithoutWaiting,
    FlushesAllWithoutReclaim,
    GivesUpWithoutMemory,
    LeavesItToWhoCalls,
    StaysWithoutReclaim,
    WaitsForItsAllocation,
    WaitsForItsWorker,
)
from secondsight.devices.small.behind_iommu import (
    ClosesMapped,
    ForgetsItsTlb,
    ReturnsBeforeTheFlush,
    UnmapsAgain,
    UnmapsBeforeItStops,
    UnmapsThenUnpins,
    UnpinsBeforeTheSync,
)
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
from secondsight.devices.small.ending import IsAUserWhileItFaults, LeavesInItsCallback, LeavesUnderItsLock
from secondsight.devices.small.failing import (
    AlwaysAsksToWrite,
    AlwaysWritable,
    AsksAgainForEver,
    AsksToWriteFirst,
    CollisionIsAnError,
    GivesUp,
    RemembersFailures,
    RemembersTheEnd,
    UnmappedIsAnError,
    WritesAllTheSame,
)
from secondsight.devices.small.files import IgnoresWriteback, MarksBeforeItWrites, MarksNoFile, MarksUnlocked, PinsFilesForAMoment
from secondsight.devices.small.gfn_to_pfn_cache import (
    GpcAlwaysWrites,
    GpcChecksFirst,
    GpcCountsDownFirst,
    GpcCountsTooLate,
    GpcDeactivatesMeanwhile,
    GpcHoldsItsPage,
    GpcLooksUnderItsLock,
    GpcReadsTheSequenceFirst,
    GpcRefreshesUnlocked,
    GpcUsedInactive,
)
from secondsight.devices.small.huge import AsksTheMmapLock, MovedOneByOne, VcpuOneAtATime
from secondsight.devices.small.importing import (
    AddsItsFenceLate,
    AddsNoFence,
    AsksToBeCalled,
    AsksTwice,
    BeginsBesideOthers,
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
    SaysThatItReads,
    SignalsNothing,
    StaysAttached,
    SyncsImplicitly,
    TakesItsCallbackBack,
    TakesTheLastForItsOwn,
    TellsItsOwnAlone,
    UnmapsUnlocked,
)
from secondsight.devices.small.keys import (
    ImporterRevokesItsKey,
    ImporterRevokesItsKeyUnlocked,
    RevokesItsKey,
    RevokesItsKeyUnlocked,
)
from secondsight.devices.small.locking import (
    ChangesOutsideTheLock,
    FaultsUnderItsLock,
    HoldsTheMmapLock,
    HoldsTheMmapLockAndAsks,
    LooksIntoItsTable,
    MayNotSleep,
    PassesOverTheReaper,
)
from secondsight.devices.small.locking_buffers import (
    ForgetsItsContext,
    KeepsWhatItHas,
    LocksBoth,
    LocksOneByItself,
    TrustsItsFirstLook,
)
from secondsight.devices.small.marking import IgnoresExclusive
from secondsight.devices.small.misusing import (
    KeepsItsLock,
    RefusesWhereItMaySleep,
    SubscribesTwice,
    TakesItsLocksInBothOrders,
    UnlocksTwice,
    UnsubscribesTwice,
)
from secondsight.devices.small.notified_2011 import (
    DropsWhatChanges,
    NotifiedIn2011,
    OverlooksACopy,
    OverlooksAPage,
    SleepsForAPage,
)
from secondsight.devices.small.opening import (
    ClosesAndStays,
    ClosesByItsLock,
    ClosesKeepingItsTable,
    LeavesBeforeTheEnd,
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
    KeepsAPartOfItsPages,
    Pins,
    PinsAllOrNothing,
    PinsAllTheSame,
    PinsFilesForLong,
    PinsSeveral,
    PinsSeveralAndMarksNone,
    StaysPinned,
    TakesAShortCountForAll,
    UnpinsBeforeItStops,
    UnpinsTwice,
)
from secondsight.devices.small.protecting import (
    IgnoresFork,
    IgnoresProtection,
    IgnoresSoftDirty,
    KeepsForReading,
    LooksAtTheMapping,
    ProtectsForUserfaultfd,
    ReadsWhatIsProtected,
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
    LooksUpEachPagemap,
    StaysAUser,
    TakesTheFirstPagemapForAll,
    WalksWithoutBeingAUser,
)
from secondsight.devices.small.resetting import ComesBackClosed, Resets, ResetsInUse, RestoresItsTable, StaysOff
from secondsight.devices.small.sharing import RemembersByAddress, RemembersByProcess, SubscribesForItsFirst
from secondsight.devices.small.two_passes import HasOneStructure, InTwoPasses
from secondsight.devices.small.vcpu import Vcpu, VcpuLeftCounting, VcpuMayRefuse, VcpuWithoutCount
from secondsight.devices.small.walking import (
    AnswersForTheDead,
    FlushesAtTheEnd,
    FlushesTheDeviceFirst,
    FlushesWithAMutex,
    HearsBoth,
    IgnoresFlushes,
    StaysBound,
    WaitsForNoFlush,
)
from secondsight.devices.small.without_memory import (
    AllocatesAnEntry,
    AllocatesAtOpen,
    ClearsAllWithoutMemory,
    KeepsItsLockWithoutMemory,
    PinsAndNotes,
    RefusesWithoutMemory,
    StaysPinnedWithoutMemory,
    StaysSubscribedWithoutMemory,
)
from secondsight.devices.small.writeback import (
    ForgetsWhatItWrote,
    MarksIfItGetsTheLock,
    MarksUnderThePageLock,
    MarksUnlessUnmapped,
    MarksWhenItDrops,
    NeverMarksDirty,
)
from secondsight.devices.small.young import (
    HasAccessedBits,
    SaysWhatIsMapped,
    SleepsWhenAsked,
    SleepsWhenCleared,
    SleepsWhenTested,
)

__all__ = [
    "AddsItsFenceLate", "AddsNoFence", "AlwaysAsksToWrite", "AlwaysWritable", "AnswersForTheDead", "AsksAgainForEver", "AsksTheMmapLock", "AsksToBeCalled",
    "AsksToWriteFirst", "AsksTwice", "AssertsThatItMaySleep", "BeginsBesideOthers", "ChangesOutsideTheLock", "ClearsByItself", "ClearsTheFirst", "ClosesAndKeepsItsMemory",
    "ClosesAndStays", "ClosesByItsLock", "ClosesFull", "ClosesKeepingItsTable", "ClosesMapped", "CollisionIsAnError", "ComesBackClosed",
    "CountsFromTheFirstPage", "DetachesMapped", "DropsEverything", "DropsItsReferencesTwice", "DropsTheJobsFence", "EvictsBesideFaults",
    "FailsWhileItMoves", "FaultsUnderItsLock", "FlushesAtTheEnd", "FlushesTheDeviceFirst", "FlushesWithAMutex", "ForgetsItsTlb", "ForgetsItsWorker",
    "ForgetsThatItIsAUser", "ForgetsWhatItWrote", "FreesItsRequestEarly", "FreesItsRequestTwice", "GivesItUnlocked", "GivesReferencesBack", "GivesUp",
    "GpcAlwaysWrites", "GpcChecksFirst", "GpcCountsDownFirst", "GpcCountsTooLate", "GpcDeactivatesMeanwhile", "GpcHoldsItsPage", "GpcLooksUnderItsLock",
    "GpcReadsTheSequenceFirst", "GpcRefreshesUnlocked", "GpcUsedInactive", "HasAccessedBits", "HasOneStructure", "HearsBoth", "HoldsTheMmapLock", "HoldsTheMmapLockAndAsks", "HoldsWhatGoesBack",
    "IgnoresExclusive", "IgnoresFlushes", "IgnoresFork", "IgnoresMigrate", "IgnoresMoves", "IgnoresParts", "IgnoresProtection", "IgnoresSoftDirty", "IgnoresWriteback", "ImporterRevokesItsKey",
    "ImporterRevokesItsKeyUnlocked", "InTwoPasses", "IsAUserWhileItFaults", "KeepsAPartOfItsPages", "KeepsForReading", "KeepsItsFence", "KeepsItsLock",
    "KeepsItsMapping", "KeepsReferences", "KeepsRequests", "KeepsThePagemap", "KeepsWhatGoesBack", "LeavesBeforeTheEnd", "LeavesInItsCallback",
    "LeavesOldContents", "LeavesTwice", "LeavesUnderItsLock", "LocksInItsCallback", "LooksAtTheMapping", "LooksBeforeItMaps", "LooksIntoItsTable",
    "LooksUpEachPagemap", "TakesTheFirstPagemapForAll",
    "MapsWhatDidNotMove", "MarksBeforeItWrites", "MarksIfItGetsTheLock", "MarksNoFile", "MarksUnderThePageLock", "MarksUnlessUnmapped", "MarksUnlocked", "MarksWhenItDrops", "MayNotSleep", "MirrorInParts",
    "MovedOneByOne", "NeverMarksDirty", "OpensWithoutBeingAUser", "OwnsAllMemory", "PassesOverItsOwn", "PassesOverTheReaper", "Pins", "PinsAllOrNothing",
    "PinsAllTheSame", "PinsFilesForAMoment", "PinsFilesForLong", "PinsSeveral", "PinsSeveralAndMarksNone", "PinsUntold", "PrefaultsAfterwards", "PrefaultsBeforeItSubscribes", "ProtectsForUserfaultfd", "ReadsWhatIsProtected",
    "RefusesAndStays", "RefusesWhereItMaySleep", "RefusesWhileSomethingGoesOn", "RemembersByAddress", "RemembersByProcess", "RemembersFailures", "RemembersTheEnd",
    "ReservesNothing", "ReservesTooEarly", "Resets", "ResetsInUse", "RestoresItsTable", "ReturnsBeforeTheFlush", "RevokesItsKey", "RevokesItsKeyUnlocked",
    "SaysWhatIsMapped", "ServesOneFaultAtATime", "SaysThatItReads", "SignalsNothing", "SleepsWhenAsked", "SleepsWhenCleared", "SleepsWhenTested", "StaysAUser",
    "StaysAttached", "StaysBound", "StaysOff", "StaysPinned", "StopsTheDeviceLast", "SubscribesForItsFirst", "SubscribesTwice",
    "SyncsImplicitly", "TakesAPartForNothing", "TakesAShortCountForAll", "TakesItsCallbackBack", "TakesItsLocksInBothOrders", "TakesItsMemoryAwayTwice", "TakesPagesBackEarly",
    "TakesPagesForNothing", "TakesPagesToTheEnd", "TakesTheLastForItsOwn", "TellsItsOwnAlone", "TrustsItsMemory", "TrustsMlock", "UnlocksTwice", "UnmappedIsAnError",
    "UnmapsAgain", "UnmapsBeforeItStops", "UnmapsThenUnpins", "UnmapsUnlocked", "UnpinsBeforeItStops", "UnpinsBeforeTheSync", "UnpinsTwice",
    "UnsubscribesTwice", "Vcpu", "VcpuLeftCounting", "VcpuMayRefuse", "VcpuOneAtATime", "VcpuWithoutCount", "WaitsForNoFlush", "WalksWithoutBeingAUser",
    "WritesAllTheSame",
    "AllocatesBeforeItsLock", "AllocatesInItsCallback", "AllocatesUnderItsLock", "AllocatesWithoutIo", "AllocatesWithoutReclaim", "AllocatesWithoutWaiting",
    "FlushesAllWithoutReclaim", "GivesUpWithoutMemory", "LeavesItToWhoCalls", "StaysWithoutReclaim", "WaitsForItsAllocation", "WaitsForItsWorker",
    "AllocatesAnEntry", "AllocatesAtOpen", "ClearsAllWithoutMemory", "KeepsItsLockWithoutMemory", "PinsAndNotes", "RefusesWithoutMemory", "StaysPinnedWithoutMemory",
    "StaysSubscribedWithoutMemory",
    "ForgetsItsContext", "KeepsWhatItHas", "LocksBoth", "LocksOneByItself", "TrustsItsFirstLook",
    "DropsWhatChanges", "NotifiedIn2011", "OverlooksACopy", "OverlooksAPage", "SleepsForAPage",
]  # fmt: skip
