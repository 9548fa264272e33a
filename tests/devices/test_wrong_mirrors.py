"""Each wrong form of the reference mirror is written out, as it is read beside the C; what it shares with the right one stays the same."""

from __future__ import annotations

import ast
import difflib
import inspect
import textwrap

import pytest

from secondsight.devices import mirror

DIFFERENCES = {
    ("MirrorWithoutTest", "fault"): {
        "- seq = mn.mmu_interval_read_begin(self.notifier)", "+ mn.mmu_interval_read_begin(self.notifier)",
        "- if mn.mmu_interval_read_retry(self.notifier, seq):", "- continue",
    },
    ("MirrorTestsBeforeLock", "fault"): {
        "- if mn.mmu_interval_read_retry(self.notifier, seq):", "- continue", "+ if mn.mmu_interval_read_retry(self.notifier, seq):", "+ continue",
    },
    ("MirrorDereferencesLater", "fault"): {
        "- if mn.mmu_interval_read_retry(self.notifier, seq):", "- continue", "+ retry = mn.mmu_interval_read_retry(self.notifier, seq)",
        "+ if not retry:", "+ if retry:", "+ continue", "+ with atomic:", "+ frame_touch(frames[pfn], False)",
    },
    ("MirrorNeverMarksDirty", "fault"): {"- if write:", "- set_page_dirty(pfn)"},
    ("MirrorCallbackWithoutLock", "invalidate"): {
        "- if rng.blockable:", "- self.lock.lock()", "- else:", "- locked = self.lock.trylock()", "- if not locked:", "- return False", "- self.lock.unlock()",
    },
}  # fmt: skip


def lines_of(kind: type, method: str) -> list[str]:
    """The statements of a method, one a line, without its docstring and its indentation."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind.__dict__[method])))
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    function.body = function.body[1:]
    return [line.strip() for line in ast.unparse(function).splitlines()]


def test_every_wrong_form_is_asked() -> None:
    wrong = {name for name, kind in vars(mirror).items() if inspect.isclass(kind) and issubclass(kind, mirror.Mirror) and kind is not mirror.Mirror}
    assert wrong == {name for name, _ in DIFFERENCES}


@pytest.mark.parametrize(("name", "method"), DIFFERENCES)
def test_a_wrong_form_differs_in_what_it_is_about_alone(name: str, method: str) -> None:
    kind = getattr(mirror, name)
    assert [own for own in vars(kind) if inspect.isfunction(vars(kind)[own])] == [method]
    compared = difflib.ndiff(lines_of(mirror.Mirror, method), lines_of(kind, method))
    assert {line.replace("  ", " ") for line in compared if line[0] in "+-"} == DIFFERENCES[name, method]
