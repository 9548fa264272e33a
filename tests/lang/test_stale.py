"""A constant is edited, wherever a model can take one from: the next process gives the verdict of the new one, not a kept one.

Each case runs its model in three processes: before the edit, twice (the second finds all in the cache folder), and after it: then
the model must be lowered anew, with another result. Some run once more with an empty cache folder, to the same result.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from stale_server import Server, program

from secondsight.lang import LangError, Machine, modules
from secondsight.lang.program import Room, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Request, breadth_first

MODEL = """{future}
from typing import Annotated
from secondsight.lang import Bounds, Record, Value, atomic, require, rule, shared, tracepoint
{head}

class Cell(Record):
    value: Annotated[int, Bounds(0, 99)]
    {field}


cell = shared(Cell)


@tracepoint
def seen(value: int) -> None: ...


@rule("small", on=seen)
def small(value: int) -> None:
    require(value < {in_rule}, "small", "too large")


def helper(n: int) -> int:
    {local}
    return n + {in_helper}


def other(n: {parameter}) -> int:
    return n + {in_other}


def ends() -> None:
    with atomic:
        cell.value = helper({in_root})
    now = cell.value
    with atomic:
        cell.value = other(now)
        seen(cell.value)
    {end}
"""
PLAIN = {
    "future": "", "head": "", "field": "pass", "in_rule": "90", "local": "pass", "in_helper": "2", "in_other": "3", "in_root": "4",
    "parameter": "int", "end": "return",
}  # fmt: skip

Files = dict[str, str]

VALUES: dict[str, tuple[str, str, Files]] = {
    # how it is imported; how it is named; the files beside, with N for the constant
    "its own": ("K = N", "K", {}),
    "a module": ("import conf", "conf.K", {"conf.py": "K = N"}),
    "from a module": ("from conf import K", "K", {"conf.py": "K = N"}),
    "all of a module": ("from conf import *", "K", {"conf.py": "K = N"}),
    "under another name": ("import conf as c", "c.K", {"conf.py": "K = N"}),
    "a module's module": ("import conf", "conf.deep.K", {"conf.py": "import deep", "deep.py": "K = N"}),
    "handed on": ("import conf", "conf.K", {"conf.py": "from deep import *", "deep.py": "K = N"}),
    "worked out": ("import conf", "conf.K", {"conf.py": "import deep\nK = sum([deep.A, 1])", "deep.py": "A = N - 1"}),
    "a package": ("import pkg", "pkg.K", {"pkg/__init__.py": "K = N"}),
    "a package's module": ("import pkg.a", "pkg.a.K", {"pkg/__init__.py": "", "pkg/a.py": "K = N"}),
    "without __init__": ("import pkg.a", "pkg.a.K", {"pkg/a.py": "K = N"}),
    "three levels": ("import pkg.a.b", "pkg.a.b.K", {"pkg/__init__.py": "", "pkg/a/__init__.py": "", "pkg/a/b.py": "K = N"}),
    "relative": ("from pkg.a import K", "K", {"pkg/__init__.py": "", "pkg/a.py": "from .b import K", "pkg/b.py": "K = N"}),
    "importlib": ("import importlib\nconf = importlib.import_module('co' + 'nf')", "conf.K", {"conf.py": "K = N"}),
    "a module's __getattr__": ("import conf", "conf.K", {"conf.py": "V = N\ndef __getattr__(name):\n    return {'K': V}[name]"}),
    "imported when asked": (
        "import conf", "conf.deep.K", {"conf.py": "import importlib\ndef __getattr__(n):\n    return importlib.import_module(n)", "deep.py": "K = N"},
    ),
    "a module of a class of its own": (
        "import conf", "conf.K", {"conf.py": "import sys, types\nclass M(types.ModuleType):\n    @property\n    def K(self):\n        return N\nsys.modules[__name__].__class__ = M"},
    ),
    "a class": ("from conf import C", "C.K", {"conf.py": "class C:\n    K = N"}),
    "a class in a class": ("import conf", "conf.A.B.K", {"conf.py": "class A:\n    class B:\n        K = N"}),
    "a base class": ("from conf import C", "C.K", {"conf.py": "from deep import B\nclass C(B):\n    pass", "deep.py": "class B:\n    K = N"}),
    "a metaclass": ("from conf import C", "C.K", {"conf.py": "class M(type):\n    K = N\nclass C(metaclass=M):\n    pass"}),
    "a metaclass's property": (
        "from conf import C", "C.K", {"conf.py": "class M(type):\n    @property\n    def K(cls):\n        return N\nclass C(metaclass=M):\n    pass"},
    ),
    "set later": ("import conf\nclass C:\n    pass\nC.K, C.FIRST = conf.K, 2", "C.K", {"conf.py": "K = N"}),
    "an enum": ("from conf import E", "E.K", {"conf.py": "from enum import IntEnum\nclass E(IntEnum):\n    K = N"}),
    "a function": ("from conf import k", "k()", {"conf.py": "def k() -> int:\n    return N"}),
    "a function's constant": ("from conf import k", "k()", {"conf.py": "import deep\ndef k() -> int:\n    return deep.K", "deep.py": "K = N"}),
    "a function that was picked": ("from conf import k", "k()", {"conf.py": "def a() -> int:\n    return 5\ndef b() -> int:\n    return 6\nk = {5: a, 6: b}[N]"}),
    "a default": ("from conf import k", "k()", {"conf.py": "import deep\ndef k(n: int = deep.K) -> int:\n    return n", "deep.py": "K = N"}),
    "a closure": ("import conf\ndef make(n):\n    def k() -> int:\n        return n\n    return k\nk = make(conf.K)", "k()", {"conf.py": "K = N"}),
    "a data file": ("import json, pathlib\nK = json.loads((pathlib.Path(__file__).parent / 'k.json').read_text())", "K", {"k.json": "N"}),
    "a data file, in a class": (
        "import json, pathlib\nclass M(type):\n    K = json.loads((pathlib.Path(__file__).parent / 'k.json').read_text())\nclass C(metaclass=M):\n    pass",
        "C.K", {"k.json": "N"},
    ),
    "the environment": ("import os\nK = int(os.environ['STALE_K'])", "K", {"environment": "N"}),
    "the environment, far away": ("import pkg.a", "pkg.a.C.K", {"pkg/a.py": "import os\nclass M(type):\n    K = int(os.environ['STALE_K'])\nclass C(metaclass=M):\n    pass", "environment": "N"}),
    "an installed package": ("import inst", "inst.K", {"site-packages/inst.py": "K = N"}),
    "an installed package's class": ("from inst import C", "C.K", {"site-packages/inst.py": "class C:\n    K = N"}),
    "an installed package's environment": ("from inst import C", "C.K", {"site-packages/inst.py": "import os\nclass C:\n    K = int(os.environ['STALE_K'])", "environment": "N"}),
    "an installed base class": ("from conf import C", "C.K", {"conf.py": "from inst import B\nclass C(B):\n    pass", "site-packages/inst.py": "class B:\n    K = N"}),
    "an installed enum": ("from inst import E", "E.K", {"site-packages/inst.py": "from enum import IntEnum\nclass E(IntEnum):\n    K = N"}),
    "what an installed package imports": ("from inst import K", "K", {"site-packages/inst.py": "from inst2.deep import K", "site-packages/inst2/deep.py": "K = N"}),
}  # fmt: skip

TYPES: dict[str, tuple[str, str, Files]] = {
    "its own": ("T = Annotated[int, Bounds(0, N)]", "T", {}),
    "a module": ("import conf", "conf.T", {"conf.py": "from typing import Annotated\nfrom secondsight.lang import Bounds\nT = Annotated[int, Bounds(0, N)]"}),
    "from a module": ("from conf import T", "T", {"conf.py": "from typing import Annotated\nfrom secondsight.lang import Bounds\nT = Annotated[int, Bounds(0, N)]"}),
    "a bound's number": ("import conf", "Annotated[int, Bounds(0, conf.K)]", {"conf.py": "K = N"}),
    "two levels": ("import pkg.a", "pkg.a.T", {"pkg/a.py": "from typing import Annotated\nfrom secondsight.lang import Bounds\nT = Annotated[int, Bounds(0, N)]"}),
    "in words": ("import conf", "'conf.T'", {"conf.py": "from typing import Annotated\nfrom secondsight.lang import Bounds\nT = Annotated[int, Bounds(0, N)]"}),
    "an installed package": ("import inst", "inst.T", {"site-packages/inst.py": "from typing import Annotated\nfrom secondsight.lang import Bounds\nT = Annotated[int, Bounds(0, N)]"}),
    "the environment": ("import os\nT = Annotated[int, Bounds(0, int(os.environ['STALE_K']))]", "T", {"environment": "N"}),
}  # fmt: skip

PLACES: dict[str, Callable[[str], Files]] = {
    "root": lambda use: {"in_root": use},
    "helper": lambda use: {"in_helper": use},
    "rule": lambda use: {"in_rule": f"{use} + 4"},  # 9 is not less than 5 + 4
    "two functions": lambda use: {"in_helper": use.replace("K", "FIRST") if use.endswith(".K") else "2", "in_other": use},
}
TYPE_PLACES: dict[str, Callable[[str], Files]] = {
    "local": lambda use: {"local": f"kept: {use} = n + 2"},  # 6: out of 0..5
    "parameter": lambda use: {"parameter": use},
    "field": lambda use: {"field": f"also: {use}", "end": "cell.also = 6"},
    "value": lambda use: {"head": f"class V(Value):\n    also: {use}\n", "end": "take(V(cell.value - 3))", "take": "1"},
}


@cache
def server() -> Server:
    return Server()


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    """The processes' server ends with the tests here."""
    yield
    if server.cache_info().currsize:
        server().close()
        server.cache_clear()


