"""`python -m bench.gpu PROGRAM --emit FOLDER` writes the files of a program, for the compilers of a search on a CUDA card.

`--build shim` compiles the search with g++ in that folder (one thread, for a look at it without a card), `--build nvcc` for a card,
`--build engine` our own engine for the same program, to measure beside it. `--list` prints the programs' names.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from bench.gpu.emit import emit
from bench.gpu.programs import NAMES, named
from secondsight.lang.compiler import FLAGS

HERE = Path(__file__).parent
ARCHITECTURE = "-gencode=arch=compute_90a,code=sm_90a"


def commands(folder: Path, way: str, name: str, more: tuple[str, ...] = ()) -> list[list[str]]:
    """The compilers' commands that build `name` in a folder that has the files of a program."""
    apart = (folder / "flags").read_text(encoding="utf-8").split()
    made, search = str(folder / name), str(HERE / "bfs.cu")
    if way == "shim":
        return [["g++", "-x", "c++", "-std=gnu++17", "-O1", "-w", "-DSS_SHIM", "-fno-strict-aliasing", *more, f"-I{folder}", "-o", made, search]]
    if way == "nvcc":
        return [["nvcc", ARCHITECTURE, "-std=c++17", "-O3", "-w", "-Xptxas", "-v", *apart, *more, f"-I{folder}", "-o", made, search]]
    model, engine = folder / "model.o", folder / "engine_main.o"
    care = "-Og" if apart else "-O1"
    return [
        ["gcc", *FLAGS, care, *more, "-c", "-o", str(model), str(folder / "model.c")],
        ["gcc", *FLAGS, "-O1", *more, f"-I{folder}", "-c", "-o", str(engine), str(HERE / "engine_main.c")],
        ["gcc", *FLAGS, *more, "-static", "-o", made, str(model), str(engine)],
    ]


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", help="a program's name")
    parser.add_argument("--emit", type=Path, metavar="FOLDER", help="where the files go")
    parser.add_argument("--build", choices=("shim", "nvcc", "engine"), action="append", default=[], help="compile there; may be given again")
    parser.add_argument("--as", dest="name", help="the name of what is built (default: that of the compiler)")
    parser.add_argument("--with", dest="more", action="append", default=[], metavar="FLAG", help="for the compiler, as --with=-DTILE=256")
    parser.add_argument("--list", action="store_true", help="print the programs' names")
    given = parser.parse_args()
    if given.list:
        print("\n".join(NAMES))
        return 0
    if given.program not in NAMES:
        parser.error(f"{given.program or 'no program'}: not one of the programs that --list prints")
    if given.emit is None:
        parser.error("--emit says which folder the files go to")
    program = named(given.program)
    emit(program, given.emit)
    for way in given.build:
        for command in commands(given.emit, way, given.name or way, tuple(given.more)):
            try:
                done = subprocess.run(command, check=False)
            except FileNotFoundError:
                parser.error(f"{command[0]} is not there")
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
