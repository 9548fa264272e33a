"""Searches cut short at any moment: by their own limits, by signals, by limits of the process, by a full disk, by the death of a worker.

The law: nothing that was cut short says *holds*. A search that says so has seen every state; of a wrong program none says so. The
victims are `attack.victim`, a search alone in its process, and the commands `check` and `settle`, whose exit status and JSON count.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from attack.victim import METHODS

__all__ = ["Cuts", "Ended", "judge", "run_cuts", "start"]

HOUSE = Path(__file__).parents[1]
SIGNALS = ("INT", "TERM", "HUP", "KILL")
LONGEST = 120.0


@dataclass
class Cuts:
    """What is done, and what came of it."""

    seed: int
    moments: int = 50
    seconds: float = 300.0
    commands: bool = True
    done: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    untidy: list[str] = field(default_factory=list)

    def count(self, what: str) -> None:
        """One more of a kind."""
        self.kinds[what] = self.kinds.get(what, 0) + 1

    def shown(self) -> str:
        """What came of it, in lines."""
        lines = [f"{self.done} cuts; {len(self.failures)} failures; {len(self.untidy)} ended with a traceback"]
        lines += [f"  {count:7,}  {name}" for name, count in sorted(self.kinds.items())]
        return "\n".join([*lines, *(f"  {text}" for text in self.untidy[:5])])


@dataclass(frozen=True)
class Ended:
    """What a victim left: its status, and what it printed."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> dict[str, Any] | None:
        """The JSON in its last line, if there is some."""
        for line in reversed(self.out.splitlines()):
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                return found if isinstance(found, dict) else None
        return None


def run_cuts(cuts: Cuts, say: Callable[[str], None] = print) -> Cuts:
    """So many moments, or as many as there is time for."""
    chance, end = random.Random(f"cuts/{cuts.seed}"), time.monotonic() + cuts.seconds
    try:
        while cuts.done < cuts.moments and time.monotonic() < end:
            if cuts.commands and chance.random() < 0.2:
                command_cut(cuts, chance)
            else:
                search_cut(cuts, chance)
            cuts.done += 1
            if sys.stderr.isatty():
                print(f"\r{cuts.done} of {cuts.moments} cuts, {len(cuts.failures)} failures   ", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        say("interrupted: what was found until now stands")
    for text in cuts.failures:
        say(f"FAILURE: {text}")
    return cuts


# Searches.


def search_cut(cuts: Cuts, chance: random.Random) -> None:
    """One search, cut somehow."""
    method, right = chance.choice(list(METHODS)), chance.random() < 0.5
    states, takes = known_search(method, right)
    kind = chance.choice(["states", "seconds", "memory", "signal", "signal", "signal", "as", "fsize", "nofile", "cpu", "tmpfs"])
    limits: list[str] = []
    full, at, send = False, None, ""
    if kind == "states":
        limits = [f"states={chance.randrange(1, max(2, states))}"]
    elif kind == "seconds":
        limits = [f"seconds={chance.uniform(0, takes):.4f}"]
    elif kind == "memory":
        limits = [f"memory={int(10 ** chance.uniform(4, 8.2))}"]
    elif kind in ("as", "fsize", "nofile", "cpu"):
        value = {"as": 10 ** chance.uniform(8, 9.7), "fsize": 10 ** chance.uniform(2, 7.5), "nofile": chance.randrange(3, 24), "cpu": 1}[kind]
        limits = [f"{kind}={int(value)}"]
    elif kind == "tmpfs":
        full = can_fill()
        if not full:
            kind, limits = "fsize", [f"fsize={int(10 ** chance.uniform(2, 7.5))}"]
        else:
            method = "to a file"
            states, takes = known_search(method, right)
    else:
        at, send = chance.uniform(0, takes * 1.1), chance.choice(SIGNALS)
        kind = f"signal {send}"
    label = f"{method}, {'right' if right else 'wrong'} program, {kind} {' '.join(limits)} {'' if at is None else f'after {at:.3f} s'}".strip()
    ended = start([*victim(method, right, METHODS[method]), *limits], at, lambda process: kill(process, send), full)
    cuts.count(kind)
    judge(cuts, label, ended, right, states)


def judge(cuts: Cuts, label: str, ended: Ended, right: bool, states: int) -> None:
    """What a search that was cut may say."""
    said = ended.said
    cuts.count(f"then {'nothing' if said is None else said['verdict']}")
    if said is not None and said["verdict"] == "holds":
        if not right:
            cuts.failures.append(f"{label}: holds, but it is broken in its last state (seed {cuts.seed}, moment {cuts.done})")
        elif said["states"] != states:
            cuts.failures.append(f"{label}: holds, with {said['states']} states of {states} (seed {cuts.seed}, moment {cuts.done})")
    if said is not None and said["verdict"] == "broken" and right:
        cuts.failures.append(f"{label}: broken, but the program is right (seed {cuts.seed}, moment {cuts.done})")
    if ended.status < 0 and -ended.status in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE):
        cuts.failures.append(f"{label}: killed by {signal.Signals(-ended.status).name} (seed {cuts.seed}, moment {cuts.done})")


@cache
def known_search(method: str, right: bool) -> tuple[int, float]:
    """`whole_search` of a method's own size, once."""
    return whole_search(method, right, METHODS[method])


