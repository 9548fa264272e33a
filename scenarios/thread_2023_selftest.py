"""The udmabuf selftest as the 2023-07 thread gives it, made small: the memfd has 4 pages for its
1024, the list 2 entries of a page each for its 4 of 4 pages. The hole is in the middle, at the first
page of an entry, as there."""

from secondsight.scenario import Recorder, scenario


@scenario
def thread_2023_selftest(s: Recorder) -> None:
    """Write a, make a udmabuf of a list, punch a hole, write b: does the udmabuf see the hole's page?"""
    memfd = s.memfd_create(pages=4, seals="shrink")
    addr1 = s.mmap(memfd)
    s.write(addr1, "a")
    buf = s.udmabuf_create_list([(memfd, 0, 1), (memfd, 2, 1)])
    addr2 = s.mmap(buf)
    s.fallocate_punch_hole(memfd, page=2)
    s.read(addr1 + 2, into="cpu_in_hole")
    s.write(addr1, "b")
    s.read(addr1 + 0, into="cpu_elsewhere")
    s.read(addr1 + 2, into="cpu_refilled")
    s.read(addr2 + 0, into="udmabuf_elsewhere")
    s.read(addr2 + 1, into="udmabuf_refilled")
