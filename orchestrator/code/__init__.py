"""What computed a run: the sources of the core as the database keeps them, and how two of them differ."""
