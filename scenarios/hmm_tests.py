"""What the kernel's own HMM tests assert (tools/testing/selftests/mm/hmm-tests.c, Linux 6.12), as far as the model has the
operations; docs/hmm-tests.md has them all. Buffers of two pages for theirs of many."""

from secondsight.scenario import Recorder, scenario


@scenario
def hmm_open_close(s: Recorder) -> None:
    """open_close: a device comes and goes."""
    s.device().close(into="closed")


@scenario
def hmm_anon_write(s: Recorder) -> None:
    """anon_write: the device writes memory that nobody touched; the CPU reads what it wrote."""
    a = s.mmap(pages=2)
    device = s.device()
    device.write(a, "a", into="first")
    device.write(a + 1, "b", into="second")
    s.read(a, into="cpu_first")
    s.read(a + 1, into="cpu_second")


@scenario
def hmm_file_read(s: Recorder) -> None:
    """file_read: the device reads a file's pages, mapped shared. Theirs lies on a disk, this one is a memfd."""
    fd = s.memfd_create(pages=2)
    a = s.mmap(fd)
    s.write(a, "a")
    b = s.mmap(fd)
    device = s.device()
    device.read(b, into="first")
    device.read(b + 1, into="second")


@scenario
def hmm_file_write(s: Recorder) -> None:
    """file_write: the device writes a file's pages, mapped shared; the mapping and the file have what it wrote."""
    fd = s.memfd_create(pages=2)
    a = s.mmap(fd)
    s.write(a, "a")
    device = s.device()
    device.write(a, "b", into="first")
    device.write(a + 1, "c", into="second")
    s.read(a, into="cpu_first")
    s.read(a + 1, into="cpu_second")
    s.read(s.mmap(fd, page=1, pages=1), into="in_file")


@scenario
def hmm_anon_read_multiple(s: Recorder) -> None:
    """anon_read_multiple: mapped, written, read by the device, unmapped, again and again: never an old value."""
    device_reads = ["first", "second"]
    a = s.mmap(pages=1)
    device = s.device()
    for value, name in zip("ab", device_reads, strict=True):
        s.mmap(pages=1, at=a)
        s.write(a, value)
        device.read(a, into=name)
        s.munmap(a)


@scenario
def hmm_anon_teardown(s: Recorder) -> None:
    """anon_teardown: the device reads while the memory is unmapped: what was written, or an error."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    device = s.device()

    @s.thread
    def reader() -> None:
        device.read(a, into="seen")

    @s.thread
    def unmapper() -> None:
        s.munmap(a)


@scenario
def hmm_anon_read(s: Recorder) -> None:
    """anon_read: a page that nobody touched, one that was read, one that was written, all made read-only; the device reads them."""
    a = s.mmap(pages=3)
    s.write(a + 2, "a")
    s.mprotect(a, write=False)
    s.read(a + 1)
    device = s.device()
    for page, name in enumerate(("untouched", "zero", "written")):
        device.read(a + page, into=name)


@scenario
def hmm_anon_read_prot(s: Recorder) -> None:
    """anon_read_prot: what the process may not read the device may not; what is there stays."""
    a = s.mmap(pages=2)
    s.write(a, "a")
    device = s.device()
    s.mprotect_none(a)
    device.read(a, into="forbidden")
    s.mprotect(a, write=False)
    s.read(a, into="cpu")


@scenario
def hmm_anon_write_prot(s: Recorder) -> None:
    """anon_write_prot: the device reads a page of zeros and may not write it, until the process may."""
    a = s.mmap_read_only(pages=1)
    device = s.device()
    device.read(a, into="read")
    device.write(a, "a", into="refused")
    s.read(a, into="unchanged")
    s.mprotect(a, write=True)
    device.write(a, "a", into="written")
    s.read(a, into="cpu")


@scenario
def hmm_anon_write_child(s: Recorder) -> None:
    """anon_write_child: a child's device writes the child's copy; the parent's page is as it was."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    child = s.fork()
    with child:
        s.read(a, into="inherited")
        device = s.device()
        device.write(a, "b", into="written")
        s.read(a, into="childs")
    s.read(a, into="parents")


@scenario
def hmm_anon_write_child_shared(s: Recorder) -> None:
    """anon_write_child_shared: of shared memory a child's device writes the parent's page. Theirs is anonymous, this one is a memfd."""
    a = s.mmap(s.memfd_create(pages=1))
    s.write(a, "a")
    child = s.fork()
    with child:
        s.read(a, into="inherited")
        device = s.device()
        device.write(a, "b", into="written")
        s.read(a, into="childs")
    s.read(a, into="parents")


