"""Each rule and each adversary against a small driver that only it catches, and the right driver beside it."""

from __future__ import annotations

import os
from functools import cache
from typing import get_args

import pytest

from sampled import some
from secondsight.cases import TABLES, search_cell
from secondsight.contract import ADVERSARIES, EVERY_ADVERSARY, adversaries_for, check, rules_for
from secondsight.contract.check import RULES, check_scenario
from secondsight.contract.lessons import (
    ALSO_BROKEN,
    ALWAYS_CHECKED,
    BROKEN_ELSEWHERE,
    BROKEN_IN_A_TABLE,
    KEPT,
    ONLY_HERE,
    RULES_BROKEN,
)
from secondsight.devices import small
from secondsight.devices.coherent_gpu import CoherentGpu
from secondsight.devices.device import Device, Promise
from secondsight.devices.dma_mirror import DmaMirror, DmaMirrorLazy
from secondsight.devices.exclusive import Exclusive, ExclusiveRetriesLocked
from secondsight.devices.fault_queue import FaultQueue
from secondsight.devices.fenced_importer import FencedImporter, UnmapsAtOnce
from secondsight.devices.gfn_to_pfn_cache import GfnToPfnCache
from secondsight.devices.mirror import Mirror
from secondsight.devices.private_gpu import PrivateGpu
from secondsight.devices.private_range import ClearsItsRange
from secondsight.devices.rdma_mr import RdmaMr
from secondsight.devices.shared_notifier import GetsItsNotifier
from secondsight.devices.small import (
    AllocatesAnEntry,
    AllocatesAtOpen,
    AllocatesBeforeItsLock,
    AllocatesWithoutReclaim,
    AllocatesWithoutWaiting,
    AsksToBeCalled,
    AsksToWriteFirst,
    ClearsAllWithoutMemory,
    ClearsByItself,
    ClosesByItsLock,
    DropsEverything,
    DropsWhatChanges,
    FlushesAllWithoutReclaim,
    GivesReferencesBack,
    HasAccessedBits,
    HoldsTheMmapLockAndAsks,
    ImporterRevokesItsKey,
    InTwoPasses,
    IsAUserWhileItFaults,
    KeepsForReading,
    KeepsRequests,
    LocksBoth,
    LooksIntoItsTable,
    LooksUpEachPagemap,
    MarksWhenItDrops,
    MirrorInParts,
    NotifiedIn2011,
    Pins,
    PinsAndNotes,
    PinsFilesForAMoment,
    PinsSeveral,
    PrefaultsAfterwards,
    RemembersByProcess,
    Resets,
    RevokesItsKey,
    SaysWhatIsMapped,
    StaysAUser,
    SyncsImplicitly,
    TakesItsCallbackBack,
    UnmapsThenUnpins,
    Vcpu,
    VcpuWithoutCount,
    WaitsForItsWorker,
)
from secondsight.devices.sva import Sva
from secondsight.devices.vfio_type1 import VfioType1
from secondsight.lang import LangError
from secondsight.lang.plain import replay
from secondsight.report.catalog import things
from secondsight.report.named_rules import required
from secondsight.search import Limits, Request, Verdict

EVERYTHING = os.environ.get("SECONDSIGHT_CONTRACT") == "all"
EVERY_ROW = EVERYTHING or os.environ.get("SECONDSIGHT_CONTRACT") == "rows"


@cache
def broken(driver: type[Device], adversary: str, until: str = "") -> set[str]:
    """The rules that a driver breaks with an adversary; the first trace is replayed. `until`: those up to this one are enough, or (`any`) the first."""
    found: set[str] = set()
    for checked in check(driver, [adversary]):
        if until in found or (until == "any" and found):
            break
        violation = checked.result.violation
        assert checked.result.error is None, checked.result.error
        if violation is None:
            assert checked.result.verdict is Verdict.HOLDS
            continue
        if not found:
            steps = violation.trace.schedule
            assert len(replay(checked.rebuild(), steps, violation.trace.states)) == len(steps)
        found.add(violation.rule)
    return found


