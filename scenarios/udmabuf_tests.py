"""What the kernel's own udmabuf test asserts (tools/testing/selftests/drivers/dma-buf/udmabuf.c, Linux 6.12) of what is to work:
its tests 4 and 5. docs/hmm-tests.md has them all."""

from secondsight.scenario import Recorder, scenario


@scenario
def udmabuf_whole_memfd(s: Recorder) -> None:
    """test-4: of a whole memfd that is mapped and written. 4 pages, as theirs."""
    fd = s.memfd_create(pages=4, seals="shrink")
    a = s.mmap(fd)
    s.write(a, "a")
    buf = s.udmabuf_create(fd, into="created")
    s.munmap(a)
    s.close(buf, into="closed")


@scenario
def udmabuf_list(s: Recorder) -> None:
    """test-5: of a list, written through the memfd after it was made; page by page the udmabuf has what the memfd has. 8 pages and
    4 entries of a page, every second, for their 1024 and 4 of 4 pages."""
    fd = s.memfd_create(pages=8, seals="shrink")
    a = s.mmap(fd)
    s.write(a, "a")
    buf = s.udmabuf_create_list([(fd, 2 * entry, 1) for entry in range(4)], into="created")
    d = s.mmap(buf)
    s.write(a, "b")
    for entry in range(4):
        s.read(a + 2 * entry, into=f"memfd_{entry}")
        s.read(d + entry, into=f"udmabuf_{entry}")


@scenario
def udmabuf_list_of_huge_pages(s: Recorder) -> None:
    """test-6: of a list, of a memfd of huge pages; page by page the udmabuf has what the memfd has. 8 pages and 4 entries of a page, every second and
    one within a huge page, for theirs that begin in one. The memfd is mapped and written first."""
    fd = s.memfd_create_hugetlb(pages=8, seals="shrink")
    a = s.mmap(fd)
    for page in range(8):
        s.write(a + page, "abcdefgh"[page])
    buf = s.udmabuf_create_list([(fd, 0, 1), (fd, 3, 1), (fd, 4, 1), (fd, 7, 1)], into="created")
    d = s.mmap(buf)
    for entry in range(4):
        s.read(d + entry, into=f"udmabuf_{entry}")
