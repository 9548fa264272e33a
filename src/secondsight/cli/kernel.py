"""`secondsight kernel`: real kernels to run scenarios on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secondsight.cli.common import EXIT_CODES, Running
from secondsight.kernels import GETTABLE, Kernel, KernelError, get

__all__ = ["app", "find_kernel"]

app = typer.Typer(help="Real kernels to run scenarios on.", no_args_is_help=True, epilog=EXIT_CODES)


@app.command("get", epilog=EXIT_CODES)
def fetch(
    name: Annotated[str, typer.Argument(help=f"Which one: {', '.join(GETTABLE)}.")],
    kernel: Annotated[Path | None, typer.Option(help="Only look whether this image of your own can be used.")] = None,
) -> None:
    """Fetch a Debian kernel with the machine's own package client into the cache folder; no root is needed."""
    if kernel is not None:
        found = Kernel.from_path(kernel)
    else:
        with Running() as running:
            found = get(name, lambda what, done, total: running.say(_progress(what, done, total), done, total or None))
    print(f"{found.name}: Linux {found.release}\n{found.image}")


def _progress(what: str, done: int, total: int) -> str:
    return f"{what}: {done / 1e6:.1f} of {total / 1e6:.1f} MB" if total else what


@app.command("list", epilog=EXIT_CODES)
def show() -> None:
    """The kernels that can be fetched, and which of them are here."""
    for name in GETTABLE:
        try:
            found = Kernel.find(name)
        except KernelError as error:
            print(f"linux-{name}  {error.reason}; {error.remedy}")
        else:
            print(f"{found.name}  Linux {found.release}  {found.image}")


def find_kernel(name: str | None, path: Path | None) -> Kernel | None:
    """The kernel that `--on` and `--kernel` ask for; None when neither is given."""
    if path is not None:
        return Kernel.from_path(path)
    return Kernel.find(name) if name is not None else None
