"""drivers/dma-buf/udmabuf.c beside its model."""

from __future__ import annotations

import pytest
from conform_walks import agreeing_transitions, agreeing_walks, noticed

from secondsight.conform.targets.udmabuf import UdmabufFile


@pytest.mark.parametrize("release", UdmabufFile.releases)
def test_walks_of_buffers_and_punches_agree(release: str) -> None:
    agreeing_walks(UdmabufFile(), release)


def test_every_transition_of_a_list_that_fails_at_its_second_item_agrees() -> None:
    assert agreeing_transitions(UdmabufFile(), "6.12", 2).states > 800


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("inode_lock_shared(file_inode(memfd));", ";"),
        ("if (ret)\n\t\t\tgoto out_unlock;", ";"),
        ("unpin_all_folios(&ubuf->unpin_list);\n\tkvfree(ubuf->offsets);\n\tkvfree(ubuf->folios);\n\tkfree(ubuf);\n\treturn ret;", "return ret;"),
    ],
    ids=["seals looked at without the lock", "seals not obeyed", "pages stay pinned after a failure"],
)
def test_a_change_is_noticed(was: str, now: str) -> None:
    noticed(UdmabufFile(), "6.12", was, now)
