"""The checkers that are no packages: what is written for them, how their output is read; and themselves, where they are there."""

from __future__ import annotations

import ctypes
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.checkers import Figures
from bench.mirror import mirror
from bench.peers import PEERS, Peer, Stateless, Tlc, absent, read_genmc, read_ltsmin, read_nidhugg, read_tlc
from bench.pins import pins
from bench.run import Pace, measure
from bench.sizes import ONE_PAGE, SIZES, TINY, Size
from bench.table import HEADS as COLUMNS
from bench.table import Measured, disagreements, parse, rendered, table
from bench.threads import threads
from bench.tla import MODULE, tla
from bench.tools import Failed, Full, Ran, called, run

from secondsight.lang.reference import Reference
from secondsight.search import Verdict, breadth_first

S, M = ONE_PAGE["S"], ONE_PAGE["M"]


@pytest.mark.parametrize("size", ONE_PAGE.values(), ids=lambda s: s.name)
def test_the_sizes_of_one_page_have_the_counts_of_the_reference_executor(size: Size) -> None:
    result = breadth_first(Reference(mirror(*size.program)))
    assert (result.verdict, result.states, result.transitions) == (Verdict.HOLDS, size.states, size.transitions)


@pytest.mark.parametrize("size", [TINY, SIZES["A"], SIZES["E"]], ids=lambda s: s.name)
@pytest.mark.parametrize("retry_test", [True, False])
def test_each_step_in_tla_says_of_every_variable_what_becomes_of_it(size: Size, retry_test: bool) -> None:
    text = tla(size, retry_test)
    assert text == tla(size, retry_test)
    assert text.startswith(f"---- MODULE {MODULE} ----\n")
    assert text.endswith("\n====\n")
    variables = set(re.search(r"^VARIABLES (.*)$", text, re.MULTILINE)[1].split(", "))  # type: ignore[index]
    steps = re.findall(r"^  \\/ (.*)\n     /\\ UNCHANGED <<(.*)>>$", text, re.MULTILINE)
    assert len(steps) == 11 + 12
    for step, left in steps:
        changed, same = set(re.findall(r"\b(\w+)'", step)), set(left.split(", "))
        assert changed and not changed & same
        assert changed | same == variables
        assert step.count("(") == step.count(")")
        assert step.count("[") == step.count("]")


HEADER = """
#include <stddef.h>
typedef struct grey_box_model *model_t;
typedef struct { int *labels, group, por_proviso; } transition_info_t;
typedef void (*TransitionCB)(void *, transition_info_t *, int *, int *);
typedef void *lts_type_t;
typedef struct { int rows, columns; } matrix_t;
enum { LTStypeDirect };
int length, groups, *first_state;
int (*next_of_group)(model_t, int, int *, TransitionCB, void *);
int (*next_of_all)(model_t, int *, TransitionCB, void *);
static lts_type_t lts_type_create(void) { return NULL; }
static void lts_type_set_state_length(lts_type_t t, int n) { (void)t; length = n; }
static int lts_type_put_type(lts_type_t t, const char *n, int f, int *is_new) { (void)t; (void)n; (void)f; (void)is_new; return 0; }
static void lts_type_set_state_name(lts_type_t t, int i, const char *n) { (void)t; (void)i; (void)n; }
static void lts_type_set_state_type(lts_type_t t, int i, const char *n) { (void)t; (void)i; (void)n; }
static void lts_type_validate(lts_type_t t) { (void)t; }
static void GBsetLTStype(model_t m, lts_type_t t) { (void)m; (void)t; }
static void dm_create(matrix_t *d, int rows, int columns) { d->rows = rows; d->columns = columns; }
static void dm_set(matrix_t *d, int i, int j) { (void)d; (void)i; (void)j; }
static void GBsetDMInfo(model_t m, matrix_t *d) { (void)m; groups = d->rows; }
static void GBsetInitialState(model_t m, int *s) { (void)m; first_state = s; }
static void GBsetNextStateLong(model_t m, int (*f)(model_t, int, int *, TransitionCB, void *)) { (void)m; next_of_group = f; }
static void GBsetNextStateAll(model_t m, int (*f)(model_t, int *, TransitionCB, void *)) { (void)m; next_of_all = f; }
"""
"""What the model takes of LTSmin's interface, as far as it takes it."""

TransitionCB = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int), ctypes.c_void_p)


