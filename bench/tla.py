"""The mirror protocol in TLA+, for TLC: the steps of bench/mirror.py, one for one.

A frame is its number from 1, 0 is none. Each thread's program counter is written out; one row of `_CPU` or `_DEVICE` is one
step. What a device's use of a page requires is the invariant `Safe`, of states in which a device is about to use one.
"""

from __future__ import annotations

import re

from bench.sizes import Size

__all__ = ["CONFIGURATION", "MODULE", "tla"]

MODULE = "Mirror"
"""The module's name, and so that of its file."""

CONFIGURATION = "INIT Init\nNEXT Next\nINVARIANT Safe\nCHECK_DEADLOCK FALSE\n"
"""TLC's configuration: threads that have all ended are no deadlock."""

_VARIABLES = ("cpu_pte", "dev_pte", "used", "seq", "mmap_w", "mmap_r", "inval", "dlock", "cpu", "dev")

_CPU = (
    r"t.pc = 0 /\ t.k > 0 /\ \E w \in Pages : cpu' = [cpu EXCEPT ![c] = [t EXCEPT !.pc = 1, !.k = @ - 1, !.v = w]]",
    r"t.pc = 1 /\ ~mmap_w /\ mmap_r = 0 /\ mmap_w' = TRUE /\ cpu' = [cpu EXCEPT ![c].pc = 2]",
    r"t.pc = 2 /\ cpu_pte[v] # 0 /\ seq' = seq + 1 /\ inval' = v + 1 /\ cpu' = [cpu EXCEPT ![c] = [t EXCEPT !.pc = 3, !.i = 0]]",
    r"t.pc = 2 /\ cpu_pte[v] = 0 /\ (\E f \in Frames : ~used[f] /\ cpu_pte' = [cpu_pte EXCEPT ![v] = f]"
    r" /\ used' = [used EXCEPT ![f] = TRUE]) /\ cpu' = [cpu EXCEPT ![c].pc = 9]",
    r"t.pc = 3 /\ ~dlock[t.i] /\ dlock' = [dlock EXCEPT ![t.i] = TRUE] /\ cpu' = [cpu EXCEPT ![c].pc = 4]",
    r"t.pc = 4 /\ dev_pte' = [dev_pte EXCEPT ![t.i][v] = 0] /\ cpu' = [cpu EXCEPT ![c].pc = 5]",
    r"t.pc = 5 /\ dlock' = [dlock EXCEPT ![t.i] = FALSE] /\ cpu' = [cpu EXCEPT ![c] ="
    r" IF t.i < LastDevice THEN [t EXCEPT !.pc = 3, !.i = @ + 1] ELSE [t EXCEPT !.pc = 6, !.i = 0]]",
    r"t.pc = 6 /\ cpu_pte' = [cpu_pte EXCEPT ![v] = 0] /\ cpu' = [cpu EXCEPT ![c] = [t EXCEPT !.pc = 7, !.page = cpu_pte[v]]]",
    r"t.pc = 7 /\ used' = [used EXCEPT ![t.page] = FALSE] /\ cpu' = [cpu EXCEPT ![c] = [t EXCEPT !.pc = 8, !.page = 0]]",
    r"t.pc = 8 /\ seq' = seq + 1 /\ inval' = 0 /\ cpu' = [cpu EXCEPT ![c].pc = 9]",
    r"t.pc = 9 /\ mmap_w' = FALSE /\ cpu' = [cpu EXCEPT ![c] = [t EXCEPT !.pc = 0, !.v = 0]]",
)

_TEST = (
    r"t.pc = 6 /\ dev' = [dev EXCEPT ![d] ="
    r" IF seq # t.s THEN [t EXCEPT !.pc = 9, !.s = 0, !.page = 0] ELSE [t EXCEPT !.pc = 7, !.s = 0]]"
)
_NO_TEST = r"t.pc = 6 /\ dev' = [dev EXCEPT ![d] = [t EXCEPT !.pc = 7, !.s = 0]]"

