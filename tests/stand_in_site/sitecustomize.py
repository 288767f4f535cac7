"""On the PYTHONPATH of a job, its worker gets a stand-in for the trainer: no torch is needed, and curves are exact."""

import sys

import worker.trainer.trainer_handle


def _stand_in_command(*given: object) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.stand_in_trainer")


worker.trainer.trainer_handle.trainer_command = _stand_in_command
