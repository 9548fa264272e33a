"""What the kernel's own tests of copy on write assert (tools/testing/selftests/mm/cow.c, Linux 6.12), as far as the model has the
operations; docs/mm-tests.md has them all. Each is made on a page that is in memory and on one that was swapped out before."""

from collections.abc import Iterator

from secondsight.scenario import Mapping, Process, Recorder, scenario


def _pages(s: Recorder) -> Iterator[tuple[str, Mapping]]:
    """Two pages that hold `a`: one as it was written, one that has been written out since."""
    base, swapped = s.mmap(pages=1), s.mmap(pages=1)
    s.write(base, "a")
    s.write(swapped, "a")
    s.madvise_pageout(swapped)
    yield from (("base", base), ("swapped", swapped))


def _made_read_only(s: Recorder, a: Mapping) -> None:
    """And writable again: its entry may not be written before the next fault."""
    s.mprotect(a, write=False)
    s.mprotect(a, write=True)


def _writes_and_the_child_reads(s: Recorder, protects: bool) -> None:
    pages = list(_pages(s))
    child = s.fork()
    for name, a in pages:
        if protects:
            _made_read_only(s, a)
        s.write(a, "b")
        with child:
            s.read(a, into=f"{name}_child")
        s.read(a, into=f"{name}_parent")


@scenario
def cow_after_fork(s: Recorder) -> None:
    """Basic COW after fork(): the parent writes, and the child has what was there."""
    _writes_and_the_child_reads(s, False)


@scenario
def cow_after_fork_and_mprotect(s: Recorder) -> None:
    """The same, where the parent's entries become read-only and writable again first."""
    _writes_and_the_child_reads(s, True)


def _child_keeps_what_it_unmaps(s: Recorder, protects: bool) -> None:
    pages = list(_pages(s))
    child = s.fork()
    for name, a in pages:
        with child:
            kept = s.pin(a, longterm=False, write=False)
            s.munmap(a)
        if protects:
            _made_read_only(s, a)
        s.write(a, "b")
        with child:
            kept.read(into=f"{name}_kept")


@scenario
def cow_child_keeps(s: Recorder) -> None:
    """The child takes hold of the page and unmaps it; the parent writes; what the child holds is as it was."""
    _child_keeps_what_it_unmaps(s, False)


@scenario
def cow_child_keeps_and_mprotect(s: Recorder) -> None:
    """The same with the parent's entries read-only and writable again."""
    _child_keeps_what_it_unmaps(s, True)


def _parent_keeps_what_it_unmaps(s: Recorder, before: bool) -> None:
    pages = list(_pages(s))
    kept = {name: s.pin(a, longterm=False, write=False) for name, a in pages if before}
    child: Process = s.fork()
    for name, a in pages:
        if not before:
            kept[name] = s.pin(a, longterm=False, write=False)
        s.munmap(a)
        with child:
            s.write(a, "b")
        kept[name].read(into=f"{name}_kept")


@scenario
def cow_parent_keeps_before_fork(s: Recorder) -> None:
    """The parent takes hold of the page, forks, and unmaps it; the child writes; what the parent holds is as it was."""
    _parent_keeps_what_it_unmaps(s, True)


@scenario
def cow_parent_keeps_after_fork(s: Recorder) -> None:
    """The same, with the hold taken after the fork."""
    _parent_keeps_what_it_unmaps(s, False)


def _stays_the_pinned_page(s: Recorder, forks: bool) -> None:
    pages = list(_pages(s))
    pins = [s.pin(a, longterm=True) for _, a in pages]
    if forks:
        s.fork()
    for (name, a), pin in zip(pages, pins, strict=True):
        if not forks:
            _made_read_only(s, a)
        s.write(a, "b")
        pin.read(into=f"{name}_pinned")


@scenario
def cow_fixed_buffer_and_mprotect(s: Recorder) -> None:
    """A page that is pinned for long and for writing stays the process's, though its entry was read-only in between."""
    _stays_the_pinned_page(s, False)


@scenario
def cow_fixed_buffer_and_fork(s: Recorder) -> None:
    """The same over a fork: the child gets a copy."""
    _stays_the_pinned_page(s, True)


