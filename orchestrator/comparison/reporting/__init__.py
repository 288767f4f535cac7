"""A comparison for readers: tables and sentences, cautions, and the seeds that would decide more."""
