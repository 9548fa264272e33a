"""For all tests."""

from __future__ import annotations

import gc
import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Where the tests run in the background SIGINT is ignored, and programs that they start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# As the command line does: a sixth of the time of what runs in Python is looking for garbage in cycles.
gc.set_threshold(20_000, 20, 50)
