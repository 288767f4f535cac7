"""When a model's blocks are compiled. What that does stands in compiling.py, behind torch."""

from enum import StrEnum


class CompileMode(StrEnum):
    """Where it pays within the run, at once, or not at all."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"
