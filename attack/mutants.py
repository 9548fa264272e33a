"""Mutants of the executors: one thing of secondsight changed by rule, and whether the laws notice.

A mutant is a test negated, a statement dropped, a number or a comparison off by one, or two things swapped, in the Python or the C text of
a copy of the package. Which are tried is drawn by a seed from all that there are, so many of each part. `run_mutants` runs
fixed batches of programs against each, in processes of their own; `table` says what came of it. `equivalent.json` says of
mutants that cannot be told from the original why, by file, line of source and rule.
"""

from __future__ import annotations

import ast
import difflib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["PARTS", "Mutant", "Trial", "draw_mutants", "mutants_of", "run_mutants", "table"]

HOUSE = Path(__file__).parents[1]
SOURCE = HOUSE / "src" / "secondsight"
EQUIVALENT = Path(__file__).with_name("equivalent.json")

PARTS: dict[str, tuple[str, ...]] = {
    "front end": (
        "lang/statements.py", "lang/expressions.py", "lang/blocks.py", "lang/calls.py", "lang/builtin_calls.py", "lang/lowering.py",
        "lang/inline.py", "lang/cfg.py", "lang/link.py", "lang/held.py", "lang/overlaid.py", "lang/layout.py", "lang/slots.py", "lang/locks.py", "lang/assigned.py", "lang/ranges.py",
    ),
    "Python renderer": ("lang/render.py", "lang/render_expressions.py", "lang/reference.py", "lang/support.py"),
    "C renderer": ("lang/render_c.py", "lang/render_c_expressions.py", "search/prelude.c"),
    "movers": ("search/movers.c", "search/mover_facts.c", "search/merged_steps.c", "lang/movers.py", "search/reduced.py"),
    "symmetry": ("lang/symmetry.py", "lang/canonical.py", "lang/numbers.py"),
    "equal threads": ("lang/equal.py", "lang/thread_numbers.py", "lang/canonical_equal.py", "search/equal_facts.c"),
    "engine": (
        "search/engine.c", "search/engine_store.c", "search/engine_steps.c", "search/engine_phases.c", "search/engine_search.c",
        "search/engine_progress.c", "search/native.py",
    ),
    "reference search": ("search/bfs.py", "search/progress.py", "search/loop.py", "search/lock_order.py"),
}  # fmt: skip


TESTS = {"symmetry": "tests/lang/test_symmetry.py", "equal threads": "tests/lang/test_equal_threads.py"}
"""Parts that a file of tests has laws of too: tried where the programs notice nothing."""


@dataclass(frozen=True)
class Mutant:
    """One change: in which file, at which line, by which rule, from which line of source to which."""

    part: str
    file: str
    line: int
    rule: str
    before: str
    after: str
    text: str

    @property
    def key(self) -> str:
        """What says that it is the same mutant, though lines have moved."""
        return f"{self.file}: {self.before} -> {self.after}"


@dataclass
class Trial:
    """What came of a mutant: the law that noticed, empty if none did; what it said; how many programs it took."""

    part: str
    file: str
    line: int
    rule: str
    before: str
    after: str
    law: str
    message: str
    programs: int
    seconds: float

    @property
    def key(self) -> str:
        """As `Mutant.key`."""
        return f"{self.file}: {self.before} -> {self.after}"


# Making mutants.


def mutants_of(part: str, file: str) -> list[Mutant]:
    """Every mutant of a file."""
    text = (SOURCE / file).read_text()
    makers = python_changes if file.endswith(".py") else c_changes
    lines, made = text.splitlines(), []
    for rule, changed in makers(text):
        others = changed.splitlines()
        first = next((i for i, (a, b) in enumerate(zip(lines, others, strict=False)) if a != b), None)
        if first is None:
            continue
        last = next(i for i, (a, b) in enumerate(zip(reversed(lines), reversed(others), strict=False)) if a != b)
        before = " ".join(line.strip() for line in lines[first : max(first + 1, len(lines) - last)])
        after = " ".join(line.strip() for line in others[first : max(first, len(others) - last)])
        if file.endswith(".py"):
            try:
                ast.parse(changed)
            except SyntaxError:
                continue
        made.append(Mutant(part, file, first + 1, rule, before, after, changed))
    return made


