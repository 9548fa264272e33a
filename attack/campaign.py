"""The attack as a campaign: batches of programs by a seed, in worker processes, as long as there is time.

A batch that kills its worker, or takes for ever, is a failure like any other. Failing programs are kept, one JSON file each, made
small, and tried first next time; a file whose program no longer fails is taken away.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from attack.compare import Failure, Tally, Unequal, check_batch, has_compiler
from attack.description import Description
from attack.draw import draw_program, draw_world
from attack.draw_parts import APART
from attack.draw_threads import with_equal_threads
from attack.large import check_large, check_two_locks
from attack.shrink import shrink
from attack.source import Text
from secondsight.lang.compiler import cache_folder

__all__ = ["Campaign", "Finding", "batch_of", "kept_folder", "outcome_of", "run_campaign", "shown_program"]

BATCH = 24
"""Programs of a batch: one compilation for each form is shared by so many."""
PATIENCE = 300.0
"""Seconds after which a batch is said to hang."""

fork = multiprocessing.get_context("fork")


@dataclass
class Finding:
    """A program for which a law does not hold."""

    law: str
    message: str
    description: Description
    native: bool = True

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {"law": self.law, "message": self.message, "description": self.description.to_json(), "native": self.native}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Finding:
        """The inverse of `to_json`."""
        return cls(data["law"], data["message"], Description.from_json(data["description"]), data["native"])

    def keep(self, folder: Path) -> Path:
        """Write it as a file."""
        folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(json.dumps(self.description.to_json(), sort_keys=True).encode()).hexdigest()[:12]
        path = folder / f"{self.law.partition(':')[0].replace(' ', '-').replace(',', '')}-{name}.json"
        path.write_text(json.dumps(self.to_json(), indent=1))
        return path


@dataclass
class Campaign:
    """What is done: from which seed, for how long, by how many processes, with native code or without.

    `family`: programs of one family alone (see `draw_program`). `most`: failures after which no more are looked for. `shrinking`: seconds for making one program small.
    """

    seed: int
    seconds: float
    jobs: int = 1
    native: bool = True
    folder: Path | None = None
    batches: int | None = None
    family: str = ""
    most: int = 12
    shrinking: float = 90.0
    tally: Tally = field(default_factory=Tally)
    findings: list[Finding] = field(default_factory=list)


def kept_folder() -> Path:
    """Where failing programs are kept."""
    return cache_folder().parent / "attack"


def batch_of(seed: int, number: int, family: str = "") -> list[Description]:
    """The programs of a batch: of one world, none or all of them telling interchangeable records apart, mostly in one way.

    One batch in eight is of programs that count: what one does with sequence numbers decides for all whose code it shares. In one of
    three no program tells threads apart by their numbers, for the same reason.
    """
    chance = random.Random(f"{seed}/{number}")
    world = draw_world(chance)
    apart = chance.choice([(), (), (chance.choice(APART),), (chance.choice(APART),), APART])
    family = family or ("counting" if number % 8 == 7 else "")
    programs = [draw_program(chance, world, apart, family) for _ in range(1 if chance.random() < 0.08 else BATCH)]
    if not apart and len(programs) > 1 and chance.random() < 0.3:  # a single one among them does
        programs[-1] = draw_program(chance, world, (chance.choice(APART),), family)
    if number % 3 == 1:
        programs = [with_equal_threads(program, chance) for program in programs]
    return programs


def shown_program(description: Description) -> str:
    """A program as source text, without what all have."""
    lines = Text([description]).text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("def pure"))
    return "\n".join(lines[first + 5 :])


# In a process of its own.


def run_batch(descriptions: list[Description], seed: int, native: bool, only: str | None) -> Tally | Finding:
    """The laws on a batch: what was compared, or the first failure."""
    try:
        if native and len(descriptions) > 1:
            check_two_locks()
            check_large(random.Random(seed))
        return check_batch(descriptions, seed, native, only=only)
    except Unequal as unequal:
        return Finding(unequal.law, str(unequal), descriptions[0], native)
    except Failure as failure:
        return Finding(failure.law, failure.message, failure.description, native)
    except Exception as error:  # not even a program
        return Finding(f"raised {type(error).__name__} at once", str(error), descriptions[0], native)


def outcome_of(descriptions: list[Description], seed: int, native: bool, only: str | None = None, patience: float = PATIENCE) -> Tally | Finding:
    """The same in a process of its own, which may die or hang."""
    here, there = fork.Pipe(duplex=False)

    def work() -> None:
        os.setpgid(0, 0)
        there.send(run_batch(descriptions, seed, native, only))

    process = fork.Process(target=work)
    process.start()
    there.close()
    try:
        if here.poll(patience):
            try:
                found: Tally | Finding = here.recv()
                return found
            except EOFError:
                process.join()
                return Finding(f"killed by signal {-(process.exitcode or 0)}", "its process was killed", descriptions[0], native)
        return Finding("hangs", f"not done after {patience:.0f} seconds", descriptions[0], native)
    finally:
        if process.is_alive():
            process.join(1)
        if process.is_alive() and process.pid is not None:
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        here.close()


def _serve(requests: Connection, native: bool, seed: int, family: str) -> None:
    """A worker: batches by number, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while (number := requests.recv()) is not None:
        requests.send((number, run_batch(batch_of(seed, number, family), number, native, None)))


