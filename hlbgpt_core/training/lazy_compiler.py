"""Keeps torch's compiler out of processes that do not compile.

`torch.optim` marks some functions as not to be compiled, and loads all of torch._dynamo (800 modules, as long as
loading torch itself) to do so when they are first called. Eager code has no use for that: a worker's first step would
wait a second for it.
"""

import torch

# The marked functions that training calls. Their wrappers ask the function for a compiled-out version of itself first.
_MARKED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
_VERSION_OF_ITSELF = "__dynamo_disable"


def leave_the_compiler_out() -> None:
    """Have AdamW of this process do its work without torch._dynamo; the numbers are the same.

    A torch whose optimizers are built differently is left as it is. To be called before an optimizer is made; code
    that compiles a whole optimizer step must not call it.
    """
    for name in _MARKED:
        plain = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if plain is not None:
            setattr(plain, _VERSION_OF_ITSELF, plain)
    step = getattr(torch.optim.Adam.step, "__wrapped__", None)
    if step is not None:
        # What its wrapper does for eager code, besides loading the compiler: no gradients while parameters change.
        torch.optim.Adam.step = torch.no_grad()(step)  # type: ignore[method-assign]
