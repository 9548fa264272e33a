"""Which vmas of private memory have one anon_vma, and so may become one: mremap() tells, as it moves no two."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from secondsight.scenario import Mapping, Recorder
from secondsight.world.model import only_outcome, outcomes


def locked_when_written(s: Recorder) -> Mapping:
    a = s.mmap(pages=2)
    s.mlock(a, pages=1)
    s.write(a, "a", pages=1)
    s.write(a + 1, "b", pages=1)
    s.munlock(a, pages=1)
    return a


def locked_between_the_writes(s: Recorder) -> Mapping:
    a = s.mmap(pages=2)
    s.write(a, "a", pages=1)
    s.mlock(a, pages=1)
    s.munlock(a, pages=1)
    s.write(a + 1, "b", pages=1)
    return a


def protected_when_written(s: Recorder) -> Mapping:
    """mprotect() lets them have one anon_vma."""
    a = s.mmap(pages=2)
    s.mprotect(a, pages=1, write=False)
    s.write(a + 1, "b", pages=1)
    s.mprotect(a, pages=1, write=True)
    s.write(a, "a", pages=1)
    s.mlock(a)
    s.munlock(a)
    return a


def not_copied_when_written(s: Recorder) -> Mapping:
    """What lies between belongs to the one before then."""
    a = s.mmap(pages=3)
    s.madvise_dontfork(a + 1, pages=1)
    s.write(a, "a", pages=1)
    s.write(a + 2, "c", pages=1)
    s.madvise_dofork(a + 1, pages=1)
    return a


def written_when_equal_again(s: Recorder) -> Mapping:
    a = s.mmap(pages=2)
    s.madvise_dontfork(a, pages=1)
    s.write(a + 1, "b", pages=1)
    s.madvise_dofork(a, pages=1)
    s.write(a, "a", pages=1)
    return a


@pytest.mark.parametrize(
    ("maps", "moved"),
    [
        (locked_when_written, "-EFAULT"),
        (locked_between_the_writes, "ok"),
        (protected_when_written, "ok"),
        (not_copied_when_written, "-EFAULT"),
        (written_when_equal_again, "ok"),
    ],
)
def test_two_vmas_with_an_anon_vma_each_stay_two(maps: Callable[[Recorder], Mapping], moved: str) -> None:
    """mremap() tells: it moves no two (before 6.17). Drawn: sequential, seed 1, number 12095. Linux 6.1, 6.12 and 7.2 say the same of each."""
    for release, answer in ((None, moved), ("7.2.13", "ok")):
        s = Recorder()
        s.mremap(maps(s), into="moved")
        recorded = s.scenario("parted", "")
        assert dict(only_outcome(recorded, release)) == {"moved": answer}
        assert outcomes(recorded, release=release)[1] == {(("moved", answer),)}


def test_two_vmas_of_a_child_that_were_two_at_the_fork_stay_two() -> None:
    s = Recorder()
    a = s.mmap(pages=2)
    s.write(a, "a")
    s.mprotect(a, pages=1, write=False)
    with s.fork():
        s.mprotect(a, pages=1, write=True)
        s.mremap(a, into="of_the_child")
    s.mprotect(a, pages=1, write=True)
    s.mremap(a, into="moved")
    recorded = s.scenario("forked", "")
    assert dict(only_outcome(recorded)) == {"moved": "ok", "of_the_child": "-EFAULT"}
    assert outcomes(recorded)[1] == {only_outcome(recorded)}
