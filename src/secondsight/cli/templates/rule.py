"""A rule of one's own, beside a driver that it watches. Check it: secondsight check FILE_NAME --rule RULE-NAME"""

from secondsight import Va
from secondsight.devices.mirror import Mirror
from secondsight.lang import require, rule
from secondsight.linux.device import device_access
from secondsight.linux.mm_types import Driver, Folio
from secondsight.linux.page_alloc import page_folio


class ClassName(Mirror):
    """The right mirror; put your own driver here."""


@rule("RULE-NAME", on=device_access)
def function_name(device: Driver, va: Va, frame: Folio, write: bool) -> None:
    """Whenever a device uses a frame, somebody has a reference to it. It runs in the same step as the access."""
    require(page_folio(frame).refcount > 0, "RULE-NAME", "the device uses a frame that nobody has a reference to")
