"""The parts of `hlbq data`, `generate` and `export-model` that run in a separate process."""
