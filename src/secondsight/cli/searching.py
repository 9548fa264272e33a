"""The options of every command that searches: limits, the executor, its reductions, cores, and the way through the states."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args, get_type_hints

import typer

from secondsight.cli.codes import warn
from secondsight.cli.commands.known import DEEPEST, MOST_PREEMPTIONS

if TYPE_CHECKING:
    from secondsight.search import Request, Result
    from secondsight.search.strategy import Strategy

__all__ = ["bytes_of", "notes", "searches", "told"]

_EXECUTOR = "reference (Python), native (compiled C), or auto: reference, then native where a search grows large."


_LEAST = 1 << 20
"""The least memory that a search can be given, in bytes: less is a number without its unit."""
_MOST = 2**63 - 1
"""The largest number that native code can be given."""


def searches(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options; its argument `request` is what they say.

    An option that the command has under the same name is its own, and is taken into account too.
    """
    own = inspect.signature(command)
    shared = inspect.signature(_request)
    added = [p for name, p in shared.parameters.items() if name not in own.parameters]
    kept = [p for name, p in own.parameters.items() if name != "request"]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        from secondsight.lang.collecting import stays

        stays()
        request = _request(**{name: given[name] for name in shared.parameters})
        command(**{p.name: given[p.name] for p in kept}, request=request)

    later = {"Request": object}  # not among the options
    hints = get_type_hints(_request, localns=later, include_extras=True) | get_type_hints(command, localns=later, include_extras=True)
    whole = [p.replace(annotation=hints[p.name]) for p in (*kept, *added)]
    run.__signature__ = inspect.Signature(whole)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in whole}
    return run


def _request(
    states: Annotated[int | None, typer.Option(min=1, help="Stop each search after so many states.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop each search after so many seconds.")] = None,
    memory: Annotated[str | None, typer.Option(help="Stop when so much memory is in use: 500M, 8G.")] = "8G",
    executor: Annotated[str, typer.Option(metavar="auto|reference|native", help=_EXECUTOR)] = "auto",
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Threads of a native search; default: one a core.")] = None,
    no_merge: Annotated[bool, typer.Option("--no-merge", metavar="", help="Native: every step by itself, none merged.")] = False,
    no_symmetry: Annotated[bool, typer.Option("--no-symmetry", metavar="", help="Native: tell interchangeable records, sequence numbers and equal threads apart.")] = False,
    exact: Annotated[bool, typer.Option("--exact", metavar="", help="Native: compare whole states, not 64 bits of them.")] = False,
    collect: Annotated[
        bool, typer.Option("--collect", metavar="", help="Native: go on after a broken rule; each broken rule once in the result.")
    ] = False,
    depth_first: Annotated[
        int | None, typer.Option(metavar="DEPTH", min=1, max=DEEPEST, help="Native: depth first, no deeper than DEPTH steps.")
    ] = None,
    walks: Annotated[int | None, typer.Option(min=1, help="Native: so many random walks instead of a search.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides the random walks.")] = 0,
    preemptions: Annotated[
        int | None,
        typer.Option(metavar="K", min=0, max=MOST_PREEMPTIONS, help="Native: with no preemptions first, then one, and so on up to K."),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="HOST:PORT|auto", help="Native: share large searches out over a Ray cluster's machines.")
    ] = None,
) -> Request:
    """What the options say."""
    from secondsight.lang.movers import Reductions
    from secondsight.search import Limits, Request
    from secondsight.search.auto import why_not_native
    from secondsight.search.request import ExecutorName
    from secondsight.search.strategy import BreadthFirst, DepthFirst, Preemptions, RandomWalks

    if executor not in get_args(ExecutorName):
        raise typer.BadParameter(f"--executor {executor}: one of {', '.join(get_args(ExecutorName))} is wanted")
    for option, number, most in (("--states", states, _MOST), ("--walks", walks, _MOST)):
        if number is not None and number > most:
            raise typer.BadParameter(f"{option} {number}: at most {most:,} is wanted")
    ways = {"--depth-first": depth_first, "--walks": walks, "--preemptions": preemptions}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise typer.BadParameter(f"{' and '.join(given)}: one way through the states is wanted")
    if exact and given:
        raise typer.BadParameter(f"--exact: whole states are kept breadth first only; leave out {given[0]}")
    if cluster is not None and workers is not None:
        raise typer.BadParameter("--cluster and --workers: a cluster's machines search with all the CPUs that they offer")
    strategy: Strategy = BreadthFirst()
    if depth_first is not None:
        strategy = DepthFirst(depth_first)
    elif walks is not None:
        strategy = RandomWalks(walks, seed=seed)
    elif preemptions is not None:
        strategy = Preemptions(preemptions)
    if executor == "auto" and (why := why_not_native()):
        warn(f"searches run on the reference executor, which is slow on large ones: {why}")
    return Request(
        limits=Limits(states, seconds, bytes_of(memory) if memory is not None else None), executor=cast(ExecutorName, executor),
        reductions=Reductions(not no_merge, not no_symmetry), workers=workers, strategy=strategy, exact=exact, collect=collect,
        cluster=cluster,
    )  # fmt: skip


def bytes_of(text: str) -> int:
    """`--memory` takes 500M, 8G or bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    size = 0 if found is None else int(float(found[1]) * 1024 ** " kmgt".index(found[2] or " "))
    if found is None or size > _MOST:
        raise typer.BadParameter(f"--memory {text}: a size is wanted, such as 500M or 8G")
    if size < _LEAST:
        raise typer.BadParameter(f"--memory {text}: {size:,} bytes are too few for any search; 1M is the least: give a unit, such as 500M or 8G")
    return size


def told(result: Result) -> str:
    """A result's figures in a sentence: `12,345 states, reduced, 0.4 s`."""
    reduced = ", reduced" if result.reduced else ""
    return f"{result.states:,} states{reduced}, {result.seconds:.1f} s"


def notes(results: Iterable[Result | None]) -> list[str]:
    """What is to be said about the reductions of some results, each once, and with how many preemptions those that did not finish hold."""
    seen = [r for r in results if r is not None]
    said = list(dict.fromkeys(f"note: {part}" for r in seen if r.note for part in r.note.split("; ")))
    bounds = [r.preemptions for r in seen if r.preemptions is not None]
    if bounds:
        most = f"{min(bounds)} preemption{'s' * (min(bounds) != 1)}"
        said.append(f"note: what was not finished holds with up to {most} (leaving a thread that could go on)")
    return said
