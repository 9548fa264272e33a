"""Classes of `devices/` whose mutants nobody runs, and why. Every other one is in `harmless.HARMLESS`, among the designs of tables, or wrong by design.

`make docs` writes it into docs/adequacy.md; a test refuses a class that is in none of these.
"""

from __future__ import annotations

from secondsight.contract.harmless import each_of

__all__ = ["NOT_RUN", "WRONG"]

WRONG: dict[str, str] = each_of(
    {
        "tests/devices/test_wrong_mirrors.py": "MirrorTestsBeforeLock; MirrorCallbackWithoutLock; MirrorDereferencesLater; MirrorNeverMarksDirty",
        "src/secondsight/cases/thread_2019_hmm.py": "Mirror2019WithoutTest; Mirror2019TestsBeforeLock; Mirror2019CallbackWithoutLock; Mirror2019DereferencesLater",
        "src/secondsight/cases/thread_2011_ib.py": "OdpLaterUnmarked; OdpLaterMarkedLast; OdpLaterUnreferenced; OdpLaterByEvent; OdpLaterWherePageIsLocked; OdpAtOnceIn2011",
        "src/secondsight/cases/registration_cache.py": "ForgetsByEventsTooLate",
        "src/secondsight/cases/revoke_2026.py": "TellsOnly; ImplicitFencesOnly; OpensBeforeItCounts; UnmapOnly; UnmapUnderResv; GivesUpWaiting",
        "src/secondsight/devices/exclusive.py": "ExclusiveWithoutTest",
        "src/secondsight/contract/lessons.py": "UnmappedIsAnError; GivesUp; FaultsUnderItsLock",
        "tests/contract/test_every_driver_is_tried.py": "ForgetsItsWorker",
        "tests/devices/test_late_unsubscription.py": "UnsubscribesByAddress",
        "tests/devices/test_gfn_to_pfn_cache.py": "GpcRefreshesUnlocked",
        "tests/devices/test_sva.py": "HearsBoth",
        "tests/linux/test_mmu_notifier_get.py": "PutsTwice; GetsTwice; StopsAfterItsPut; FreesUnderAMutex",
        "tests/linux/test_userfaultfd.py": "FillsAtOnce; FillsOnce",
    }
)
"""By class: the file in which it is shown to be wrong, or what a wrong one derives from. One changed statement more says nothing."""

_HARDWARE = "the device itself, or what belongs to all devices, and not a driver: what is changed there is what the rules look at, and every driver is tried on it"
_BESIDE = "it is who meets a driver, not who is judged"

NOT_RUN: dict[str, str] = each_of(
    {
        _HARDWARE: "Device; DevicePageTable; DmaDevice; BufferDevice; AtomicDevice; TranslationCache; PageRequests; WalkingDevice; Mkey; ResetDevice",
        _BESIDE: "Refuser; Vmm; VirtioMem; ShmemFileUpdates",
        "it is an importer that Linux 7.2 allows and that exporters are tried with: an exporter that does not wait until it has unmapped breaks it by design": "ReadsUntilItUnmaps",
    }
)
"""By class: why there are none."""
