"""fs/userfaultfd.c beside its model."""

from __future__ import annotations

from conform_walks import agreeing_walks, noticed

from secondsight.conform.targets.userfaultfd import UserfaultfdFile


def test_walks_of_faults_and_changes_that_are_told_agree() -> None:
    agreeing_walks(UserfaultfdFile(), "6.12")


def test_a_change_is_noticed() -> None:
    noticed(UserfaultfdFile(), "6.12", "wake_up_locked(&ctx->event_wqh);", ";")
