"""Every operation of scenarios, declared: one file for each part of the machine. See `world.declare`."""

from secondsight.world.operations import memory, moving, locking, protect, memfd, udmabuf, process, killing, fork, device, exclusive, pins, movable, dax, reclaim, buffer, halves, device_halves, private, huge, userfaultfd, hooks, snapshot, fs_dax, disk_file, advice, resetting, flushes, young, sizes, lists  # noqa: F401, I001  the table's order
