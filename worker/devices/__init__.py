"""Devices: which ones exist, what their drivers report, and how many slots fit their memory."""
