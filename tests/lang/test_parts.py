"""The parts that a C text is compiled in: an edit of a driver leaves those of the model as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from secondsight.contract import EVERY_ADVERSARY, load_drivers
from secondsight.contract.check import driver_program
from secondsight.lang.movers import Reductions
from secondsight.lang.parts import parts_of, without_comments
from secondsight.lang.program import Program
from secondsight.lang.render import render
from secondsight.lang.render_c import render_c

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_gpu.py"

TEXT = """\
/* of all */
MODEL int one(int a);
MODEL int two(int a);
static SS_WHERE const u8 FRESH0[] = { 0, 1 };
DATA const i64 *T0_row;
DATA i64 T0_row_size;
enum { SIZE = 3 };
static int shared(void) { return SIZE; }
#if PART(2)
/* a.py:3 one */
MODEL int one(int a)
{
#if 1
	return two(a) + FRESH0[a];
#endif
}
#endif
#if PART(1)
MODEL int two(int a) { return T0_row_size; }
#endif
"""


def test_a_part_has_the_declarations_that_it_names() -> None:
    """And no others, so that it stays as it is when another part calls something new."""
    parts = parts_of(TEXT)
    assert list(parts) == [2, 1]
    assert "int one(int a)\n{\n#if 1" in parts[2]
    assert "int two(int a);" in parts[2]
    assert "FRESH0[] =" in parts[2]
    assert "FRESH0" not in parts[1]
    assert "DATA i64 T0_row_size;" in parts[1]
    assert "T0_row" not in parts[2]
    assert "MODEL int one" not in parts[1]
    assert all("SIZE = 3" in part and "/*" not in part for part in parts.values())


def test_a_text_without_parts_has_none() -> None:
    """It is compiled as it is, but for comments."""
    assert parts_of("int x;\n") == {}
    assert without_comments("/* a */\nint x; /* b */\n/* c */ int y; /* d */\n") == "int x; /* b */\n/* c */ int y; /* d */\n"


def _edited(tmp_path: Path) -> list[Program]:
    """The example as it is, with a line above it, and with steps, calls and demands that it has more of."""
    text = EXAMPLE.read_text()
    edited = text.replace("                if write:\n", "                if write and pfn >= 0:\n                    self.page_table.map(va, pfn, True)\n")
    more = "            assert pfn != 77\n            if mn.mmu_interval_check_retry(self.notifier, seq):\n                continue\n            if pfn < 0:\n"
    edited = edited.replace("            if pfn < 0:\n", more)
    assert edited.count("77") == 1
    programs = []
    for name, content in (("first", text), ("moved", "# one line more\n" + text), ("edited", edited)):
        path = tmp_path / f"{name}.py"
        path.write_text(content)
        programs.append(driver_program(load_drivers(path)[0], EVERY_ADVERSARY["zero-page"].scenarios[0]))
    return programs


def test_an_edit_changes_no_part_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In C: the driver is in the first part; a line above it is in none. In Python: the model's piece is kept, and made again if it is garbled."""
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path / "cache"))
    programs = _edited(tmp_path)
    for reductions in (Reductions.none(), Reductions()):
        first, moved, changed = (parts_of(render_c(program, reductions).text) for program in programs)
        assert first == moved
        assert first[1] != changed[1]
        assert (first[2], first[3]) == (changed[2], changed[3])
        assert min(map(len, (first[2], first[3]))) > 20_000
    kept, pieces = render(programs[0]).compiled, list((tmp_path / "cache").rglob("*.piece"))
    later = render(programs[2]).compiled
    assert kept[0] == later[0]
    assert kept[1] != later[1]
    assert list((tmp_path / "cache").rglob("*.piece")) == pieces
    assert len(pieces) == 1
    whole = pieces[0].read_bytes()
    pieces[0].write_bytes(whole[:-9])
    assert render(programs[2]).compiled[0] == kept[0]
    assert pieces[0].read_bytes() == whole
