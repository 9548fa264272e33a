"""A small process of which each process of `test_stale` is a fork: what one of those costs is then its own work.

It reads requests line by line (a folder with `model.py`, a cache folder, a number) and answers each with a line: whether the model had to be
lowered, and the result. The process that the tests run in has loaded a hundred times as much, and would copy it with each fork.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from secondsight.lang import Machine, modules
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Request, breadth_first


class Server:
    """The process; it ends with `close`, or with this one."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, folder: Path, cache: Path, number: int) -> tuple[bool, str]:
        """What a new process finds out about the model: whether it had to be lowered, and the result."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps([str(folder), str(cache), number]), file=self._process.stdin, flush=True)
        lowered, found = json.loads(self._process.stdout.readline())
        assert found is not None, "the process failed"
        return lowered, found

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def program(path: Path) -> Program:
    """The model's program."""
    module: ModuleType | Any = modules.load("stale_model", path)
    return build(Machine({}), [Thread("t", module.ends)], [module.small], room=Room(2, (module.ends,)))


def _answer(folder: str, cache: str, number: int) -> tuple[bool, str]:
    modules._BEGAN = time.time()
    sys.dont_write_bytecode = True  # Python takes that of an installed package for what was written within the same second
    os.environ.update(SECONDSIGHT_CACHE=cache, STALE_K=str(number))
    sys.path.insert(0, f"{folder}/site-packages")
    made = program(Path(folder) / "model.py")
    result = breadth_first(Reference(made), Request(watch=(1, made.layout.shared_size), livelock=True))
    found = result.verdict.value, result.violation and result.violation.rule, str(result.error), sorted(result.outcomes)
    return made.code.is_lowered, repr(found)


def _serve() -> None:
    modules.package_digest()  # once for all of them: it takes longer than the rest
    for line in sys.stdin:
        child = os.fork()
        if not child:
            print(json.dumps(_answer(*json.loads(line))), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            print(json.dumps((False, None)), flush=True)


if __name__ == "__main__":
    _serve()