def explored(text: str, folder: Path, stop_at_broken: bool = False) -> tuple[int, int, bool]:
    """The states and transitions of a model for LTSmin, searched without it; and whether a state is broken."""
    (folder / "ltsmin").mkdir()
    (folder / "ltsmin" / "pins.h").write_text(HEADER)
    (folder / "mirror.c").write_text(text)
    options = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{folder}"]
    run(["gcc", *options, "-o", "mirror.so", "mirror.c"], folder)
    library = ctypes.CDLL(str(folder / "mirror.so"))
    library.pins_model_init(None)
    length, groups = (ctypes.c_int.in_dll(library, n).value for n in ("length", "groups"))
    method = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, TransitionCB, ctypes.c_void_p)
    following = ctypes.cast(ctypes.c_void_p.in_dll(library, "next_of_all"), method)
    grouped = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, TransitionCB, ctypes.c_void_p)
    of_group = ctypes.cast(ctypes.c_void_p.in_dll(library, "next_of_group"), grouped)
    reached: list[tuple[int, ...]] = []
    note = TransitionCB(lambda context, info, state, copy: reached.append(tuple(state[:length])))
    first = tuple(ctypes.POINTER(ctypes.c_int).in_dll(library, "first_state")[:length])
    seen, queue, transitions = {first}, [first], 0
    for state in queue:
        here = (ctypes.c_int * length)(*state)
        reached.clear()
        assert following(None, here, note, None) == len(reached)
        together = sorted(reached)
        reached.clear()
        assert sum(of_group(None, g, here, note, None) for g in range(groups)) == len(reached)
        assert sorted(reached) == together
        transitions += len(reached)
        for new in reached:
            if new not in seen:
                seen.add(new)
                queue.append(new)
                if new[-1] and stop_at_broken:
                    return len(seen), transitions, True
    return len(seen), transitions, any(s[-1] for s in seen)


needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")


@needs_gcc
@pytest.mark.parametrize("size", [TINY, S], ids=lambda s: s.name)
def test_the_model_for_ltsmin_has_the_same_states_and_transitions(size: Size, tmp_path: Path) -> None:
    assert pins(size) == pins(size)
    assert explored(pins(size), tmp_path) == (size.states, size.transitions, False)


@needs_gcc
def test_the_mutant_for_ltsmin_breaks(tmp_path: Path) -> None:
    assert explored(pins(TINY, retry_test=False), tmp_path, stop_at_broken=True)[2]


ASSUME = "#include <pthread.h>\nvoid __VERIFIER_assume(_Bool ok) { if (!ok) pthread_exit(0); }\n"


@needs_gcc
def test_the_program_of_threads_is_one(tmp_path: Path) -> None:
    """It compiles without a warning, and runs: who would have to wait ends."""
    assert threads(M) == threads(M)
    (tmp_path / "mirror.c").write_text(threads(M))
    (tmp_path / "assume.c").write_text(ASSUME)
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", "mirror", "mirror.c", "assume.c"]
    run(command, tmp_path)
    for _ in range(20):
        run([tmp_path / "mirror"], tmp_path, 60)


def test_who_runs_programs_reads_what_they_print() -> None:
    with pytest.raises(TypeError, match=r"abstract method .?read"):
        Stateless("a", "", "none", 1, 1)  # type: ignore[abstract]


def test_a_program_has_no_choice_of_a_page() -> None:
    with pytest.raises(ValueError, match="2 pages"):
        threads(SIZES["A"])
    assert {p.fits(SIZES["A"]) for p in PEERS if isinstance(p, Stateless)} == {False}
    assert all(p.fits(M) for p in PEERS)


TLC = """
Model checking completed. No error has been found.
822 states generated, 522 distinct states found, 0 states left on queue.
The depth of the complete state graph search is 45.
"""
LTSMIN = """
pins2lts-mc: Using a non-indexing tree table with 2^16 elements
pins2lts-mc: Explored 522 states 821 transitions, fanout: 1.573
pins2lts-mc: Tree fill ratio (roots/leafs): 0.0%/2.0%
"""
GENMC = """
*** Verification complete.
No errors were detected.
Number of complete executions explored: 1630
Number of blocked executions seen: 12
"""
NIDHUGG = """
Trace count: 1630
Await-blocked trace count: 5
Assume-blocked trace count: 7
No errors were detected.
"""


def test_what_tlc_prints_is_read() -> None:
    assert read_tlc(Ran(TLC, 1.5, 1.25, 10)) == Figures(522, 821, 1.5, 10, 1.25)


@pytest.mark.parametrize(
    "text",
    [TLC.replace("0 states left", "7 states left"), TLC.replace("No error has been found", "Invariant Safe is violated"), ""],
)
def test_an_unfinished_search_of_tlcs_is_no_figure(text: str) -> None:
    with pytest.raises(Failed):
        read_tlc(Ran(text, 1, 1, 1))


@pytest.mark.parametrize("more", ["", "pins2lts-mc: Fully explored, with terrors.so\n"])
def test_what_ltsmin_prints_is_read(more: str) -> None:
    assert read_ltsmin(Ran(more + LTSMIN, 1.5, 1.25, 10)) == Figures(522, 821, 1.5, 10, 1.25)


@pytest.mark.parametrize(
    "text", [LTSMIN + "pins2lts-mc: Invariant violation (broken == 0) found at depth 19!", "** error **: table full", ""]
)
def test_an_unfinished_search_of_ltsmins_is_no_figure(text: str) -> None:
    with pytest.raises(Failed):
        read_ltsmin(Ran(text, 1, 1, 1))