def python_changes(text: str) -> Iterator[tuple[str, str]]:
    """Texts of a Python file with one thing changed."""
    tree, lines = ast.parse(text), text.splitlines(keepends=True)

    def source(node: ast.expr | ast.stmt) -> str:
        return ast.get_source_segment(text, node) or ""

    def replaced(node: ast.expr | ast.stmt, instead: str) -> str:
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line.encode()))
        raw = text.encode()
        assert node.end_lineno is not None and node.end_col_offset is not None
        begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        return (raw[:begin] + instead.encode() + raw[end:]).decode()

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        """All but what only makes messages and types."""
        yield node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "args", "type_params") and not isinstance(node, ast.Call):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not isinstance(child, (ast.Raise, ast.JoinedStr, ast.Assert)):
                    yield from walk(child)

    for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
        for node in (n for statement in function.body if not isinstance(statement, ast.Raise) for n in walk(statement)):
            if isinstance(node, (ast.If, ast.While, ast.IfExp)) and not (isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise)):
                yield "test negated", replaced(node.test, f"(not ({source(node.test)}))")
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                yield "statement dropped", replaced(node, "pass")
            if isinstance(node, (ast.AugAssign, ast.Continue, ast.Break)) or (isinstance(node, ast.Assign) and isinstance(node.targets[0], (ast.Attribute, ast.Subscript))):
                yield "statement dropped", replaced(node, "pass")
            if isinstance(node, ast.Constant) and type(node.value) is int and node.value < 100:
                yield "off by one", replaced(node, str(node.value + 1))
            if isinstance(node, ast.Compare) and len(node.ops) == 1:
                for kind, sign in ((ast.Lt, "<="), (ast.LtE, "<"), (ast.Gt, ">="), (ast.GtE, ">")):
                    if isinstance(node.ops[0], kind):
                        yield "off by one", replaced(node, f"{source(node.left)} {sign} {source(node.comparators[0])}")
            if isinstance(node, ast.BoolOp):
                words = (" or " if isinstance(node.op, ast.And) else " and ").join(f"({source(v)})" for v in node.values)
                yield "and, or swapped", replaced(node, f"({words})")
            if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitOr, ast.BitAnd, ast.Sub)) and "'" not in source(node):
                sign = {ast.BitOr: "&", ast.BitAnd: "|", ast.Sub: "+"}[type(node.op)]
                yield "operator swapped", replaced(node, f"({source(node.left)} {sign} {source(node.right)})")
            if isinstance(node, ast.Call) and len(node.args) == 2 and not node.keywords and isinstance(node.func, ast.Attribute):
                a, b = map(source, node.args)
                yield "arguments swapped", replaced(node, f"{source(node.func)}({b}, {a})")


_C_SKIPPED = re.compile(r"^\s*(?:#|/\*|\*|static|struct|enum|typedef|return 0|case|default|extern|const|[{}])|free\(|munmap|fprintf|usage|clock|signal|interrupted|deadline|memory")


def c_changes(text: str) -> Iterator[tuple[str, str]]:
    """Texts of a C file with one thing changed: line by line."""
    lines = text.splitlines(keepends=True)

    def with_line(at: int, instead: str) -> str:
        return "".join([*lines[:at], instead, *lines[at + 1 :]])

    inside = False
    for at, line in enumerate(lines):
        inside = (inside or "/*" in line) and "*/" not in line
        if inside or _C_SKIPPED.search(line) or '"' in line:
            continue
        if found := re.search(r"\b(if|while) \((.*)\)( \{)?$", line.rstrip("\n")):
            if balanced(found[2]):
                yield "test negated", with_line(at, line[: found.start(2)] + f"!({found[2]})" + line[found.end(2) :])
        simple = re.match(r"^\t+(?:[\w>.\[\]\-*+ ]+ [|&+\-*]?= .*|[\w>.\-\[\]]+(?:\+\+|--)|\w+\(.*\)|continue|break|return .*);$", line)
        if simple and not re.match(r"^\t+(?:int|u8|u16|u32|u64|i32|i64|size_t|uint\w+|int\w+|return [^;]*;) ", line) and "return" not in line:
            if not re.match(r"^\t+(?:const )?\w+ \*?\w+ =", line) and not re.match(r"^\t+(?:if|for|while)", line):
                yield "statement dropped", with_line(at, re.match(r"^\t+", line)[0] + ";\n")  # type: ignore[index]
        for pattern, instead, rule in (
            (r" < ", " <= ", "off by one"), (r" <= ", " < ", "off by one"), (r" > ", " >= ", "off by one"), (r" >= ", " > ", "off by one"),
            (r" && ", " || ", "and, or swapped"), (r" \|\| ", " && ", "and, or swapped"), (r" \+ 1\b", "", "off by one"), (r" - 1\b", "", "off by one"),
            (r" == ", " != ", "test negated"), (r" != ", " == ", "test negated"), (r" \|= ", " &= ", "operator swapped"), (r" &= ~", " |= ", "operator swapped"),
            (r" & ~", " & ", "operator swapped"),
        ):  # fmt: skip
            for match in list(re.finditer(pattern, line))[:2]:
                yield rule, with_line(at, line[: match.start()] + instead + line[match.end() :])
        if at + 1 < len(lines) and simple and re.match(r"^\t+[\w>.\[\]\-]+ [|&+\-]?= .*;$", lines[at + 1]):
            first, then = ([set(re.findall(r"\w+", side)) for side in re.split(r" [|&+\-]?= ", part, maxsplit=1)] for part in (line, lines[at + 1]))
            depends = len(first) == len(then) == 2 and (first[0] & then[1] or then[0] & first[1] or first[0] & then[0])
            if line.count("\t") == lines[at + 1].count("\t") and depends:
                yield "statements swapped", "".join([*lines[:at], lines[at + 1], line, *lines[at + 2 :]])