class Worker:
    """A process that runs batches."""

    def __init__(self, campaign: Campaign) -> None:
        self.requests, there = fork.Pipe()
        self.process = fork.Process(target=_serve, args=(there, campaign.native, campaign.seed, campaign.family), daemon=True)
        self.process.start()
        there.close()
        self.number = -1
        self.since = 0.0

    def ask(self, number: int) -> None:
        """Begin a batch."""
        self.number, self.since = number, time.monotonic()
        self.requests.send(number)

    def end(self) -> None:
        """End it now."""
        self.process.kill()
        self.process.join()
        self.requests.close()


# The campaign.


def run_campaign(campaign: Campaign, say: Callable[[str], None] = print) -> Campaign:
    """Kept programs first, then new ones; ends with the time, or with Ctrl-C, and keeps what it has."""
    if campaign.native and not has_compiler():
        say("no C compiler: native code is left out")
        campaign.native = False
    folder = campaign.folder or kept_folder()
    end = time.monotonic() + campaign.seconds
    workers: list[Worker] = []
    try:
        _again(campaign, folder, say)
        workers += [Worker(campaign) for _ in range(min(campaign.jobs, campaign.jobs if campaign.batches is None else campaign.batches))]
        following = 0
        for worker in workers:
            worker.ask(following)
            following += 1
        while any(worker.number >= 0 for worker in workers):
            wait([w.requests for w in workers if w.number >= 0], timeout=0.5)
            for worker in workers:
                if worker.number < 0:
                    continue
                found = _answer(worker, campaign)
                if found is None:
                    continue
                number, worker.number = worker.number, -1
                if isinstance(found, Tally):
                    _add(campaign.tally, found)
                else:
                    _note(campaign, found, number, folder, say)
                if time.monotonic() < end and len(campaign.findings) < campaign.most and (campaign.batches is None or following < campaign.batches):
                    if not worker.process.is_alive():
                        worker.end()
                        workers[workers.index(worker)] = worker = Worker(campaign)
                    worker.ask(following)
                    following += 1
            _progress(campaign, end)
            if time.monotonic() > end + 30:
                break
    except KeyboardInterrupt:
        say("interrupted: what was found until now stands")
    finally:
        for worker in workers:
            worker.end()
    return campaign


def _answer(worker: Worker, campaign: Campaign) -> Tally | Finding | None:
    """What a worker says of its batch: None while it is at work."""
    try:
        if worker.requests.poll():
            found: Tally | Finding = worker.requests.recv()[1]
            return found
    except (EOFError, ConnectionError):
        worker.process.join()
        law = f"killed by signal {-(worker.process.exitcode or 0)}"
        return Finding(law, "its process was killed", batch_of(campaign.seed, worker.number, campaign.family)[0], campaign.native)
    if time.monotonic() - worker.since > PATIENCE:
        worker.process.kill()
        worker.process.join()
        return Finding("hangs", "a batch does not end", batch_of(campaign.seed, worker.number, campaign.family)[0], campaign.native)
    return None


def _again(campaign: Campaign, folder: Path, say: Callable[[str], None]) -> None:
    """Programs that failed before."""
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            kept = Finding.from_json(json.loads(path.read_text()))
        except (ValueError, KeyError, TypeError):
            say(f"{path} is not what this wrote: left alone")
            continue
        found = outcome_of([kept.description], 0, kept.native and campaign.native, kept.law)
        if isinstance(found, Finding):
            say(f"still fails: {path}\n  {found.message}")
            campaign.findings.append(found)
        else:
            say(f"does not fail any more: {path.name}")
            path.unlink()


def _note(campaign: Campaign, found: Finding, number: int, folder: Path, say: Callable[[str], None]) -> None:
    """A failure: kept at once, then made small and kept in its place."""
    say(f"\nseed {campaign.seed}, batch {number}: {found.message}")
    descriptions = batch_of(campaign.seed, number, campaign.family)
    if found.law == "hangs" or found.law.startswith("killed"):  # which of them is it?
        for description in descriptions:
            alone = outcome_of([description], number, campaign.native, patience=60.0)
            if isinstance(alone, Finding):
                found = alone
                break
    path = found.keep(folder)

    def fails(description: Description) -> bool:
        again = outcome_of([description], number, found.native, found.law, patience=60.0)
        return isinstance(again, Finding) and again.law == found.law

    if fails(found.description):
        path.unlink()
        small = shrink(found.description, fails, campaign.shrinking)
        again = outcome_of([small], number, found.native, found.law)
        found = again if isinstance(again, Finding) else found
        path = found.keep(folder)
        say(f"{found.message}\n\n{shown_program(found.description)}\n\nkept: {path}")
    else:
        say(f"alone it does not fail; batch {number} of seed {campaign.seed} does. Kept: {path}")
    campaign.findings.append(found)


def _add(whole: Tally, part: Tally) -> None:
    whole.programs += part.programs
    whole.states += part.states
    whole.searches += part.searches
    for mine, more in ((whole.kinds, part.kinds), (whole.skipped, part.skipped)):
        for name, count in more.items():
            mine[name] = mine.get(name, 0) + count


def _progress(campaign: Campaign, end: float) -> None:
    if sys.stderr.isatty():
        left = max(0, end - time.monotonic())
        tally = campaign.tally
        text = f"{tally.programs:,} programs, {tally.searches:,} searches, {len(campaign.findings)} failures, {left:.0f} s left"
        print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)
