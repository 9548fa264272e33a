"""A udmabuf's page is given back and written again: what does the device side see?

`secondsight run examples/hole_refilled.py` prints every possible outcome on the model;
`--on linux-6.12` also runs it on that kernel.
"""

from secondsight.scenario import Recorder, scenario


@scenario
def hole_refilled(s: Recorder) -> None:
    """The guest punches a hole into its memfd and writes to it again, while the host reads the udmabuf."""
    fd = s.memfd_create(pages=2, seals="shrink")
    a = s.mmap(fd)
    s.write(a, "a")
    buf = s.udmabuf_create(fd)
    d = s.mmap(buf)

    @s.thread
    def guest() -> None:
        s.fallocate_punch_hole(fd, page=1)
        s.write(a + 1, "b")

    @s.thread
    def host() -> None:
        s.read(d + 1, into="seen")
