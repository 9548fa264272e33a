"""mm/mmu_notifier.c beside its model: walks and transitions agree, and what is made wrong in either is noticed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest
from conform_world import source_of

from sampled import some
from secondsight.conform.build import build
from secondsight.conform.errors import ConformError
from secondsight.conform.place import Stop
from secondsight.conform.run import ConformReport, run
from secondsight.conform.side import Side
from secondsight.conform.story import tell
from secondsight.conform.target import Configuration
from secondsight.conform.targets.mmu_notifier import MmuNotifierFile
from secondsight.conform.targets.mmu_notifier_configurations import NOBODY, SILENT, task
from secondsight.conform.targets.mmu_notifier_world import Op
from secondsight.conform.walk import Beside, Tally

TARGET = MmuNotifierFile()


@pytest.mark.parametrize("release", ["6.1", "6.12", "7.2"])
def test_random_walks_agree(release: str) -> None:
    source = source_of(release)
    report = run(TARGET, source.release, build(TARGET, source), seconds=120, transitions=False, most_steps=3_000)
    assert report.disagreement is None, tell(TARGET, source.release, report.disagreement)
    assert report.steps > 500
    assert set(report.walks.broken) <= set(TARGET.rules)


@pytest.mark.wide
def test_every_transition_of_small_configurations_agrees() -> None:
    source = source_of("6.12")
    with Side(build(TARGET, source)) as side:
        tally = Tally()
        for number, configuration in enumerate(TARGET.bounded("6.12")):
            if number in (3, 4, 6, 8, 11, 20):
                Beside(TARGET, side, "6.12").all_transitions(configuration, tally)
        assert tally.disagreement is None, tell(TARGET, "linux-6.12", tally.disagreement)
    assert tally.states > 3_000
    assert not tally.cut


NEW = {Op.GET, Op.PUT, Op.WORK, Op.SYNCHRONIZE, Op.YOUNG}


def shared_and_young(release: str) -> list[Configuration]:
    """The bounded configurations of shared mmu notifiers, and of who asks what is young."""
    return [one for one in TARGET.bounded(release) if any(o.code in NEW for thread in one.threads for o in thread)]


@pytest.mark.parametrize("release", ["6.1", "6.12", "7.2"])
def test_shared_notifiers_and_what_is_young_agree_in_every_transition(release: str) -> None:
    source, tally = source_of(release), Tally()
    with Side(build(TARGET, source)) as side:
        for one in shared_and_young(release):
            Beside(TARGET, side, release).all_transitions(one, tally, careful=True)
    assert tally.disagreement is None, tell(TARGET, source.release, tally.disagreement)
    assert tally.states > 3_000
    assert not tally.cut


@pytest.mark.parametrize(
    ("was", "now"),
    some([
        ("|| --subscription->users)", "|| (--subscription->users, 0))"),
        ("			subscription->users++;", "			;"),
        ("if (subscription->ops != ops)", "if (0)"),
        ("	call_srcu(&srcu, &subscription->rcu, mmu_notifier_free_rcu);", "	;"),
        ("	subscription->ops->free_notifier(subscription);\n	/* Pairs with the get in __mmu_notifier_register() */\n	mmdrop(mm);", "	subscription->ops->free_notifier(subscription);"),
        ("	synchronize_srcu(&srcu);\n}\nEXPORT_SYMBOL_GPL(mmu_notifier_synchronize);", "}\nEXPORT_SYMBOL_GPL(mmu_notifier_synchronize);"),
        ("			young |= subscription->ops->clear_flush_young(", "			young = subscription->ops->clear_flush_young("),
        ("			if (young)\n				break;", "			;"),
    ], 4),
)
def test_a_change_of_what_is_shared_or_young_is_noticed(was: str, now: str) -> None:
    source, tally = source_of("6.12"), Tally()
    text = (source.tree / TARGET.file).read_text()
    assert text.count(was) == 1
    with Side(build(TARGET, source, text.replace(was, now))) as side:
        for one in shared_and_young("6.12"):
            if tally.disagreement is None:
                Beside(TARGET, side, "6.12").all_transitions(one, tally)
    assert tally.disagreement is not None


def mutated(change: Callable[[str], str], **more: object) -> ConformReport:
    """What comes of the C after a change of its text."""
    source = source_of("6.12")
    text = (source.tree / TARGET.file).read_text()
    changed = change(text)
    assert changed != text
    return run(TARGET, source.release, build(TARGET, source, changed), seconds=20, transitions=True, most_steps=6_000, **more)  # type: ignore[arg-type]


@pytest.mark.wide
def test_a_wake_up_that_is_lost_is_shown_with_the_schedule_and_both_states() -> None:
    report = mutated(lambda text: text.replace("wake_up_all(&subscriptions->wq);", ";"))
    found = report.disagreement
    assert found is not None
    assert found.what == "other threads can go on"
    assert found.steps <= 12
    assert sum(len(thread) for thread in found.configuration.threads) <= 4
    story = tell(TARGET, report.release, found)
    assert "mn_itree_inv_end" in story
    assert "thread 0" in story


@pytest.mark.wide
def test_another_order_is_shown_field_by_field() -> None:
    report = mutated(
        lambda text: text.replace(
            "hlist_add_head(&interval_sub->deferred_item",
            "if (hlist_empty(&subscriptions->deferred_list)) hlist_add_head(&interval_sub->deferred_item",
        )
    )
    assert report.disagreement is not None
    story = tell(TARGET, report.release, report.disagreement)
    assert "before" in story
    assert "the kernel's C" in story
    assert "deferred" in story or "itree" in story


def test_a_crash_is_told_with_its_signal_and_never_taken_for_agreement() -> None:
    report = mutated(
        lambda text: text.replace("seq = READ_ONCE(interval_sub->invalidate_seq);", "seq = *(volatile unsigned long *)8;"),
        small=False,
    )
    assert report.disagreement is not None
    assert "Segmentation fault in mmu_interval_read_begin" in report.disagreement.c
    assert report.disagreement.schedule


def test_an_endless_loop_is_told() -> None:
    report = mutated(
        lambda text: text.replace(
            "node = interval_tree_iter_next(&interval_sub->interval_tree,",
            "for (;;) node = interval_tree_iter_next(&interval_sub->interval_tree,",
        ),
        small=False,
    )
    assert report.disagreement is not None
    assert "does not come to a place" in report.disagreement.c


def test_a_file_that_no_longer_compiles_is_named() -> None:
    source = source_of("6.12")
    text = (source.tree / TARGET.file).read_text()
    with pytest.raises(
        ConformError, match=r"mm/mmu_notifier.c of linux-6.12 .* does not compile for user space(.|\n)*no_such_type"
    ):
        build(TARGET, source, text + "\nno_such_type x;\n")
    with pytest.raises(ConformError, match="calls what there is no stub for: no_such_function"):
        build(
            TARGET, source, text.replace("	might_sleep();", "	extern void no_such_function(void); no_such_function();", 1)
        )


def test_a_boundary_without_a_place_is_named() -> None:
    class Forgets(MmuNotifierFile):
        boundaries = tuple(b for b in MmuNotifierFile.boundaries if b.function != "mmu_interval_read_begin")

    source = source_of("6.12")
    with Side(build(TARGET, source)) as side, pytest.raises(ConformError, match="mmu_interval_read_begin: with atomic:"):
        Beside(Forgets(), side, "6.12").walk(TARGET.draw(random.Random(1), "6.12"), random.Random(1), Tally())


def test_a_place_between_two_of_the_models_is_a_difference_unless_it_is_listed() -> None:
    class Strict(MmuNotifierFile):
        merged: ClassVar[dict[Stop, str]] = {}

    source = source_of("6.12")
    report = run(Strict(), source.release, build(TARGET, source), seconds=20, transitions=False, small=False)
    assert report.disagreement is not None
    assert report.disagreement.what == "the C can be left where the model cannot"


def test_a_rule_that_breaks_where_nobody_does_wrong_is_a_difference_although_the_c_is_not_asked() -> None:
    class Careless(MmuNotifierFile):
        def bounded(self, release: str) -> Iterator[Configuration]:
            there = (0, 0, 1, *NOBODY[3:], *SILENT)
            yield Configuration(there, ((task(Op.INSERT, 0, 0, 1),),))

    source = source_of("6.12")
    report = run(Careless(), source.release, build(TARGET, source), seconds=0, small=False)
    assert report.disagreement is not None
    assert report.disagreement.what == "the model breaks the rule inserted-twice, and nobody does wrong"
