"""Devices: which there are, what their drivers report, and how many slots their memory holds."""