def balanced(text: str) -> bool:
    """Whether all brackets of a text are closed in it."""
    depth = 0
    for c in text:
        depth += (c == "(") - (c == ")")
        if depth < 0:
            return False
    return depth == 0


def draw_mutants(seed: int, each: int, reached: dict[str, set[int]] | None = None) -> list[Mutant]:
    """So many of each part, by a seed; `reached`: only in lines that the laws run through at all (of Python files)."""
    drawn = []
    for part, files in PARTS.items():
        every = [m for file in files for m in mutants_of(part, file)]
        if reached is not None:
            every = [m for m in every if not m.file.endswith(".py") or m.line in reached.get(m.file, set())]
        random.Random(f"{seed}/{part}").shuffle(every)
        drawn += every[:each]
    return drawn


# Trying them.


class Copy:
    """A copy of the package, in which one file at a time is another."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache = folder, cache
        shutil.copytree(SOURCE, folder / "secondsight", ignore=shutil.ignore_patterns("__pycache__"))
        scenarios = HOUSE / "scenarios"
        if scenarios.is_dir():
            shutil.copytree(scenarios, folder / "scenarios", ignore=shutil.ignore_patterns("__pycache__"))

    def run(
        self, batches: Sequence[int], seed: int, seconds: float, reach: Path | None = None, native: bool = True
    ) -> dict[str, object]:
        """The laws on some batches, with the package as it is now."""
        environment = os.environ | {
            "PYTHONPATH": f"{self.folder}{os.pathsep}{HOUSE}", "PYTHONDONTWRITEBYTECODE": "1", "SECONDSIGHT_CACHE": str(self.cache),
        }  # fmt: skip
        asked = [sys.executable, "-m", "attack.trial", str(seed), ",".join(map(str, batches)), str(reach or ""), "native" if native else "reference"]
        with subprocess.Popen(
            asked, cwd=HOUSE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        ) as process:
            try:
                said = process.communicate(timeout=seconds)[0]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                return {"law": "hangs", "message": f"not done after {seconds:.0f} s", "programs": 0}
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        last = said.strip().splitlines()[-1:] or [""]
        try:
            found: dict[str, object] = json.loads(last[0])
        except ValueError:
            law = f"killed by signal {-process.returncode}" if process.returncode < 0 else "does not start"
            return {"law": law, "message": last[0][:200], "programs": 0}
        return found

    def test(self, file: str, seconds: float) -> str:
        """The first test of a file that does not pass with the package as it is now; empty if there is none."""
        environment = os.environ | {
            "PYTHONPATH": f"{self.folder}{os.pathsep}{HOUSE}", "PYTHONDONTWRITEBYTECODE": "1", "SECONDSIGHT_CACHE": str(self.cache),
        }  # fmt: skip
        asked = [sys.executable, "-m", "pytest", "-x", "-n", "0", "-p", "no:cacheprovider", file]
        try:
            done = subprocess.run(asked, cwd=HOUSE, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return f"{file}: hangs"
        failed = re.search(r"^(?:FAILED|ERROR) \S+?::(\w+)", done.stdout, re.MULTILINE)
        return "" if done.returncode == 0 else f"{file}: {failed[1]}" if failed else file


def run_mutants(
    mutants: Sequence[Mutant], seed: int, batches: Sequence[int], say: Callable[[str], None], results: Path, seconds: float = 150.0
) -> list[Trial]:
    """Each mutant against the laws; what is known already (in the file `results`) is not done again."""
    known = {trial.key: trial for trial in known_trials(results)}
    same = reasons()
    trials = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Copy(Path(folder), Path(folder) / "cache")
        begun = time.monotonic()
        right = copy.run(batches, seed, 3600.0)
        spent = time.monotonic() - begun
        if right["law"]:
            raise SystemExit(f"the laws do not hold without a mutant: {right['message']}")
        for file in sorted({TESTS[m.part] for m in mutants if m.part in TESTS}):
            if failing := copy.test(file, 3600.0):
                raise SystemExit(f"a test does not pass without a mutant: {failing}")
        say(f"without a mutant: {right['programs']} programs in {spent:.0f} s; a mutant has {max(seconds, 2 * spent):.0f} s")
        for number, mutant in enumerate(mutants, 1):
            if mutant.key in known and known[mutant.key].law:
                trials.append(known[mutant.key])
                continue
            if mutant.key in same:
                trials.append(Trial(**described(mutant), law="", message="", programs=0, seconds=0.0))
                known[mutant.key] = trials[-1]
                continue
            target = copy.folder / "secondsight" / mutant.file
            original = target.read_text()
            begun = time.monotonic()
            try:
                target.write_text(mutant.text)
                found = copy.run(batches, seed, max(seconds, 2 * spent))
                if not found["law"] and mutant.part in TESTS:
                    found["law"] = copy.test(TESTS[mutant.part], seconds)
            finally:
                target.write_text(original)
            trial = Trial(**described(mutant), law=str(found["law"]), message=str(found["message"])[:300], programs=int(str(found["programs"])), seconds=round(time.monotonic() - begun, 1))
            trials.append(trial)
            known[trial.key] = trial
            results.write_text(json.dumps([asdict(t) for t in known.values()], indent=1))
            say(f"{number}/{len(mutants)} {mutant.file}:{mutant.line} {mutant.rule}: {trial.law or 'SURVIVES'} ({trial.programs} programs, {trial.seconds} s)")
    return trials


def described(mutant: Mutant) -> dict[str, Any]:
    """A mutant without the whole text."""
    return {k: v for k, v in asdict(mutant).items() if k != "text"}


def known_trials(results: Path) -> list[Trial]:
    """What came of mutants before."""
    return [Trial(**row) for row in json.loads(results.read_text())] if results.exists() else []


# The table.


def reasons() -> dict[str, str]:
    """Why a mutant cannot be told from the original, by its key."""
    found: dict[str, str] = json.loads(EQUIVALENT.read_text()) if EQUIVALENT.exists() else {}
    return found


def table(trials: Sequence[Trial], programs: int, source: str) -> str:
    """The document. `source`: which source it is about."""
    why = reasons()
    caught = [t for t in trials if t.law]
    same = [t for t in trials if not t.law and t.key in why]
    left = [t for t in trials if not t.law and t.key not in why]
    lines = [
        "# Mutants of the executors", "",
        "Each row is secondsight with one thing changed by rule, in a copy, and the law of [the attack](../attack) that noticed."
        f" Drawn by a seed; each had at most {programs:,} generated programs in a round. What `attack/equivalent.json` gives a reason for is not"
        " run again. `make mutants` draws and makes a new table (an hour or two); with `ARGS='--again docs/mutants.md'` it tries these mutants"
        f" on the source of today. Source: {source}.", "",
        f"{len(trials)} mutants: {len(caught)} caught, {len(same)} equivalent, {len(left)} not caught.", "",
        "| part | mutants | caught | equivalent | not caught |", "| --- | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    for part in dict.fromkeys(t.part for t in trials):
        of = [[t for t in some if t.part == part] for some in (trials, caught, same, left)]
        lines.append(f"| {part} | " + " | ".join(str(len(some)) for some in of) + " |")
    laws: dict[str, int] = {}
    for t in caught:
        name = law_name(t.law)
        laws[name] = laws.get(name, 0) + 1
    lines += ["", "## Which law catches how many", "", "| law | mutants |", "| --- | ---: |"]
    lines += [f"| {name} | {count} |" for name, count in sorted(laws.items(), key=lambda row: -row[1])]
    for part in dict.fromkeys(t.part for t in trials):
        lines += ["", f"## {part[0].upper()}{part[1:]}", "", "| where | rule | change | caught by |", "| --- | --- | --- | --- |"]
        for t in trials:
            if t.part == part:
                said = law_name(t.law) if t.law else f"*equivalent*: {why[t.key]}" if t.key in why else "**not caught**"
                lines.append(f"| {t.file} | {t.rule} | {change(t.before, t.after)} | {said} |")
    return "\n".join(lines) + "\n"


def mutants_in(text: str) -> list[Mutant]:
    """The mutants that a table has a row for, in its order."""
    rows = re.findall(r"^\| ((?:lang|search)/\S+) \| ([^|]+) \| (.*) \| [^|]+ \|$", text, re.MULTILINE)
    every: dict[tuple[str, str, str], Mutant] = {}
    for part, files in PARTS.items():
        for m in (m for file in files for m in mutants_of(part, file)):
            every.setdefault((m.file, m.rule, change(m.before, m.after)), m)
    return [every[row] for row in rows if row in every]


def source_name() -> str:
    """The commit of the source that is tried; with a plus sign if files of it were edited since."""
    said = [subprocess.run(["git", *words], cwd=HOUSE, capture_output=True, text=True, check=False).stdout.strip()
            for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", "src", "attack"])]  # fmt: skip
    return said[0] + ("+" if said[1] else "") if said[0] else "no commit"


def law_name(law: str) -> str:
    """A law without what is different each time."""
    return law.replace("raised ", "an error of ours: ").partition(":")[0] if law.startswith("raised") else law


def change(before: str, after: str) -> str:
    """What differs, as two pieces of code."""
    a, b = before[:400], after[:400]
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    same = matcher.get_matching_blocks()
    start = same[0].size if same and same[0].a == 0 and same[0].b == 0 else 0
    end = same[-2].size if len(same) > 1 and same[-2].a + same[-2].size == len(a) and same[-2].b + same[-2].size == len(b) else 0
    low, high = max(0, start - 30), max(0, end - 30)

    def cut(text: str) -> str:
        piece = text[low : len(text) - high] if high else text[low:]
        return "`" + (piece[:110] or " ").replace("|", "\\|").replace("`", "'") + "`"

    return f"{cut(a)} → {cut(b)}"


def main() -> int:
    """`python -m attack.mutants`: draw, run, write the table."""
    import argparse

    parser = argparse.ArgumentParser(prog="attack.mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--programs", type=int, default=2, help="the seed of the programs")
    parser.add_argument("--each", type=int, default=13, help="mutants of each part")
    parser.add_argument("--batches", type=int, default=14, help="batches of programs for each")
    parser.add_argument("--seconds", type=float, default=150.0, help="the most for one mutant")
    parser.add_argument("--parts", default="", help="these parts alone, by commas")
    parser.add_argument("--again", type=Path, default=None, help="the mutants of a table, as far as the source still has them")
    parser.add_argument("--survivors", action="store_true", help="those of the results that nothing has caught yet, no others")
    parser.add_argument("--results", type=Path, required=True, help="a file for what is known, so that it can be interrupted")
    parser.add_argument("--write", type=Path, default=None, help="write the table there")
    asked = parser.parse_args()
    batches = list(range(asked.batches))
    if asked.survivors:
        left = {t.key for t in known_trials(asked.results) if not t.law} - reasons().keys()
        mutants = [m for part, files in PARTS.items() for file in files for m in mutants_of(part, file) if m.key in left]
        mutants = list({m.key: m for m in mutants}.values())
    elif asked.again:
        mutants = mutants_in(asked.again.read_text())
    else:
        mutants = draw_mutants(asked.seed, asked.each, reached_lines(batches[:4], asked.programs))
    mutants = [m for m in mutants if not asked.parts or m.part in asked.parts.split(",")]
    run_mutants(mutants, asked.programs, batches, lambda text: print(text, flush=True), asked.results, asked.seconds)
    if asked.write is not None:
        asked.write.write_text(table(known_trials(asked.results), asked.batches * 24, source_name()))
    return 0


def reached_lines(batches: Sequence[int], seed: int) -> dict[str, set[int]]:
    """The lines of Python that the laws run through, by file."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Copy(Path(folder), Path(folder) / "cache")
        file = Path(folder) / "reached.json"
        found = copy.run(batches, seed, 3600.0, file)
        if found["law"]:
            raise SystemExit(f"the laws do not hold without a mutant: {found['message']}")
        return {name: set(lines) for name, lines in json.loads(file.read_text()).items()}


if __name__ == "__main__":
    sys.exit(main())
