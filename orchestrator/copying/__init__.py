"""A database copied into another, and checked by digests."""
