"""Members on the nodes of a Ray cluster, as `search.cluster_levels` asks for them, by way of `search.cluster_driver`."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from secondsight.lang.errors import LangError
from secondsight.search.cluster_levels import Lost, MemberAnswer
from secondsight.search.cluster_member import MemberJob

__all__ = ["RayHosts", "hosts_at"]

LISTEN, CONNECT, OPEN, CLOSE = 10.0, 90.0, 240.0, 10.0
"""Seconds for somebody to listen at the address, for the cluster to answer, for members to be ready, and to leave."""

_open: dict[str, RayHosts] = {}


def hosts_at(address: str) -> RayHosts:
    """The cluster at an address, kept for the next search. Raises `LangError` where there is none, or no Ray here."""
    if importlib.util.find_spec("ray") is None:
        raise LangError("a search on a cluster needs Ray, which is not installed here: pip install 'secondsight[cluster]'")
    if address not in _open or not _open[address].is_there():
        _somebody_listens(address)
        _open[address] = RayHosts(address)
    return _open[address]


def _somebody_listens(address: str) -> None:
    """Raises `LangError` at an address that is none, or where nobody is: Ray itself would try for minutes."""
    if address == "auto":
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        raise LangError(f"{address} is no address of a cluster: HOST:PORT, as `ray start --head` printed it, or auto")
    try:
        socket.create_connection((host, int(port)), LISTEN).close()
    except (OSError, OverflowError) as error:
        raise LangError(f"no cluster at {address}: {error}; `ray start --head` starts one and prints its address") from None


@atexit.register
def _leave() -> None:
    for hosts in list(_open.values()):
        hosts.close()


class RayHosts:
    """See `search.cluster_levels.Hosts`; `open` begins a search, `end` ends it, after `close` there is nothing left."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.names: Sequence[str] = ()
        self.workers: Sequence[int] = ()
        self.output = tempfile.TemporaryFile(prefix="secondsight-")  # noqa: SIM115
        self.connection, theirs = Pipe()
        self.process = self._driver(theirs)
        theirs.close()
        try:
            self._say("connect", address)
            self._expect("nodes", CONNECT)
        except BaseException:
            self.close(0)
            raise

    def _driver(self, theirs: Connection) -> subprocess.Popen[bytes]:
        """The process that speaks with Ray, in a session of its own: Ctrl-C is for us."""
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "secondsight.search.cluster_driver", str(theirs.fileno())],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output, pass_fds=[theirs.fileno()],
            start_new_session=True, env=environment,
        )  # fmt: skip

    def is_there(self) -> bool:
        """Whether a search can begin."""
        return self.process.poll() is None and not self.connection.closed

    def open(self, job: MemberJob) -> None:
        """Begin a search. Raises `LangError` with the node that cannot take part, and why."""
        self._say("open", job)
        self._expect("nodes", OPEN)
        self._expect("opened", OPEN)

    def ask(self, member: int, method: str, *arguments: Any) -> None:
        """See `Hosts`."""
        self._say("ask", member, method, arguments)

    def answer(self, seconds: float) -> MemberAnswer | None:
        """See `Hosts`."""
        message = self._hear(seconds)
        if message is None:
            return None
        if message[0] == "lost":
            raise Lost(message[1])
        return MemberAnswer(message[1], message[2])

    def end(self) -> None:
        """The search is over; the members stay for the next."""
        self._say("end")

    def close(self, seconds: float = CLOSE) -> None:
        """Leave the cluster. What does not leave in time is killed."""
        _open.pop(self.address, None)
        self.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.output.close()

    # The connection.

    def _say(self, *message: Any) -> None:
        try:
            self.connection.send(message)
        except OSError:
            raise Lost(f"lost the cluster at {self.address}: {self._last_words()}") from None

    def _hear(self, seconds: float) -> tuple[Any, ...] | None:
        try:
            message = self.connection.recv() if self.connection.poll(seconds) else None
        except (EOFError, OSError):
            raise Lost(f"lost the cluster at {self.address}: {self._last_words()}") from None
        return message if message is None else tuple(message)

    def _expect(self, kind: str, seconds: float) -> None:
        """Wait for a message that says how it stands with the cluster."""
        until = time.monotonic() + seconds
        while True:
            try:
                message = self._hear(max(0.0, until - time.monotonic()))
            except Lost:
                raise LangError(f"the cluster at {self.address}: {self._last_words()}") from None
            if message is None:
                raise LangError(f"the cluster at {self.address} has not answered for {seconds:.0f} s")
            if message[0] == "failed":
                raise LangError(f"the cluster at {self.address}: {message[1]}")
            if message[0] == "nodes":
                self.names, self.workers = message[1], message[2]
            if message[0] == kind:
                return

    def _last_words(self) -> str:
        """The last sentence that Ray's driver printed."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.process.wait(2)
        self.output.seek(0)
        lines = [line.strip() for line in self.output.read().decode(errors="replace").splitlines() if line.strip()]
        return re.sub(r"^\[[^]]*\]\s*(\S+:\d+:)?\s*", "", lines[-1]).partition(". ")[0] if lines else "its driver ended"
