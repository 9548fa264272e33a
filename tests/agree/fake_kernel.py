"""A kernel that is the model in a worker's process, with a fault if one is asked for; and a tool that runs a campaign on it.

    python fake_kernel.py FILE COUNT [slow | fault | dies]
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from secondsight.agree import campaign
from secondsight.agree.judge import ask, only_outcome
from secondsight.agree.sides import KernelAnswer
from secondsight.agree.store import CampaignStore
from secondsight.kernels import Kernel
from secondsight.scenario import Scenario


class Fake:
    """Stands in for `Booted`."""

    how = ""

    def __init__(self, kernel: Kernel, module: bool = False, coherent: bool = False) -> None:
        self.release = kernel.release
        print(os.getpid(), flush=True)

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def fitted(self, scenario: Scenario) -> Scenario:
        return scenario

    def answer(self, scenario: Scenario, runs: int, driver: object = None) -> KernelAnswer:
        return next(self.answers([scenario], runs))[1]

    def answers(
        self, scenarios: Sequence[Scenario], runs: int, meanwhile: Callable[[Scenario], None] | None = None, drivers: object = None
    ) -> Iterator[tuple[Scenario, KernelAnswer]]:
        for one in scenarios:
            if meanwhile:
                meanwhile(one)
            if self.how == "slow":
                time.sleep(0.005)
            if self.how == "dies" and one.name.endswith("_77"):
                yield one, KernelAnswer({}, died="panicked while running it", console="a console's last words")
                continue
            outcome = min(ask(one).possible) if one.chooses else only_outcome(one)
            if self.how == "fault":  # punching a write-sealed file is not refused
                outcome = tuple((name, value) for name, value in outcome if "punch" not in name or value != "-EPERM")
            yield one, KernelAnswer({outcome: runs})


class Faulty(Fake):
    """One whose fallocate() looks at no seals."""

    how = "fault"


if len(sys.argv) > 3 and sys.argv[0].endswith("fake_kernel.py"):  # in the tool and, as its main module, in its workers
    Fake.how = sys.argv[3]
if __name__ in ("__main__", "__mp_main__"):
    campaign.Booted = Fake  # type: ignore[assignment,misc]
if __name__ == "__main__":
    campaign.BATCH["sequential"] = 25
    with CampaignStore(Path(sys.argv[1])) as store:
        model = Kernel("linux-model", Path("/nowhere"), "6.12.0-model")
        campaign.run_campaign(store, model, "sequential", 1, int(sys.argv[2]))
