"""Python's search for garbage in cycles, where it would look at the same living trees again and again."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["may_go", "stays", "uncollected"]

_stays = [False]


def stays() -> None:
    """What is made without collection stays for as long as the process, which is short: no collection will look at it. For commands."""
    _stays[0] = True


def may_go() -> None:
    """Some of that is not used any more: it is looked at again."""
    if _stays[0]:
        gc.unfreeze()


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No collection within: what is made here stays. A third of the time of lowering went there."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if _stays[0]:
            gc.freeze()
        if was:
            gc.enable()
