"""What campaigns found, in one SQLite file that survives being killed.

Tables:

* `campaign`: one for each `kernel` (as the user names it), `release` (as it names itself), `kind` of scenario, `seed`, and
  `generator` (a fingerprint: scenario i of a seed is the same only under the same generator).
* `result`: scenario `number` of a campaign: its `verdict`, how often it ran (`runs`), how many `states` the model's search
  saw (0: no search), and `seen`, what the kernel did, as JSON: outcomes and counts.
* `finding`: for a verdict other than `agrees`: the `scenario`, a `signature` (findings with the same one have, in all
  likelihood, the same cause), both `answers` in words, the end of a guest's `console`. `shrunk`: the scenario is the
  smallest one found with the same signature, not the one that was drawn, and the answers are those to it.

Verdicts: `agrees`; `disagrees`; `died` (the guest did); `no-verdict` (the model's search reached its limit); `refused` (the
model cannot run the scenario: an error of the generator's or the model's).

A batch of results is one transaction: what was committed is there, whatever happens to the process.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from secondsight.agree.generate import KINDS, DrawnKind, fingerprint
from secondsight.scenario import Outcome, Scenario, ScenarioError

__all__ = ["AGREES", "DIED", "DISAGREES", "NO_VERDICT", "REFUSED", "Campaign", "CampaignFinding", "KeptResult", "CampaignStore", "Totals"]

AGREES, DISAGREES, DIED, NO_VERDICT, REFUSED = "agrees", "disagrees", "died", "no-verdict", "refused"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS campaign (
    id INTEGER PRIMARY KEY, kernel TEXT NOT NULL, release TEXT NOT NULL, kind TEXT NOT NULL, seed INTEGER NOT NULL,
    generator TEXT NOT NULL, UNIQUE (kernel, release, kind, seed, generator));
CREATE TABLE IF NOT EXISTS result (
    campaign INTEGER NOT NULL, number INTEGER NOT NULL, verdict TEXT NOT NULL, runs INTEGER NOT NULL,
    states INTEGER NOT NULL, seen TEXT NOT NULL, PRIMARY KEY (campaign, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS finding (
    campaign INTEGER NOT NULL, number INTEGER NOT NULL, signature TEXT NOT NULL, scenario TEXT NOT NULL,
    shrunk INTEGER NOT NULL, answers TEXT NOT NULL, console TEXT NOT NULL, PRIMARY KEY (campaign, number)) WITHOUT ROWID;
"""
VERSION = 1


@dataclass(frozen=True)
class Campaign:
    """Which scenarios on which kernel; `id` is its row."""

    id: int
    kernel: str
    release: str
    kind: DrawnKind
    seed: int


@dataclass(frozen=True)
class CampaignFinding:
    """What is kept of a scenario that did not simply agree; see the module for the parts."""

    signature: str
    scenario: Scenario
    answers: str
    console: str = ""
    shrunk: bool = False


@dataclass(frozen=True)
class KeptResult:
    """One scenario of a campaign, judged. `seen`: the outcomes that the kernel showed, and how often."""

    number: int
    verdict: str
    runs: int
    states: int
    seen: dict[Outcome, int]
    finding: CampaignFinding | None = None


@dataclass(frozen=True)
class Totals:
    """One campaign in numbers: scenarios by verdict, and how many runs they were."""

    campaign: Campaign
    verdicts: dict[str, int]
    runs: int

    @property
    def scenarios(self) -> int:
        return sum(self.verdicts.values())


