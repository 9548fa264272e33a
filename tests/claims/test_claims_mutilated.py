"""Printed traces as people would have sent them on, each mutilated by rule: they are possible all the same."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest
from claims_world import asked, numbers, printed

from secondsight.devices.device import Device
from secondsight.devices.mirror import MirrorWithoutTest
from secondsight.devices.small import ClosesKeepingItsTable

Rule = Callable[[list[str], random.Random], list[str]]

TRACES: list[tuple[type[Device], str]] = [(MirrorWithoutTest, "munmap: reads"), (ClosesKeepingItsTable, "close: beside munmap")]
"""Of two columns, and of three."""
PLACE = re.compile(r"\s+\w+\.py:\d+$")
MARK = re.compile(r"^\s*(\^|device: |CPU: )")


def body(lines: list[str]) -> int:
    """Where the lines begin below the titles."""
    return next(i for i, line in enumerate(lines) if line.strip().startswith("---")) + 1


def starts(lines: list[str]) -> list[int]:
    return [m.start() for m in re.finditer(r"\S+", lines[body(lines) - 1])]


def each(change: Callable[[str], str]) -> Rule:
    """A change of every line below the titles."""
    return lambda lines, drawn: lines[: body(lines)] + [change(line) for line in lines[body(lines) :]]


def quoted(lines: list[str], drawn: random.Random) -> list[str]:
    return ["On Monday somebody wrote:", *(f"> {line}".rstrip() for line in lines)]


def tabs(lines: list[str], drawn: random.Random) -> list[str]:
    """Eight columns at a time, as an editor does."""
    return [re.sub(r" +$", "", "".join(re.sub(r" {2,}$", "\t", line[i : i + 8]) for i in range(0, len(line), 8))) for line in lines]


def margin(lines: list[str], drawn: random.Random) -> list[str]:
    return [" " * 3 + line if line else line for line in lines]


def no_margin(lines: list[str], drawn: random.Random) -> list[str]:
    left = min(starts(lines))
    return [line[left:] if i >= body(lines) - 2 else line for i, line in enumerate(lines)]


def nothing_above(lines: list[str], drawn: random.Random) -> list[str]:
    return lines[body(lines) - 2 :]


def no_rule(lines: list[str], drawn: random.Random) -> list[str]:
    return lines[: body(lines) - 1] + lines[body(lines) :]


def other_titles(lines: list[str], drawn: random.Random) -> list[str]:
    at = starts(lines)
    head, rule = "", ""
    for number, start in enumerate(at):
        head, rule = head.ljust(start) + f"CPU{number}", rule.ljust(start) + "===="
    return [*lines[: body(lines) - 2], head, rule, *lines[body(lines) :]]


def no_titles(lines: list[str], drawn: random.Random) -> list[str]:
    return lines[body(lines) :]


def missing(lines: list[str], drawn: random.Random) -> list[str]:
    """A third of the lines."""
    return [line for i, line in enumerate(lines) if i < body(lines) or MARK.match(line) or drawn.random() < 0.67]


def no_end(lines: list[str], drawn: random.Random) -> list[str]:
    """Without what is broken, and the last lines."""
    kept = [line for line in lines if not MARK.match(line)]
    return kept[: max(body(lines) + 2, len(kept) - drawn.randrange(4))]


def wrapped(lines: list[str], drawn: random.Random) -> list[str]:
    """What is long is broken at a space, and goes on further right."""
    done: list[str] = []
    for i, line in enumerate(lines):
        bare, indent = PLACE.sub("", line), len(line) - len(line.lstrip())
        if i < body(lines) or MARK.match(line) or len(bare) - indent < 24 or " " not in bare[indent + 12 :]:
            done.append(line)
            continue
        at = bare.index(" ", indent + 12)
        done += [bare[:at], " " * (indent + 4) + line[at + 1 :]]
    return done


def ellipses(lines: list[str], drawn: random.Random) -> list[str]:
    done = lines[: body(lines)]
    for line in lines[body(lines) :]:
        done += [line] if drawn.random() < 0.7 else [line, " " * drawn.choice(starts(lines)) + drawn.choice(["...", "[...]", ". . ."])]
    return done


def no_depth(lines: list[str], drawn: random.Random) -> list[str]:
    """Every line begins where its column does."""
    at = starts(lines)

    def flat(line: str) -> str:
        start = max((s for s in at if s <= len(line) - len(line.lstrip())), default=0)
        return " " * start + line.strip()

    return lines[: body(lines)] + [flat(PLACE.sub("", line)) for line in lines[body(lines) :]]


def further_right(lines: list[str], drawn: random.Random) -> list[str]:
    """The lines of the last column, and not its title."""
    last = starts(lines)[-1]
    return lines[: body(lines)] + ["   " + line if len(line) - len(line.lstrip()) >= last else line for line in lines[body(lines) :]]


def divided(lines: list[str], drawn: random.Random) -> list[str]:
    """A bar between the columns."""
    at = starts(lines)
    done = []
    for line in lines[body(lines) - 2 :]:
        bare = PLACE.sub("", line)
        column = max((c for c, s in enumerate(at) if s <= len(bare) - len(bare.lstrip())), default=0)
        cells = [bare.strip() if c == column else "" for c in range(len(at))]
        if set(line.strip()) <= set("- "):
            cells = ["-----"] * len(at)
        elif line == lines[body(lines) - 2]:
            cells = line.split()
        done.append(" | ".join(cell.ljust(45) for cell in cells).rstrip())
    return done


def beside(lines: list[str], drawn: random.Random) -> list[str]:
    """Wide columns; a line stands beside the one before it where that is of an earlier column."""
    at, done, last = starts(lines), list[str](), -1
    titles = lines[body(lines) - 2].split()
    for line in lines[body(lines) :]:
        bare = PLACE.sub("", line)
        indent = len(bare) - len(bare.lstrip())
        column = max((c for c, s in enumerate(at) if s <= indent), default=0)
        placed = " " * (60 * column + indent - at[column]) + bare.lstrip()
        if column > last >= 0 and not MARK.match(line):
            done[-1] = done[-1].ljust(60 * column) + placed[60 * column :]
        else:
            done.append(placed)
        last = column
    return ["".join(title.ljust(60) for title in titles), "".join("-----".ljust(60) for _ in titles), *done]


def blank_lines(lines: list[str], drawn: random.Random) -> list[str]:
    return [part for line in lines for part in ([line, ""] if drawn.random() < 0.2 else [line])]


RULES: dict[str, Rule] = {
    "quoted": quoted, "tabs": tabs, "margin": margin, "no margin": no_margin, "nothing above": nothing_above, "no rule": no_rule, "other titles": other_titles,
    "no titles": no_titles, "missing lines": missing, "no end": no_end, "wrapped": wrapped, "ellipses": ellipses, "no depth": no_depth,
    "further right": further_right, "divided": divided, "beside": beside, "blank lines": blank_lines,
    "no places": each(lambda line: PLACE.sub("", line)),
    "blanks at the end": each(lambda line: line + "   "),
    "no arguments": each(lambda line: line if MARK.match(line) else re.sub(r"\([^()]*\)", "()", line)),
    "no brackets": each(lambda line: line if MARK.match(line) or "lock" in line else re.sub(r"(\w*_\w+)\([^()]*\)", r"\1", line)),
    "no names": each(lambda line: line if MARK.match(line) else re.sub(r"\b[a-z]+=(?=\S)", "", line)),
    "no results": each(lambda line: line if MARK.match(line) else re.sub(r" = \S+(?=\s|$)", "", line)),
    "arrows": each(lambda line: line if MARK.match(line) else line.replace(" = ", " -> ")),
    "semicolons": each(lambda line: line if MARK.match(line) else PLACE.sub("", line) + ";"),
    "remarks": each(lambda line: line if MARK.match(line) else PLACE.sub("", line) + "  /* here */"),
    "bullets": each(lambda line: line if MARK.match(line) else re.sub(r"^(\s*)", r"\1- ", line)),
    "locks of C": each(lambda line: re.sub(r"\b(un)?lock\(self\.lock\)", r"mutex_\1lock(&gpu->lock)", line)),
    "variables": each(lambda line: line if MARK.match(line) else re.sub(r"\((va=)?\d", "(addr", line)),
}  # fmt: skip
"""How a trace changes on its way; the lines are what they were, or fewer."""

ALONE = [(name, which) for which in range(2) for name in RULES]
TOGETHER = [("no places", "other titles", "quoted"), ("no arguments", "missing lines", "tabs"), ("no results", "no depth", "margin"), ("no end", "no names", "no titles")]


@pytest.mark.parametrize(("name", "which"), ALONE)
def test_a_mutilated_trace_is_possible(name: str, which: int) -> None:
    _is_possible([name], which)


@pytest.mark.parametrize("names", TOGETHER, ids=", ".join)
def test_several_at_once(names: tuple[str, ...]) -> None:
    for which in range(2):
        _is_possible(list(names), which)


def _is_possible(names: list[str], which: int) -> None:
    driver, scenario = TRACES[which]
    text, rule = printed(driver, scenario)
    lines, drawn = text.splitlines(), random.Random(f"{names} {which}")
    for name in names:
        lines = RULES[name](lines, drawn)
    changed = "\n".join(lines) + "\n"
    assert changed != text
    tried = asked(changed, driver, scenario)
    assert (tried.verdict, tried.unknown) == ("possible", ()), changed
    assert tried.of >= 4
    assert sorted(numbers(tried)) == numbers(tried)
    assert tried.possible is not None and tried.possible.breaks == rule


def test_there_are_fifty() -> None:
    assert len(ALONE) + len(TOGETHER) >= 50
