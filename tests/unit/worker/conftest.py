"""A GPU driver that is made up."""

import copy
import sys

import pytest

from tests.stand_in_driver import pynvml


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> pynvml.StandInDriver:
    """The driver of two GPUs, in the place of the machine's own."""
    made = copy.deepcopy(pynvml.driver)
    monkeypatch.setattr(pynvml, "driver", made)
    monkeypatch.setitem(sys.modules, "pynvml", pynvml)
    for variable in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(variable, raising=False)
    return made
