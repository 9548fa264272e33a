"""What a test program of the kernel says: the Test Anything Protocol, as the kernel's test headers print it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["FAIL", "NOT_RUN", "PASS", "SKIP", "TapVerdict", "verdicts"]

PASS, FAIL, SKIP, NOT_RUN = "pass", "fail", "skip", "not run"


@dataclass(frozen=True)
class TapVerdict:
    """One test's verdict: `pass`, `fail`, `skip`, or `not run` for what was announced and never came.
    `said` is why it was skipped or what came before its failure."""

    program: str
    name: str
    verdict: str
    said: str = ""


def verdicts(program: str, lines: Iterable[str], ended: str) -> list[TapVerdict]:
    """The verdicts in a program's output. `ended` is how it ended, such as exit:0 or signal:11, or why it never did (its
    machine died): a program that ended early leaves tests that were announced and did not run, and one that says nothing is
    itself a failure."""
    found: list[TapVerdict] = []
    announced = 0
    before: list[str] = []
    for line in lines:
        if plan := re.fullmatch(r"1\.\.(\d+)\s*", line):
            announced = int(plan[1])
        elif result := re.fullmatch(r"(not )?ok (\d+)(?:\s+-)?\s*(.*?)\s*(?:#\s*SKIP\b\s*(.*))?", line):
            failed, number, name, skipped = result.groups()
            verdict = FAIL if failed else PASS if skipped is None else SKIP
            said = "\n".join(before) if verdict == FAIL else skipped or ""
            found.append(TapVerdict(program, _name(name) or f"test {number}", verdict, said))
            before = []
        elif re.match(r"#\s+RUN\b", line):
            before = []
        elif line.startswith("#"):
            before.append(line.lstrip("# "))
    by_itself = ended.startswith("exit:")
    rest = "\n".join([*before, f"the program ended with {ended}" if by_itself or ended.startswith("signal:") else ended])
    found += [TapVerdict(program, f"test {number + 1}", NOT_RUN, rest) for number in range(len(found), announced)]
    if not found:
        found = [TapVerdict(program, "the whole program", SKIP if ended == "exit:4" else FAIL, rest)]
    elif not by_itself and not any(v.verdict in (FAIL, NOT_RUN) for v in found):
        found.append(TapVerdict(program, "the program's end", FAIL, rest))
    return found


def _name(text: str) -> str:
    """A test's name without what only says its verdict again: `drivers/x: [PASS,test-1]` is `test-1`."""
    again = re.search(r"\[(?:PASS|FAIL|SKIP),\s*([^\]]+)\]", text, re.IGNORECASE)
    return again[1] if again else text
