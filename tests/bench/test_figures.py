"""Measuring, reading others' output, the table and its verdicts. No times are asserted: machines differ."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import pytest
from bench.checkers import CHECKERS, Checker, Figures, read_rumur, read_spin
from bench.run import Pace, _sizes, _who, measure
from bench.sizes import EVERY, SIZES, TINY, Size
from bench.table import HEADS, Measured, disagreements, parse, rendered, table
from bench.targets import judged
from bench.tools import Failed, Ran, called, ensure, run

from bench import drivers
from secondsight.search import Verdict

README = Path(__file__).parent.parent.parent / "bench" / "README.md"
BY_KEY = {(c.label, c.reduction, c.threads): c for c in CHECKERS}


def measured(
    label: str, reduction: str, threads: int, seconds: float, states: int = 45_315_809, transitions: int = 115_574_028
) -> Measured:
    run = Figures(states, transitions, seconds, states * 20, seconds / 2)
    return Measured(BY_KEY[label, reduction, threads], SIZES["F"], 0.5, (run,), 60.0)


ROWS = [
    measured("native", "none", 1, 6.0),
    measured("native", "none", 2, 3.0),
    measured("Spin depth first", "none", 1, 36.0),
    measured("Spin depth first", "none", 2, 30.0),
    measured("Spin breadth first", "none", 2, 27.0),
    Measured(BY_KEY["Rumur", "none", 1], SIZES["F"], 1.0, (), 900.0),
]


def test_the_table_can_be_read_back() -> None:
    text = f"before\n\n{table(HEADS, rendered(ROWS))}\n\nafter | the table\n"
    assert parse(text) == rendered(ROWS)


def test_ratios_are_to_one_thread_without_reduction() -> None:
    rows = parse(table(HEADS, rendered(ROWS)))
    assert [r["x Spin"] for r in rows] == ["6", "12", "1", "1.2", "1.33", ""]
    assert rows[0]["bytes/state"] == "20"
    assert rows[-1]["seconds"] == "> 900"
    assert rows[-1]["states"] == ""


def test_a_text_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no table"):
        parse("| size | something else |\n| --- | --- |\n")


def test_targets_take_spins_better_mode_and_say_what_was_too_short() -> None:
    found = {t.what: t for t in judged(ROWS, {}, {"E": 0.4})}
    assert found["states a second, Spin -DNOREDUCE, one thread"].found == "6"
    assert found["states a second, Spin -DNOREDUCE, one thread"].by_cpu == 6
    assert found["states a second, Spin's better 2-core mode, two threads"].found == "9"
    assert found["states a second, Spin's better 2-core mode, two threads"].short
    assert found["two threads against one"].reached
    assert found["bytes a state, all in"].reached
    assert found["mutant: command to printed trace, compiler included"].cells()["reached"] == "yes"


def test_a_wrong_count_is_a_failure() -> None:
    assert not disagreements(ROWS)
    (said,) = disagreements([measured("native", "none", 1, 6.0, states=45_315_808)])
    assert "45,315,808 states" in said
    assert disagreements([measured("Spin depth first", "partial order", 1, 6.0, states=45_315_810)])
    assert not disagreements([measured("Spin depth first", "partial order", 1, 6.0, states=40_000_000, transitions=90_000_000)])


def test_hash_compaction_may_miss_states_and_the_table_says_so() -> None:
    lossy = [measured("Spin breadth first", "none", 2, 6.0, states=45_315_800, transitions=115_574_000)]
    assert not disagreements(lossy)
    assert "(misses some)" in rendered(lossy)[0]["states"]
    assert disagreements([measured("Spin breadth first", "none", 2, 6.0, states=45_315_810)])


def test_the_published_table_has_the_right_counts() -> None:
    rows = [r for r in parse(README.read_text()) if r["reduction"] == "none" and r["states"]]
    assert {r["checker"] for r in rows} >= {"native", "Spin depth first", "Rumur"}
    for row in rows:
        size = SIZES[row["size"]]
        assert row["states"] == f"{size.states:,}"
        assert row["transitions"] in (f"{size.transitions:,}", f"{size.transitions:.8g}")  # Spin prints eight digits of many


SPIN = """
State-vector 40 byte, depth reached 88, errors: 0
   328225 states, stored
   433700 states, matched
   761925 transitions (= stored+matched)
   51.500	total actual memory usage
"""

RUMUR = """
  320000 states explored in 2s, with 745478 rules fired and 1064 states in the queue.
 No error found.
 328225 states, 761924 rules fired in 2s.