@scenario
def hmm_exclusive(s: Recorder) -> None:
    """exclusive: the device has a page alone and finds what the CPU wrote; the CPU's accesses give it back, one after the other."""
    a = s.mmap(pages=2)
    s.write(a, "a", pages=1)
    s.write(a + 1, "b", pages=1)
    device = s.device()
    device.exclusive(a, "c", into="first")
    device.exclusive(a + 1, "d", into="second")
    s.read(a, into="cpu_first")
    s.read(a + 1, into="cpu_second")
    s.write(a, "e", pages=1)
    device.exclusive(a, "f", into="again")


@scenario
def hmm_exclusive_mprotect(s: Recorder) -> None:
    """exclusive_mprotect: a page that the device has alone is made read-only; the device may not write it then."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    device = s.device()
    device.exclusive(a, "b", into="before")
    s.mprotect(a, write=False)
    device.write(a, "c", into="written")
    s.read(a, into="cpu")


@scenario
def hmm_exclusive_cow(s: Recorder) -> None:
    """exclusive_cow: the process forks while the device has a page alone; parent and child each have what they write."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    device = s.device()
    device.exclusive(a, "b", into="before")
    child = s.fork()
    s.write(a, "p")
    with child:
        s.read(a, into="inherited")
        s.write(a, "c")
        s.read(a, into="child")
    s.read(a, into="parent")
    device.exclusive(a, "d", into="again")


@scenario
def hmm_migrate(s: Recorder) -> None:
    """migrate: pages go into the device's memory, and the device finds there what the CPU wrote."""
    a = s.mmap(pages=2)
    s.write(a, "a", pages=1)
    s.write(a + 1, "b", pages=1)
    device = s.device()
    device.migrate(a, pages=2, into="moved")
    device.read(a, into="first")
    device.read(a + 1, into="second")


@scenario
def hmm_migrate_file_private(s: Recorder) -> None:
    """migrate_file_private: pages of a private mapping of a file, once they are the process's own. Theirs lies on a disk, this one is a memfd."""
    fd = s.memfd_create(pages=1)
    a = s.mmap_private(fd)
    device = s.device()
    device.migrate(a, into="of_the_file")
    s.write(a, "a")
    device.migrate(a, into="moved")
    device.read(a, into="read")


@scenario
def hmm_migrate_fault(s: Recorder) -> None:
    """migrate_fault: the CPU has one page back, and then both go to the device again."""
    a = s.mmap(pages=2)
    s.write(a, "a", pages=1)
    s.write(a + 1, "b", pages=1)
    device = s.device()
    device.migrate(a, pages=2, into="moved")
    s.read(a, into="cpu")
    device.migrate(a, pages=2, into="moved_again")
    device.read(a, into="first")
    device.read(a + 1, into="second")


@scenario
def hmm_migrate_release(s: Recorder) -> None:
    """migrate_release: the device's memory goes, and the CPU finds what was in it."""
    a = s.mmap(pages=2)
    s.write(a, "a", pages=1)
    s.write(a + 1, "b", pages=1)
    device = s.device()
    device.migrate(a, pages=2, into="moved")
    device.close()
    s.read(a, into="first")
    s.read(a + 1, into="second")


@scenario
def hmm_migrate_shared(s: Recorder) -> None:
    """migrate_shared: shared memory does not move."""
    a = s.mmap(s.memfd_create(pages=1))
    s.write(a, "a")
    device = s.device()
    device.migrate(a, into="moved")
    s.read(a, into="cpu")


@scenario
def hmm_migrate_mixed(s: Recorder) -> None:
    """migrate_mixed: what may not be read is refused, and a hole; a read-only zero page and a read-only page go; what is on one device does
    not go to the other."""
    a = s.mmap(pages=4)
    device0, device1 = s.device(), s.device()
    s.mprotect_none(a)
    device1.migrate(a, into="none")
    s.munmap(a + 1, pages=1)
    device1.migrate(a + 1, pages=1, into="hole")
    s.mprotect(a + 2, pages=1, write=False)
    s.read(a + 2, into="zero")
    s.mprotect(a + 3, pages=1, write=True)
    s.write(a + 3, "a")
    s.mprotect(a + 3, pages=1, write=False)
    device1.migrate(a + 2, pages=2, into="moved")
    device0.migrate(a + 3, pages=1, into="of_the_other")
    s.read(a + 3, into="cpu")


