"""Who meets whom in the cells of the 2026 table: an exporter that revokes its buffer, and an importer, beside its device and worker."""

from __future__ import annotations

from secondsight.devices.fenced_importer import FencedImporter
from secondsight.devices.revocable_buffer import RevocableBuffer
from secondsight.lang import U8, Record, require, shared, wait_until
from secondsight.linux.page_alloc import alloc_page

__all__ = [
    "RevokeStory",
    "revoke_story",
    "revokes",
    "revokes_and_closes",
    "revokes_restores",
    "revokes_restores_revokes",
    "submits",
    "submits_when_restored",
]

LETTER = 100
"""What a job writes."""


class RevokeStory(Record):
    """A ghost. `restored`: the exporter has given its memory back once."""

    restored: bool


revoke_story = shared(RevokeStory)


# The threads.


def revokes(exporter: RevocableBuffer) -> None:
    """The memory is taken away."""
    exporter.revoke()


def revokes_and_closes(exporter: RevocableBuffer) -> None:
    """The memory is taken away, and then the exporter's device is closed."""
    exporter.revoke()
    exporter.close()


def revokes_restores(exporter: RevocableBuffer) -> None:
    """The memory is taken away, is somebody else's, and other memory comes in its place."""
    exporter.revoke()
    alloc_page()
    exporter.restore()
    revoke_story.restored = True


def revokes_restores_revokes(exporter: RevocableBuffer) -> None:
    """The same, and that is taken away as well."""
    revokes_restores(exporter)
    exporter.revoke()


def submits(importer: FencedImporter, times: U8) -> None:
    """So many jobs, at any time. While the buffer is revoked there is an error."""
    for _ in range(times):
        importer.submit(LETTER)


def submits_when_restored(importer: FencedImporter, times: U8) -> None:
    """A job at any time, and when the memory is there again another one, which has to get it."""
    importer.submit(LETTER)
    wait_until(revoke_story.restored)
    ret = importer.submit(LETTER)
    require(ret == 0, "restored", "the memory is there again, and the importer cannot map it")
