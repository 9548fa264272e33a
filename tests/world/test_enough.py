"""A bound that runs out is raised and the search begins again, saying so; what is given by hand stays."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from secondsight.cases import TABLES, search_cell
from secondsight.cli import main
from secondsight.contract import ADVERSARIES, check_scenario, rules_for
from secondsight.devices.mirror import Mirror
from secondsight.lang import Bound, LangError, OutOfRecords
from secondsight.lang.code import Code, _shared
from secondsight.lang.program import Program
from secondsight.linux import BOUNDS, bounds, by_hand
from secondsight.scenario import Recorder, Scenario, show_outcome
from secondsight.search import Result, Verdict
from secondsight.world import encoder
from secondsight.world.enough import with_enough
from secondsight.world.model import outcomes, program

FILE = "from secondsight import scenario\n\n@scenario\ndef one(s):\n    a = s.mmap(pages=3)\n\n    @s.thread\n    def t():\n        s.write(a, 'A')\n"


def three_pages() -> Scenario:
    s = Recorder()
    a = s.mmap(pages=3)

    @s.thread
    def writes() -> None:
        s.write(a, "A", into="written")

    return s.scenario("three_pages", "")


def test_what_ran_out_is_raised_and_the_result_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = encoder.Encoder.bounds, []

    def few(self: encoder.Encoder, driver: object, wanted: dict[str, int]) -> dict[str, int]:
        asked.append(dict(wanted))
        return real(self, driver, {"frames": 2} | wanted)  # type: ignore[arg-type]

    monkeypatch.setattr(encoder.Encoder, "bounds", few)
    result, possible = outcomes(three_pages())
    assert asked == [{}, {"frames": 4}]
    assert (result.verdict, {show_outcome(o) for o in possible}) == (Verdict.HOLDS, {"written=ok"})
    assert result.note.startswith("frames ran out, and was raised to 4")
    by_the_user, _ = outcomes(three_pages(), bounds={"frames": 3})
    assert isinstance(by_the_user.error, OutOfRecords) and not by_the_user.note


def test_a_program_that_does_not_heed_it_ends_with_what_ran_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = encoder.bounds
    monkeypatch.setattr(encoder, "bounds", lambda **wanted: real(**(wanted | {"frames": 2})))
    result, _ = outcomes(three_pages())
    assert isinstance(result.error, OutOfRecords)


def test_a_trace_is_of_the_machine_that_had_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    real = encoder.Encoder.bounds
    monkeypatch.setattr(encoder.Encoder, "bounds", lambda self, driver, wanted: real(self, driver, {"frames": 2} | wanted))
    scenario = ADVERSARIES["munmap"].scenarios[0]
    found = check_scenario(Mirror, "munmap", scenario, rules_for(Mirror))
    assert (found.result.verdict, found.bounds) == (Verdict.HOLDS, {"frames": 4})  # the setup needs three
    assert found.rebuild().machine.bound("frames") == 4
    with pytest.raises(OutOfRecords):
        check_scenario(Mirror, "munmap", scenario, rules_for(Mirror), bounds={"frames": 2})


def test_what_verdicts_rest_on_is_seen_in_the_programs_that_were_searched(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One scenario's bound was raised: the others are not built once more for that, and what was seen is kept."""
    rests = importlib.import_module("secondsight.contract.rests")
    real, watch, watched = encoder.Encoder.bounds, rests.watch, []
    first = ADVERSARIES["munmap"].scenarios[0].name

    def few(self: encoder.Encoder, driver: object, wanted: dict[str, int]) -> dict[str, int]:
        return real(self, driver, ({"frames": 2} if self.scenario.name == first else {}) | wanted)  # type: ignore[arg-type]

    def build(*given: object) -> None:
        raise AssertionError(given)

    def see(*given: object) -> object:
        watched.append(1)
        return watch(*given)

    monkeypatch.setattr(encoder.Encoder, "bounds", few)
    monkeypatch.setattr(rests, "driver_program", build)
    monkeypatch.setattr(rests, "watch", see)
    (tmp_path / "mine.py").write_text("from secondsight.devices.mirror import Mirror\n\nclass Mine(Mirror):\n    pass\n")
    for _ in range(2):
        assert main(["check", str(tmp_path / "mine.py"), "--adversary", "munmap"]) == 0
        assert "frames ran out, and was raised to 4" in capsys.readouterr().out
    assert watched == [1]


def test_a_search_with_a_raised_bound_reckons_with_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    real, codes = encoder.Encoder.bounds, list[Code]()
    monkeypatch.setattr(encoder.Encoder, "bounds", lambda self, driver, wanted: real(self, driver, {"frames": 2} | wanted))

    def build(enough: dict[str, int]) -> Program:
        made = program(scenario, wanted=enough)
        codes.append(made.code)
        return made

    def search(made: Program) -> Result:
        if len(codes) == 1:
            made.code.searched, made.code.searches = 5_000, 2
            return Result(Verdict.NOT_FINISHED, 1, 0, 0, 0.0, reason="error", error=OutOfRecords("frames", 2))
        return Result(Verdict.HOLDS, 1, 0, 0, 0.0)

    scenario = three_pages()
    _shared.clear()  # what other tests have searched
    assert with_enough(build, search, {}).raised == {"frames": 4}
    assert [(code.searched, code.searches) for code in codes] == [(5_000, 2)] * 2


def test_a_bound_has_one_declaration() -> None:
    assert BOUNDS["frames"] == Bound("frames", 4, 16, 8)
    assert bounds()["pages"] == 2
    with pytest.raises(LangError, match="frames=17: the machine can have 1 to 16"):
        bounds(frames=17)


def test_by_hand_comes_before_what_is_wanted() -> None:
    with by_hand(frames=9):
        assert bounds(frames=5)["frames"] == 9
    assert bounds(frames=5)["frames"] == 5
    with pytest.raises(LangError, match="no bound framse"), by_hand(framse=9):
        pass


def test_run_and_settle_take_bounds_as_check_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "one.py"
    path.write_text(FILE)
    assert main(["run", str(path), "--bound", "frames=3"]) == 2
    assert "frames (3) all in use" in " ".join(capsys.readouterr().out.split())
    assert main(["run", str(path), "--bound", "frames=4"]) == 0
    capsys.readouterr()
    table = next(iter(TABLES.values()))
    cell = next(iter(table.cells()))
    assert main(["settle", table.name, "--trace", ":".join(cell), "--bound", "frames=12", "--json"]) in (0, 1)
    assert json.loads(capsys.readouterr().out)["kind"] == "settle"
    assert search_cell(table, *cell, bounds={"frames": 12}).bounds == {"frames": 12}
    assert main(["settle", table.name, "--bound", "framse=12"]) == 2