class CampaignStore:
    """The file. A context manager. Raises ScenarioError when it is no file of this kind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            new = version == 0 and not self._db.execute("SELECT 1 FROM sqlite_master").fetchone()
            if not new and version != VERSION:
                raise ScenarioError("holds no campaigns of this version", "give another file with --db", (str(path), 0))
            self._db.execute("PRAGMA journal_mode = WAL")  # only now: it changes the file
            if new:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise ScenarioError(f"cannot be used: {error}", "give another file with --db", (str(path), 0)) from error

    def campaign(self, kernel: str, release: str, kind: DrawnKind, seed: int) -> Campaign:
        """The campaign for these scenarios on this kernel, which may have run in part."""
        key = (kernel, release, kind, seed, fingerprint(kind))
        self._db.execute("INSERT OR IGNORE INTO campaign (kernel, release, kind, seed, generator) VALUES (?, ?, ?, ?, ?)", key)
        query = "SELECT id FROM campaign WHERE kernel = ? AND release = ? AND kind = ? AND seed = ? AND generator = ?"
        return Campaign(self._db.execute(query, key).fetchone()[0], kernel, release, kind, seed)

    def to_do(self, campaign: Campaign, count: int) -> list[int]:
        """Which of the first `count` scenarios are to be run: first those that did not agree, then those never run."""
        known = dict(self._db.execute("SELECT number, verdict FROM result WHERE campaign = ?", (campaign.id,)))
        again = [n for n, verdict in sorted(known.items()) if verdict != AGREES and n < count]
        return again + [n for n in range(count) if n not in known]

    def add(self, campaign: Campaign, results: Iterable[KeptResult]) -> None:
        """Keep results, in one transaction; those of the same scenarios from before are forgotten."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for one in results:
                key = (campaign.id, one.number)
                self._db.execute(
                    "INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?, ?, ?)",
                    (*key, one.verdict, one.runs, one.states, _counts(one.seen)),
                )
                self._db.execute("DELETE FROM finding WHERE campaign = ? AND number = ?", key)
                if one.finding is not None:
                    found = one.finding
                    row = (*key, found.signature, found.scenario.to_json(), int(found.shrunk), found.answers, found.console)
                    self._db.execute("INSERT INTO finding VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # not, where the disk is full
                self._db.execute("ROLLBACK")
            raise

    def totals(self) -> list[Totals]:
        """Every campaign that ran, of the present generator, in numbers."""
        rows = self._db.execute(
            "SELECT id, kernel, release, kind, seed, generator FROM campaign ORDER BY kernel, release, kind DESC, seed"
        ).fetchall()
        found = []
        for id_, kernel, release, kind, seed, generator in rows:
            if kind in KINDS and generator == fingerprint(kind):
                query = "SELECT verdict, count(*), sum(runs) FROM result WHERE campaign = ? GROUP BY verdict"
                counted = self._db.execute(query, (id_,)).fetchall()
                if counted:
                    verdicts = {verdict: n for verdict, n, _ in counted}
                    found.append(Totals(Campaign(id_, kernel, release, kind, seed), verdicts, sum(r for _, _, r in counted)))
        return found

    def results(self, campaign: Campaign, verdicts: Iterable[str] | None = None) -> list[KeptResult]:
        """A campaign's results, with what was found; all, or those with one of some verdicts."""
        wanted = None if verdicts is None else set(verdicts)
        rows = self._db.execute(
            "SELECT result.number, verdict, runs, states, seen, signature, scenario, shrunk, answers, console FROM result "
            "LEFT JOIN finding ON finding.campaign = result.campaign AND finding.number = result.number "
            "WHERE result.campaign = ? ORDER BY result.number",
            (campaign.id,),
        )
        found = []
        for number, verdict, runs, states, seen, signature, scenario, shrunk, answers, console in rows:
            if wanted is None or verdict in wanted:
                finding = None
                if scenario is not None:
                    finding = CampaignFinding(signature, Scenario.from_json(scenario), answers, console, bool(shrunk))
                found.append(KeptResult(number, verdict, runs, states, _outcomes(seen), finding))
        return found

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> CampaignStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close the file. Raises `ScenarioError` for what the database did not do, such as on a full disk."""
        try:
            self.close()
        except sqlite3.Error as failed:
            error = error or failed
        if isinstance(error, sqlite3.Error | UnicodeDecodeError | json.JSONDecodeError):  # it also says so of what is garbled
            remedy = "make room, or give another file with --db; the same command goes on from what is in it"
            raise ScenarioError(f"cannot be used: {error}", remedy, (str(self.path), 0)) from error


def _counts(seen: dict[Outcome, int]) -> str:
    return json.dumps([[dict(outcome), count] for outcome, count in seen.items()], separators=(",", ":"))


def _outcomes(text: str) -> dict[Outcome, int]:
    return {tuple(sorted(outcome.items())): count for outcome, count in json.loads(text)}
