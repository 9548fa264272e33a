"""The laws on some batches, in a process of its own, with whatever secondsight is on the path; one line of JSON at the end.

    python -m attack.trial SEED BATCH,BATCH,... [FILE [reference]]

FILE: the lines of secondsight that were run through are written there. `reference`: nothing is compiled.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from types import FrameType
from typing import Any


def main() -> None:
    """See the module."""
    seed, numbers = int(sys.argv[1]), [int(n) for n in sys.argv[2].split(",")]
    reach = sys.argv[3] if len(sys.argv) > 3 else ""
    native = sys.argv[4:] != ["reference"]
    reached: dict[str, set[int]] = {}
    if reach:
        watch(reached)
    programs = 0
    try:
        from attack import source
        from attack.campaign import batch_of, run_batch
        from attack.compare import Tally
        from attack.judged import JUDGED, check_judged
        from attack.large import GROWS, check_collected, check_large, check_two_locks
        from attack.victim import METHODS

        found: Any = None
        for number in numbers:
            source.begin_names(number)
            found = run_batch(batch_of(seed, number), number, native, None)
            if not isinstance(found, Tally):
                break
            programs += found.programs
        wrong = None if isinstance(found, Tally) else found
        if wrong is None:
            check_two_locks()
            for name in JUDGED:
                check_judged(name, native)
            if native:
                check_collected()
                for method in ("native", "exact"):
                    check_large(random.Random(0), method, GROWS)
            for place, method in enumerate(METHODS if native else []):
                for again in range(3):
                    check_large(random.Random(3 * place + again), method)
    except Exception as error:
        law = getattr(error, "law", f"raised {type(error).__name__}")
        print(json.dumps({"law": law, "message": str(error)[:300], "programs": programs}))
        return
    sys.settrace(None)
    if reach:
        Path(reach).write_text(json.dumps({name: sorted(lines) for name, lines in reached.items()}))
    said = {"law": wrong.law if wrong else "", "message": wrong.message[:300] if wrong else "", "programs": programs}
    print(json.dumps(said))


def watch(reached: dict[str, set[int]]) -> None:
    """Note the lines of secondsight that run."""
    names: dict[str, set[int] | None] = {}

    def line(frame: FrameType, event: str, argument: object) -> Any:
        lines = names[frame.f_code.co_filename]
        if lines is None:
            return None
        lines.add(frame.f_lineno)
        return line

    def call(frame: FrameType, event: str, argument: object) -> Any:
        file = frame.f_code.co_filename
        if file not in names:
            ours = "/secondsight/lang/" in file or "/secondsight/search/" in file
            names[file] = reached.setdefault("/".join(Path(file).parts[-2:]), set()) if ours else None
        return line(frame, event, argument)

    sys.settrace(call)


if __name__ == "__main__":
    main()
