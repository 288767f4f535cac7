"""Joins queue and training: a supervisor owns the database connection, a trainer process owns the device."""
