"""Beside the training: the CSV of `submit -c`, the sync of `submit -w`, the steps of sweeps that grow."""
