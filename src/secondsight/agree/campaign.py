"""Campaigns: thousands of drawn scenarios on the model and on a kernel, compared, and what was found kept.

The scenarios of a campaign are cut into batches; worker processes, each with a boot of the kernel of its own, run them and
judge them while the kernel runs the next. This process alone writes the file, a batch at a time. Killed at any moment, it
loses the batches under way and nothing else: the next run does what is missing, beginning with what did not agree.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from secondsight.agree.forced import NOT_COMPARED, Plan, both_told, judge_forced, plan_of, ran_out_of_time, replanned
from secondsight.agree.generate import DrawnKind, driver_of, scenario_of
from secondsight.agree.judge import ModelAnswer, ask, both_answers, judge, signature_of
from secondsight.agree.shrink import renumbered, shrink
from secondsight.agree.sides import Booted, KernelAnswer
from secondsight.agree.store import AGREES, DIED, DISAGREES, NO_VERDICT, Campaign, CampaignFinding, CampaignStore, KeptResult
from secondsight.devices.device import Device
from secondsight.kernels import Kernel, KernelError
from secondsight.scenario import Scenario

__all__ = ["BATCH", "RUNS", "CampaignProgress", "examine", "run_campaign", "shrink_findings"]

RUNS: dict[DrawnKind, int] = {"sequential": 1, "free": 25, "forced": 1, "migrating": 25, "driven": 25, "rare": 25}
"""How often a scenario runs on the kernel."""
BATCH: dict[DrawnKind, int] = {"sequential": 100, "free": 20, "forced": 25, "migrating": 20, "driven": 20, "rare": 20}
WITH_MODULE: tuple[DrawnKind, ...] = ("forced", "migrating", "driven", "rare")
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class CampaignProgress:
    """How far a campaign is: `fresh` scenarios now, `done` with those from before."""

    campaign: Campaign
    fresh: int
    done: int
    total: int
    disagree: int
    seconds: float


def examine(booted: Booted, scenarios: dict[int, Scenario], kind: DrawnKind, seed: int = 1) -> list[KeptResult]:
    """Run scenarios on a kernel and on the model, and judge each. The numbers are theirs in the campaign of that seed."""
    if kind == "forced":
        return list(_forced(booted, scenarios, seed))
    numbers = {scenario.name: number for number, scenario in scenarios.items()}
    drivers = {scenario.name: driver_of(kind, number) for number, scenario in scenarios.items()}
    answers: dict[str, ModelAnswer] = {}
    results = []

    def think(scenario: Scenario) -> None:
        answers[scenario.name] = ask(scenario, booted.release, driver=drivers[scenario.name])

    for scenario, seen in booted.answers(list(scenarios.values()), RUNS[kind], think, drivers):
        results.append(_judged(numbers[scenario.name], scenario, answers[scenario.name], seen))
    return results


def _forced(booted: Booted, scenarios: dict[int, Scenario], seed: int) -> Iterator[KeptResult]:
    """Forced scenarios: each with its plan. One that ran out of time is run once more, when the others are done: a busy machine is no disagreement."""
    todo: deque[tuple[int, Plan]] = deque()
    late: list[tuple[int, Plan]] = []
    without_plan: list[KeptResult] = []

    def plans() -> Iterator[Plan]:
        for number, scenario in scenarios.items():
            plan = plan_of(scenario, seed, number, booted.release)
            if plan.problem:
                finding = CampaignFinding(plan.problem, scenario, f"model: {plan.problem}")
                without_plan.append(KeptResult(number, NO_VERDICT, 0, 0, {}, finding))
            else:
                todo.append((number, plan))
                yield plan

    for seen in booted.force(plans()):
        number, plan = todo.popleft()
        if seen.forced is not None and ran_out_of_time(seen.forced):
            late.append((number, plan))
        else:
            yield _judged_forced(number, plan, seen)
    for (number, plan), seen in zip(late, booted.force(plan for _, plan in late) if late else (), strict=True):
        yield _judged_forced(number, plan, seen)
    yield from without_plan


def _judged_forced(number: int, plan: Plan, seen: KernelAnswer) -> KeptResult:
    if seen.forced is None:
        finding = CampaignFinding(f"the guest died: {seen.died.split(' while ')[0]}", plan.scenario, str(plan), seen.console)
        return KeptResult(number, DIED, 0, 0, {}, finding)
    signature = judge_forced(plan, seen.forced)
    if not signature:
        return KeptResult(number, AGREES, 1, 0, seen.outcomes)
    verdict = NO_VERDICT if signature in NOT_COMPARED else DISAGREES
    return KeptResult(number, verdict, 1, 0, seen.outcomes, CampaignFinding(signature, plan.scenario, both_told(plan, seen.forced)))


def _judged(number: int, scenario: Scenario, answer: ModelAnswer, seen: KernelAnswer) -> KeptResult:
    runs = sum(seen.outcomes.values())
    answers = both_answers(answer, seen.outcomes)
    if seen.died:
        finding = CampaignFinding(f"the guest died: {seen.died.split(' while ')[0]}", scenario, answers, seen.console)
        return KeptResult(number, DIED, runs, answer.states, seen.outcomes, finding)
    verdict, signature = judge(scenario, answer, seen.outcomes)
    found = CampaignFinding(signature, scenario, answers) if signature else None
    return KeptResult(number, verdict, runs, answer.states, seen.outcomes, found)


def run_campaign(
    store: CampaignStore,
    kernel: Kernel,
    kind: DrawnKind,
    seed: int,
    count: int,
    boots: int = 1,
    seconds: float | None = None,
    on_progress: Callable[[CampaignProgress], None] | None = None,
) -> Campaign:
    """Run what is missing of the first `count` scenarios of a seed, in `boots` boots at once, no new batch after `seconds`.

    Raises KernelError when the kernel does not boot. Ctrl-C ends the workers; what they had finished is kept.
    """
    campaign = store.campaign(kernel.name, kernel.release, kind, seed)
    numbers = store.to_do(campaign, count)
    size = max(1, min(BATCH[kind], -(-len(numbers) // boots)))
    batches = [numbers[i : i + size] for i in range(0, len(numbers), size)]
    start, fresh, wrong = time.monotonic(), 0, 0
    with _Workers(kernel, kind, seed, min(boots, len(batches))) as workers:
        for results in workers.run(batches, None if seconds is None else start + seconds):
            store.add(campaign, results)
            fresh += len(results)
            wrong += sum(1 for one in results if one.finding is not None)
            if on_progress:
                on_progress(CampaignProgress(campaign, fresh, count - len(numbers) + fresh, count, wrong, time.monotonic() - start))
    return campaign


def shrink_findings(store: CampaignStore, campaign: Campaign, kernel: Kernel, most: int = 10) -> None:
    """Make one disagreement of each signature small, on the kernel, and keep what is left; at most `most` of them."""
    found = [one for one in store.results(campaign, [DISAGREES]) if one.finding is not None]
    known = {one.finding.signature for one in found if one.finding is not None and one.finding.shrunk}
    todo: dict[str, KeptResult] = {}
    for one in found:
        if one.finding is not None and one.finding.signature not in known:
            todo.setdefault(one.finding.signature, one)
    if not todo:
        return
    with _booted(kernel, campaign.kind) as booted:
        for one in list(todo.values())[:most]:
            assert one.finding is not None
            if campaign.kind == "forced":
                driver = plan_of(scenario_of("forced", campaign.seed, one.number), campaign.seed, one.number, booted.release).driver
                small = shrunk_forced(booted, one.finding, driver)
            else:
                small = shrunk(booted, one.finding, campaign.kind, driver_of(campaign.kind, one.number))
            store.add(campaign, [replace(one, finding=small)])


def shrunk_forced(booted: Booted, finding: CampaignFinding, driver: type[Device]) -> CampaignFinding:
    """The same for a forced scenario: each smaller one is tried under a few schedules of its own."""
    last = finding

    def still(candidate: Scenario) -> bool:
        nonlocal last
        plans = [plan for plan in (replanned(candidate, driver, i, booted.release) for i in range(6)) if not plan.problem]
        for seen, plan in zip(booted.force(plans), plans, strict=False):
            if seen.forced is not None and judge_forced(plan, seen.forced) == finding.signature:
                last = replace(finding, scenario=candidate, answers=both_told(plan, seen.forced), shrunk=True)
        return last.scenario == candidate

    shrink(renumbered(finding.scenario), still, most=60)
    return last


def shrunk(booted: Booted, finding: CampaignFinding, kind: DrawnKind, driver: type[Device] | None = None) -> CampaignFinding:
    """The finding with the smallest scenario found on which kernel and model still differ in the same way."""
    runs = 1 if kind == "sequential" else 8 * RUNS[kind]  # a race may not show at once
    last = finding

    def still(candidate: Scenario) -> bool:
        nonlocal last
        answer = ask(candidate, booted.release, driver=driver)
        if answer.problem or not answer.complete:
            return False
        seen = booted.answer(candidate, runs, driver)
        wrong = [outcome for outcome in seen.outcomes if outcome not in answer.possible]
        same = any(signature_of(candidate, answer, outcome) == finding.signature for outcome in wrong)
        if same:
            last = replace(finding, scenario=candidate, answers=both_answers(answer, seen.outcomes), shrunk=True)
        return same

    if not still(renumbered(finding.scenario)):
        return finding  # it did not show again: the drawn scenario is all there is
    shrink(last.scenario, still, most=200 if kind == "sequential" else 80)
    return last


def _booted(kernel: Kernel, kind: DrawnKind) -> Booted:
    """The kernel, with what scenarios of a kind need of it."""
    return Booted(kernel, kind in WITH_MODULE, coherent=kind == "migrating")


# The worker processes.


class _Workers:
    """Processes with a boot each. They end when this one does, however that ends."""

    def __init__(self, kernel: Kernel, kind: DrawnKind, seed: int, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes = []
        self._lines: list[Connection] = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, kernel, kind, seed, os.getpid()), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._lines.append(ours)

    def run(self, batches: list[list[int]], until: float | None) -> Any:
        """Give batches to whoever is free, and their results as they come; in no order."""
        left = list(reversed(batches))
        busy = 0
        idle = list(self._lines)
        while busy or left:
            while idle and left and (until is None or time.monotonic() < until):
                _asked(idle.pop(), left.pop())
                busy += 1
            if not busy:
                return
            for line in wait([line for line in self._lines if line not in idle]):
                assert isinstance(line, Connection)
                try:
                    answer = line.recv()
                except (EOFError, OSError):
                    raise _ended() from None
                if isinstance(answer, tuple):
                    raise KernelError(*answer)
                busy -= 1
                idle.append(line)
                yield answer

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._lines:
            line.close()
        for process in self._processes:
            process.terminate()
            process.join()


def _asked(line: Connection, numbers: list[int]) -> None:
    try:
        line.send(numbers)
    except OSError:
        raise _ended() from None


def _ended() -> KernelError:
    return KernelError("a worker process ended", "was it killed? run the same command again to go on")


def _work(line: Connection, kernel: Kernel, kind: DrawnKind, seed: int, parent: int) -> None:
    """A worker: batches of numbers come, results go, until the line closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    try:
        with _booted(kernel, kind) as booted:
            while True:
                numbers = line.recv()
                drawn = {number: booted.fitted(scenario_of(kind, seed, number)) for number in numbers}
                line.send(examine(booted, drawn, kind, seed))
    except (EOFError, BrokenPipeError):
        return
    except KernelError as error:
        line.send((error.reason, error.remedy))
    except Exception:
        line.send((f"an error in secondsight itself, in a worker\n{traceback.format_exc()}", "please report it"))
