"""The pytest plugin: the fixture `contract`, and `pytest --secondsight FOLDER`, which makes a test of each driver and adversary.

Every run of pytest where secondsight is installed loads this file; what it needs of secondsight is loaded where a test uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from secondsight.contract import Checked
    from secondsight.devices.device import Device
    from secondsight.search import Request

__all__ = ["Contract", "contract"]

_HEADING = "secondsight"


class Contract:
    """What the fixture `contract` is: it holds for a driver, or the test fails with a trace in the form for mails."""

    def __init__(self, node: pytest.Item) -> None:
        self._node = node

    def holds(
        self,
        driver: type[Device],
        adversaries: str | Sequence[str] | None = None,
        rules: str | Sequence[str] | None = None,
        *,
        bounds: dict[str, int] | None = None,
        request: Request | None = None,
    ) -> list[Checked]:
        """See `secondsight.testing.assert_holds`; the traces stand in a section of their own."""
        __tracebackhide__ = True
        from secondsight.testing import ContractBroken, assert_holds

        try:
            return assert_holds(driver, adversaries, rules, bounds=bounds, request=request)
        except ContractBroken as error:
            for trace in error.traces:
                self._node.add_report_section("call", _HEADING, trace)
            raise ContractBroken(error.summary, []) from None


@pytest.fixture
def contract(request: pytest.FixtureRequest) -> Contract:
    """The contract between drivers and the memory manager: `contract.holds(MyGpu)`."""
    return Contract(request.node)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--secondsight`."""
    group = parser.getgroup("secondsight")
    group.addoption(
        "--secondsight",
        action="store_true",
        help="Also check every driver (a class derived from secondsight.Device) in the files given: a test for each adversary.",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A file that may have drivers, where `--secondsight` asks for them."""
    if not parent.config.getoption("--secondsight") or file_path.suffix != ".py":
        return None
    tests = [*parent.config.getini("python_files"), "conftest.py"]
    if any(file_path.match(pattern) for pattern in tests) or "class " not in file_path.read_text(errors="replace"):
        return None  # tests have drivers that are wrong on purpose; and a file without a class has no driver
    return DriverFile.from_parent(parent, path=file_path)


class DriverFile(pytest.File):
    """A Python file of which the drivers are checked."""

    def collect(self) -> Iterable[pytest.Item]:
        """A test for each driver and adversary, by the contract's order."""
        from secondsight.contract import adversaries_for, drivers_in, import_file

        for driver in drivers_in(self.path, import_file(self.path)):
            for adversary in adversaries_for(driver):
                yield DriverItem.from_parent(self, name=f"{driver.__name__}[{adversary}]", driver=driver, adversary=adversary)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What is wrong with a file that cannot be run, without our traceback."""
        from secondsight.lang import LangError

        return excinfo.value.whole() if isinstance(excinfo.value, LangError) else super().repr_failure(excinfo)


class DriverItem(pytest.Item):
    """One driver against one adversary."""

    def __init__(self, *, driver: type[Device], adversary: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.driver, self.adversary = driver, adversary

    def runtest(self) -> None:
        """Search; a broken rule and a search that does not end are failures."""
        from secondsight.testing import assert_holds

        assert_holds(self.driver, self.adversary)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The trace in the form for mails; of anything but a verdict what pytest says."""
        from secondsight.lang import LangError
        from secondsight.testing import ContractBroken, NotSettled

        if isinstance(excinfo.value, LangError):
            return excinfo.value.whole()
        if isinstance(excinfo.value, (ContractBroken, NotSettled)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the driver is."""
        import inspect

        return self.path, inspect.getsourcelines(self.driver)[1] - 1, self.name
