"""What workers write: they claim runs, write for those that they hold, end them, beat, and reap the dead."""
