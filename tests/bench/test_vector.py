"""Where a state's bytes go, as `bench.vector` tells it."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.drivers import PROGRAMS, engines
from bench.vector import parts, varying

from secondsight.lang import code, link
from secondsight.search import Request
from secondsight.search.auto import why_not_native
from secondsight.search.reduced import reduced_search


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
        ("zero-page: two engines", 115), ("munmap-mmap: two engines", 115), ("munmap: 2 engines", 115), ("invalidate+hmm, goes on", 125),
        ("keep-old, goes on", 119), ("punch-hole: two engines", 126), ("munmap: 3 engines", 128), ("munmap: 1 engine", 115), ("punch-hole: 1 engine", 126),
        ("punch-hole: 2 engines", 126),
    ],
)  # fmt: skip
def test_a_state_of_a_driver_program_has_no_more_bytes_than_that(name: str, most: int) -> None:
    assert PROGRAMS[name]().size <= most


@pytest.mark.skipif(why_not_native() is not None, reason="no C compiler")
def test_what_a_reduced_search_sees_does_not_depend_on_where_numbers_lie(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether records are worth renaming is found out by the first states: by all of them, and not by those with certain prints."""

    def searched() -> tuple[int, int]:
        program = PROGRAMS["invalidate+hmm, goes on"]()
        return program.size, reduced_search(program, Request(workers=1)).result.states

    monkeypatch.setattr(code, "_shared", {})
    size, states = searched()
    monkeypatch.setattr(link, "held_ranges", lambda *_: {})
    monkeypatch.setattr(code, "_shared", {})
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path / "another"))
    wide, same = searched()
    assert size < wide
    assert states == same == 13_141
