"""The process that speaks with Ray for a search: `python -m secondsight.search.cluster_driver FD`.

Ray's driver is a process of its own because Ray ends its driver when the cluster's head goes, prints what it likes, and
takes Ctrl-C for itself. The search stays in the process that began it; this one carries calls to the members and their
answers back, over the connection at file descriptor FD. Batches never come here: they go from node to node, and here
are only Ray's references to them.

It hears `("connect", address)`, `("open", job)`, `("ask", member, method, arguments)` and `("end",)`, and says `("nodes",
names, workers)`, `("opened",)`, `("answer", member, value)`, `("failed", text)` where nothing has begun yet, and
`("lost", text)`. When the connection closes it leaves, and the members with it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import time
from collections import deque
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from secondsight.lang.errors import LangError
from secondsight.search.cluster_member import Host, MemberJob

__all__ = ["main"]

BEGIN = 180.0
"""Seconds for the members to start and to compile the model."""

NOTICE = 45.0
"""Seconds for the cluster to notice that a node is gone, while a search wants to begin."""

BLAME = 5.0
"""Seconds to find out which node it was, when something went wrong."""

STORE = 100 << 20
"""Bytes of shared memory of a cluster that is started here. It has one member, so no batches."""


class _Driver:
    def __init__(self, connection: Connection) -> None:
        self.connection, self.sending = connection, threading.Lock()
        self.nodes: list[dict[str, Any]] = []
        self.actors: list[Any] = []
        self.numbers = itertools.count()
        self.batches: dict[int, Any] = {}
        self.waiting: list[deque[Any]] = []  # calls of each member, in order
        self.done: dict[Any, tuple[Any, ...]] = {}
        self.state = threading.RLock()
        self.gone: set[int] = set()
        self.is_lost = False

    def say(self, *message: Any) -> None:
        """Tell the search something."""
        with self.sending:
            self.connection.send(message)

    def run(self) -> None:
        """Do what is asked for until the connection closes."""
        while True:
            match self.connection.recv():
                case ("connect", address):
                    self.connect(address)
                case ("open", job):
                    self.open(job)
                case ("ask", member, method, arguments):
                    self.ask(member, method, arguments)
                case ("end",):
                    for actor in self.actors:
                        actor.end.remote()
                    self.batches.clear()

    # The cluster.

    def connect(self, address: str) -> None:
        """Join a cluster; `auto`: this machine's, or else one of this machine alone."""
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "namespace": "secondsight"}
        try:
            try:
                ray.init(address=address, **quiet)
            except ConnectionError:
                if address != "auto":
                    raise
                ray.init(address="local", include_dashboard=False, object_store_memory=STORE, **quiet)
            self.look()
        except Exception as error:
            self.say("failed", f"{type(error).__name__}: {error}")

    def look(self) -> None:
        """The nodes that can have members."""
        found = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
        self.nodes = sorted(found, key=lambda n: str(n["NodeID"]))
        self.say("nodes", [_name(n) for n in self.nodes], [int(n["Resources"]["CPU"]) for n in self.nodes])

    def open(self, job: MemberJob) -> None:
        """Begin a search: one member on every node, those of the last search where nothing has changed."""
        since = time.monotonic()
        while True:
            try:
                before = [n["NodeID"] for n in self.nodes]
                self.look()
                if not self.nodes:
                    raise LangError("no node of the cluster has a CPU")
                if not self.actors or before != [n["NodeID"] for n in self.nodes] or self.is_lost:
                    self.hire()
                self.begin(job)
                self.say("opened")
                return
            except ray.exceptions.RayActorError as error:  # a node that is gone still counts as alive for a while
                self.is_lost = True
                if time.monotonic() - since > NOTICE:
                    self.say("failed", _first_line(error))
                    return
                time.sleep(1)
            except Exception as error:
                self.is_lost = True
                self.say("failed", str(error) if isinstance(error, LangError) else _first_line(error))
                return

    def hire(self) -> None:
        """Start a process on every node."""
        for actor in self.actors:
            ray.kill(actor)
        self.is_lost, self.gone = False, set()
        kind = ray.remote(Host)
        self.actors = [
            kind.options(
                num_cpus=int(node["Resources"]["CPU"]), max_restarts=0, max_task_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            ).remote()
            for node in self.nodes
        ]  # fmt: skip
        self.waiting = [deque() for _ in self.actors]

    def begin(self, job: MemberJob) -> None:
        """Tell every member of the job, and wait until all are ready. Raises `LangError` with the node that is not."""
        self.batches.clear()
        shipped, count = ray.put(job), len(self.actors)
        machines = [n["NodeManagerAddress"] for n in self.nodes]
        calls = [
            actor.begin.remote(shipped, me, count, int(node["Resources"]["CPU"]), machines.count(node["NodeManagerAddress"]))
            for me, (actor, node) in enumerate(zip(self.actors, self.nodes, strict=True))
        ]
        until = time.monotonic() + BEGIN
        for call, node in zip(calls, self.nodes, strict=True):
            try:
                ray.get(call, timeout=max(0.0, until - time.monotonic()))
            except ray.exceptions.GetTimeoutError:
                raise LangError(f"{_name(node)} is not ready after {BEGIN:.0f} s: are its CPUs taken?") from None
            except ray.exceptions.RayTaskError as error:
                text = str(error.cause) if isinstance(error.cause, LangError) else _first_line(error)
                raise LangError(f"{_name(node)}: {text}") from None

    # Calls.

    def ask(self, member: int, method: str, arguments: tuple[Any, ...]) -> None:
        """Begin a call; its answer is sent when it is there."""
        if self.is_lost:
            return
        actor = self.actors[member]
        try:
            if method == "turn":
                *plain, handles = arguments
                with self.state:
                    batches = [self.batches.pop(handle) for handle in handles]
                calls = actor.turn.options(num_returns=1 + len(self.actors)).remote(*plain, *batches)
            else:
                calls = [getattr(actor, method).remote(*arguments)]
        except Exception as error:
            self.lost(member, error)
            return
        with self.state:
            self.waiting[member].append(calls[0])
        calls[0].future().add_done_callback(partial(self.answered, member, calls))

    def answered(self, member: int, calls: list[Any], future: Any) -> None:
        """Send on what a member answered, its answers in order."""
        error = future.exception()
        if error is not None:
            self.lost(member, error)
            return
        with self.state:
            self.done[calls[0]] = (future.result(), calls[1:])
            waiting = self.waiting[member]
            while waiting and waiting[0] in self.done:
                value, batches = self.done.pop(waiting.popleft())
                self.say("answer", member, (value, self.kept(value, batches)) if batches else value)

    def kept(self, report: Any, batches: list[Any]) -> list[int | None]:
        """Keep references to batches under numbers."""
        handles: list[int | None] = []
        for size, batch in zip(report.sizes, batches, strict=True):
            handles.append(next(self.numbers) if size else None)
            if size:
                self.batches[handles[-1]] = batch  # type: ignore[index]
        return handles

    def lost(self, member: int, error: BaseException) -> None:
        """Say, once, that something went wrong, and with which nodes."""
        with self.state:
            if isinstance(error, ray.exceptions.RayActorError):
                self.gone.add(member)
            if self.is_lost:
                return
            self.is_lost = True
        threading.Thread(target=self.blame, args=(member, error), daemon=True).start()

    def blame(self, member: int, error: BaseException) -> None:
        """Find out which nodes are gone: the error may be that of another, which had got a batch from one."""
        until = time.monotonic() + BLAME
        while not self.gone and time.monotonic() < until:
            time.sleep(0.1)
        if self.gone:
            self.say("lost", "lost " + ", ".join(_name(self.nodes[i]) for i in sorted(self.gone)))
        else:
            self.say("lost", f"{_name(self.nodes[member])} failed: {_first_line(getattr(error, 'cause', None) or error)}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _name(node: dict[str, Any]) -> str:
    return f"node {node['NodeManagerAddress']} ({str(node['NodeID'])[:8]})"


def main() -> None:
    """Serve the search at the other end of the connection, then leave at once, whatever Ray still waits for."""
    with contextlib.suppress(EOFError, OSError):
        _Driver(Connection(int(sys.argv[1]))).run()
    leaving = threading.Thread(target=ray.shutdown, daemon=True)
    leaving.start()
    leaving.join(5)
    os._exit(0)


if __name__ == "__main__":
    main()
