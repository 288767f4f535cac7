"""Several workers of one machine: where each works, and the parent that keeps them running."""