def write(folder: Path, files: Files, number: int) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(re.sub(r"\bN\b", str(number), text))


def judge(folder: Path, model: Files, files: Files, cold: bool = True) -> None:
    """Whatever is kept of the model with 6 says nothing of the one with 5."""
    files = {**files, "model.py": MODEL.format(**{**PLAIN, **model})}
    write(folder, {n: t for n, t in files.items() if n != "environment"}, 6)
    first = server().run(folder, folder / "warm", 6)
    again = server().run(folder, folder / "warm", 6)
    assert again == (False, first[1]), "nothing was kept"
    write(folder, {n: t for n, t in files.items() if n != "environment"}, 5)
    after = server().run(folder, folder / "warm", 5)
    assert after[0], "stale"
    assert after[1] != first[1], "the constant does not matter"
    if cold:
        assert after[1] == server().run(folder, folder / "cold", 5)[1]


@pytest.mark.parametrize("way", VALUES)
def test_an_edited_constant(way: str, tmp_path: Path) -> None:
    head, use, files = VALUES[way]
    everywhere = list(VALUES).index(way) % 9 == 0
    for place, put in PLACES.items():
        if not everywhere and place != "helper" and not (place == "two functions" and use.count(".") > 1):
            continue
        changed = {n: t.replace("K = N", "FIRST = 2\nK = N") for n, t in files.items()}
        if place == "two functions" and changed == files:
            continue
        folder = tmp_path / place.replace(" ", "_")
        indented = {n: t.replace("FIRST = 2\nK", "FIRST = 2; K") for n, t in changed.items()}
        judge(folder, {"head": head, **put(use)}, indented, cold=everywhere)


