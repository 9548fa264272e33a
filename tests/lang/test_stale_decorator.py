"""What a decorator's name stands for is changed in a module behind another: the next process lowers the new function."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

MODEL = """
import conf
from secondsight.lang import Machine, Record, U8, require, shared
from secondsight.lang.native import Native
from secondsight.lang.program import Thread, build
from secondsight.search import Request
from secondsight.search.native import native_search

class Pair(Record):
    a: U8
    b: U8

pair = shared(Pair)

@conf.deep.step
def both() -> None:
    pair.a = 1
    pair.b = 1

def runs() -> None:
    both()

def looks() -> None:
    require(pair.a <= pair.b, "torn", "half done")

print(native_search(Native(build(Machine({}), [Thread("a", runs), Thread("b", looks)])), Request(workers=1)).verdict.name)
"""
PASSES_ON = "from secondsight.lang import marker\n@marker\ndef step(function):\n    return function\n"
IS_ATOMIC = "from secondsight.lang import atomic\nstep = atomic\n"


def test_another_decorator_behind_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "conf.py").write_text("import deep\n")
    environment = os.environ | {"SECONDSIGHT_CACHE": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    verdicts = []
    for text in (PASSES_ON, PASSES_ON, IS_ATOMIC, PASSES_ON):
        (tmp_path / "deep.py").write_text(text)
        done = subprocess.run(
            [sys.executable, "model.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        verdicts.append(done.stdout.strip())
    assert verdicts == ["BROKEN", "BROKEN", "HOLDS", "BROKEN"]
