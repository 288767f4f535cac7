"""What goes out, and how far: CSV files, notices, W&B."""
