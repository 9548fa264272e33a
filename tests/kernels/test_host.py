"""The host's side without a guest: the cache of kernels, the agent's build, the encoding."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path

import pytest

from secondsight.kernels import Kernel, KernelError, boot, cache, catalog, debian, get, headers, packages
from secondsight.kernels.c_tables import operations_header
from secondsight.kernels.encode import encode, value_of
from secondsight.kernels.initramfs import cpio, initramfs
from secondsight.kernels.run import outcome_of
from secondsight.scenario import OPS, Recorder, scenario
from secondsight.scenario.ops import Needs

RELEASE = "6.12.99-test"


@pytest.fixture(autouse=True, name="cache")
def cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def image(release: str = RELEASE) -> bytes:
    """The smallest thing that looks like a bzImage."""
    header = bytearray(0x400)
    header[0x202:0x206] = b"HdrS"
    header[0x20E:0x210] = (0x100).to_bytes(2, "little")
    header[0x300 : 0x300 + len(release) + 5] = release.encode() + b" (x)\0"
    return bytes(header)


def entry(folder: Path) -> Path:
    tree = folder / "headers/tree"
    tree.mkdir(parents=True)
    (folder / "modules").mkdir()
    (folder / "vmlinuz").write_bytes(image())
    (folder / "config").write_text("CONFIG_X86=y\n")
    (tree / "Makefile").write_text("modules:\n\ttouch $(M)/a.ko\n")
    cache.write_record(folder, ("vmlinuz", "config", "modules", "headers"), release=RELEASE, modules=[], headers="headers/tree")
    return folder


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for the package client; lists what was fetched."""
    calls: list[str] = []

    def fake(scratch: Path, progress: packages.OnBytes) -> Path:
        calls.append("6.12")
        progress("downloading", 1, 2)
        return entry(scratch / "made")

    monkeypatch.setitem(catalog.GETTABLE, "6.12", catalog.Known(fake, "secondsight kernel get 6.12"))
    return calls


@pytest.mark.parametrize("name", ["6.12", "linux-6.12"])
def test_a_cached_kernel_is_found_under_both_names_without_fetching(name: str, cache: Path, fetched: list[str]) -> None:
    entry(cache / "kernels" / "6.12")
    folder = cache / "kernels" / "6.12"
    assert Kernel.find(name) == Kernel("linux-6.12", folder / "vmlinuz", RELEASE, (), folder / "headers/tree")
    assert get(name) == Kernel.find(name)
    assert fetched == []


def test_get_fetches_once_and_reports_progress(fetched: list[str]) -> None:
    reports: list[tuple[str, int, int]] = []
    assert get("6.12", lambda *report: reports.append(report)).release == RELEASE
    get("6.12")
    assert fetched == ["6.12"]
    assert reports == [("downloading", 1, 2)]


@pytest.mark.parametrize("damage", ["short", "changed", "gone", "unrecorded", "other form", "a module more", "config"])
def test_a_damaged_entry_is_not_used_and_is_fetched_again(damage: str, cache: Path, fetched: list[str]) -> None:
    folder = entry(cache / "kernels" / "6.12")
    vmlinuz = folder / "vmlinuz"
    match damage:
        case "short":
            vmlinuz.write_bytes(image()[:-1])
        case "changed":
            vmlinuz.write_bytes(image()[:-1] + b"x")
        case "gone":
            vmlinuz.unlink()
        case "unrecorded":
            (folder / "kernel.json").write_text("{")
        case "other form":
            (folder / "kernel.json").write_text('{"size": 1, "sha256": "x"}')
        case "a module more":
            (folder / "modules/0-evil.ko").write_bytes(b"x")
        case "config":
            (folder / "config").write_text("")
    with pytest.raises(KernelError, match=r"damaged(.|\n)*secondsight kernel get 6\.12"):
        Kernel.find("6.12")
    assert get("6.12").release == RELEASE
    assert fetched == ["6.12"]


