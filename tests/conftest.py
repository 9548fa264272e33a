"""For all tests."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from slow_first import SLOW

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Where the tests run in the background SIGINT is ignored, and programs that they start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# As the command line does: a sixth of the time of what runs in Python is looking for garbage in cycles.
gc.set_threshold(20_000, 20, 50)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files begin first: where processes share the tests out by files, none is left with a long one while the others have ended.
    Walks beside the C of another release than 6.12 are for `make wide`."""
    here = Path(__file__).parent
    for item in items:
        release = item.callspec.params.get("release") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
        if item.path.parent == here / "conform" and release not in (None, "6.12"):
            item.add_marker(pytest.mark.wide)
    rank = {here / name: number for number, name in enumerate(SLOW)}
    items.sort(key=lambda item: rank.get(item.path, len(SLOW)))


@pytest.fixture
def own_cache(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of the test's own, empty but for object files that tests before it had compiled in theirs.

    They are found by what they were made of, and nearly all are the search engine: it takes longer to compile than what such a test is about.
    """
    base = tmp_path_factory.getbasetemp()
    objects = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "objects"
    objects.mkdir(exist_ok=True)
    cache = tmp_path / "cache"
    (cache / "native").mkdir(parents=True)
    for known in objects.glob("*.o"):
        shutil.copy(known, cache / "native")
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(cache))
    yield cache
    for made in (cache / "native").glob("*.o"):
        if not (objects / made.name).exists():
            whole = shutil.copy(made, objects / f"{made.name}.{os.getpid()}")
            whole.replace(objects / made.name)
