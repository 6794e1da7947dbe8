"""Between epochs everything stays on its device; an optimizer computes as its own device wants it."""

from typing import Any

import pytest
import torch
from torch import nn

from pipelines import PLAIN, forget, learned, run
from qtt.finetune.cv.classification import objective
from qtt.finetune.cv.classification.model import with_own_flags
from qtt.finetune.cv.classification.staying import StayingCUDA, StayingStrategy, strategy_for


@pytest.mark.usefixtures("cold")
def test_nothing_is_moved_at_the_end_of_an_epoch(make_task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[str] = []
    original = nn.Module._apply
    monkeypatch.setattr(
        nn.Module,
        "_apply",
        lambda self, fn, recurse=True: moved.append(type(self).__name__) or original(self, fn, recurse),
    )
    task = make_task()
    run(task, PLAIN, 1)
    begun = moved.count("ClassificationModule")
    run(task, PLAIN, 2, 3)
    assert begun == 1
    assert moved.count("ClassificationModule") == begun + 2, "to its device before an epoch, and never back"


def test_on_a_gpu_its_cache_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: pytest.fail("the cache is emptied"))
    for device, index in (("cuda", 1), ("cuda:0", 0)):
        strategy = strategy_for(device)
        assert (type(strategy), strategy.root_device) == (StayingStrategy, torch.device("cuda", index))
        assert isinstance(strategy.accelerator, StayingCUDA)
        strategy.accelerator.setup(None)  # type: ignore[arg-type]
        strategy.accelerator.teardown()
    assert strategy_for("cpu").root_device == torch.device("cpu")


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize(("then", "now"), [(True, None), (None, True), (True, True), (None, None)])
def test_how_an_optimizer_computes_is_no_part_of_a_checkpoint(
    kind: type[torch.optim.Optimizer], then: bool | None, now: bool | None
) -> None:
    def trained(fused: bool | None, updates: int, state: dict[str, Any] | None = None) -> Any:
        torch.manual_seed(0)
        network = nn.Linear(3, 2)
        optimizer: Any = kind(network.parameters(), lr=0.01, weight_decay=0.1, fused=fused)  # type: ignore[call-arg]
        if state is not None:
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(with_own_flags(state["optimizer"], optimizer))
        for _ in range(updates):
            optimizer.zero_grad()
            network(torch.ones(4, 3)).square().sum().backward()
            optimizer.step()
        return {"network": network.state_dict(), "optimizer": optimizer.state_dict()}, optimizer

    state, _ = trained(then, 2)
    continued, optimizer = trained(now, 1, state)
    assert optimizer.param_groups[0]["fused"] is now
    expected, _ = trained(then, 3)
    for key, tensor in expected["network"].items():
        torch.testing.assert_close(continued["network"][key], tensor)


@pytest.mark.usefixtures("cold")
@pytest.mark.parametrize("opt", ["adam", "adamw"])
def test_a_checkpoint_of_another_device_goes_on(
    make_task: Any, opt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PLAIN | {"opt": opt}
    expected = learned(run(make_task(work_dir=None), config, 3))
    task = make_task()
    begun = run(task, config, 1)
    forget()
    # as on a GPU, where no optimizer is fused; what is left of it on this CPU must compute the same
    monkeypatch.setattr("qtt.finetune.cv.classification.model.on_gpu", lambda device: True)
    begun += run(task, config, 2)
    held = next(iter(objective._warm._held.values()))[0].learner.optimizer
    assert all(group.get("fused") is not True for group in held.param_groups)
    monkeypatch.undo()
    forget()
    begun += run(task, config, 3)
    held = next(iter(objective._warm._held.values()))[0].learner.optimizer
    assert all(group["fused"] is True for group in held.param_groups)
    for found, one in zip(learned(begun), expected, strict=True):
        assert found[:2] == pytest.approx(one[:2], abs=1e-3)
