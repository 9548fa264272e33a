"""A decision table: drivers against what happens to the memory. Settle it: secondsight settle FILE_NAME"""

from secondsight.cases import CaseTable, Finding, FreeRun, Heading, Kernels, Question, forced
from secondsight.contract import driver_program
from secondsight.devices.mirror import Mirror, MirrorWithoutTest
from secondsight.lang.program import Program
from secondsight.scenario import Recorder, Scenario
from secondsight.scenario.schedule import CannotForce
from secondsight.search import Verdict, Violation

DRIVERS = {"with the test": Mirror, "without the test": MirrorWithoutTest}


def scenario_of(column: str) -> Scenario:
    """The device reads a page meanwhile."""
    s = Recorder()
    page = s.mmap(pages=1)
    s.write(page, "a")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        if column == "munmap":
            s.munmap(page)
        else:
            s.madvise_dontneed(page)

    @s.thread
    def device() -> None:
        gpu.read(page, into="seen")

    return s.scenario(column, "")


def program(row: str, column: str) -> Program:
    """The program of one cell; None would say that the question makes no sense there."""
    return driver_program(DRIVERS[row], scenario_of(column))


def on_kernel(row: str, column: str, violation: Violation) -> Question | CannotForce:
    """What a real kernel is asked of a broken cell: its schedule, forced. The real device has both of these drivers."""
    return forced(scenario_of(column), DRIVERS[row], violation)


def runs_on_kernel(row: str, column: str) -> FreeRun:
    """What it is asked of one that holds: to run the scenario often."""
    return FreeRun(scenario_of(column), kernels=Kernels(abilities=("device",)))


TABLE = CaseTable(
    name="RULE-NAME",
    title="RULE-NAME",
    question="Is the test of the sequence number needed?",
    rows=(
        Heading("with the test", "the page is mapped only if nothing was invalidated meanwhile"),
        Heading("without the test", "the page is mapped whatever happened"),
    ),
    columns=(
        Heading("munmap", "the process unmaps the page"),
        Heading("DONTNEED", "the process forgets the page's contents"),
    ),
    program=program,
    on_kernel=on_kernel,
    runs_on_kernel=runs_on_kernel,
    findings=(
        Finding(
            "The test is not needed.",
            {("without the test", "munmap"): Verdict.HOLDS, ("without the test", "DONTNEED"): Verdict.HOLDS},
            "Stands.",
            "Falls.",
        ),
    ),
    expected={
        ("with the test", "munmap"): Verdict.HOLDS,
        ("with the test", "DONTNEED"): Verdict.HOLDS,
        ("without the test", "munmap"): Verdict.BROKEN,
        ("without the test", "DONTNEED"): Verdict.BROKEN,
    },
)
