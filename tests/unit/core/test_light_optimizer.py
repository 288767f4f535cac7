"""AdamW without torch's compiler takes the steps that torch's own function takes."""

import subprocess
import sys

PROGRAM = """
import sys, torch
from torch.optim.adamw import adamw
from hlbgpt_core.training.lazy_compiler import leave_the_compiler_out

leave_the_compiler_out()

def weights():
    return [torch.linspace(-1, 1, 12).requires_grad_(), torch.linspace(2, 3, 5).requires_grad_()]

def fill_gradients(of):
    for parameter in of:
        parameter.grad = None
    sum((parameter**3).sum() for parameter in of).backward()

ours, theirs = weights(), weights()
optimizer = torch.optim.AdamW([{"params": ours, "lr": 0.01, "betas": (0.9, 0.95)}], weight_decay=0.1, fused=True)
means, squares, steps = ([torch.zeros_like(one) for one in theirs] for _ in range(3))
steps = [torch.zeros(()) for _ in theirs]
for _ in range(5):
    optimizer.zero_grad(set_to_none=True)
    fill_gradients(ours)
    optimizer.step()
    fill_gradients(theirs)
    with torch.no_grad():
        adamw(theirs, [one.grad for one in theirs], means, squares, [], steps, fused=True, amsgrad=False,
              beta1=0.9, beta2=0.95, lr=0.01, weight_decay=0.1, eps=1e-8, maximize=False)
optimizer.load_state_dict(optimizer.state_dict())
assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
assert not torch.equal(ours[0], weights()[0]) and all(one.requires_grad for one in ours)
print("torch._dynamo" in sys.modules)
"""


def test_the_steps_are_the_same_and_the_compiler_is_not_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
