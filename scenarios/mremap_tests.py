"""What the kernel's own tests of mremap assert (tools/testing/selftests/mm/mremap_test.c, Linux 6.12), as far as the model has the
operations; docs/mm-tests.md has them all. Pages for their megabytes; a memfd for anonymous shared memory."""

from secondsight.scenario import Mapping, Recorder, scenario


def _source(s: Recorder) -> Mapping:
    """Two pages that hold `a` and `b`."""
    source = s.mmap(s.memfd_create(pages=2))
    s.write(source, "a", pages=1)
    s.write(source + 1, "b", pages=1)
    return source


def _place(s: Recorder) -> Mapping:
    """A place of two pages where nothing is."""
    place = s.mmap(pages=2)
    s.munmap(place)
    return place


@scenario
def mremap_overlapping(s: Recorder) -> None:
    """Source and Destination Regions Overlapping: refused, and everything is where it was."""
    source = s.mmap(s.memfd_create(pages=3))
    for page, value in enumerate("abc"):
        s.write(source + page, value, pages=1)
    s.mremap(source, pages=2, at=source + 1, into="moved")
    s.read(source, into="first")
    s.read(source + 1, into="second")
    s.read(source + 2, into="third")


@scenario
def mremap_two_pages(s: Recorder) -> None:
    """8KB mremap: what was there is at the new place, and nothing at the old one."""
    place = _place(s)
    source = _source(s)
    s.mremap(source, pages=2, at=place, into="moved")
    s.read(place, into="first")
    s.read(place + 1, into="second")
    s.read(source, into="old_place")


@scenario
def mremap_beside_a_preamble(s: Recorder) -> None:
    """Dest with a preamble: what lies before the new place is as it was."""
    before = s.mmap(pages=3)
    s.munmap(before + 1, pages=2)
    s.write(before, "p", pages=1)
    source = _source(s)
    s.mremap(source, pages=2, at=before + 1, into="moved")
    s.read(before, into="preamble")
    s.read(before + 1, into="first")
    s.read(before + 2, into="second")


@scenario
def mremap_within_range(s: Recorder) -> None:
    """mremap move within range: the second halves of two blocks of one mapping, one moved over the other; what lies beside the moved
    half stays as it is."""
    blocks = s.mmap(pages=4)
    for page, value in enumerate("DdSs"):
        s.write(blocks + page, value, pages=1)
    s.mremap(blocks + 3, pages=1, at=blocks + 1, into="moved")
    s.read(blocks, into="not_moved_over")
    s.read(blocks + 1, into="moved_over")
    s.read(blocks + 2, into="beside")
    s.read(blocks + 3, into="old_place")


@scenario
def mremap_expand_merge(s: Recorder) -> None:
    """mremap expand merge: the first of three pages grows over the second, which is not mapped, and is one mapping with the third: it moves as a whole."""
    start = s.mmap(pages=3)
    s.munmap(start + 1)
    s.mremap_in_place(start, pages=1, new_pages=2, into="grown")
    s.mremap(start, pages=3, into="moved_as_one")


@scenario
def mremap_expand_merge_offset(s: Recorder) -> None:
    """mremap expand merge offset: the second of two pages grows to what the mapping was before its third page was unmapped."""
    start = s.mmap(pages=3)
    s.munmap(start + 2)
    s.mremap_in_place(start + 1, pages=1, new_pages=2, into="grown")
    s.mremap(start, pages=3, into="moved_as_one")
