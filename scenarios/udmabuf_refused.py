"""What UDMABUF_CREATE accepts: the checks of the kernel's own udmabuf selftest, and more. Wanted are whole
pages and F_SEAL_SHRINK, refused F_SEAL_WRITE and F_SEAL_FUTURE_WRITE."""

from secondsight.scenario import Recorder, scenario


@scenario
def udmabuf_of_shrink_sealed(s: Recorder) -> None:
    """The one that works."""
    fd = s.memfd_create(pages=2, seals="shrink")
    buf = s.udmabuf_create(fd, into="created")
    s.read(s.mmap(buf), into="seen")


@scenario
def udmabuf_of_unsealed(s: Recorder) -> None:
    """Without F_SEAL_SHRINK. What needs the udmabuf is skipped."""
    fd = s.memfd_create(pages=2)
    buf = s.udmabuf_create(fd, into="created")
    s.read(s.mmap(buf, into="mapped"), into="seen")


@scenario
def udmabuf_of_write_sealed(s: Recorder) -> None:
    """With F_SEAL_WRITE."""
    fd = s.memfd_create(pages=2, seals="shrink|write")
    s.udmabuf_create(fd, into="created")


@scenario
def udmabuf_of_future_write_sealed(s: Recorder) -> None:
    """With F_SEAL_FUTURE_WRITE."""
    fd = s.memfd_create(pages=2, seals="shrink|future_write")
    s.udmabuf_create(fd, into="created")


@scenario
def udmabuf_past_the_end(s: Recorder) -> None:
    """A page more than the memfd has, and a page behind its end; by itself and in a list."""
    fd = s.memfd_create(pages=2, seals="shrink")
    s.udmabuf_create(fd, page=0, pages=3, into="longer")
    s.udmabuf_create(fd, page=2, pages=1, into="behind")
    s.udmabuf_create_list([(fd, 0, 1), (fd, 1, 2)], into="in_list")


@scenario
def udmabuf_of_no_memfd(s: Recorder) -> None:
    """Of a udmabuf, and of a closed memfd."""
    fd = s.memfd_create(pages=1, seals="shrink")
    buf = s.udmabuf_create(fd)
    s.udmabuf_create(buf, into="of_udmabuf")
    s.close(fd)
    s.udmabuf_create(fd, into="of_closed")


@scenario
def udmabuf_from_half_a_page(s: Recorder) -> None:
    """test-1: an offset of half a page."""
    fd = s.memfd_create(pages=2, seals="shrink")
    s.udmabuf_create_halves(fd, offset=1, size=2, into="created")


@scenario
def udmabuf_of_half_a_page(s: Recorder) -> None:
    """test-2: a size of half a page; two halves are a page. Of a closed memfd the size is looked at first."""
    fd = s.memfd_create(pages=2, seals="shrink")
    s.udmabuf_create_halves(fd, offset=0, size=1, into="created")
    whole = s.udmabuf_create_halves(fd, offset=2, size=2, into="whole")
    s.read(s.mmap(whole), into="seen")
    s.close(fd)
    s.udmabuf_create_halves(fd, offset=0, size=1, into="of_closed")
    s.udmabuf_create_halves(fd, offset=0, size=2, into="whole_of_closed")
