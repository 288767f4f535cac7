"""What a process keeps on its device from run to run: the tokens, and what it compiled."""

import gc

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlbgpt_core.device import device_facts
from hlbgpt_core.fast_path.compiling import CompiledCode
from hlbgpt_core.fast_path.memory import is_out_of_memory
from hlbgpt_core.text.data import TokenData

# A text's tokens stay on the device if they take no more of its memory than this. WikiText-103 takes 0.5 GB.
LARGEST_SHARE_OF_MEMORY = 1 / 32


class ProcessCache:
    """The cache of one device. Pass the same one to every `train` of a process."""

    def __init__(self, compiled_code: CompiledCode) -> None:
        self.compiled_code = compiled_code
        self._name: tuple[str, torch.device] | None = None
        self._tokens: tuple[Tensor, Tensor] | None = None

    def tokens(self, data: TokenData, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """The training and validation tokens (int32) in the memory of `device`; None if they take too much."""
        name = (data.fingerprint, device)
        if name != self._name:
            self._name, self._tokens = name, None
            size = 4 * (len(data.train) + len(data.val))
            if size <= LARGEST_SHARE_OF_MEMORY * device_facts(device).memory_bytes:
                try:
                    self._tokens = (moved(data.train, device), moved(data.val, device))
                except Exception as error:  # neighbours may fill the device: then they stay on the host
                    if not is_out_of_memory(error):
                        raise
        return self._tokens

    def give_memory_back(self) -> None:
        """Return torch's unused memory to the device. The next run allocates it again."""
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            gc.collect()  # a failed run may be held by reference cycles
            torch.cuda.empty_cache()


def moved(tokens: NDArray[np.unsignedinteger], device: torch.device) -> Tensor:
    """The tokens as int32 on `device`."""
    return torch.from_numpy(np.asarray(tokens).astype(np.int32)).to(device)
