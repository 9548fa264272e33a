"""How often each operation is drawn in which place, by its declaration, and threads of what is drawn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal, get_args

from secondsight.agree.draw import Draw, weighted
from secondsight.agree.drawn import World, act, can_be_drawn
from secondsight.linux import BOUNDS
from secondsight.scenario import Recorder
from secondsight.scenario.ops import OPS, HandleType, Needs, Often, Operation
from secondsight.world.encoder import suits_huge_pages

__all__ = ["FRAMES", "KINDS", "PAGES", "DrawnKind", "Weights", "alone", "at_a_buffer", "beside", "by_the_device", "choosing", "draw_ops", "draw_thread", "for_itself", "huge_weights_of", "into_its_memory", "look", "other_blocks", "racing", "rarely", "two_threads", "weights_of"]

DrawnKind = Literal["sequential", "free", "forced", "migrating", "driven", "rare"]
KINDS: tuple[DrawnKind, ...] = get_args(DrawnKind)

WITH_HUGE = (Needs.HUGE, Needs.HUGETLB)
PAGES = BOUNDS["pages"].most  # of address space
FRAMES = BOUNDS["frames"].most - 2  # that the operations may come to hold, beside the zero page and one in flight

Weights = list[tuple[int, Operation]]


def weights_of(often: Callable[[Often], int], *but: str) -> Weights:
    """How often each operation is drawn in some place, by its declaration; without some, and without huge pages."""
    return [(count, op) for op in OPS.values() if (count := often(op.drawn)) and op.name not in but and op.needs not in WITH_HUGE]


def huge_weights_of(often: Callable[[Often], int], of_files: bool, *but: str) -> Weights:
    """The same where pages are huge, of files or of private memory: what is modelled together with that. Not udmabufs: they take huge pages that
    mappings have reserved, and what is reserved is not modelled; nor pins of files: for long they move what is movable, and those are not moved here."""
    kinds = (HandleType.UDMABUF, HandleType.PIN) if of_files else (HandleType.UDMABUF, HandleType.MEMFD)
    own = (Needs.HUGETLB,) if of_files else (Needs.HUGE, Needs.SWAP, Needs.NODES, Needs.MEMCG, Needs.COMPACTION)
    needs = (Needs.NOTHING, *own, *([Needs.MODULE] if often in (beside, by_the_device) else []))
    return [
        (count, op) for op in OPS.values()
        if (count := often(op.drawn)) and op.name not in but and op.needs in needs and op.makes not in kinds and suits_huge_pages(op, of_files)
    ]  # fmt: skip


def alone(often: Often) -> int:
    return often.alone


def racing(often: Often) -> int:
    return often.racing


def beside(often: Often) -> int:
    return often.beside_a_device


def by_the_device(often: Often) -> int:
    return often.by_the_device


def into_its_memory(often: Often) -> int:
    return often.into_its_memory


def for_itself(often: Often) -> int:
    return often.for_itself


def rarely(often: Often) -> int:
    return often.rarely


def at_a_buffer(often: Often) -> int:
    return often.at_a_buffer


def draw_ops(w: World, count: int, weights: Weights) -> None:
    for _ in range(count):
        here = w.either()
        act(here, weighted(w.draw, [(n, op) for n, op in weights if can_be_drawn(here, op)]))


def other_blocks(draw: Draw) -> tuple[str, ...]:
    """What is not done to the block of memory that pages come from first: it is to go, or contiguous memory, or there is none and all of memory is looked at."""
    return weighted(draw, [(4, ("cma_alloc", *choosing())), (2, ("offline_pages", *choosing())), (4, ("offline_pages", "cma_alloc"))])


def choosing() -> tuple[str, ...]:
    """What a setup has not: what was done before does not decide what it does."""
    return tuple(name for name, op in OPS.items() if op.chooses)


def look(w: World) -> None:
    """Read every page of every mapping."""
    for here in filter(None, (w, w.other, *w.forked)):
        with here.process or nullcontext():
            for mapping in here.mappings:
                for page in range(mapping.pages):
                    w.s.read(mapping + page, into=w.budget.name())


def draw_thread(s: Recorder, w: World, name: str, count: int, weights: Weights, first: Weights | None = None) -> None:
    inner, of = w.inside(), w.process or s

    def body() -> None:
        if first:
            draw_ops(inner, 1, first)
        draw_ops(inner, count, weights)

    body.__name__ = name
    of.thread(body)


def two_threads(s: Recorder, w: World, weights: Weights) -> None:
    """Of the process, and one of each child."""
    for number in range(2):
        draw_thread(s, w, f"t{number}", w.draw.integer(1, 3), weights)
    for child in w.forked:
        draw_thread(s, child, "child", w.draw.integer(1, 2), weights)
