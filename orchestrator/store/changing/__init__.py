"""What people change: they submit and extend sweeps, cancel, retry, delete and label runs, and declare policies."""
