"""One file a revision; see migrations/env.py for how to write the next."""
