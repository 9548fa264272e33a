"""Devices and their drivers, written against `secondsight.linux`."""

from secondsight.devices.buffer_device import BufferDevice
from secondsight.devices.device import DEVICE_FAULT, Device, DeviceEntry, DevicePageTable
from secondsight.devices.mirror import Mirror

__all__ = ["DEVICE_FAULT", "BufferDevice", "Device", "DeviceEntry", "DevicePageTable", "Mirror"]