@pytest.mark.parametrize("damage", ["changed", "more", "gone", "mode"])
def test_damaged_headers_are_not_built_against_and_are_fetched_again(damage: str, cache: Path, fetched: list[str]) -> None:
    makefile = entry(cache / "kernels" / "6.12") / "headers/tree/Makefile"
    match damage:
        case "changed":
            makefile.write_text(makefile.read_text() + "#")
        case "more":
            (makefile.parent / "GNUmakefile").write_text("")
        case "gone":
            makefile.unlink()
        case "mode":
            makefile.chmod(0o755)
    assert Kernel.find("6.12").release == RELEASE, "a boot does not need the headers"
    with pytest.raises(KernelError, match=r"damaged: headers(.|\n)*secondsight kernel get 6\.12"):
        headers("6.12")
    get("6.12")
    assert fetched == ["6.12"]
    assert headers("6.12") == makefile.parent


def test_a_failed_fetch_leaves_no_entry(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(scratch: Path, progress: packages.OnBytes) -> Path:
        (scratch / "half").write_bytes(b"x")
        raise KernelError("no network")

    monkeypatch.setitem(catalog.GETTABLE, "6.12", catalog.Known(fail, "secondsight kernel get 6.12"))
    with pytest.raises(KernelError, match="no network"):
        get("6.12")
    assert [path.name for path in (cache / "kernels").iterdir()] == ["6.12.lock"]


def test_what_a_killed_process_left_is_cleared_away(cache: Path, fetched: list[str]) -> None:
    left = cache / "kernels/6.12.making/made"
    left.mkdir(parents=True)
    (left / "vmlinuz").write_bytes(b"half")
    assert get("6.12").release == RELEASE
    assert sorted(path.name for path in (cache / "kernels").iterdir()) == ["6.12", "6.12.lock"]


def test_two_that_fetch_at_once_fetch_once(fetched: list[str]) -> None:
    threads = [threading.Thread(target=get, args=("6.12",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetched == ["6.12"]


def test_unknown_kernels_name_what_there_is(cache: Path) -> None:
    entry(cache / "kernels" / "6.12")
    with pytest.raises(KernelError, match=r"no kernel linux-5\.0: made so far: linux-6\.12; can be fetched or built: "):
        Kernel.find("linux-5.0")
    with pytest.raises(KernelError, match=r"there are: 6\.1, 6\.12, 7\.2"):
        get("5.0")
    with pytest.raises(KernelError, match="named by their release"):
        Kernel.find("../../etc")


def test_a_kernel_not_fetched_yet_says_how() -> None:
    with pytest.raises(KernelError, match=r"run: secondsight kernel get 6\.12"):
        Kernel.find("6.12")


def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KernelError, match="apt-get is not there"):
        get("6.12")
    with pytest.raises(KernelError, match="install gcc"):
        initramfs()
    own = tmp_path / "bzImage"
    own.write_bytes(image())
    monkeypatch.setattr("secondsight.kernels.run.initramfs", lambda modules, programs: own)
    with pytest.raises(KernelError, match="apt-get install qemu-system-x86"):
        boot(Kernel.from_path(own))


def test_a_missing_static_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(
        "#!/bin/sh\n"
        "case $1 in\n"
        "    --version) ;;\n"
        "    -dumpmachine) echo x86_64-linux-gnu ;;\n"
        "    *) echo 'ld: cannot find -lc' >&2; exit 1 ;;\n"
        "esac\n"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(KernelError, match=r"static C library(.|\n)*libc6-dev"):
        initramfs()


def test_a_compiler_for_another_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho aarch64-linux-gnu\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(KernelError, match="compiles for aarch64-linux-gnu"):
        initramfs()


def test_own_images_are_looked_at(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="no kernel image at"):
        Kernel.from_path(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(KernelError, match="not a bootable x86 kernel image"):
        Kernel.from_path(tmp_path / "text")
    (tmp_path / "bzImage").write_bytes(image("6.13.0-mine"))
    assert Kernel.from_path(tmp_path / "bzImage").release == "6.13.0-mine"


PACKAGES = """\
linux-image-6.12-amd64 - Linux for 64-bit PCs (meta-package)
linux-image-6.12.9+deb12-amd64 - Linux 6.12 for 64-bit PCs (signed)
linux-image-6.12.107+deb12-amd64-unsigned - Linux 6.12 for 64-bit PCs
linux-image-6.12.107+deb12-amd64-dbg - Debug symbols
linux-image-6.12.108+deb12-cloud-amd64-unsigned - Linux 6.12 for x86-64 cloud
linux-image-6.12.108+deb12-rt-amd64 - Linux 6.12 for 64-bit PCs (signed), PREEMPT_RT
"""


def test_the_newest_plain_package_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "run", lambda command: PACKAGES)
    assert debian._image_package(packages.CONFIGURED, "6.12") == "linux-image-6.12.107+deb12-amd64-unsigned"
    assert debian._image_package(packages.CONFIGURED, "6.13") is None


def test_the_headers_of_an_image_are_those_that_its_package_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = "Package: x\nDepends: linux-base (>= 4), linux-headers-6.1.0-5-common (= 6.1.9-1), a | b, linux-kbuild-6.1, gcc-12\n"
    monkeypatch.setattr(packages, "run", lambda command: shown)
    assert debian._headers_of(packages.CONFIGURED, "linux-image-6.1.0-5-amd64-unsigned") == [
        "linux-headers-6.1.0-5-amd64",
        "linux-headers-6.1.0-5-common",
        "linux-kbuild-6.1",
    ]


def test_backports_are_looked_at_beside_the_configured_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = {"Codename": "stable1", "Component": "main", "Release": "stable1", "Signed-By": "/k"}
    target["Repo-URI"] = "http://mirror.example/d/"
    targets = "\n".join(f"{key}: {value}" for key, value in target.items())

    def fake(command: list[str]) -> str:
        if "indextargets" in command:
            return targets
        return PACKAGES if command[0] == "apt-cache" and "-o" in command else ""

    monkeypatch.setattr(packages, "run", fake)
    source, package = debian._find("6.12", tmp_path)
    assert package == "linux-image-6.12.107+deb12-amd64-unsigned"
    assert f"Dir::State::Lists={tmp_path / 'lists'}" in source.options
    assert (tmp_path / "sources.list").read_text().splitlines() == [
        "deb [signed-by=/k] http://mirror.example/d/ stable1 main",
        "deb [signed-by=/k] http://mirror.example/d/ stable1-backports main",
    ]


def test_modules_are_loaded_after_those_that_they_depend_on(tmp_path: Path) -> None:
    depends = {"a_user": "z-base,middle", "middle": "z-base", "z_base": "", "lone": ""}
    for name, needs in depends.items():
        (tmp_path / f"{name}.ko").write_bytes(b"\x7fELF\0license=GPL\0depends=" + needs.encode() + b"\0name=x\0")
    assert debian.load_order(tmp_path) == ["z_base.ko", "middle.ko", "a_user.ko", "lone.ko"]
    (tmp_path / "z_base.ko").unlink()
    with pytest.raises(KernelError, match="depends on z_base, which was not taken along"):
        debian.load_order(tmp_path)


@pytest.mark.wide
def test_a_changed_archive_is_written_again() -> None:
    made = initramfs()
    good = made.read_bytes()
    made.write_bytes(good[:-4] + b"evil")
    assert initramfs() == made
    assert made.read_bytes() == good


def test_an_archive_that_nobody_uses_goes_after_a_week(cache: Path) -> None:
    made = initramfs()
    old, young = made.with_name("old.cpio"), made.with_name("young.cpio")
    for path, days in ((old, 8), (young, 6), (made, 8)):
        path.touch()
        os.utime(path, (0, time.time() - days * 24 * 3600))
    assert initramfs() == made
    assert (made.exists(), young.exists(), old.exists()) == (True, True, False)


def test_a_changed_agent_is_compiled_again(cache: Path) -> None:
    made = initramfs()
    (agent,) = (cache / "agent").glob("*/init")
    agent.write_bytes(b"#!/bin/false\n")
    assert initramfs() == made


def test_the_agents_table_is_the_operations() -> None:
    """Whether each has its function says the compiler."""
    rows = {name: (shape, who) for name, shape, who in re.findall(r'row\((\w+), "(\w*)", (\w+)\)', operations_header())}
    assert rows == {
        name: (op.shape, ("INSIDE" if op.own else "OUTSIDE") if op.needs in (Needs.MODULE, Needs.CMA) else "PLAIN" if op.own else "ELSEWHERE")
        for name, op in OPS.items()
        if not op.model_only
    }
    assert rows["mmap"] == ("hnna", "PLAIN")
    assert rows["device_compare"] == ("ha", "INSIDE")
    assert rows["device_close"] == ("h", "OUTSIDE")
    assert rows["dax_remove"] == ("h", "ELSEWHERE")


def test_the_lines_of_a_scenario() -> None:
    @scenario
    def small(s: Recorder) -> None:
        fd = s.memfd_create(pages=2, seals="shrink|write")
        a = s.mmap(fd)

        @s.thread
        def one() -> None:
            s.write(a + 1, "b")
            s.mmap(pages=1, at=a)

        with s.after():
            s.udmabuf_create_list([(fd, 0, 1), (fd, 1, 1)], into="made")

    assert encode(small).splitlines() == [
        "scenario small 4 1 5",
        "op s memfd_create 0 2 10",
        "op s mmap 1 0 0 2 -1 -1",
        "op 0 write -1 1 1 98 1",
        "op 0 mmap 2 -1 0 1 1 0",
        "op f udmabuf_create_list 3 2 0 0 1 0 1 1",
    ]


def test_results_as_values() -> None:
    results = ["none", "ok", "skipped", "torn", "page:0", "page:97", "errno:22", "signal:11"]
    assert [value_of(result) for result in results] == [
        *(None, "ok", "skipped", "torn"),
        *("\0", "a", "-EINVAL", "SIGSEGV"),
    ]


def test_a_run_that_did_not_end_by_itself_says_so() -> None:
    @scenario
    def small(s: Recorder) -> None:
        s.mmap(pages=1, into="mapped")

    def outcome(ended: str) -> dict[str, str]:
        return dict(outcome_of(small, {"results": ["ok"], "ended": [ended]}))

    assert outcome("exit") == {"mapped": "ok"}
    assert outcome("signal:14") == {"mapped": "ok", "process": "hung"}
    assert outcome("signal:9") == {"mapped": "ok", "process": "SIGKILL"}
    assert outcome("failed") == {"mapped": "ok", "process": "failed"}


def test_the_archive_is_aligned_and_complete() -> None:
    archive = cpio(b"#!/bin/true\n", [("modules/00-virtio_ring.ko", 0o644, b"x"), ("programs/test", 0o755, b"abcde")])
    assert len(archive) % 4 == 0
    names, at = [], 0
    while "TRAILER!!!" not in names:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        names.append(archive[at + 110 : at + 110 + fields[11] - 1].decode())
        at += (110 + fields[11] + 3) // 4 * 4 + (fields[6] + 3) // 4 * 4
    assert names == [
        *("dev", "proc", "sys", "tmp", "modules", "programs", "init"),
        *("modules/00-virtio_ring.ko", "programs/test", "dev/console", "TRAILER!!!"),
    ]


def test_an_operation_that_only_the_model_has_is_refused_before_any_guest_is_asked() -> None:
    s = Recorder()
    s.dax_drain(s.dax(pages=1))
    with pytest.raises(KernelError, match="dax_drain cannot run on a real kernel yet"):
        encode(s.scenario("with_device_memory", ""))
