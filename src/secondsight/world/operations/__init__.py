"""Every operation of scenarios, declared: one file for each part of the machine. See `world.declare`."""

from secondsight.world.operations import memory, protect, memfd, udmabuf, process, fork, device, exclusive, pins, dax, reclaim, buffer, private, snapshot  # noqa: F401, I001  the table's order
