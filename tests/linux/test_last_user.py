"""The last user of an address space tears it down, whoever that is."""

from __future__ import annotations

from secondsight.linux import bounds, mms
