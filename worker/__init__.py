"""Joins queue and science: a supervisor owns the database connection, a trainer process owns the device."""