MACHINERY = frozenset((
    "refcount", "killed-pagemap", "no-fences", "fence-never-signaled", "double-add", "another-fence", "not-dynamic", "finish-in-use", "bad-page",
    "use-after-free", "double-free",
))  # fmt: skip
"""Rules of functions that few drivers call: each row of them compiles two drivers that no other row has."""


def sample() -> list[tuple[str, str, type[Device], type[Device]]]:
    """A row of each rule: each driver is compiled for itself. All rows: `make wrong-drivers`, which .ci/run runs too."""
    told: set[str] = set()
    rows = []
    for row in RULES_BROKEN:
        rule, adversary, wrong, _ = row
        own_memory = adversary.startswith("device-memory") and wrong is not ONLY_HERE["device-memory"]  # half a minute
        two_devices = wrong is ExclusiveRetriesLocked  # seconds, and the adversary is asked below too
        if EVERY_ROW or not (own_memory or two_devices or rule in MACHINERY or adversary in ("reset", "fs-dax") or rule in told):
            rows.append(row)
            told.add(rule)
    return rows


@pytest.mark.parametrize(("rule", "adversary", "wrong", "right"), some(sample(), 1 if EVERY_ROW else 3), ids=lambda v: getattr(v, "__name__", v))
def test_a_wrong_driver_breaks_the_rule_and_the_right_one_does_not(
    rule: str, adversary: str, wrong: type[Device], right: type[Device]
) -> None:
    assert rule in broken(wrong, adversary, rule)
    assert broken(right, adversary) == set()


@pytest.mark.parametrize("adversary", some((a for a in ONLY_HERE if a not in ("part", "open", "close")), 1 if EVERY_ROW else 3, 0 if EVERY_ROW else 1))
def test_an_adversary_catches_a_driver_that_no_other_does(adversary: str) -> None:
    """Here: that it does. That no other does takes minutes: `make adversaries`."""
    assert broken(ONLY_HERE[adversary], adversary, "any")


@pytest.mark.parametrize(
    ("adversary", "name", "driver"),
    [("zero-page", "zero-page: writes", small.GivesUp), ("punch-hole", "punch-hole: two engines", small.FaultsUnderItsLock)],
)
def test_the_large_ones_catch_theirs_in_a_small_scenario(adversary: str, name: str, driver: type[Device]) -> None:
    (scenario,) = [s for s in ADVERSARIES[adversary].scenarios if s.name == name]
    result = check_scenario(driver, adversary, scenario, rules_for(driver), Request(limits=Limits(states=100_000))).result
    assert result.verdict is Verdict.BROKEN


def test_every_adversary_has_a_driver_or_a_reason() -> None:
    assert set(ONLY_HERE) | set(KEPT) == set(EVERY_ADVERSARY)


def test_every_rule_and_every_promise_is_broken_by_a_driver() -> None:
    assert set(RULES) - {"progress"} | set(ALWAYS_CHECKED) <= {rule for rule, *_ in RULES_BROKEN} | set(ALSO_BROKEN)
    assert {wrong.promise for *_, wrong, _ in RULES_BROKEN} == set(get_args(Promise))
    assert all(wrong.promise == right.promise for *_, wrong, right in RULES_BROKEN)


def test_every_rule_that_is_explained_is_broken_by_somebody_or_says_where() -> None:
    """The machinery's rules, the language's and those of the tables too: one that nobody breaks would prove nothing."""
    shown = [{rule for rule, *_ in RULES_BROKEN} | set(ALSO_BROKEN), set(BROKEN_IN_A_TABLE), set(BROKEN_ELSEWHERE)]
    explained = {thing.name for thing in things("rules")}
    assert set().union(*shown) == explained
    assert sum(len(names) for names in shown) == len(explained), "each is shown in one place"
    own = {name for name, asked in required().items() if all(one.place.startswith("cases/") for one in asked)}
    assert own == set(BROKEN_IN_A_TABLE) | {"sub-page", "reboot", "restored", "time"}