_DEVICE = (
    r"t.pc = 0 /\ t.l > 0 /\ \E w \in Pages : dev' = [dev EXCEPT ![d] = [t EXCEPT !.pc = 1, !.l = @ - 1, !.v = w]]",
    r"t.pc = 1 /\ seq % 2 = 0 /\ dev' = [dev EXCEPT ![d] = [t EXCEPT !.pc = 2, !.s = seq]]",
    r"t.pc = 2 /\ ~mmap_w /\ mmap_r' = mmap_r + 1 /\ dev' = [dev EXCEPT ![d].pc = 3]",
    r"t.pc = 3 /\ cpu_pte[v] # 0 /\ dev' = [dev EXCEPT ![d] = [t EXCEPT !.pc = 4, !.page = cpu_pte[v]]]",
    r"t.pc = 3 /\ cpu_pte[v] = 0 /\ (\E f \in Frames : ~used[f] /\ cpu_pte' = [cpu_pte EXCEPT ![v] = f]"
    r" /\ used' = [used EXCEPT ![f] = TRUE] /\ dev' = [dev EXCEPT ![d] = [t EXCEPT !.pc = 4, !.page = f]])",
    r"t.pc = 4 /\ mmap_r' = mmap_r - 1 /\ dev' = [dev EXCEPT ![d].pc = 5]",
    r"t.pc = 5 /\ ~dlock[d] /\ dlock' = [dlock EXCEPT ![d] = TRUE] /\ dev' = [dev EXCEPT ![d].pc = 6]",
    _TEST,
    r"t.pc = 7 /\ dev_pte' = [dev_pte EXCEPT ![d][v] = t.page] /\ dev' = [dev EXCEPT ![d] = [t EXCEPT !.pc = 8, !.page = 0]]",
    r"t.pc = 8 /\ dlock' = [dlock EXCEPT ![d] = FALSE] /\ dev' = [dev EXCEPT ![d].pc = 10]",
    r"t.pc = 9 /\ dlock' = [dlock EXCEPT ![d] = FALSE] /\ dev' = [dev EXCEPT ![d].pc = 1]",
    r"t.pc = 10 /\ dev' = [dev EXCEPT ![d] = [t EXCEPT !.pc = 0, !.v = 0]]",
)


def _disjunct(step: str) -> str:
    """The step, and that it leaves all other variables as they are."""
    changed = set(re.findall(r"\b(\w+)'", step))
    return f"  \\/ /\\ {step}\n     /\\ UNCHANGED <<{', '.join(v for v in _VARIABLES if v not in changed)}>>"


def tla(size: Size, retry_test: bool = True) -> str:
    """The module's text; without `retry_test` the mutant."""
    device = [_NO_TEST if step is _TEST and not retry_test else step for step in _DEVICE]
    rows = [
        f"---- MODULE {MODULE} ----",
        "EXTENDS Naturals",
        f"VARIABLES {', '.join(_VARIABLES)}",
        f"Pages == 0..{size.pages - 1}",
        f"Frames == 1..{size.frames}",
        f"Cpus == 0..{size.cpus - 1}",
        f"Devices == 0..{size.devices - 1}",
        f"LastDevice == {size.devices - 1}",
        "Init ==",
        r"  /\ cpu_pte = [v \in Pages |-> 0] /\ dev_pte = [d \in Devices |-> [v \in Pages |-> 0]]",
        r"  /\ used = [f \in Frames |-> FALSE] /\ seq = 0 /\ mmap_w = FALSE /\ mmap_r = 0 /\ inval = 0",
        r"  /\ dlock = [d \in Devices |-> FALSE]",
        rf"  /\ cpu = [c \in Cpus |-> [pc |-> 0, k |-> {size.operations}, v |-> 0, i |-> 0, page |-> 0]]",
        rf"  /\ dev = [d \in Devices |-> [pc |-> 0, l |-> {size.device_operations}, v |-> 0, s |-> 0, page |-> 0]]",
        "Cpu(c) == LET t == cpu[c] v == t.v IN",
        *(_disjunct(step) for step in _CPU),
        "Device(d) == LET t == dev[d] v == t.v IN",
        *(_disjunct(step) for step in device),
        r"Next == (\E c \in Cpus : Cpu(c)) \/ (\E d \in Devices : Device(d))",
        r"Safe == \A d \in Devices : dev[d].pc = 10 => LET v == dev[d].v e == dev_pte[d][v] IN",
        r"  e = 0 \/ (used[e] /\ (cpu_pte[v] = e \/ inval = v + 1))",
        "====",
    ]
    return "\n".join(rows) + "\n"
