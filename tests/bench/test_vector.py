"""Where a state's bytes go, as `bench.vector` tells it."""

from __future__ import annotations

import pytest
from bench.drivers import PROGRAMS, engines
from bench.vector import parts, varying


def test_every_byte_belongs_to_a_part_and_no_thread_has_room_for_nothing() -> None:
    program = engines(3)
    assert len(program.threads) == program.code.capacity == 5
    varies = varying(program, 200)
    rows = list(parts(program, varies))
    assert sum(size for _, size, _, _ in rows) == program.size - 1  # the first byte is what None is
    assert sum(bits for *_, bits in rows) == int.from_bytes(varies, "big").bit_count() > 0
    assert all(bits <= 8 * size for _, size, _, bits in rows)


def test_threads_that_are_not_there_have_room() -> None:
    program = engines(1)
    assert (len(program.threads), program.code.capacity) == (3, 4)
    *_, spare = parts(program, varying(program, 50))
    assert spare == ("room for 1 more", program.region, 0, 0)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("zero-page: two engines", 141), ("munmap-mmap: two engines", 141), ("munmap: 2 engines", 141), ("invalidate+hmm, goes on", 128),
        ("keep-old, goes on", 122), ("punch-hole: two engines", 152), ("munmap: 3 engines", 159),
    ],
)  # fmt: skip
def test_a_state_of_a_driver_program_has_no_more_bytes_than_that(name: str, most: int) -> None:
    assert PROGRAMS[name]().size <= most
