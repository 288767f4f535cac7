"""Drawing: each kind of figure, and what they share. Values in, matplotlib figures out."""
