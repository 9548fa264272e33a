"""The mirror protocol in Promela, for Spin: the steps of bench/mirror.py, one for one.

A `d_step` is one step. A frame is its number from 1, 0 is none; `used` is a set of bits. A thread that has ended stays in its
loop's head (`end0`), which Spin takes for a valid end.
"""

from __future__ import annotations

from bench.sizes import Size

__all__ = ["promela"]


def _pick(counter: str, pages: int) -> str:
    """The thread's next operation: any page."""
    return "\n".join(f"    :: d_step {{ {counter} > 0 -> {counter}--; v = {page} }}" for page in range(pages))


def _map(frames: int, remember: bool) -> str:
    """Map any free frame at an empty entry; a device remembers which."""
    rows = []
    for frame in range(frames):
        bit, page = 1 << frame, f"; page = {frame + 1}" if remember else ""
        rows.append(
            f"    :: d_step {{ cpu_pte[v] == 0 && (used & {bit}) == 0 -> cpu_pte[v] = {frame + 1}; used = used | {bit}{page} }}"
        )
    return "\n".join(rows)


def _cpu(size: Size) -> str:
    return f"""
active [{size.cpus}] proctype cpu() {{
    byte k = {size.operations};
    byte v, i, page;
end0:
    if
{_pick("k", size.pages)}
    fi;
    d_step {{ !mmap_w && mmap_r == 0 -> mmap_w = 1 }};
    if
    :: d_step {{ cpu_pte[v] != 0 -> seq++; inval = v + 1; i = 0 }};
each_device:
        if :: d_step {{ dlock[i] == 0 -> dlock[i] = 1 }} fi;
        dev_pte[i * {size.pages} + v] = 0;
        if
        :: d_step {{ i < {size.devices - 1} -> dlock[i] = 0; i++ }}; goto each_device
        :: d_step {{ i == {size.devices - 1} -> dlock[i] = 0; i = 0 }}
        fi;
        d_step {{ page = cpu_pte[v]; cpu_pte[v] = 0 }};
        d_step {{ used = used & (255 - (1 << (page - 1))); page = 0 }};
        d_step {{ seq++; inval = 0 }}
{_map(size.frames, remember=False)}
    fi;
    d_step {{ mmap_w = 0; v = 0 }};
    goto end0
}}
"""


def _device(size: Size, me: int, retry_test: bool) -> str:
    entry = f"dev_pte[{me * size.pages} + v]"
    if retry_test:
        test = f"""    if
    :: d_step {{ seq != s -> s = 0; page = 0 }}; dlock[{me}] = 0; goto retry
    :: d_step {{ seq == s -> s = 0 }}
    fi;"""
    else:
        test = "    s = 0;"
    return f"""
active proctype dev{me}() {{
    byte l = {size.device_operations};
    byte v, s, page;
end0:
    if
{_pick("l", size.pages)}
    fi;
retry:
    if :: d_step {{ (seq & 1) == 0 -> s = seq }} fi;
    d_step {{ !mmap_w -> mmap_r++ }};
    if
    :: d_step {{ cpu_pte[v] != 0 -> page = cpu_pte[v] }}
{_map(size.frames, remember=True)}
    fi;
    mmap_r--;
    d_step {{ dlock[{me}] == 0 -> dlock[{me}] = 1 }};
{test}
    d_step {{ {entry} = page; page = 0 }};
    dlock[{me}] = 0;
    d_step {{
        assert({entry} == 0 || (((used >> ({entry} - 1)) & 1) && (cpu_pte[v] == {entry} || inval == v + 1)));
        v = 0
    }};
    goto end0
}}
"""


def promela(size: Size, retry_test: bool = True) -> str:
    """The model's text; without `retry_test` the mutant."""
    shared = f"""byte cpu_pte[{size.pages}];
byte dev_pte[{size.pages * size.devices}];
byte used, seq, mmap_r, inval;
bit mmap_w;
bit dlock[{size.devices}];
"""
    return shared + _cpu(size) + "".join(_device(size, me, retry_test) for me in range(size.devices))
