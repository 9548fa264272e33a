"""A process with the tool loaded, of which each command is a fork: to load the modules costs more than most commands do.

`Server.run` gives what a process of its own gives: streams, folder, environment, exit code, what is done at the end. What does differ: all
commands have loaded the same modules, in one order. Tests of what a command loads, of signals and of terminals run a process of their own.
In `Server.programs` is a program `secondsight` that has the server do what it is asked, for shells.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

LONGEST = 1 << 17
"""Bytes of a request, with the whole environment."""
SECONDS = 300
PROGRAM = """\
#!{python} -ES
import sys
sys.path.insert(0, {folder!r})
from fork_server import ask
sys.exit(ask({socket!r}, sys.argv[1:], [0, 1, 2]))
"""


def ask(server: str, words: Sequence[str], streams: list[int], cwd: Path | None = None) -> int:
    """A command's exit code, or less a signal's number."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.settimeout(SECONDS)
        line.connect(server)
        request = {"words": list(words), "cwd": str(cwd or Path.cwd()), "environment": dict(os.environ)}
        socket.send_fds(line, [json.dumps(request).encode()], streams)
        return int(line.recv(LONGEST))


class Server:
    """The process, which ends with this one."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp())
        self._socket = str(self._folder / "socket")
        self.programs = self._folder / "programs"
        self.programs.mkdir()
        program = self.programs / "secondsight"
        program.write_text(PROGRAM.format(python=sys.executable, folder=str(Path(__file__).parent), socket=self._socket))
        program.chmod(0o755)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self._socket)
            listener.listen(64)
            life, self._life = os.pipe()
            command = [sys.executable, __file__, str(listener.fileno()), str(life)]
            process = subprocess.Popen(command, pass_fds=(listener.fileno(), life))
            os.close(life)
        weakref.finalize(self, _end, self._folder, self._life, process)

    def run(self, words: Sequence[str], cwd: Path | None, typed: str) -> tuple[int, str, str]:
        """A command's exit code, and what it has written: on its output, and on its error stream."""
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            stdin.write(typed.encode())
            stdin.seek(0)
            code = ask(self._socket, words, [stdin.fileno(), out.fileno(), err.fileno()], cwd)
            out.seek(0)
            err.seek(0)
            return code, out.read().decode(), err.read().decode()


def _end(folder: Path, life: int, process: subprocess.Popen[bytes]) -> None:
    os.close(life)
    process.wait()
    shutil.rmtree(folder)


def serve(listener: socket.socket, life: int) -> None:
    """Answer requests until the other side is gone. Returns in the child that a request is for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for who answers one
    while True:
        ready, _, _ = select.select([listener.fileno(), life], [], [])
        if life in ready:
            os._exit(0)
        line, _ = listener.accept()
        if not os.fork():
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            request, streams, _, _ = socket.recv_fds(line, LONGEST, 3)
            child = os.fork()
            if not child:
                line.close()
                _become(json.loads(request), streams)
                return
            for stream in streams:
                os.close(stream)
            _, status = os.waitpid(child, 0)
            line.send(str(os.waitstatus_to_exitcode(status)).encode())
            os._exit(0)
        line.close()


def _become(request: dict[str, object], streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  what a stream is (a file, a pipe) is looked at when it is opened
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    words, environment = request["words"], request["environment"]
    assert isinstance(words, list) and isinstance(environment, dict)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(request["cwd"]))
    sys.argv = ["secondsight", *words]
    sys.path[0] = str(request["cwd"])
    signal.signal(signal.SIGINT, signal.default_int_handler)


def load() -> None:
    """What commands load, and what they find out about the machinery whatever the driver: its source is read and cut at its steps once."""
    import secondsight.cli.check
    import secondsight.cli.commands
    import secondsight.cli.commands.check
    import secondsight.cli.run
    import secondsight.cli.settle  # noqa: F401
    from secondsight.contract import ADVERSARIES, driver_program
    from secondsight.devices.mirror import Mirror
    from secondsight.lang.instrument import instrumented

    with instrumented(driver_program(Mirror, ADVERSARIES["munmap"].scenarios[0])):
        pass


if __name__ == "__main__":
    load()
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
    from secondsight.cli import main

    sys.exit(main())
