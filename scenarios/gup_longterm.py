"""What the kernel's own tests of long-term pins assert (tools/testing/selftests/mm/gup_longterm.c, Linux 6.12), of memfds;
docs/mm-tests.md has them all."""

from secondsight.scenario import Mapping, Recorder, scenario


def _pins(s: Recorder, a: Mapping) -> None:
    """Memory that was written is pinned for long, for writing; then for reading, with its entry read-only: by GUP-fast, and under the lock alone."""
    s.write(a, "a", pages=1)
    s.pin(a, pages=1, longterm=True, write=True, into="for_writing").unpin()
    s.mprotect(a, write=False)
    s.pin(a, pages=1, longterm=True, write=False, into="for_reading").unpin()
    s.mprotect(a, write=True)
    s.pin_locked(a, pages=1, longterm=True, write=True, into="locked_for_writing").unpin()
    s.mprotect(a, write=False)
    s.pin_locked(a, pages=1, longterm=True, write=False, into="locked_for_reading")


@scenario
def longterm_shared(s: Recorder) -> None:
    """Shared mapping of a memfd: may be pinned."""
    _pins(s, s.mmap(s.memfd_create(pages=1)))


@scenario
def longterm_private(s: Recorder) -> None:
    """Private mapping of a memfd: what is pinned is the process's own page."""
    _pins(s, s.mmap_private(s.memfd_create(pages=1)))


@scenario
def longterm_huge(s: Recorder) -> None:
    """Shared mapping of a memfd of huge pages."""
    _pins(s, s.mmap(s.memfd_create_hugetlb(pages=2)))
