"""When a model's blocks are compiled. compiling.py, which needs torch, does the work."""

from enum import StrEnum


class CompileMode(StrEnum):
    """If it pays within the run, at once, or not at all."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"