def _pinned_for_reading(s: Recorder, shared: bool, child_stays: bool, locked: bool = False) -> None:
    pages = list(_pages(s))
    if shared:
        child = s.fork()
        if not child_stays:
            with child:
                s.exit()
    for name, a in pages:
        s.mprotect(a, write=False)
        pin = (s.pin_locked if locked else s.pin)(a, longterm=True, write=False)
        s.mprotect(a, write=True)
        s.write(a, "b")
        pin.read(into=f"{name}_pinned")


@scenario
def cow_read_pin_of_shared(s: Recorder) -> None:
    """A page that a child has too is pinned for long and for reading: what the process writes then, the pin sees."""
    _pinned_for_reading(s, True, True)


@scenario
def cow_read_pin_of_previously_shared(s: Recorder) -> None:
    """The same where the child has ended."""
    _pinned_for_reading(s, True, False)


@scenario
def cow_read_pin_of_exclusive(s: Recorder) -> None:
    """The same where nobody else ever had it."""
    _pinned_for_reading(s, False, False)


@scenario
def cow_locked_read_pin_of_shared(s: Recorder) -> None:
    """R/O GUP pin: `cow_read_pin_of_shared` by pin_user_pages()."""
    _pinned_for_reading(s, True, True, True)


@scenario
def cow_locked_read_pin_of_previously_shared(s: Recorder) -> None:
    """The same where the child has ended."""
    _pinned_for_reading(s, True, False, True)


@scenario
def cow_locked_read_pin_of_exclusive(s: Recorder) -> None:
    """The same where nobody else ever had it."""
    _pinned_for_reading(s, False, False, True)


def _others(s: Recorder) -> Iterator[tuple[str, Mapping, Mapping | None]]:
    """Private mappings of what is not anonymous, and another mapping of the same: the zero page, a memfd's page, one of a huge memfd."""
    zero = s.mmap(pages=1)
    s.read(zero, into="zero_before")
    file = s.memfd_create(pages=1)
    other = s.mmap(file)
    s.write(other, "a")
    mine = s.mmap_private(file)
    s.read(mine, into="memfd_before")
    yield from (("zero", zero, None), ("memfd", mine, other))


def _others_pinned_for_reading(s: Recorder, locked: bool) -> None:
    for name, mine, _ in list(_others(s)):
        pin = (s.pin_locked if locked else s.pin)(mine, longterm=True, write=False)
        s.write(mine, "b")
        pin.read(into=f"{name}_pinned")


@scenario
def cow_not_anonymous(s: Recorder) -> None:
    """Basic COW: a write to a private mapping is not seen by who maps the file."""
    for name, mine, other in list(_others(s)):
        s.write(mine, "b")
        s.read(mine, into=f"{name}_after")
        if other is not None:
            s.read(other, into=f"{name}_other")
    s.read(s.mmap(pages=1), into="another_zero")


@scenario
def cow_read_pin_not_anonymous(s: Recorder) -> None:
    """R/O longterm GUP-fast pin: what the process writes to its private mapping then, the pin sees."""
    _others_pinned_for_reading(s, False)


@scenario
def cow_locked_read_pin_not_anonymous(s: Recorder) -> None:
    """R/O longterm GUP pin: the same by pin_user_pages()."""
    _others_pinned_for_reading(s, True)


def _collapsed(s: Recorder, kept: int | None = None, before: bool = False) -> None:
    """A huge page, one half of which (`kept`) a child may not have, is made of its pages again, before the fork or after; then it is written, and the child has what was
    there."""
    pages = s.mmap(pages=2)
    s.madvise_hugepage(pages)
    s.write(pages, "a")
    _made_read_only(s, pages + 1)
    if before:
        s.madvise_collapse(pages)
    if kept is not None:
        s.madvise_dontfork(pages + kept)
    child = s.fork()
    if kept is not None:
        s.madvise_dofork(pages)
    if not before:
        s.madvise_collapse(pages)
    s.write(pages, "b")
    with child:
        for half in {0, 1} - {kept}:
            s.read(pages + half, into=f"half_{half}")


@scenario
def cow_collapsed_before_fork(s: Recorder) -> None:
    """Basic COW after fork() when collapsing before fork()."""
    _collapsed(s, before=True)


@scenario
def cow_collapsed_lower_shared(s: Recorder) -> None:
    """Basic COW after fork() when collapsing after fork() (lower shared): the child has the first half alone (MADV_DONTFORK of the other)."""
    _collapsed(s, kept=1)


@scenario
def cow_collapsed_upper_shared(s: Recorder) -> None:
    """The same (upper shared): the child has the second half alone."""
    _collapsed(s, kept=0)
