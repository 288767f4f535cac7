"""Numbers on their way to a device and back, with no unnecessary waiting."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def on_device(batch: NDArray[np.int64] | Tensor, device: torch.device) -> Tensor:
    """The batch on `device`; the copy to a GPU goes on while the caller does something else."""
    tokens = torch.from_numpy(batch) if isinstance(batch, np.ndarray) else batch
    if tokens.device.type == device.type:
        return tokens
    return tokens.pin_memory().to(device, non_blocking=True)


class Fetched:
    """Scalars of a device on their way to the host. Does not wait for later work of the device."""

    def __init__(self, scalars: Sequence[Tensor]) -> None:
        stacked = torch.stack([scalar.detach().double() for scalar in scalars])
        self._arrived: torch.cuda.Event | None = None
        self._host = stacked.to("cpu", non_blocking=True)
        if stacked.device.type == "cuda":
            # Who waits sleeps: a spinning thread would take a core from the data and the reporter.
            self._arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._arrived.record(torch.cuda.current_stream(stacked.device))

    def numbers(self) -> list[float]:
        """The scalars' values; waits for them."""
        if self._arrived is not None:
            self._arrived.synchronize()
        found: list[float] = self._host.tolist()
        return found
