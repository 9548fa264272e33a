"""`secondsight compile FILE`: a driver's checked program as C, to read or to have compiled ahead of time."""

from __future__ import annotations

import time
from pathlib import Path

from secondsight.cli.common import show
from secondsight.lang import LangError
from secondsight.lang.names import there_are
from secondsight.lang.native import Native
from secondsight.lang.render_c import render_c
from secondsight.search.reduced import reduced_native

__all__ = ["compile_"]


def compile_(file: Path, driver: str | None, adversary: str, text: bool) -> None:
    """Compile a file's driver, or print the C."""
    from secondsight import contract

    found = {kind.__name__: kind for kind in contract.load_drivers(file, driver and [driver])}
    if driver is not None and driver not in found:
        raise LangError(f"{file} has no driver {driver}; it has {', '.join(found)}")
    name = driver or next(iter(found))
    against = contract.adversaries_for(found[name])
    if adversary not in against:
        raise LangError(f"no adversary of {name} is called {adversary!r}; {there_are(adversary, against)}")
    program = contract.driver_program(found[name], against[adversary].scenarios[0])
    if text:
        print(render_c(program).text, end="")
        return
    begun = time.perf_counter()
    Native(program)
    reduced_native(program)
    show(
        f"{name}: {len(program.code.places)} steps, {program.size} bytes a state; compiled and loaded in {time.perf_counter() - begun:.1f} s"
    )
