"""kernel/sched/completion.c: one waits until another is done.

Left out: timeouts and signals; `complete_all()`.
"""

from __future__ import annotations

from secondsight.lang import Record, atomic, milestone, wait_until
from secondsight.linux.mm_types import Count

__all__ = ["Completion", "complete", "reinit_completion", "wait_for_completion"]


class Completion(Record):
    """struct completion. `done`: how many may go on."""

    done: Count


@atomic
def reinit_completion(x: Completion) -> None:
    """reinit_completion() (include/linux/completion.h, Linux 6.12): nobody may go on."""
    x.done = 0


@milestone
@atomic
def complete(x: Completion) -> None:
    """complete() (kernel/sched/completion.c, Linux 6.12): one may go on, who waits or who comes."""
    x.done += 1


@atomic
def wait_for_completion(x: Completion) -> None:
    """wait_for_completion() (kernel/sched/completion.c, Linux 6.12): wait, and take what `complete` gave."""
    wait_until(x.done > 0)
    x.done -= 1
