"""Memory that must stay movable: what is pinned for long is moved out of it first, and then its block can be taken offline."""

from secondsight.scenario import Recorder, scenario


@scenario
def offline_moves_pages(s: Recorder) -> None:
    """The process's pages are elsewhere then, with what they hold; a second time there is nothing to take."""
    memfd = s.memfd_create(pages=1)
    a = s.mmap(memfd)
    b = s.mmap(pages=1)
    s.write(a, "A")
    s.write(b, "B")
    s.offline_pages(into="offline")
    s.read(a, into="file")
    s.read(b, into="private")
    s.offline_pages(into="again")


@scenario
def a_udmabuf_pins_its_pages_elsewhere(s: Recorder) -> None:
    """memfd_pin_folios() has moved them: the buffer is there, and the block goes."""
    memfd = s.memfd_create(pages=2, seals="shrink")
    a = s.mmap(memfd)
    s.write(a, "A")
    buffer = s.mmap(s.udmabuf_create(memfd))
    s.offline_pages(into="offline")
    s.write(a + 1, "B")
    s.read(buffer, into="first")
    s.read(buffer + 1, into="second")


@scenario
def pinned_for_long_and_a_udmabuf(s: Recorder) -> None:
    """VFIO and a udmabuf have the same page, in either order: each pins it for long, so it has moved already when the second comes."""
    memfd = s.memfd_create(pages=2, seals="shrink")
    a = s.mmap(memfd)
    s.write(a, "A")
    before = s.pin(a, longterm=True)
    buffer = s.mmap(s.udmabuf_create(memfd))
    after = s.pin(a + 1, longterm=True)
    s.offline_pages(into="offline")
    before.write(0, "C")
    s.read(buffer, into="buffer")
    after.read(into="device")


@scenario
def writes_beside_offlining(s: Recorder) -> None:
    """Who touches a page that is being moved waits."""
    a = s.mmap(pages=1)
    s.write(a, "A")

    @s.thread
    def host() -> None:
        s.offline_pages(into="offline")

    @s.thread
    def cpu() -> None:
        s.write(a, "B")
        s.read(a, into="seen")