@pytest.mark.parametrize("future", ["", "from __future__ import annotations"])
@pytest.mark.parametrize("way", TYPES)
def test_an_edited_type(way: str, future: str, tmp_path: Path) -> None:
    head, use, files = TYPES[way]
    turn = list(TYPES).index(way) + bool(future)  # each way in half of the places, each place with half of the ways
    for number, (place, put) in enumerate(TYPE_PLACES.items()):
        if (number + turn) % 2 or (not future and place not in ("local", "field")):
            continue
        model = put(use)
        if model.pop("take", None):
            model["head"] = f"{head}\n{model['head']}\ndef take(v: V) -> None:\n    require(v.also < 90, 'x', 'y')\n"
        judge(tmp_path / place, {"head": head, "future": future, **model}, files, cold=place == "local")


def test_what_is_replaced_in_the_same_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a program of this process used again after somebody replaced a constant, or what a local's annotation means."""
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path / "cache"))
    head = "import pkg.a\nT = Annotated[int, Bounds(0, 9)]\ndef make(n):\n    def k() -> int:\n        return n\n    def put(m):\n        nonlocal n\n        n = m\n    return k, put\nk, put = make(2)\ndef default(n: int = 2) -> int:\n    return n"
    model = {"head": head, "in_helper": "pkg.a.K + k() + default()", "local": "x: T = n + 2", "parameter": "T", "in_other": "0", "future": "from __future__ import annotations"}
    write(tmp_path, {"pkg/a.py": "K = 0", "model.py": MODEL.format(**PLAIN | model)}, 0)
    module: Any = modules.load("stale_model", tmp_path / "model.py")

    def outcome() -> tuple[str, object]:
        made = build(Machine({}), [Thread("t", module.ends)], [], room=Room(2, (module.ends,)))
        result = breadth_first(Reference(made), Request(watch=(1, made.layout.shared_size)))
        return result.verdict.value, (sorted(result.outcomes), str(result.error))

    first = outcome()
    assert first == outcome()
    assert first[0] == "holds"
    for replace in (
        lambda: monkeypatch.setattr(module.pkg.a, "K", 1),
        lambda: module.put(1),
        lambda: monkeypatch.setattr(module.default, "__defaults__", (1,)),
    ):
        before = outcome()
        replace()
        assert outcome() != before
    monkeypatch.setattr(module, "T", eval("Annotated[int, Bounds(0, 6)]", vars(module)))
    assert outcome()[0] == "not finished"  # the parameter
    monkeypatch.setattr(module, "T", eval("Annotated[int, Bounds(0, 3)]", vars(module)))
    assert "x = 6" in str(outcome()[1])  # the local


