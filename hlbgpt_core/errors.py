"""The one tree of errors that hlbq shows to people.

Every error has a message that says what is wrong, with the value, and a hint that says what to do or type next. Any
other exception is a bug in the program itself.

    HlbqError
    ├── SettingsError          a setting's name or value, or a combination of them
    ├── DataError              a dataset or tokenizer that is unavailable or unusable
    │   └── HostDataError          for a fault of this host: no room, no right, a library that is missing
    ├── DeviceError            a requested device that does not exist
    ├── CheckpointError        a checkpoint that is missing, cut short or altered
    ├── DivergedError          the loss is no longer finite
    ├── OutOfMemoryError       the run does not fit the device's memory
    └── (orchestrator/errors.py adds those of the queue)
"""


class HlbqError(Exception):
    """Base of all errors with a message for people.

    `message` says what is wrong; `hint` (may be empty) says what to do.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class SettingsError(HlbqError):
    """A setting has an unknown name or an invalid value, or clashes with another."""


class DataError(HlbqError):
    """A dataset or a tokenizer is unavailable, or does not hold what training needs."""


class HostDataError(DataError):
    """This host is to blame that a dataset or a tokenizer cannot be had; on another it may be."""


class DeviceError(HlbqError):
    """The requested device does not exist."""


class CheckpointError(HlbqError):
    """A checkpoint is missing, cut short, or not what its manifest says."""


class DivergedError(HlbqError):
    """The training loss is no longer finite."""


class OutOfMemoryError(HlbqError):
    """The device ran out of memory."""