def whole_search(method: str, right: bool, size: int, *more: str) -> tuple[int, float]:
    """The states of a search that nobody cuts, and its seconds from when it is ready."""
    ended = start([*victim(method, right, size), *more])
    said = ended.said
    wanted = "holds" if right else "broken"
    if said is None or said["verdict"] != wanted:
        raise RuntimeError(f"{method}: {wanted} is to be told without a cut, but: {ended.out[-300:]} {ended.err[-1000:]}")
    return said["states"], ended.seconds


def victim(method: str, right: bool, size: int) -> list[str]:
    """The command of a search."""
    return [sys.executable, "-m", "attack.victim", method, "right" if right else "wrong", str(size)]


def start(
    command: list[str], at: float | None = None, happens: Callable[[int], object] = lambda process: None, full: bool = False
) -> Ended:
    """Run a victim; so many seconds after it is ready (or after its start) something happens to it. `full`: see `filled`."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HOUSE), os.environ.get("PYTHONPATH", "")])}
    waits = "attack.victim" in command
    if full:
        environment["TMPDIR"] = str(small_folder())
        command = [*filled(), *command]
    out, err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115
    with out, err, subprocess.Popen(command, stdout=out, stderr=err, env=environment, start_new_session=True) as process:
        begun = time.monotonic()
        while waits and process.poll() is None and time.monotonic() - begun < LONGEST:
            if os.fstat(out.fileno()).st_size:
                break
            time.sleep(0.002)
        ready = time.monotonic()
        try:
            if at is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(at)
                if process.poll() is None:
                    happens(process.pid)
            process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        ended = time.monotonic()
        out.seek(0)
        err.seek(0)
        return Ended(status, out.read(), err.read(), ended - ready)


def kill(process: int, send: str) -> None:
    """Send a process a signal, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, getattr(signal, f"SIG{send}"))


def descendants(process: int) -> list[int]:
    """The processes that another started, and those that these did."""
    below, todo = [], [process]
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError):
                stat = Path(f"/proc/{entry}/stat").read_text()
                parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
    for one in todo:
        todo += parents.get(one, [])
        below += parents.get(one, [])
    return below


def filled() -> list[str]:
    """What runs a command with a file system of 300 KB in `small_folder`: the command alone sees it, and it goes with the command."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *user, "--mount", "sh", "-c", f'mount -t tmpfs -o size=300k tmpfs {shlex.quote(str(small_folder()))} && exec "$@"', "sh"]


def small_folder() -> Path:
    """Where `filled` mounts it; empty otherwise, and the same each time."""
    folder = Path(tempfile.gettempdir()) / f"attack-small-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    return folder


@cache
def can_fill() -> bool:
    """Whether there can be such a file system."""
    return bool(shutil.which("unshare")) and not subprocess.run([*filled(), "true"], capture_output=True, check=False).returncode


# Commands.

COMMANDS: dict[str, list[str]] = {
    "check, right": ["check", "examples/my_gpu.py", "--adversary", "munmap", "--executor", "native", "--json", "--again"],
    "check, wrong": ["check", "src/secondsight/devices/mirror.py", "--class", "MirrorWithoutTest", "--adversary", "munmap", "--json"],
    "settle": ["settle", "2019-08-hmm", "--json"],
}


def command_cut(cuts: Cuts, chance: random.Random) -> None:
    """A command, by a signal to it or to a process that it started."""
    name = chance.choice(list(COMMANDS))
    whole = whole_command(name)
    command = [sys.executable, "-m", "secondsight", *COMMANDS[name]]
    below, send, at = chance.random() < 0.5, chance.choice(SIGNALS), chance.uniform(0.2, whole.seconds * 1.05)
    def happens(process: int) -> None:
        others = descendants(process) if below else []
        kill(chance.choice(others) if others else process, send)

    ended = start(command, at, happens)
    label = f"{name}: {send} to {'a process below' if below else 'the command'} after {at:.2f} s"
    cuts.count(f"command, signal {send}")
    if whole.status and not ended.status:
        cuts.failures.append(f"{label}: exit status 0 instead of {whole.status}")
    holding = held(ended.out) - held(whole.out)
    if holding:
        cuts.failures.append(f"{label}: holds, but does not when it is not cut: {sorted(holding)[:3]}")
    if "Traceback" in ended.err:
        cuts.untidy.append(f"{label}: {ended.err.strip().splitlines()[-1][:200]}")


@cache
def whole_command(name: str) -> Ended:
    """What a command says when nobody cuts it."""
    ended = start([sys.executable, "-m", "secondsight", *COMMANDS[name]])
    if ended.status not in (0, 1):
        raise RuntimeError(f"{name} does not run: {ended.err[-1000:]}")
    return ended


def held(text: str) -> set[str]:
    """What JSON says to hold: each with its count of states, so that a part is not taken for the whole."""
    found: set[str] = set()

    def visit(part: Any, way: str) -> None:
        if isinstance(part, dict):
            if part.get("verdict") == "holds":
                names = [str(part.get(k)) for k in ("adversary", "scenario", "row", "column", "name", "uses", "states")]
                found.add(way + "/" + ",".join(names))
            for key, value in part.items():
                visit(value, f"{way}/{key}")
        elif isinstance(part, list):
            for i, value in enumerate(part):
                visit(value, f"{way}[{i}]")

    with contextlib.suppress(ValueError):
        match = re.search(r"^[\[{].*", text, re.DOTALL | re.MULTILINE)
        visit(json.loads(match[0] if match else text), "")
    return found