@scenario
def hmm_migrate_multiple(s: Recorder) -> None:
    """migrate_multiple: there and back, twice."""
    a = s.mmap(pages=1)
    device = s.device()
    for letter in "ab":
        s.write(a, letter)
        device.migrate(a, into=f"moved_{letter}")
        device.read(a, into=f"device_{letter}")
        s.read(a, into=f"cpu_{letter}")


@scenario
def hmm_snapshot(s: Recorder) -> None:
    """snapshot: what each page is to the first device: nothing that can be mirrored, a hole, the zero page, one that may be read, one that may be written,
    one in its memory, one in the other's."""
    a = s.mmap(pages=7)
    device0, device1 = s.device(), s.device()
    s.munmap(a + 1, pages=1)
    s.mprotect_none(a, pages=1)
    s.mprotect(a + 2, pages=1, write=False)
    s.read(a + 2)
    s.write(a + 3, "a", pages=1)
    s.mprotect(a + 3, pages=1, write=False)
    s.write(a + 4, "b", pages=1)
    device0.migrate(a + 5, pages=1, into="moved0")
    device1.migrate(a + 6, pages=1, into="moved1")
    for page in range(7):
        device0.snapshot(a + page, into=f"page{page}")


@scenario
def hmm_double_map(s: Recorder) -> None:
    """double_map: both devices read read-only memory; then it is in the memory of one, and the other reads it all the same."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    s.mprotect(a, write=False)
    device0, device1 = s.device(), s.device()
    device0.read(a, into="first")
    device1.read(a, into="second")
    device1.migrate(a, into="moved")
    device0.read(a, into="again")
    device1.snapshot(a, into="found")


@scenario
def hmm_gup(s: Recorder) -> None:
    """hmm_gup_test: who takes a page by its address brings it back from the device's memory."""
    a = s.mmap(pages=2)
    s.write(a, "a", pages=1)
    s.write(a + 1, "b", pages=1)
    device = s.device()
    device.migrate(a, pages=2, into="moved")
    s.pin(a, pages=1, longterm=False)
    s.pin(a + 1, pages=1, longterm=True)
    device.snapshot(a, into="first")
    device.snapshot(a + 1, into="second")
    s.read(a, into="cpu_first")
    s.read(a + 1, into="cpu_second")


@scenario
def hmm_cow_in_device(s: Recorder) -> None:
    """hmm_cow_in_device: the process forks while a page is in the device's memory; who writes has a page of its own."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    device = s.device()
    device.migrate(a, into="moved")
    child = s.fork()
    device.snapshot(a, into="shared")
    s.write(a, "p")
    device.snapshot(a, into="written")
    with child:
        s.read(a, into="inherited")
    s.read(a, into="parent")


@scenario
def hmm_anon_write_huge(s: Recorder) -> None:
    """anon_write_huge: the device writes memory that wants huge pages and that nobody touched; the CPU reads what it wrote, of a huge page."""
    a = s.mmap(pages=4)
    s.madvise_hugepage(a)
    device = s.device()
    device.write(a, "a", into="first")
    device.write(a + 1, "b", into="second")
    s.read(a, into="cpu_first")
    s.read(a + 1, into="cpu_second")
    s.page_is_huge(a, into="huge")
    s.page_is_huge(a + 2, into="not_touched")


@scenario
def hmm_anon_write_hugetlbfs(s: Recorder) -> None:
    """anon_write_hugetlbfs: the same of huge pages of a pool, mapped privately. Theirs have no name, these are a memfd's."""
    a = s.mmap_private(s.memfd_create_hugetlb(pages=2))
    device = s.device()
    device.write(a, "a", into="first")
    device.write(a + 1, "b", into="second")
    s.read(a, into="cpu_first")
    s.read(a + 1, into="cpu_second")
    s.page_is_huge(a, into="huge")


@scenario
def hmm_compound(s: Recorder) -> None:
    """compound: of a huge page a snapshot says for each part that one entry maps it; when it may only be read too. (And of one that is split no more.)"""
    a = s.mmap(s.memfd_create_hugetlb(2), pages=2)
    s.write(a, "a")
    device = s.device()
    device.snapshot(a, into="first")
    device.snapshot(a + 1, into="second")
    s.mprotect(a, write=False)
    device.snapshot(a, into="first_read_only")
    device.snapshot(a + 1, into="second_read_only")
    b = s.mmap(pages=2)
    s.madvise_hugepage(b)
    s.write(b, "b")
    device.snapshot(b + 1, into="private")
    s.madvise_dontneed(b, pages=1)
    device.snapshot(b + 1, into="split")