def test_a_helper_edited_in_the_same_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook: the file is loaded again, and what it imports with it; so is one in another folder of the same name."""
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path / "cache"))
    text = MODEL.format(**PLAIN | {"head": "import stale_conf", "in_helper": "stale_conf.K"})
    files = {"model.py": text, "stale_conf.py": "from stale_deep import K", "stale_deep.py": "K = N"}

    def outcomes(folder: str, number: int) -> object:
        write(tmp_path / folder, files, number)
        made = program(tmp_path / folder / "model.py")
        return breadth_first(Reference(made), Request(watch=(1, made.layout.shared_size))).outcomes

    assert outcomes("one", 5) != outcomes("one", 6)
    assert outcomes("one", 6) != outcomes("two", 7)
    assert outcomes("one", 6) == outcomes("two", 6)


@pytest.mark.parametrize("file", ["lang/cfg.py", "search/progress.py", "search/lock_order.py", "search/movers.c", "linux/hmm.py"])
def test_every_file_of_the_package_is_part_of_the_key(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of loops and locks is found out by `search`; so a change there is one, too."""
    package = tmp_path / "package"
    shutil.copytree(Path(modules.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(modules, "_BEGAN", time.time() + 1)
    before = modules.digest_of(package)
    with (package / file).open("a") as text:
        text.write("\n")
    after = modules.digest_of(package)
    assert before is not None
    assert after not in (None, before)
    monkeypatch.setattr(modules, "_BEGAN", 0.0)
    assert modules.digest_of(package) is None  # edited since this process began: what it is made of is not known


DRIVER = (Path(__file__).parents[2] / "examples" / "my_gpu.py").read_text()
RETRY = "if mn.mmu_interval_read_retry(self.notifier, seq):"
SCENARIO = """
from secondsight import scenario
from secondsight.scenario import Recorder


@scenario
def stored(s: Recorder) -> None:
    fd = s.memfd_create(pages=2)
    a = s.mmap(fd)

    @s.thread
    def one() -> None:
        s.read(a, into="cpu")

    @s.thread
    def two() -> None:
        s.write(a, "LETTER")
"""


@pytest.mark.wide
@pytest.mark.parametrize("beside", [False, True])
def test_pythons_own_bytecode_is_not_used_for_a_driver(beside: bool, tmp_path: Path) -> None:
    """Two texts of one size and date, as an archive has them: the second is checked as what it is."""
    assert RETRY in DRIVER
    driver = DRIVER.replace(RETRY, f"if CHECK == 0:\n                    pass\n                elif {RETRY[3:]}")
    helper = "CHECK = 1\n"
    if beside:
        driver = driver.replace("from secondsight import", "from my_conf import CHECK\nfrom secondsight import", 1)
    else:
        driver = driver.replace("\nclass ", "\nCHECK = 1\n\n\nclass ", 1)
    answers = []
    for number in ("1", "0"):
        (tmp_path / "driver.py").write_text(driver.replace("CHECK = 1", f"CHECK = {number}"))
        (tmp_path / "my_conf.py").write_text(helper.replace("1", number))
        answers.append(command(tmp_path, "check", "driver.py", "--adversary", "exit", "--executor", "reference"))
    assert "holds" in answers[0]
    assert "broken" in answers[1]


def test_pythons_own_bytecode_is_not_used_for_a_scenario(tmp_path: Path) -> None:
    answers = []
    for letter in "xy":
        (tmp_path / "scenarios.py").write_text(SCENARIO.replace("LETTER", letter))
        answers.append(command(tmp_path, "run", "scenarios.py"))
    assert "cpu=x" in answers[0]
    assert "cpu=y" in answers[1]


def command(folder: Path, *words: str) -> str:
    """What the command says in a process that writes bytecode and finds what others wrote."""
    for file in folder.glob("*.py"):
        os.utime(file, (1_700_000_000, 1_700_000_000))
    environment = os.environ | {"SECONDSIGHT_CACHE": str(folder / "cache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment.pop("PYTHONPYCACHEPREFIX", None)
    done = subprocess.run([sys.executable, "-m", "secondsight", *words], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def test_what_a_file_does_to_the_path_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = [*sys.path]
    write(tmp_path, {"model.py": "import sys\nsys.path.insert(0, '/nowhere')"}, 0)
    modules.load("stale_path", tmp_path / "model.py")
    assert sys.path == ["/nowhere", *before]


def test_a_modules_own_code_that_fails_is_an_error_with_the_line(tmp_path: Path) -> None:
    failing = {"conf.py": "def __getattr__(name):\n    raise ValueError(name.lower())"}
    model = MODEL.format(**PLAIN | {"head": "import conf", "in_helper": "conf.K"})
    write(tmp_path, failing | {"model.py": model}, 0)
    with pytest.raises(LangError, match=r"model.py:\d+:\d+: conf.K: ValueError: k"):
        program(tmp_path / "model.py")


def test_what_the_process_imports_for_itself_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, own = tmp_path / "theirs", tmp_path / "own"
    theirs.mkdir()
    own.mkdir()
    (theirs / "stale_user.py").write_text("from stale_helper import N\n")
    (theirs / "stale_helper.py").write_text("N = 1\n")
    (own / "stale_own.py").write_text("M = 1\n")
    assert modules.load("stale_user_run", theirs / "stale_user.py").N == 1
    monkeypatch.syspath_prepend(str(own))
    mine = __import__("stale_own")
    (theirs / "stale_helper.py").write_text("N = 22\n")
    assert modules.load("stale_user_run", theirs / "stale_user.py").N == 22
    assert sys.modules["stale_own"] is mine
