"""The training loop: trainer, run, step, points, optimizers, batches, random streams, checkpoints."""
