"""What becomes of mutants: noticed, not noticed, or no program. Each is tried in a process of its own.

What came of a mutant is kept in the cache folder, by the contents of all that it rests on: a campaign that was ended goes on
where it was, and two at the same time do not disturb each other.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import secondsight
from secondsight.conform.build import build
from secondsight.conform.errors import ConformError
from secondsight.conform.mutants import Mutant
from secondsight.conform.target import Target
from secondsight.kernels import cache
from secondsight.kernels.sources import KernelSource

__all__ = ["Fate", "fates"]

PACKAGE: Final = Path(secondsight.__file__).parent

TABLES: Final = "*_mutants.py"
"""Files of `conform/targets/` with mutants that are equivalent: what is in them does not change what is noticed."""

CHILD: Final = """\
import importlib.abc, importlib.util, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_file_location(name, sys.argv[2]) if name == sys.argv[1] else None
sys.meta_path.insert(0, Finder())
from secondsight.conform.trial import main
main()
"""
"""A process in which the text of a file stands for a module, if one is named; conform/trial.py goes on."""


@dataclass(frozen=True)
class Fate:
    """What became of a mutant: `noticed` after so many steps, `equivalent` with the reason, `survives`, or `no program`."""

    mutant: Mutant
    fate: str
    steps: int = 0
    how: str = ""


def fates(
    target: Target,
    sources: Sequence[KernelSource],
    mutants: list[Mutant],
    of_model: bool = False,
    on_fate: Callable[[int, Fate], None] | None = None,
) -> list[Fate]:
    """What becomes of each mutant, in their order; on all cores. Ctrl-C ends it with those that are known.

    A mutant of the C is one of the first of `sources`; one of the model is tried beside each in turn, until it is noticed.
    """
    found: dict[int, Fate] = {}
    trials = _Trials(target, sources if of_model else sources[:1], of_model)
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        waiting = {pool.submit(trials.fate, mutant): i for i, mutant in enumerate(mutants)}
        for done in as_completed(waiting):
            found[waiting[done]] = done.result()
            if on_fate is not None:
                on_fate(len(found), done.result())
    except KeyboardInterrupt:
        pass  # what was seen so far is the answer
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        trials.end()
        pool.shutdown()
    return [found[i] for i in sorted(found)]


class _Trials:
    """Mutants of a target that are tried, and the processes in which they are."""

    def __init__(self, target: Target, sources: Sequence[KernelSource], of_model: bool) -> None:
        self.target, self.of_model = target, of_model
        self.sources = {source.release: source for source in sources}
        self.programs = {source.release: build(target, source) for source in sources}
        self.rests_on = _digest()
        self.lock = threading.Lock()
        self.running: set[subprocess.Popen[str]] = set()
        self.ended = False

    def end(self) -> None:
        """End those that run."""
        with self.lock:
            self.ended = True
            for process in self.running:
                process.kill()

    def fate(self, mutant: Mutant) -> Fate:
        """What becomes of a mutant, or became of it when it was tried before."""
        key = hashlib.sha256("\0".join((self.rests_on, *(program.parent.name for program in self.programs.values()), mutant.text)).encode())
        kept = cache.cache_folder() / "conform" / "fates" / f"{key.hexdigest()[:32]}.json"
        try:
            came = json.loads(kept.read_text())
        except (OSError, ValueError):
            came = self._of_model(mutant) if self.of_model else self._of_c(mutant)
            if self.rests_on == _digest():  # nobody has changed the program meanwhile
                kept.parent.mkdir(parents=True, exist_ok=True)
                scratch = kept.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
                scratch.write_text(json.dumps(came | {"mutant": mutant.name}))
                scratch.replace(kept)
        fate, how = came["fate"], came["how"]
        if fate == "not noticed":
            reason = (self.target.equivalent_model if self.of_model else self.target.equivalent).get(mutant.name)
            fate, how = ("survives", "") if reason is None else ("equivalent", reason)
        return Fate(mutant, fate, came["steps"], how)

    def _of_c(self, mutant: Mutant) -> dict[str, Any]:
        ((release, source),) = self.sources.items()
        try:
            program = build(self.target, source, mutant.text)
        except ConformError:
            return {"fate": "no program", "steps": 0, "how": ""}
        try:
            if program.read_bytes() == self.programs[release].read_bytes():
                return {"fate": "equivalent", "steps": 0, "how": "it compiles to the same code"}
            return self._try(mutant, {release: program}, "", "", "")
        finally:
            shutil.rmtree(program.parent, ignore_errors=True)

    def _of_model(self, mutant: Mutant) -> dict[str, Any]:
        model = PACKAGE / "linux" / mutant.file
        with tempfile.TemporaryDirectory() as folder:
            text = Path(folder) / model.name
            text.write_text(mutant.text)
            return self._try(mutant, self.programs, f"secondsight.linux.{model.stem}", str(text), str(model))

    def _try(self, mutant: Mutant, programs: Mapping[str, Path], module: str, text: str, stands_for: str) -> dict[str, Any]:
        job = {"file": self.target.file, "programs": [*map(str, programs.values())], "releases": [*programs], "text": text, "stands_for": stands_for}
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")))}
        with self.lock:
            if self.ended:
                raise ConformError("the campaign was ended", "")
            process = subprocess.Popen(
                [sys.executable, "-c", CHILD, module, text], text=True, env=environment, process_group=0,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            self.running.add(process)
        try:
            shown, said = process.communicate(json.dumps(job))
        finally:
            with self.lock:
                self.running.discard(process)
        if process.returncode:
            why = signal.Signals(-process.returncode).name if process.returncode < 0 else (said.strip().splitlines() or ["no message"])[-1]
            raise ConformError(f"{mutant.name}: the process that tries it ended: {why}", "try again; if it stays, this is a fault of the program's")
        came: dict[str, Any] = json.loads(shown.splitlines()[-1])
        return came


def _digest() -> str:
    """A checksum of all that decides whether a mutant is noticed."""
    whole = hashlib.sha256()
    for folder in ("lang", "linux", "devices", "conform"):
        for path in sorted((PACKAGE / folder).rglob("*.[pch]*")):
            if path.suffix in (".py", ".c", ".h") and not path.match(TABLES):
                whole.update(f"{path.relative_to(PACKAGE)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
