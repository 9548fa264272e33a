"""`secondsight list`, `explain` and `new`; scenarios that ship run by name."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_world import MY_GPU, narrow

from secondsight.cases import TABLES
from secondsight.cli import main
from secondsight.contract import EVERY_ADVERSARY, RULES
from secondsight.lang import LangError, errors
from secondsight.report.catalog import KINDS, things
from secondsight.scenario import OPS
from secondsight.scenario.shipped import shipped


@pytest.fixture(autouse=True)
def _tables() -> Iterator[None]:
    """The tables that a test loads are not there for others."""
    before = dict(TABLES)
    yield
    TABLES.clear()
    TABLES.update(before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_fits_into_a_mail_and_has_a_sentence_for_each(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0
    assert narrow(capsys.readouterr().out)
    assert all(thing.summary for thing in things(kind))
    assert main(["list", kind, "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)["entries"]
    assert [entry["name"] for entry in entries] == [thing.name for thing in things(kind)]


def test_lists_are_whole() -> None:
    names = {kind: {thing.name for thing in things(kind)} for kind in KINDS}
    assert names["adversaries"] == set(EVERY_ADVERSARY)
    assert names["rules"] >= set(RULES)
    assert names["operations"] == set(OPS)
    assert names["tables"] == set(TABLES)
    assert "mmu_interval_read_begin" in names["functions"]
    assert {"MmuNotifier", "Range", "Device"} <= names["records"] and "zero page" in names["terms"]
    assert "two_devices" in names["scenarios"] and "two_mirrors" in names["scenarios"]


@pytest.mark.parametrize("thing", [t for kind in KINDS if kind not in ("functions", "records", "terms") for t in things(kind)], ids=lambda t: f"{t.kind}:{t.name}")
def test_everything_is_explained(thing: object) -> None:
    assert len(list(thing.tell())) > 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "means"),
    [
        (["list", "tab"], ["list", "tables"]),
        (["explain", "2023-06"], ["explain", "2023-06-pins"]),
        (["settle", "2023-06", "--trace", "address:sub"], ["settle", "2023-06-pins", "--trace", "address:sub-pages"]),
    ],
    ids=" ".join,
)
def test_the_beginning_of_a_name_will_do(arguments: list[str], means: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for given in (arguments, means):
        code = main(given)
        told.append((code, re.sub(r"\d\.\d+ s", "", capsys.readouterr().out)))
    assert told[0] == told[1] and told[0][1]


@pytest.mark.parametrize(
    ("arguments", "could_be"),
    [
        (["list", "r"], "rules or records"),
        (["explain", "2023"], "2023-06-pins, 2023-07-udmabuf"),
        (["settle", "2023"], "2023-06-pins or 2023-07-udmabuf"),
        (["settle", "--trace", "f:h"], "  folios:hole\n  fences:hasty unmap"),
        (["settle", "2026-rev", "--trace", "fences:no"], "there is no cell fences:no"),
        (["settle", ""], "there is no table"),
    ],
    ids=" ".join,
)
def test_what_could_be_several_is_refused_with_their_names(arguments: list[str], could_be: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert could_be in capsys.readouterr().err


def test_every_function_and_record_is_explained() -> None:
    assert all("Source: " in list(thing.tell())[-1] for kind in ("functions", "records") for thing in things(kind))


def test_a_record_comes_with_its_callbacks_as_a_driver_has_to_write_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "MmuNotifier"]) == 0
    out = capsys.readouterr().out
    assert "invalidate_range_start(self, mm: Mm, rng: Range) -> Errno" in out and "from secondsight.linux.mm_types import MmuNotifier" in out


def test_a_rule_comes_with_a_driver_that_breaks_it(capsys: pytest.CaptureFixture[str]) -> None:
    for rule in RULES:
        assert main(["explain", rule]) == 0
        out = capsys.readouterr().out
        assert "class " in out or rule == "progress", rule
        assert narrow("\n".join(line for line in out.splitlines() if not line.startswith("    ")))


def test_every_name_that_a_message_can_have_is_explained() -> None:
    """Read from the sources by their text alone, so that a new name is asked for here before anybody has listed it."""
    package = Path(inspect.getfile(LangError)).parents[1]
    texts = [file.read_text() for folder in ("lang", "linux", "devices", "world", "contract", "cases", "search") for file in (package / folder).rglob("*.py")]
    named = {name for text in texts for name in re.findall(r"""(?:(?:RuleBroken|Violation|self\.rule|__init__)\(|require\((?:[^"\n]|"(?!,))*?, |^    rule = )"([a-z]+(?:-[a-z]+)*)"(?:, f?["a-z]|$)""", text, re.M)}
    classes = {name for name in errors.__all__ if isinstance(kind := getattr(errors, name), type) and issubclass(kind, LangError)}
    assert {"lock-not-held", "use-after-free", "lock-order", "bad-index"} <= named and len(classes) > 8
    known = {name for kind in KINDS for thing in things(kind) for name in thing.names}
    assert named | classes | {"assertion", "kept result"} <= known


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("use-after-free", "linux/page_writeback.py:"),
        ("pins", "unpins a page that is not pinned"),
        ("BadIndex", "bad-index"),
        ("out-of-records", "OutOfRecords (error)"),
        ("two engines", "thread engine2:"),
        ("munmap: reads", "secondsight explain munmap"),
        ("munmap:reads", "secondsight explain munmap"),
        ("kept", "--again"),
        ("mmap_lock", "mmap lock (term)"),
    ],
)
def test_what_a_message_names_is_explained(name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", name]) == 0
    assert says in capsys.readouterr().out
    assert main(["explain", name, "--json"]) == 0
    assert [one for one in json.loads(capsys.readouterr().out)["entries"] if one["paragraphs"]]


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["check", "my_odp.py", "--adversary", "munmp"], "no adversary is called 'munmp'; is it munmap"),
        (["check", "my_odp.py", "--rule", "as-if-cp"], "no rule is called 'as-if-cp'; is it as-if-cpu?"),
        (["check", "my_odp.py", "--bound", "frmes=4"], "there is no bound frmes; is it frames"),
        (["check", "my_odp.py", "--bound", "qqqq=4"], "there is no bound qqqq; secondsight list bounds shows the "),
        (["check", "my_odp"], "my_odp: no such file, but my_odp.py is there; give"),
        (["explain", "lock-hold"], "nothing here is called lock-hold; is it lock-"),
    ],
    ids=lambda words: words[-1] if isinstance(words, list) else "",
)
def test_a_misspelt_name_is_told_its_neighbours(arguments: list[str], wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_odp.py").write_text(MY_GPU)
    assert main(arguments) == 2
    assert wrong in capsys.readouterr().err


def test_what_is_not_there_is_answered_with_what_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "as-if-cpus"]) == 2
    assert "as-if-cpu" in capsys.readouterr().err
    assert main(["explain", "qqqq"]) == 2
    assert "secondsight list" in capsys.readouterr().err
    assert main(["list", "drivers"]) == 2
    assert "adversaries" in capsys.readouterr().err
    assert main(["run", "two_devicess"]) == 2
    assert "two_devices" in capsys.readouterr().err


