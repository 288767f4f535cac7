"""What `hlbq data`, `generate` and `export-model` run in a process of their own, beside the queue."""
