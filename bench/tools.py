"""Other people's programs: found, installed, run and measured."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

__all__ = ["Failed", "Full", "Ran", "called", "ensure", "run", "stat_fields", "variable"]


class Failed(Exception):
    """A program did not do what was asked; the message says which and what it printed."""


class Full(Exception):
    """A program took more memory than it may, and was stopped."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of a program: what it printed, wall and processor seconds, peak memory in bytes. `late`: it was stopped."""

    output: str
    seconds: float
    cpu: float
    peak: int
    late: bool = False


def variable(name: str) -> str:
    """The environment variable that says how a program is called where it is not on the path: `SECONDSIGHT_TLC` for `tlc`."""
    return "SECONDSIGHT_" + name.upper().replace("-", "_")


def called(name: str) -> list[str] | None:
    """How a program is called: as its variable says, else by its name if it is on the path. None: it is not there.

    Its path is absolute, as it is run in another folder.
    """
    given = os.environ.get(variable(name), "")
    try:
        words = shlex.split(given) or [name]
    except ValueError as error:
        raise SystemExit(f"{variable(name)} is no command ({error}): {given}\nquote it as in a shell, or unset it") from None
    found = shutil.which(words[0])
    return [str(Path(found).absolute()), *words[1:]] if found else None


def stat_fields(stat: Path) -> list[bytes]:
    """What /proc/PID/stat says behind the program's name. The name may be any bytes, spaces and brackets among them."""
    return stat.read_bytes().rpartition(b")")[2].split()


def _resident(process: Path) -> int:
    """Bytes of memory that a process has, all that it shares with others among them."""
    return int(stat_fields(process / "stat")[21]) * os.sysconf("SC_PAGE_SIZE")


def _proportional(process: Path) -> int:
    """The same, but what it shares counts in parts: the sum over those who share it counts it once."""
    with suppress(OSError):  # an old kernel has no such file
        if found := re.search(rb"^Pss: +(\d+) kB", (process / "smaps_rollup").read_bytes(), re.MULTILINE):
            return int(found[1]) * 1024
    return _resident(process)


def _sum(group: int, of: Callable[[Path], int]) -> int:
    """Over the processes of a group; 0 where the system does not say."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            if int(stat_fields(stat)[2]) == group:
                total += of(stat.parent)
    return total


def _takes_more(group: int, memory: int) -> bool:
    """Whether a group has more memory. The kernel goes through all pages to say what is shared, so it is asked only where that matters."""
    return _sum(group, _resident) > memory and _sum(group, _proportional) > memory


def run(
    command: Sequence[str | Path],
    folder: Path,
    limit: float | None = None,
    env: Mapping[str, str] | None = None,
    *,
    memory: int | None = None,
    codes: Sequence[int] = (0,),
) -> Ran:
    """Run to the end, or stop it and all its children after `limit` seconds.

    Raises `Failed` if it ends with a code that is not among `codes`, and `Full` if it comes to have more than `memory` bytes.
    """
    words = [str(w) for w in command]
    with TemporaryFile() as kept:
        began = time.perf_counter()
        child = subprocess.Popen(
            words, cwd=folder, stdin=subprocess.DEVNULL, stdout=kept, stderr=kept, start_new_session=True,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
        late = full = False
        asked = began
        try:
            while not os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                now = time.perf_counter()
                if limit is not None and now - began > limit:
                    late = True
                    break
                if memory is not None and now - asked > 0.2:
                    asked = now
                    if full := _takes_more(child.pid, memory):
                        break
                time.sleep(min(0.02, (time.perf_counter() - began) / 50 + 0.0002))
        finally:
            seconds = time.perf_counter() - began
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # also children that a stopped or failed parent has left behind
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        kept.seek(0)
        output = kept.read().decode(errors="replace")
    if full:
        raise Full(f"{words[0]} took more than {memory:,} bytes of memory")
    if child.returncode not in codes and not late:
        raise Failed(f"{' '.join(words)} ended with {child.returncode}:\n{output[-2000:]}")
    return Ran(output, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, late)


_PACKAGES = {
    "apt-get": (["apt-get", "install", "-y", "--no-install-recommends"], ["apt-get", "update"]),
    "dnf": (["dnf", "install", "-y"], None),
    "zypper": (["zypper", "--non-interactive", "install"], None),
    "pacman": (["pacman", "-S", "--noconfirm"], None),
    "brew": (["brew", "install"], None),
}


def ensure(programs: Mapping[str, str]) -> list[str]:
    """Make programs available: a command's name to its package's. Returns the commands that are missing in the end.

    Installs with the system's package client when the user is root (Homebrew: when not); says what to install otherwise.
    """
    missing = [p for p in programs if not shutil.which(p)]
    if not missing:
        return []
    client = next((c for c in _PACKAGES if shutil.which(c)), None)
    packages = [programs[p] for p in missing]
    if client is None or (os.geteuid() == 0) == (client == "brew"):
        how = f": {' '.join(_PACKAGES[client][0])} {' '.join(packages)}, as root" if client else ""
        print(f"not found: {', '.join(missing)}. They are left out; to compare with them, install {', '.join(packages)}{how}.")
        return missing
    install, refresh = _PACKAGES[client]
    print(f"installing {', '.join(packages)} with {client}", file=sys.stderr)
    done = subprocess.run([*install, *packages], capture_output=True, text=True, check=False)
    if done.returncode != 0 and refresh:
        subprocess.run(refresh, capture_output=True, check=False)
        done = subprocess.run([*install, *packages], capture_output=True, text=True, check=False)
    missing = [p for p in missing if not shutil.which(p)]
    if missing:
        print(f"{client} could not install {', '.join(missing)}; they are left out:\n{done.stderr[-500:]}")
    return missing
