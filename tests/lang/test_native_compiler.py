"""Compiling: once, in a cache that mends itself and that processes share; with sanitizers; without a compiler."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Timer

import pytest

from secondsight.lang import LangError, compiler
from secondsight.lang.compiler import CompilerMissing, load

try:
    compiler.compiler()
except CompilerMissing:
    pytest.skip("no C compiler", allow_module_level=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path))
    return tmp_path / "native"


def text(n: int) -> str:
    return f"int number(void) {{ return {n}; }}\n"


def number(n: int) -> int:
    made: int = load(text(n)).number()
    return made


def test_a_text_is_compiled_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert number(1) == 1
    monkeypatch.setattr(compiler, "_build", None)
    assert number(1) == 1
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "one byte"])
def test_a_broken_library_is_made_again(damage: str, cache: Path) -> None:
    code = f"from test_native_compiler import number; assert number({len(damage)}) == {len(damage)}"
    run = [sys.executable, "-c", code]
    subprocess.run(run, check=True, cwd=Path(__file__).parent)  # in other processes: what is loaded here stays as it is
    library = next(cache.glob("*.so"))
    content = library.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    library.write_bytes({"cut": content[:-2000], "garbage": b"garbage" * 999, "empty": b"", "one byte": flipped}[damage])
    subprocess.run(run, check=True, cwd=Path(__file__).parent)
    assert library.read_bytes() == content or compiler._is_whole(library)


def test_processes_share_the_cache(cache: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(number, [7] * 8)) == [7] * 8
    assert len(list(cache.glob("*.so"))) == 1
    assert not list(cache.glob("build-*"))


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path / "file"))
    with pytest.raises(LangError, match="set SECONDSIGHT_CACHE to a folder that can be written"):
        load(text(2))


@pytest.mark.skipif(os.geteuid() == 0 or sys.platform == "win32", reason="root may write everywhere")
def test_a_folder_without_permission_is_named(cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o500)
    with pytest.raises(LangError, match="Permission denied; set SECONDSIGHT_CACHE"):
        load(text(3))


def test_what_the_compiler_says_is_told() -> None:
    with pytest.raises(LangError, match="the C compiler failed"):
        load("this is not C\n")


def test_a_large_text_is_compiled_in_two_parts(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = "#ifdef SS_PART\n#define PART(n) (SS_PART == n)\n#else\n#define PART(n) 1\n#endif\nint two(void);\n"
    whole = parts + "#if PART(1)\nint one(void) { return 1 + two(); }\n#endif\n#if PART(2)\nint two(void) { return 2; }\n#endif\n"
    assert load(whole).one() == 3
    monkeypatch.setattr(compiler, "LARGE", 0)
    assert load(whole + "/* at once */\n").one() == 3
    assert len(list(cache.glob("*.so"))) == 2
    for wrong in ("1", "2"):
        with pytest.raises(LangError, match=f"SS_PART={wrong}.*model.c(?s:.*)nonsense"):
            load(whole + f"#if PART({wrong})\nnonsense\n#endif\n")
    assert not list(cache.glob("build-*"))


def with_common(n: int) -> int:
    made: int = load(f"int given(void);\nint number(void) {{ return {n} + given(); }}\n", "int given(void) { return 100; }\n").number()
    return made


def test_what_libraries_have_in_common_is_compiled_once(cache: Path) -> None:
    assert with_common(1) == 101
    (common,) = cache.glob("*.o")
    before = common.stat().st_mtime_ns, common.read_bytes()
    os.utime(common, (1, 1))
    assert with_common(2) == 102
    assert common.read_bytes() == before[1] and common.stat().st_mtime > 1, "used, and marked so"
    common.write_bytes(b"garbage" * 999)
    assert with_common(3) == 103
    assert len(list(cache.glob("*.o"))) == 1 and compiler._is_whole(common)
    with pytest.raises(LangError, match=r"common.c(?s:.*)nonsense"):
        load(text(9), "nonsense\n")
    assert not list(cache.glob("build-*"))


def test_the_cache_stays_small(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "MAX_FILES", 6)
    monkeypatch.setattr(compiler, "TIDIED", 1)
    libraries = []
    for n in range(3):
        load(text(n))
        (library,) = set(cache.glob("*.so")) - set(libraries)
        libraries.append(library)
        library.with_suffix(".json").write_text("what goes with it")
    assert compiler._is_whole(libraries[0])  # and so it was used last
    (cache / "goes.so").symlink_to(cache / "gone")  # as a file that another process removes between the listing and the look at it
    os.utime(libraries[1], (1, 1))
    os.utime(libraries[1].with_suffix(".json"), (1, 1))
    load(text(3))
    (cache / "goes.so").unlink()
    assert {p.stem for p in cache.iterdir()} > {libraries[0].stem, libraries[2].stem}
    assert not libraries[1].exists() and not libraries[1].with_suffix(".json").exists()
    assert len(list(cache.iterdir())) == 5


def test_what_killed_processes_left_goes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "TIDIED", 1)
    for name in ("build-old", "build-new"):
        (cache / name).mkdir(parents=True)
        (cache / name / "model.c").write_text("")
    (cache / "build-file").write_text("")
    for name in ("build-old", "build-file"):
        os.utime(cache / name, (1, 1))
    load(text(4))
    assert [p.name for p in cache.glob("build-*")] == ["build-new"]


def test_ctrl_c_while_two_parts_are_compiled_and_one_is_done_is_ctrl_c() -> None:
    """What the first has said is read by then, and its pipe is closed."""
    timer = Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        compiler._run(["true"], ["sleep", "30"])
    timer.join()


def test_the_sanitizer_stops_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    shift = "int shifted(int by) { return 1 << by; }\n"
    run = f"import ctypes; from secondsight.lang.compiler import load; print(load({shift!r}).shifted(ctypes.c_int(99)))"
    for wanted, stops in (("0", False), ("1", True)):
        env = os.environ | {"SECONDSIGHT_SANITIZE": wanted}
        done = subprocess.run([sys.executable, "-c", run], env=env, capture_output=True, text=True, check=False)
        if stops and "cannot find" in done.stderr:
            pytest.skip("the compiler has no sanitizers")
        assert (done.returncode != 0) is stops
        assert ("shift exponent 99" in done.stderr) is stops


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler.compiler.cache_clear()
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(CompilerMissing, match="install cc"):
        compiler.compiler()
    compiler.compiler.cache_clear()
    assert isinstance(ctypes.CDLL(None), ctypes.CDLL)


def test_zig_adds_no_checks_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "compiler", lambda: (("python", "-m", "ziglang", "cc"), "zig"))
    monkeypatch.setenv("SECONDSIGHT_SANITIZE", "0")
    assert "-fno-sanitize=all" in compiler._flags("-O1")
    monkeypatch.setenv("SECONDSIGHT_SANITIZE", "1")
    assert "-fno-sanitize=all" not in compiler._flags("-O1")
