"""One booted guest: QEMU, its console, and the line to the agent. Nothing is left running.

The guest has one CPU under software emulation, two NUMA nodes, no disk and no network. The agent's line is a
virtio-serial port on one end of a socket pair; the console is a nameless file, so that its tail is
there when the guest is not. QEMU is killed when the `Guest` closes and when the thread that made it
ends, with its process or without (PDEATHSIG); and the guest ends itself when its line closes.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from secondsight.kernels.errors import KernelError

__all__ = ["Guest"]

QEMU = "qemu-system-x86_64"
COMMAND_LINE = (
    "console=ttyS0 loglevel=5 panic_on_warn=1 oops=panic panic=-1 preempt=full mitigations=off nokaslr init_on_alloc=1 "
    "no_timer_check transparent_hugepage=never numa_balancing=disable "
    "cryptomgr.notests initcall_blacklist=bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init,jent_mod_init"
)
"""Its last line leaves out what takes half a second under emulation and has nothing to do with memory: ciphers tested, BPF's types, a source of
chance."""
TOKEN = "secondsight.guest=1"  # without it secondsight.ko does not load
NODE = 64
"""MiB of a second NUMA node, which has no CPU: where move_pages(2) can move a page to."""
PLUGGED = " memhp_default_state=offline"
"""Of a guest with a memory module: the agent brings it online where a scenario needs it (agent/movable.c)."""
COHERENT = 512
"""MiB of the memory that two coherent devices of lib/test_hmm.c have: DEVMEM_CHUNK_SIZE (Linux 6.12) for each."""
DAX = 4
"""MiB (secondsight.ko's SS_DAX_BYTES) of memory for a special purpose ("soft reserved"), which dax_hmem makes a device of. It is in a section of memory that is partly RAM: so its struct pages stay when
it has gone, and a device that has an entry of it still does no harm."""
PMEM = 4
"""MiB of memory that is called persistent, with a file system, behind that: as many as the file system has blocks for (agent/fs_dax.c)."""
CONTIGUOUS = 16
"""MiB of an area of contiguous memory: more than the buddy allocator has in one piece, so that a driver has it from there or not at all."""
RAM_ALIGNMENT = 64
RAM, SOFT_RESERVED = 1, 0xEFFFFFFF
"""E820_TYPE_RAM, E820_TYPE_SOFT_RESERVED (arch/x86/include/asm/e820/types.h)."""
SLOTS = 16
"""The same of secondsight.ko's: SS_COHERENT_SLOTS."""
TAIL_LINES = 30
PANIC_LINES = 100
PANIC = re.compile("Kernel panic|Oops:|BUG: ")
COMPLAINT = re.compile("WARNING: (?!CPU)[^\n]*|BUG: (?:sleeping|scheduling|Bad|Invalid)[^\n]*")
"""What a kernel says and goes on: lockdep's findings, sleeping while atomic, bad pages. A WARN() is a panic here."""
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


WAITS_LONGER = " (SECONDSIGHT_BOOT_SECONDS=300 waits longer)"
"""What to do on a machine that is slow, or has much else to do."""


class Guest:
    """A guest that boots a kernel with an initramfs. A context manager; `hello` is the agent's first line.

    Raises KernelError when QEMU is missing, when the guest ends, panics or complains (`COMPLAINT`), and when it gives
    no answer in time; each but the first with the end of the console. After an error the guest is gone.
    `memory` is in MiB; `movable`: so many more in a block of their own, which can be taken offline. `coherent`: with memory that the kernel
    leaves alone, for the coherent devices of lib/test_hmm.c and of secondsight.ko. `dax`: with memory that is a device's, which has a file. `fs_dax`: with memory that has a file system. `cma`: with an area of contiguous
    memory.
    `token`: a word on its command line, by which secondsight.ko knows that the tool has started the machine.
    """

    process = "QEMU"

    def __init__(self, image: Path, initramfs: Path, *, boot_timeout: float = 60, memory: int = 512, token: str = TOKEN, movable: int = 0, coherent: bool = False, dax: bool = False, fs_dax: bool = False, cma: bool = False) -> None:
        if shutil.which(QEMU) is None:
            raise KernelError(f"{QEMU} is not there", "install QEMU (Debian: apt-get install qemu-system-x86)")
        self._start(lambda line: self._command(image, initramfs, line, memory, token, movable, coherent, dax, fs_dax, cma), boot_timeout)

    def _start(self, command: Callable[[int], list[str]], timeout: float) -> None:
        """Start the machine's process, by the command for a descriptor of the agent's line, and wait for `hello`."""
        self.doing = "booting"
        self._heard = 0  # how much of the console was looked through for complaints
        self._console = os.memfd_create("secondsight-console")
        self._said = os.memfd_create("secondsight-qemu")  # QEMU's own messages
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._line, theirs = socket.socketpair()
        start = time.monotonic()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command(theirs.fileno()),
                    stdin=subprocess.DEVNULL,
                    stdout=self._said,
                    stderr=self._said,
                    pass_fds=[theirs.fileno(), self._console],
                    process_group=0,  # Ctrl-C is for this process; it then ends QEMU
                    preexec_fn=_die_with_parent,
                )
            self.hello = self.receive(timeout)
        except BaseException:
            self.close()
            raise
        self.boot_seconds = time.monotonic() - start
        self.doing = "waiting for work"

    def _command(self, image: Path, initramfs: Path, line: int, memory: int, token: str, movable: int, coherent: bool, dax: bool, fs_dax: bool, cma: bool) -> list[str]:
        memory += COHERENT + SLOTS if coherent else 0
        words = f"{COMMAND_LINE} {token}{PLUGGED if movable else ''}{_reserved(memory) if coherent else ''}{_for_a_purpose(memory - (COHERENT + SLOTS if coherent else 0), dax, fs_dax)}{_contiguous(memory) if cma else ''}"
        return [
            *(QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", "pc", "-accel", "tcg", "-smp", "1", "-m", f"{memory},slots=1,maxmem=4G" if movable else str(memory)),
            *_nodes(memory),
            *(("-object", f"memory-backend-ram,id=block,size={movable}M", "-device", "pc-dimm,memdev=block,node=0") if movable else ()),
            *("-kernel", str(image), "-initrd", str(initramfs), "-append", words),
            *("-chardev", f"file,id=console,path=/dev/fd/{self._console}", "-serial", "chardev:console"),
            *("-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={line}"),
            *("-device", "virtserialport,chardev=agent,name=secondsight"),
        ]

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_up(self) -> bool:
        """Whether it has not been closed yet."""
        return self._line.fileno() >= 0

    def console(self) -> str:
        """The end of what the guest's kernel has said so far."""
        return self._tail()

    def send(self, text: str) -> None:
        """Send lines to the agent. Raises KernelError when the guest has ended."""
        if not self.is_up:
            raise KernelError("the guest is gone", "boot another one")
        try:
            self._line.sendall(text.encode())
        except OSError:
            self._ended()

    def try_send(self, text: str) -> None:
        """Send lines, or not if the guest has ended: what it said before can still be received, and then why it ended."""
        with contextlib.suppress(OSError):
            self._line.sendall(text.encode())

    def receive(self, timeout: float) -> dict[str, Any]:
        """The agent's next line. Raises KernelError when there is none in `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                self._fail(f"the guest hangs: no answer for {timeout:g} s while {self.doing}{WAITS_LONGER if self.doing == 'booting' else ''}")
            self._line.settimeout(left)
            try:
                data = self._line.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            if not data:
                self._ended()
            self._buffer += data
        self._listen()
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            answer = json.loads(line)
        except ValueError:
            self._fail(f"the agent's answer makes no sense while {self.doing}: {line[:200]!r}")
        if not isinstance(answer, dict) or "error" in answer:
            self._fail(f"the agent refuses while {self.doing}: {line.decode(errors='replace')}")
        return answer

    def close(self) -> None:
        """Kill QEMU and wait for its end. Closing twice is fine."""
        if self.is_up:
            self._line.close()
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            os.close(self._console)
            os.close(self._said)

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _listen(self) -> None:
        """Look for complaints in what the console has said since the last time. Raises KernelError."""
        size = os.fstat(self._console).st_size
        if size > self._heard:
            new = os.pread(self._console, size - self._heard, self._heard).decode(errors="replace")
            self._heard = max(size - 200, 0)  # a line that is not whole yet is looked at again
            if found := COMPLAINT.search(new):
                self._fail(f"the guest's kernel complains while {self.doing}: {found[0].strip()}")

    def _ended(self) -> NoReturn:
        """The line is closed: the guest panicked, or never came up. Raises KernelError."""
        assert self._process is not None
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._fail(f"the guest closed its line while {self.doing}")
        said = _contents(self._said).strip()
        console = self._tail()
        if PANIC.search(console):
            self._fail(f"the guest's kernel panicked while {self.doing}")
        status = self._process.returncode
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        self._fail(f"{self.process} ended {how} while {self.doing}" + (f": {said[-1500:]}" if said else ""))

    def _fail(self, reason: str) -> NoReturn:
        console = self._tail()
        self.close()
        raise KernelError(reason, console=console)

    def _tail(self) -> str:
        """The console's last lines; after a panic, from a few lines before its first."""
        text = _contents(self._console).replace("\r", "\n")
        lines = [line for line in (raw.rstrip() for raw in text.split("\n")) if line]
        bad = next((i for i, line in enumerate(lines) if PANIC.search(line) or "WARNING: " in line), None)
        start = max(len(lines) - TAIL_LINES, 0) if bad is None else max(bad - 5, 0)
        return "\n".join(lines[start : start + (TAIL_LINES if bad is None else PANIC_LINES)])


def _contents(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")


def _reserved(memory: int) -> str:
    """The end of the first node's memory, of so much together, as memory that is no System RAM, and where test_hmm and secondsight.ko find
    their devices' there."""
    start = memory - NODE - COHERENT - SLOTS << 20
    ends = start, start + (COHERENT << 19)
    own = f" secondsight.coherent={start + (COHERENT << 20):#x}"
    return f" memmap={COHERENT + SLOTS}M${start:#x}{own}" + "".join(f" test_hmm.spm_addr_dev{number}={place:#x}" for number, place in enumerate(ends))


def _for_a_purpose(memory: int, dax: bool, fs_dax: bool) -> str:
    """Memory of the first node for a special purpose and where secondsight.ko finds it, and persistent memory; behind them is RAM of the same section. They begin where a kernel (7.2)
    that takes the gap for no memory at all makes no buffer behind the RAM before it (ram_alignment(), arch/x86/kernel/e820.c)."""
    start = (memory - NODE - 2 * DAX - PMEM) // RAM_ALIGNMENT * RAM_ALIGNMENT << 20
    special = f" memmap={DAX}M%{start:#x}-{RAM}+{SOFT_RESERVED:#x} secondsight.dax={start:#x}" if dax else ""
    return special + (f" memmap={PMEM}M!{start + (DAX << 20 if dax else 0):#x}" if fs_dax else "")


def _contiguous(memory: int) -> str:
    """An area of contiguous memory in the first node, and for secondsight.ko how large it is."""
    return f" cma={CONTIGUOUS}M@0-{memory - NODE << 20:#x} secondsight.cma={CONTIGUOUS << 20:#x}"


def _nodes(memory: int) -> list[str]:
    """Two NUMA nodes of so much memory together."""
    words = []
    for node, size in enumerate((memory - NODE, NODE)):
        words += ["-object", f"memory-backend-ram,id=node{node},size={size}M"]
        words += ["-numa", f"node,nodeid={node},memdev=node{node}" + (",cpus=0" if node == 0 else "")]
    return words


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
