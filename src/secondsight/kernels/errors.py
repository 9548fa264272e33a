"""The one error of this folder."""

__all__ = ["KernelError"]


class KernelError(Exception):
    """A real kernel could not be fetched, booted or talked to.

    The text says what failed and what to install, run or look at; `console` holds the end of the
    guest's console when there was one (it is part of the text as well).
    """

    def __init__(self, reason: str, remedy: str = "", console: str = "") -> None:
        self.reason, self.remedy, self.console = reason, remedy, console
        tail = f"\nthe guest's console ended with:\n{console}" if console else ""
        super().__init__(reason + (f"\n  {remedy}" if remedy else "") + tail)
