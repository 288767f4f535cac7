"""How numbers and command lines are written for people."""
