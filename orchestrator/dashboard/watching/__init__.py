"""What open pages are told as it changes: sweeps, the overview, and curves, each read once for all pages."""
