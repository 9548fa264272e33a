"""Mutants by rule: which changes are made; and some of each kind are noticed, of the C and of the model."""

from __future__ import annotations

from pathlib import Path

import pytest
from conform_world import source_of

import secondsight
from secondsight.conform.fates import fates
from secondsight.conform.mutants import Mutant, mutants_of_c, mutants_of_model, sample
from secondsight.conform.targets.mmu_notifier import MmuNotifierFile
from secondsight.conform.targets.percpu_refcount import PercpuRefcountFile

TEXT = """\
static int other(int x)
{
	return x;
}

int counted(struct thing *t, int most)
{
	int n = 0; /* if (this) were; code */

	t->lock = 1;
	t->left--;
	if (t->left == most)
		wake(t, "a; b");
	else {
		list_for_each_entry(one, &t->list, item)
			n++;
	}
	return n;
}
"""


def test_statements_are_dropped_and_swapped_tests_negated_numbers_moved() -> None:
    found = [(m.rule, m.was, m.now) for m in mutants_of_c(TEXT, ("counted",))]
    assert found == [
        ("drop", "t->lock = 1;", ";"),
        ("drop", "t->left--;", ";"),
        ("drop", "wake(t, );", ";"),
        ("drop", "n++;", ";"),
        ("swap", "t->lock = 1; t->left--;", "t->left--; t->lock = 1;"),
        ("negate", "t->left == most", "!(t->left == most)"),
        ("off by one", "0 in int n = 0;", "1"),
        ("off by one", "1 in t->lock = 1;", "2"),
        ("off by one", "-- in t->left--;", "++"),
        ("turn round", "== in if (t->left == most)", "!="),
        ("off by one", "++ in n++;", "--"),
    ]
    assert len({m.name for m in mutants_of_c(TEXT, ("counted",))}) == len(found)


def test_a_sample_is_spread_over_all_of_them() -> None:
    found = mutants_of_c(TEXT, ("counted",))
    assert [found.index(m) for m in sample(found, 4)] == [0, 2, 5, 8]
    assert sample(found, len(found)) == sample(found, 100) == found


def test_the_models_mutants_keep_the_form_of_the_rest() -> None:
    text = "def f(x: int) -> int:\n    if x > 1:  # why\n        y = 2\n    return x\n"
    found = {(m.rule, m.text) for m in mutants_of_model(text, ("f",), "f.py")}
    assert ("negate", text.replace("x > 1", "not (x > 1)")) in found
    assert ("drop", text.replace("y = 2", "pass")) in found
    assert ("off by one", text.replace("y = 2", "y = 3")) in found


def test_two_statements_that_are_the_same_in_either_order_are_not_swapped() -> None:
    text = """\
def f(a: R, b: R) -> None:
    a.one = 1
    b.two = 2
    with atomic:
        a.one = 1
        b.two = 2
        b.one = b.two
        g(a)
"""
    assert [(m.line, m.was) for m in mutants_of_model(text, ("f",), "f.py") if m.rule == "swap"] == [
        (2, "a.one = 1 b.two = 2"),
        (6, "b.two = 2 b.one = b.two"),
        (7, "b.one = b.two g(a)"),
    ]


@pytest.mark.wide
def test_some_of_each_kind_are_noticed_and_what_came_of_them_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = source_of("6.12"), MmuNotifierFile()
    of_c = mutants_of_c((source.tree / target.file).read_text(), target.functions)
    assert len(of_c) > 150
    chosen = [
        m
        for m in of_c
        if m.name in ("mn_itree_inv_end: negate 1", "mn_itree_inv_start_range: off by one 3", "mn_hlist_release: drop 5")
    ]
    assert [fate.fate for fate in fates(target, [source], chosen)] == ["noticed"] * 3
    model = Path(secondsight.__file__).parent / "linux" / target.model
    of_model = [m for m in mutants_of_model(model.read_text(), target.functions, target.model) if m.name == "mn_itree_inv_start_range: drop 1"]
    assert [fate.fate for fate in fates(target, [source], of_model, of_model=True)] == ["noticed"]


    def tried_again(*arguments: object) -> None:
        raise AssertionError("tried again")

    monkeypatch.setattr("secondsight.conform.fates._Trials._try", tried_again)
    assert [fate.fate for fate in fates(target, [source], of_model, of_model=True)] == ["noticed"]


def test_a_mutant_that_is_noticed_and_one_that_is_no_program_are_told_apart() -> None:
    source, target = source_of("6.12"), PercpuRefcountFile()
    text = (Path(secondsight.__file__).parent / "linux" / target.model).read_text()

    def fate(now: str) -> tuple[str, str]:
        was = "    ref.dying = True\n"
        assert was in text
        mutant = Mutant("percpu_ref_kill", 0, "test", was, now, text.replace(was, now), target.model)
        (came,) = fates(target, [source], [mutant], of_model=True)
        return came.fate, came.how

    assert fate("    ref.dying = ref.dying\n")[0] == "noticed"
    assert fate("    ref.dying = {}\n")[0] == "no program"
    assert fate("    ref.dying = neither\n")[0] == "no program"
