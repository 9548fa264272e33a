"""The booted kernel that these tests share, one boot for the whole run; and a package client to fetch from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from booting import unavailable

from secondsight.kernels import VM, Kernel, KernelError, boot
from secondsight.kernels.qemu import QEMU


@pytest.fixture(scope="session")
def kernel_6_12() -> Kernel:
    if shutil.which(QEMU) is None:
        unavailable(f"{QEMU} is not there: apt-get install qemu-system-x86")
    try:
        return Kernel.find("linux-6.12")
    except KernelError as error:
        unavailable(f"{error.reason}: {error.remedy}")


@pytest.fixture(scope="session")
def vm(kernel_6_12: Kernel) -> Iterator[VM]:
    """A kernel with a block of memory that can be taken offline; with secondsight.ko, for what holds pages there, if that can be built."""
    with boot(kernel_6_12, module=kernel_6_12.headers is not None and shutil.which("make") is not None, movable=True) as machine:
        yield machine


@pytest.fixture(scope="session")
def module_vm(kernel_6_12: Kernel) -> Iterator[VM]:
    """A kernel with secondsight.ko."""
    if kernel_6_12.headers is None or shutil.which("make") is None:
        unavailable("the module needs make and the kernel's headers: secondsight kernel get 6.12")
    with boot(kernel_6_12, module=True) as machine:
        yield machine


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests recorded about the real kernel, and once why tests were skipped."""
    reasons = [r.longrepr[2] for r in terminalreporter.getreports("skipped") if "tests/kernels/" in r.nodeid]
    for reason in dict.fromkeys(reasons):
        terminalreporter.write_line(f"kernel tests skipped: {reason.removeprefix('Skipped: ')}")
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name.startswith("kernel: "):
                terminalreporter.write_line(f"{name} {value}")


# A package client on PATH

CLIENT = """\
#!{python}
# Plays apt-get and apt-cache: the packages are the files of a folder, NAME_VERSION.deb.
import os, pathlib, shutil, subprocess, sys
store = pathlib.Path({store!r})
words = [word for word in sys.argv[1:] if not word.startswith("-")]
options = dict(word.split("=", 1) for word in sys.argv if "::" in word and "=" in word)
files = {{path.name.split("_")[0]: path for path in store.glob("*.deb")}}
with open(store / "calls", "a") as calls:
    print(os.path.basename(sys.argv[0]), *sys.argv[1:], file=calls)
mode = (store / "mode").read_text() if (store / "mode").exists() else ""
where = options.get("Dir::Etc::sourcelist")
suite = pathlib.Path(where).read_text() if where else "configured"
if "indextargets" in sys.argv:
    for origin, uri in (("Debian", "http://mirror.example/d/"), ("Elsewhere", "http://other.example/")):
        print(f"Origin: {{origin}}\\nRepo-URI: {{uri}}\\nRelease: stable1\\nCodename: stable1\\nComponent: main\\nSigned-By: /k\\n")
elif "update" in words:
    sys.exit("E: the mirror is down" if mode == "down" else 0)
elif "search" in words:
    if mode != "nothing" and (mode != "unstable" or "unstable" in suite):
        print("".join(f"{{name}} - a package\\n" for name in files), end="")
elif "show" in words:
    subprocess.run(["dpkg-deb", "-f", files[words[-1]]], check=True)
else:
    verb = "install" if "install" in words else "download"
    packages = [word for word in words[words.index(verb) + 1:] if "::" not in word]
    target = pathlib.Path(options["Dir::Cache"]) / "archives" if verb == "install" else pathlib.Path(".")
    # In the client's own order, which is not that of the command line.
    for name in sorted(packages):
        if "--print-uris" in sys.argv:
            print(f"'http://x/{{name}}' {{files[name].name}} {{files[name].stat().st_size}} SHA256:0")
        elif mode == "short":
            (target / files[name].name).write_bytes(files[name].read_bytes()[:-1])
        elif mode == "fails":
            sys.exit("E: 404 Not Found")
        elif mode == "full":
            sys.exit("E: Error writing to file - write (28: No space left on device)")
        else:
            shutil.copy(files[name], target)
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fake client's packages; a file `mode` in it says what is to go wrong."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not there")
    found = tmp_path / "store"
    found.mkdir()
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("apt-get", "apt-cache"):
        (tools / name).write_text(CLIENT.format(python=sys.executable, store=str(found)))
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path / "cache"))
    return found


Package = Callable[..., None]


@pytest.fixture
def package(store: Path, tmp_path: Path) -> Package:
    """Put a package with these files into the store."""

    def make(name: str, files: dict[str, bytes], depends: str = "") -> None:
        folder = tmp_path / "package" / name
        for path, content in {**files, "DEBIAN/control": _control(name, depends)}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        subprocess.run(["dpkg-deb", "-b", str(folder), str(store / f"{name}_1_all.deb")], check=True, capture_output=True)

    return make


def _control(name: str, depends: str) -> bytes:
    lines = [f"Package: {name}", "Version: 1", "Architecture: all", "Maintainer: x <x@example.org>", "Description: x"]
    return "\n".join([*lines, *([f"Depends: {depends}"] if depends else [])]).encode() + b"\n"
