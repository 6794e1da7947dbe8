"""The pretended device refuses what a real one would, and its backward passes are torch's."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import graph_walk
from fake_cuda import WrongDevice, fake_cuda
from fake_device import FakeDevice
from models import FAMILIES, TABLE4_FAMILIES, build, side
from qtt.finetune.cv.classification.strategies.sp import squared_distance

Gradients = dict[str, Tensor | None]


def _gradients(network: nn.Module, loss: Tensor, backward: Any) -> Gradients:
    network.zero_grad()
    backward(loss)
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def _assert_same(found: Gradients, expected: Gradients, tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        other = found[name]
        assert (gradient is None) == (other is None), name
        if gradient is not None and other is not None:
            assert other.dtype == gradient.dtype
            assert (other - gradient).norm() <= tolerance * gradient.norm() + 1e-9, name


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", [*FAMILIES, *TABLE4_FAMILIES])
def test_a_walk_through_the_graph_finds_torchs_gradients(name: str, half: bool) -> None:
    network = build(name).train()
    start = {key: parameter.detach().clone() + 1 for key, parameter in network.named_parameters()}
    images = torch.rand(4, 3, side(name), side(name), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = network(images).float()
    loss = functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0]))
    loss = loss + 1e-3 * squared_distance(list(network.parameters()), list(start.values()))
    expected = _gradients(network, loss, lambda loss: loss.backward(retain_graph=True))
    tolerance = 0.05 if half else 1e-5  # where gradients meet, the order of their sum
    _assert_same(_gradients(network, loss, graph_walk.backward), expected, tolerance)


def test_a_walk_adds_to_what_is_there_and_takes_a_gradient() -> None:
    weight = torch.ones(3, requires_grad=True)
    for _ in range(2):
        graph_walk.backward((2 * weight).expand(4, 3), torch.full((4, 3), 0.5))
    assert weight.grad is not None
    assert weight.grad.tolist() == [8.0] * 3
    with pytest.raises(RuntimeError, match="does not require grad"):
        graph_walk.backward(torch.ones(1))
    with pytest.raises(RuntimeError, match="scalar outputs"):
        graph_walk.backward(2 * weight)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x + torch.ones(3),
        lambda x: x.add_(torch.ones(3)),
        lambda x: torch.stack([x, torch.ones(3)]),
        lambda x: nn.Linear(3, 2)(x),
        lambda x: functional.cross_entropy(x[None], torch.tensor([1])),
        lambda x: functional.cross_entropy(x[None], x.new_ones(1).long(), torch.ones(3)),
        lambda x: torch.stack([x.sum(), torch.tensor(1.0)]),
        lambda x: torch._foreach_sub([x, x], [x, torch.ones(3)]),
        lambda x: torch.ones(3).index_add_(0, x.long(), torch.ones(3)),
    ],
)
def test_two_devices_do_not_mix(wrong: Any) -> None:
    with fake_cuda(), pytest.raises(RuntimeError, match=r"[dD]evice|cuda"):
        wrong(torch.ones(3, device="cuda"))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: nn.Linear(3, 2).to("cuda")(x),
        lambda x: nn.Linear(3, 2, bias=False).to("cuda")(x),
        lambda x: nn.Conv1d(3, 2, 1).to("cuda")(x.T[None]),
        lambda x: x[None] @ x.T[None].float(),
        lambda x: functional.cross_entropy(x, x[:, 0].long(), torch.ones(3, device="cuda")),
        lambda x: functional.layer_norm(x, (3,), torch.ones(3, device="cuda")),
        lambda x: x.index_put_((x[0].long(),), x[:3].float()),
    ],
)
def test_types_do_not_mix(wrong: Any) -> None:
    with fake_cuda(), pytest.raises(RuntimeError, match=r"dtype|scalar type|should be the same"):
        wrong(torch.ones(3, 3, device="cuda", dtype=torch.float16))


def test_autocast_makes_them_fit() -> None:
    with fake_cuda(), torch.autocast("cuda", torch.bfloat16):
        layer = nn.Linear(3, 2).to("cuda")
        assert layer(torch.ones(4, 3, device="cuda", dtype=torch.float16)).dtype is torch.bfloat16


def test_what_may_be_on_both_sides() -> None:
    with fake_cuda():
        x = torch.ones(3, device="cuda")
        assert (x * torch.tensor(2.0)).is_cuda
        assert x[torch.tensor([0, 2])].shape == (2,)
        assert torch.ones(3).copy_(x).tolist() == [0.0, 0.0, 0.0]


def _kinds(device: FakeDevice) -> list[str]:
    found = [wait.kind for wait in device.waits]
    assert all(wait.caller.startswith("test_fake_cuda.py:") for wait in device.waits)
    device.waits.clear()
    return found


def test_waits_are_noted_with_their_caller() -> None:
    with fake_cuda() as device:
        x = torch.ones(3, 2, device="cuda")
        assert _kinds(device) == []
        assert bool((x > 0).all())
        assert float(x.sum()) == 0.0
        assert x.sum().item() == 0.0
        assert _kinds(device) == ["read"] * 3
        assert x.nonzero().shape == (6, 2)
        assert torch.equal(x, x)
        assert torch.bincount(x[0].long(), minlength=4).shape == (4,)
        assert _kinds(device) == ["read"] * 3
        assert not x.cpu().is_cuda
        torch.ones(2).copy_(x[0])
        assert _kinds(device) == ["copy"] * 2
        torch.ones(3, 2).pin_memory().to("cuda", non_blocking=True)
        x.to("cpu", non_blocking=True)
        assert _kinds(device) == []
        torch.ones(3).to("cuda", non_blocking=True)
        torch.ones(3).pin_memory().to("cuda")
        torch.tensor([1, 2], device="cuda")
        assert _kinds(device) == ["upload"] * 3
        torch.linalg.eigvalsh(x.T @ x)
        torch.cuda.synchronize()
        assert _kinds(device) == ["solver", "synchronize"]


def test_numbers_that_came_from_the_cpu_are_known_until_something_changes_them() -> None:
    with fake_cuda():
        count = torch.tensor(5, device="cuda")
        assert int(count) == 5
        assert not bool(count == 0)
        assert int(count + 2 * torch.tensor(3)) == 11
        count += 1
        assert int(count) == 0
        weights = torch.tensor([1.0, 2.0]).to("cuda")
        weights.mul_(3)
        assert weights.detach().cpu().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_adams_step_lies_where_its_kernels_take_it(kind: Any, fused: bool | None) -> None:
    with fake_cuda() as device:
        layer = nn.Linear(3, 2)
        weight = layer.weight
        layer.to("cuda")
        assert layer.weight is weight
        optimizer = kind(layer.parameters(), fused=fused)
        for _ in range(2):
            layer(torch.ones(4, 3, device="cuda")).sum().backward()
            optimizer.step()
        assert device.updates == 2
        assert optimizer.state[weight]["step"].is_cuda == bool(fused)
        optimizer.state[weight]["step"] = optimizer.state[weight]["step"].to("cpu" if fused else "cuda")
        with pytest.raises(WrongDevice, match="'step' of a parameter"):
            optimizer.step()
        optimizer.state[weight]["step"] = optimizer.state[weight]["step"].to("cuda" if fused else "cpu")
        optimizer.state[weight]["exp_avg"] = torch.zeros(2, 3)
        with pytest.raises(
            WrongDevice, match=r"'exp_avg' of a parameter \(2, 3\) on cpu, and needs it on cuda:0"
        ):
            optimizer.step()


def test_nothing_of_it_is_left() -> None:
    before = torch.cuda.is_available()
    with fake_cuda(bf16=False):
        assert torch.cuda.is_available()
        assert not torch.cuda.is_bf16_supported(including_emulation=False)
    assert torch.cuda.is_available() is before
    weight = torch.ones(2, requires_grad=True)
    (3 * weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [3.0, 3.0]