def test_a_scenario_that_ships_runs_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    file = next(path for path, scenarios in shipped().items() if path.stem == "two_devices")
    assert main(["run", "one_thread_two_devices", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["file"] == str(file)
    assert [scenario["name"] for scenario in data["scenarios"]] == ["one_thread_two_devices"]


@pytest.mark.parametrize(
    ("kind", "run"),
    [
        ("driver", ["check", "--adversary", "open"]),
        ("rule", ["check", "--rule", "my-own-rule", "--adversary", "open"]),
        ("scenario", ["run"]),
        ("table", ["settle"]),
    ],
)
def test_a_new_file_runs_as_it_is(
    kind: str, run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"my_own_{kind}"
    assert main(["new", kind, name]) == 0
    assert f"{name}.py is written" in capsys.readouterr().out
    assert main([run[0], f"{name}.py", *run[1:]]) == 0
    text = (tmp_path / f"{name}.py").read_text()
    assert not any(left in text for left in ("FILE_NAME", "ClassName", "function_name", "RULE-NAME"))
    assert main(["new", kind, name]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_trace_of_a_table_of_ones_own_is_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["new", "table", "mine"])
    capsys.readouterr()
    assert main(["settle", "mine.py", "--trace", "without the test:munmap", "--json"]) == 1
    (tmp_path / "trace.json").write_text(capsys.readouterr().out)
    assert main(["replay", "trace.json", "--json"]) == 0
    trace = json.loads(capsys.readouterr().out)
    assert trace["kind"] == "trace" and trace["rule"] == "as-if-cpu"
    (tmp_path / "alone.json").write_text(json.dumps(trace))
    assert main(["replay", "alone.json"]) == 0
    assert "as-if-cpu" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["new", "gpu", "x"], "driver, rule"),
        (["new", "driver", "1x"], "cannot be the name"),
        (["new", "driver", "class"], "cannot be the name"),
        (["settle", "none.py"], "no such file"),
        (["settle", "2023-06", "--html", "pins.html"], "give a folder's name, such as pins"),
        (["new", "driver", "none/x"], "none/x.py: No such file"),
        (["new", "drive", "none/x"], "none/x.py: No such file"),
    ],
)
def test_bad_names_are_refused(arguments: list[str], wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert wrong in capsys.readouterr().err
