"""What people and programs read of runs and points. Nothing here writes."""
