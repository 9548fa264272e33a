"""What the tests of one file of the kernel's each share: walks, one configuration's transitions, and a changed text noticed."""

from __future__ import annotations

from itertools import islice

from conform_world import source_of

from secondsight.conform.build import build
from secondsight.conform.run import ConformReport, run
from secondsight.conform.side import Side
from secondsight.conform.story import tell
from secondsight.conform.target import Target
from secondsight.conform.walk import Beside, Tally

STEPS = 6_000
"""Steps of random walks that are compared, and in which a change of the C has to be noticed."""


def agreeing_walks(target: Target, release: str) -> ConformReport:
    """Random walks that agree."""
    source = source_of(release)
    report = run(target, source.release, build(target, source), seconds=60, transitions=False, most_steps=STEPS)
    assert report.disagreement is None, tell(target, source.release, report.disagreement)
    assert report.steps >= STEPS
    assert set(report.walks.broken) <= set(target.rules)
    return report


def agreeing_transitions(target: Target, release: str, which: int) -> Tally:
    """Every transition of one of the bounded configurations, which agree."""
    source = source_of(release)
    tally = Tally()
    with Side(build(target, source)) as side:
        Beside(target, side, release).all_transitions(list(target.bounded(release))[which], tally, careful=True)
    assert tally.disagreement is None, tell(target, source.release, tally.disagreement)
    assert not tally.cut
    return tally


def agreeing_sample(target: Target, release: str, every: int) -> Tally:
    """Every transition of each so-many-th of the bounded configurations, which agree."""
    source = source_of(release)
    tally = Tally()
    with Side(build(target, source)) as side:
        for configuration in islice(target.bounded(release), 0, None, every):
            Beside(target, side, release).all_transitions(configuration, tally, careful=True)
    assert tally.disagreement is None, tell(target, source.release, tally.disagreement)
    assert not tally.cut
    return tally


def noticed(target: Target, release: str, was: str, now: str) -> None:
    """A change of the kernel's text is noticed, by walks or in the bounded configurations."""
    source = source_of(release)
    text = (source.tree / target.file).read_text()
    assert was in text
    program = build(target, source, text.replace(was, now))
    report = run(target, source.release, program, seconds=20, most_steps=STEPS, small=False)
    assert report.disagreement is not None
