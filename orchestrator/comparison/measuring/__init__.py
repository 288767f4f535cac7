"""From runs to numbers by group: what is compared with what, and what must not be."""