"""


def test_what_spin_prints_is_read() -> None:
    assert read_spin(Ran(SPIN, 1.5, 1.25, 10)) == Figures(328_225, 761_924, 1.5, 51 * 2**20 + 2**19, 1.25)
    assert read_spin(Ran(SPIN, 1.5, 1.25, 10), alone=False).cpu is None


@pytest.mark.parametrize("text", [SPIN.replace("errors: 0", "errors: 1"), SPIN + "error: max search depth too small", "nothing"])
def test_an_unfinished_search_of_spins_is_no_figure(text: str) -> None:
    with pytest.raises(Failed):
        read_spin(Ran(text, 1, 1, 1))


def test_spin_prints_eight_digits() -> None:
    text = SPIN.replace("433700 states, matched", "1.1014430e+08 states, matched").replace("328225", "55770177")
    found = read_spin(Ran(text, 1.0, 1.0, 10))
    assert (found.states, found.transitions, found.rounding) == (55_770_177, 165_914_476, 10)
    assert not disagreements([Measured(BY_KEY["Spin depth first", "none", 1], SIZES["E"], 0.5, (found,), 60.0)])


def test_what_rumur_prints_is_read() -> None:
    assert read_rumur(Ran(RUMUR, 2.0, 1.9, 1000)) == Figures(328_225, 761_924, 2.0, 1000, 1.9)
    with pytest.raises(Failed, match="did not finish"):
        read_rumur(Ran(RUMUR.replace("No error", "1 error(s)"), 2.0, 1.9, 1000))


@dataclass(frozen=True)
class Fake(Checker):
    """Notes its turns in the folder."""

    takes: float = 0.0

    def build(self, size: Size, folder: Path) -> float:
        return 0.0

    def search(self, size: Size, folder: Path, limit: float) -> Figures | None:
        with (folder / "turns").open("a") as turns:
            turns.write(self.name)
        if self.name == "c":
            raise Failed("broken")
        if self.name == "interrupted":
            raise KeyboardInterrupt
        return Figures(1, 1, self.takes, 1) if self.takes < limit else None


def test_runs_are_interleaved_and_the_slow_have_one_turn(tmp_path: Path) -> None:
    fakes = [Fake(n, "", "none", 1, 1, takes=t) for n, t in (("a", 0.1), ("b", 5.0), ("c", 0.1), ("d", 99.0), ("e", 0.2))]
    rows, all_done = measure([(TINY, fakes)], tmp_path, Pace(rounds=3, patience=1, limit=60))
    assert all_done
    assert (tmp_path / "turns").read_text() == "abcde" + "ae" * 2
    assert [len(r.runs) for r in rows] == [3, 1, 0, 0, 3]
    assert [r["seconds"] for r in rendered(rows)] == ["0.1", "5", "failed", "> 60", "0.2"]


def test_an_interrupted_bench_reports_what_it_has(tmp_path: Path) -> None:
    first, second = Fake("a", "", "none", 1, 1, takes=0.1), Fake("interrupted", "", "none", 1, 1)
    rows, all_done = measure([(TINY, [first, second]), (SIZES["A"], [first])], tmp_path, Pace(1, 1, 60))
    assert not all_done
    assert [(r.checker, r.size) for r in rows] == [(first, TINY)]


def test_a_checker_that_cannot_search_is_none() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Checker("a", "", "none", 1, 1)  # type: ignore[abstract]


def test_a_size_is_asked_for_those_alone_who_are_asked() -> None:
    """One page is asked where somebody takes part who can be asked nothing else."""
    def asked(checker: list[str] | None, missing: list[str]) -> dict[str, set[str]]:
        given = Namespace(full=False, size=None, checker=checker)
        return {n: {c.name for c in _who(given, EVERY[n], missing)} for n in _sizes(given, missing)}

    assert list(asked(None, [])) == ["S", "A", "B"]
    assert "S" not in asked(None, ["genmc", "nidhuggc"])
    assert asked(["native"], []) == {"A": {"native"}, "B": {"native"}}
    assert asked(["genmc", "rumur"], [])["S"] == {"GenMC", "Rumur"}


def test_a_command_in_a_variable_is_found_from_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "tlc").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECONDSIGHT_TLC", "tools/tlc -c 'print(6 * 7)'")
    command = called("tlc")
    assert command == [str(tmp_path / "tools" / "tlc"), "-c", "print(6 * 7)"]
    assert run(command, tmp_path / "tools").output == "42\n"


def test_a_command_with_an_odd_quote_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDSIGHT_TLC", "java 'tlc2.TLC")
    with pytest.raises(SystemExit, match=r"SECONDSIGHT_TLC is no command \(No closing quotation\): java 'tlc2.TLC\nquote it"):
        called("tlc")


def test_a_late_program_is_stopped_with_its_children(tmp_path: Path) -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    assert run([sys.executable, "-c", script], tmp_path, limit=0.3).late


def test_a_failing_program_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="no such luck"):
        run([sys.executable, "-c", "import sys; sys.exit('no such luck')"], tmp_path)


def test_a_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("bench.tools.os.geteuid", lambda: 1000)
    monkeypatch.setattr("bench.tools.shutil.which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    assert ensure({"spin": "spin", "rumur": "rumur"}) == ["spin", "rumur"]
    assert "apt-get install -y --no-install-recommends spin rumur, as root" in capsys.readouterr().out


def test_a_driver_program_is_measured() -> None:
    row = drivers.measure("munmap: 1 engine", 1)
    found = (row.plain, row.livelock, row.merged, row.every)
    assert {result.verdict for result, _ in found} == {Verdict.HOLDS}
    assert row.livelock[0].states == row.plain[0].states > row.merged[0].states >= row.every[0].states
    assert list(row.cells()) == list(drivers.HEADS)
    assert drivers.engines(3).size > drivers.engines(1).size
