"""The locks of `docs/language.md`, over a dict state: the one place that says what taking and releasing them means.

A lock's name is a key; its value is the number of the thread that holds it, 0 for nobody. The reader-writer lock `rw` has its
readers under `rw readers` and the writers in its queue under `rw waiting`, one bit each.
"""

from __future__ import annotations

from typing import Any

from attack.description import World

__all__ = ["FAIR", "Blocked", "Failed", "held_at_end", "lock", "locks", "mine", "queue", "trylock", "unlock"]


FAIR = True
"""Whether a writer that waits for readers holds up those that come to read after it."""


class Failed(Exception):
    """A step breaks a rule, or fails as no model may."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


class Blocked(Exception):
    """A step cannot be taken now."""


def locks(world: World) -> list[str]:
    """The names of all locks."""
    return ["m0", "m1", "rw", "spin", "box0 lock", "box1 lock", *(f"node{i} lock" for i in range(world.nodes))]


def _reads(state: dict[str, Any], me: int) -> bool:
    return bool(state["rw readers"] >> (me - 1) & 1)


def mine(state: dict[str, Any], me: int, key: str) -> bool:
    """Whether a thread holds a lock in whatever way."""
    return bool(state[key] == me) or (key == "rw" and _reads(state, me))


def lock(state: dict[str, Any], me: int, key: str, method: str) -> None:
    """Wait for a lock and take it: `lock`, or `read_lock` and `write_lock` of the reader-writer lock."""
    if mine(state, me, key):
        raise Failed("double-lock")
    if key != "spin" and state["spin"] == me:
        raise Failed("sleep-in-atomic")
    behind = method == "read_lock" and state["rw readers"] and state["rw waiting"]
    if state[key] or behind or (method == "write_lock" and state["rw readers"]):
        raise Blocked
    if method == "read_lock":
        state["rw readers"] |= 1 << (me - 1)
    else:
        state[key] = me
    if method == "write_lock":
        state["rw waiting"] &= ~(1 << (me - 1))


def queue(state: dict[str, Any], me: int) -> bool:
    """A thread comes to write: whether others read, so that it stands in the queue, which is a step of its own."""
    if not state["rw readers"] or _reads(state, me):
        return False
    state["rw waiting"] |= 1 << (me - 1)
    return True


def trylock(state: dict[str, Any], me: int, key: str, method: str = "trylock") -> bool:
    """Take a lock if it is free: `trylock`, or `read_trylock` and `write_trylock` of the reader-writer lock."""
    if method == "read_trylock" and _reads(state, me):
        raise Failed("double-lock")
    if state[key] or (key == "rw" and (state["rw waiting"] or (method == "write_trylock" and state["rw readers"]))):
        return False
    if method == "read_trylock":
        state["rw readers"] |= 1 << (me - 1)
    else:
        state[key] = me
    return True


def unlock(state: dict[str, Any], me: int, key: str, method: str) -> None:
    """Release a lock, or go from writing to reading (`write_downgrade`)."""
    if not (_reads(state, me) if method == "read_unlock" else state[key] == me):
        raise Failed("not-owner")
    if method == "read_unlock":
        state["rw readers"] &= ~(1 << (me - 1))
        return
    state[key] = 0
    if method == "write_downgrade":
        state["rw readers"] |= 1 << (me - 1)


def held_at_end(world: World, state: dict[str, Any], me: int) -> None:
    """A thread may not end with a lock held."""
    if any(mine(state, me, key) for key in locks(world)):
        raise Failed("lock-held-at-exit")