@pytest.mark.parametrize("rule", BROKEN_IN_A_TABLE)
def test_a_tables_own_rule_is_broken_by_one_cell_and_kept_by_another(rule: str) -> None:
    """By the verdicts that were reviewed; that it is this rule shows where the cell is searched (`make adversaries`)."""
    name, wrong, right = BROKEN_IN_A_TABLE[rule]
    table = TABLES[name]
    assert (table.expected[wrong], table.expected[right]) == (Verdict.BROKEN, Verdict.HOLDS)
    if EVERYTHING:
        violation = search_cell(table, *wrong).result.violation
        assert violation is not None and violation.rule == rule


@pytest.mark.skipif(not EVERYTHING, reason="minutes: make adversaries")
@pytest.mark.parametrize("adversary", list(ONLY_HERE))
def test_no_other_adversary_catches_it(adversary: str) -> None:
    driver = ONLY_HERE[adversary]
    assert [other for other in adversaries_for(driver) if broken(driver, other)] == [adversary]


RIGHT: list[type[Device]] = [
    MirrorInParts, ClosesByItsLock, PrefaultsAfterwards, AsksToWriteFirst, DropsEverything, GivesReferencesBack, LooksIntoItsTable, Pins, Vcpu, VfioType1,
    RemembersByProcess, MarksWhenItDrops, FencedImporter, UnmapsAtOnce, AsksToBeCalled, KeepsForReading, Exclusive,
    PrivateGpu, ClearsByItself, ClearsItsRange, CoherentGpu, InTwoPasses, KeepsRequests, TakesItsCallbackBack, Sva, Resets, SaysWhatIsMapped,
    GetsItsNotifier, IsAUserWhileItFaults, StaysAUser, DmaMirror, DmaMirrorLazy, UnmapsThenUnpins, HasAccessedBits,
    GfnToPfnCache, RevokesItsKey, ImporterRevokesItsKey, SyncsImplicitly, AllocatesBeforeItsLock, AllocatesWithoutReclaim, AllocatesWithoutWaiting,
    WaitsForItsWorker, DropsWhatChanges, NotifiedIn2011, RdmaMr, FaultQueue, HoldsTheMmapLockAndAsks, LocksBoth,
    AllocatesAnEntry, AllocatesAtOpen, PinsAndNotes, ClearsAllWithoutMemory, FlushesAllWithoutReclaim,
    LooksUpEachPagemap, PinsSeveral, PinsFilesForAMoment,
]  # fmt: skip


@pytest.mark.skipif(not EVERYTHING, reason="minutes: make adversaries")
@pytest.mark.parametrize("driver", RIGHT)
def test_right_drivers_hold_against_everything(driver: type[Device]) -> None:
    against = [a for a in adversaries_for(driver) if not (driver is GivesReferencesBack and a == "dax-teardown")]
    assert [a for a in against if broken(driver, a)] == []


def test_every_right_driver_that_is_compared_with_is_checked_against_everything() -> None:
    assert {right for *_, right in RULES_BROKEN} - {Mirror} <= set(RIGHT)


def test_who_counts_no_locked_pages_is_not_asked_what_it_does_past_their_limit() -> None:
    asked = {driver.__name__: "memlock-limit" in adversaries_for(driver) for driver in (VfioType1, RdmaMr, Pins, Mirror)}
    assert asked == {"VfioType1": True, "RdmaMr": True, "Pins": False, "Mirror": False}


# Promises.


class PromisesMuch(Mirror):
    promise = "everything"  # type: ignore[assignment]


def test_a_promise_has_its_rules() -> None:
    assert "as-if-cpu" in [r.name for r in rules_for(Vcpu)]
    assert "as-if-cpu" not in [r.name for r in rules_for(Pins)]
    assert "pinned" not in [r.name for r in rules_for(Mirror)]
    with pytest.raises(LangError, match=r"the rule pinned is not asked of Mirror, whose promise is 'mirror'"):
        rules_for(Mirror, ["pinned"])
    with pytest.raises(LangError, match=r"PromisesMuch.promise is 'everything'; there are: mirror, pinned, process"):
        rules_for(PromisesMuch)


def test_a_drivers_mm_is_known_whatever_it_subscribes_to() -> None:
    """A driver without an interval notifier is watched too: the mm is the one that it was opened on."""
    assert "as-if-cpu" in broken(VcpuWithoutCount, "munmap")
    assert small.Vcpu.bounds["subscribers"] == 0