@pytest.mark.parametrize(("read", "text"), [(read_genmc, GENMC), (read_nidhugg, NIDHUGG)])
def test_what_counts_executions_is_read(read: Callable[[Ran], Figures], text: str) -> None:
    assert read(Ran(text, 1.5, 1.25, 10)) == Figures(1630, 12, 1.5, 10, 1.25)
    with pytest.raises(Failed, match="did not finish"):
        read(Ran(text.replace("No errors", "Errors"), 1.5, 1.25, 10))


def row(name: str, size: Size, *runs: Figures, full: bool = False) -> Measured:
    return Measured(next(p for p in PEERS if p.name == name and p.threads == 1), size, 0.1, runs, 60.0, full=full)


def test_executions_are_no_states_in_the_table() -> None:
    rows = [row("GenMC", S, Figures(1630, 12, 2.0, 1000, 1.0)), row("TLC", S, full=True)]
    found = parse(table(COLUMNS, rendered(rows)))
    assert found[0]["states"] == "1,630 executions"
    assert (found[0]["transitions"], found[0]["states/s"], found[0]["bytes/state"]) == ("", "", "")
    assert found[1]["seconds"] == "> memory"
    assert not disagreements(rows)


def test_a_wrong_count_of_a_peers_is_a_failure() -> None:
    assert disagreements([row("TLC", S, Figures(S.states, S.transitions + 1, 1.0, 1))])
    assert disagreements([row("GenMC", S, Figures(1630, 12, 1.0, 1), Figures(1631, 12, 1.0, 1))])


def test_who_is_not_there_is_named_with_how_to_have_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("TLC", "PINS2LTS_MC", "GENMC", "NIDHUGGC"):
        monkeypatch.delenv(f"SECONDSIGHT_{name}", raising=False)
    missing, how = absent()
    assert missing == ["tlc", "pins2lts-mc", "genmc", "nidhuggc"]
    assert all(f"  {name}: " in how for name in missing)
    assert "SECONDSIGHT_PINS2LTS_MC" in how
    monkeypatch.setenv("SECONDSIGHT_TLC", f"{sys.executable} -m no.such.module")
    assert called("tlc") == [sys.executable, "-m", "no.such.module"]
    assert "tlc" not in absent()[0]


HOG = "import time; kept = bytearray(b'x') * (300 * 2**20); time.sleep(60)"


def test_who_takes_too_much_memory_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(Full, match="more than 104,857,600 bytes"):
        run(
            [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOG!r}])"],
            tmp_path,
            60,
            memory=100 * 2**20,
        )


NAMED = "open('/proc/self/comm', 'wb').write(bytes([41, 32, 255, 32, 49])); "
"""The program's name is no text, and has a bracket."""

SHARES = """
import mmap, os, time
kept = mmap.mmap(-1, 80 * 2**20)
kept.write(b"x" * len(kept))
for _ in range(2):
    if not os.fork():
        sum(kept[::4096])
        time.sleep(2)
        os._exit(0)
os.wait()
os.wait()
"""


def test_a_name_that_is_no_text_hides_nobody(tmp_path: Path) -> None:
    with pytest.raises(Full):
        run([sys.executable, "-c", NAMED + HOG], tmp_path, 60, memory=100 * 2**20)


def test_what_processes_share_is_counted_once(tmp_path: Path) -> None:
    run([sys.executable, "-c", SHARES], tmp_path, 60, memory=170 * 2**20)
    with pytest.raises(Full):
        run([sys.executable, "-c", SHARES], tmp_path, 60, memory=60 * 2**20)


class Hungry(Tlc):
    """Takes more memory than it may."""

    def build(self, size: Size, folder: Path) -> float:
        return 0.0

    def search(self, size: Size, folder: Path, limit: float) -> Figures | None:
        raise Full


def test_the_bench_goes_on_without_who_takes_too_much(tmp_path: Path) -> None:
    rows, all_done = measure([(TINY, [Hungry("TLC", "", "none", 1, 1)])], tmp_path, Pace(3, 1, 60))
    assert all_done
    assert [r["seconds"] for r in rendered(rows)] == ["> memory"]


def there(peer: Peer) -> None:
    missing = [n for n in peer.needs if called(n) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: {peer.source}")


@pytest.mark.parametrize("peer", PEERS, ids=lambda p: p.title)
def test_a_peer_that_is_there_counts_the_same(peer: Peer, tmp_path: Path) -> None:
    there(peer)
    peer.build(TINY, tmp_path)
    found = peer.search(TINY, tmp_path, 120)
    assert found is not None
    if peer.counts == "states":
        assert (found.states, found.transitions) == (TINY.states, TINY.transitions)
    else:
        assert found.states > 1


@pytest.mark.parametrize("peer", PEERS, ids=lambda p: p.title)
def test_a_peer_that_is_there_finds_the_mutant(peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there(peer)
    for name, form in (("tla", tla), ("pins", pins), ("threads", threads)):
        monkeypatch.setattr(f"bench.peers.{name}", lambda size, form=form: form(size, retry_test=False))
    peer.build(TINY, tmp_path)
    with pytest.raises(Failed):
        peer.search(TINY, tmp_path, 120)
