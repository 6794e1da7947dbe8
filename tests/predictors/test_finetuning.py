import subprocess
import sys

import torch

from qtt.predictors.finetuning import adam


def test_adam_takes_the_steps_of_torchs_adam():
    def loss(a, b):
        return (a**2 * torch.arange(1.0, 4.0)).sum() + (b - 2.0).abs().pow(1.5).sum() + a.sum() * b.sum()

    start = [torch.tensor([1.0, -2.0, 0.5]), torch.tensor([[3.0], [0.1]])]
    ours = [value.clone().requires_grad_() for value in start]
    theirs = [value.clone().requires_grad_() for value in start]
    adam(lambda: loss(*ours), ours, [0.1, 0.01], steps=25)
    optimizer = torch.optim.Adam([{"params": theirs[:1], "lr": 0.1}, {"params": theirs[1:], "lr": 0.01}])
    for _ in range(25):
        optimizer.zero_grad()
        loss(*theirs).backward()
        optimizer.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_no_compiler_is_imported_for_it():
    code = (
        "import sys, torch; from qtt.predictors.finetuning import adam; "
        "x = torch.ones(2, requires_grad=True); adam(lambda: x.square().sum(), [x], [0.1], 2); "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
