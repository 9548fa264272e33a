"""How much a udmabuf may be: the module's parameters list_limit and size_limit_mb, which are looked at before any memfd; and the buffer as a driver sees it, whose CPU
accesses go through a mapping of their own (dma_buf_vmap)."""

from secondsight.scenario import Recorder, scenario


@scenario
def udmabuf_list_beyond_its_limit(s: Recorder) -> None:
    """Two ranges where one is allowed; by one call a range, and again when two are."""
    fd = s.memfd_create(pages=2, seals="shrink")
    s.udmabuf_limits(items=1, mebibytes=15, into="limited")
    s.udmabuf_create_list([(fd, 0, 1), (fd, 1, 1)], into="two")
    s.udmabuf_create_list([(fd, 0, 1)], into="one")
    s.udmabuf_create(fd, into="no_list")
    s.udmabuf_limits(items=2, mebibytes=1)
    s.udmabuf_create_list([(fd, 0, 1), (fd, 1, 1)], into="again")


@scenario
def udmabuf_of_no_size(s: Recorder) -> None:
    """Where no MiB is allowed. It is looked at before the memfd, and before its seals: of a closed one it is the same error."""
    fd = s.memfd_create(pages=2, seals="shrink")
    s.udmabuf_limits(items=0, mebibytes=0)
    s.udmabuf_create(fd, into="one")
    s.udmabuf_create_list([(fd, 0, 1)], into="listed")
    s.close(fd)
    s.udmabuf_create(fd, into="closed")
    s.udmabuf_limits(items=0, mebibytes=1)
    s.udmabuf_create(fd, into="allowed")


@scenario
def udmabuf_of_a_part_of_a_huge_page(s: Recorder) -> None:
    """Its offset need not be a huge page's: the second half of one is a buffer."""
    fd = s.memfd_create_hugetlb(pages=2, seals="shrink")
    a = s.mmap(fd)
    s.write(a, "a")
    s.write(a + 1, "b")
    buf = s.udmabuf_create(fd, page=1, pages=1, into="created")
    s.read(s.mmap(buf), into="seen")


@scenario
def vmap_of_a_udmabuf(s: Recorder) -> None:
    """A driver's own view has the buffer's pages in the buffer's order, and keeps them when the memfd has others; of a closed one there is none."""
    fd = s.memfd_create(pages=2, seals="shrink")
    a = s.mmap(fd)
    s.write(a, "a")
    s.write(a + 1, "b")
    buf = s.udmabuf_create_list([(fd, 1, 1), (fd, 0, 1)])
    s.vmap_read(buf, 0, into="first")
    s.vmap_read(buf, 1, into="second")
    s.fallocate_punch_hole(fd, page=1, pages=1)
    s.write(a + 1, "c")
    s.vmap_read(buf, 0, into="kept")
    s.close(buf)
    s.vmap_read(buf, 0, into="closed")
