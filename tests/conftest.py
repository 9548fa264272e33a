"""For all tests."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Where the tests run in the background SIGINT is ignored, and programs that they start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
