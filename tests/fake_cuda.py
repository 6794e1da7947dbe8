"""CUDA without CUDA: real training code runs on a pretended device.

    with fake_cuda() as device:
        run(make_task(settings={"device": "cuda"}), PLAIN, 1)
        assert not device.during(2)

It sees what is on the wrong device or of the wrong type, whether it is a tensor of the network, the loss, the
optimizer or a checkpoint; and where Python waits for the device, by file and line.

It does not see numbers, which are made up (`FakeDevice`), nor seconds and memory, nor what a kernel refuses
only when it is started: alignment, limits of a library, an architecture too old. Backward passes are those of
`graph_walk`, without torch's engine, its threads and streams. Other threads and processes see no device.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

import graph_walk
from fake_device import FakeDevice


class WrongDevice(AssertionError):  # noqa: N818 - says what is wrong
    """An optimizer's state is where its kernels would not take it, which fake kernels do not notice."""


@contextmanager
def fake_cuda(bf16: bool = True) -> Iterator[FakeDevice]:
    """A machine with one CUDA device, which has bfloat16 or has not.

    What is left on the device afterwards cannot be used any more: forget pipelines that are in memory.
    """
    device = FakeDevice()
    with pytest.MonkeyPatch.context() as patch:
        for name, answer in _answers(device, bf16).items():
            patch.setattr(torch.cuda, name, answer)
        if hasattr(torch._C, "_cuda_clearCublasWorkspaces"):  # Lightning's, between epochs
            patch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)
        patch.setattr(Tensor, "backward", _backward(Tensor.backward))
        patch.setattr(nn.Module, "_apply", _apply)
        patch.setattr(FakeTensor, "data_ptr", _address, raising=False)
        patch.setattr(torch.UntypedStorage, "data_ptr", _storage_address(torch.UntypedStorage.data_ptr))
        hooks = [
            register_optimizer_step_pre_hook(lambda optimizer, *_: check_state(optimizer)),
            register_optimizer_step_post_hook(lambda optimizer, *_: _finish_update(device, optimizer)),
        ]
        try:
            with device:
                yield device
        finally:
            for hook in hooks:
                hook.remove()


def check_state(optimizer: Optimizer) -> None:
    """See whether an optimizer's state lies where its kernels take it.

    Moments lie with their parameter. So does the step of Adam's fused kernels; its others count on the CPU,
    or would wait for the device once for every parameter.

    Raises:
        WrongDevice: a tensor lies elsewhere.
    """
    adam = isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW)
    for group in optimizer.param_groups:
        with_parameter = bool(group.get("fused") or group.get("capturable"))
        for parameter in group["params"]:
            for name, value in optimizer.state.get(parameter, {}).items():
                if not isinstance(value, Tensor) or (name == "step" and not adam):
                    continue
                expected = parameter.device if name != "step" or with_parameter else torch.device("cpu")
                if value.device != expected:
                    raise WrongDevice(
                        f"{type(optimizer).__name__} with fused={group.get('fused')} has '{name}' of a "
                        f"parameter {tuple(parameter.shape)} on {value.device}, and needs it on {expected}."
                    )


def _finish_update(device: FakeDevice, optimizer: Optimizer) -> None:
    check_state(optimizer)  # what the first update made
    device.updates += 1


def _answers(device: FakeDevice, bf16: bool) -> dict[str, Callable[..., Any]]:
    """What `torch.cuda` says of itself."""
    capability = (8, 0) if bf16 else (7, 5)
    values: dict[str, Any] = {
        "is_available": True,
        "is_initialized": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_capability": capability,
        "get_device_name": "pretended",
        "get_device_properties": SimpleNamespace(
            name="pretended",
            major=capability[0],
            minor=capability[1],
            total_memory=2**34,
            multi_processor_count=8,
        ),
        "is_bf16_supported": bf16,
        "memory_allocated": 0,
        "max_memory_allocated": 0,
        "mem_get_info": (2**34, 2**34),
        "get_rng_state": torch.zeros(16, dtype=torch.uint8),
    }
    silent = ("init", "_lazy_init", "set_device", "empty_cache", "reset_peak_memory_stats", "set_rng_state")
    values |= dict.fromkeys((*silent, "manual_seed", "manual_seed_all"))
    answers: dict[str, Callable[..., Any]] = {name: _always(value) for name, value in values.items()}
    return answers | {"synchronize": lambda *_: device.record("synchronize")}


def _always(value: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: value


def _backward(original: Callable[..., None]) -> Callable[..., None]:
    """`Tensor.backward`; torch's engine would ask the driver about fake tensors."""

    def backward(self: Tensor, gradient: Tensor | None = None, *args: Any, **kwargs: Any) -> None:
        if isinstance(self, FakeTensor):
            graph_walk.backward(self, gradient)
        else:
            original(self, gradient, *args, **kwargs)

    return backward


def _address(self: FakeTensor) -> int:
    """`Tensor.data_ptr`: the same for tensors that share their memory, which has no address."""
    return int(self.untyped_storage()._cdata) + int(self.storage_offset())


def _storage_address(original: Callable[[Any], int]) -> Callable[[Any], int]:
    """`UntypedStorage.data_ptr`, by which safetensors sees what is shared."""
    return lambda self: int(self._cdata) if self.device.type == "meta" else original(self)


def _apply(self: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """`Module._apply`, which makes `to`: parameters stay the same objects, as they do on a real device.

    Torch would replace them, because fake and real tensors are of two kinds, and optimizers would lose them.
    """
    for child in self.children() if recurse else ():
        child._apply(fn)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in self._parameters.values():
            if parameter is not None:
                gradient, parameter.grad = parameter.grad, None
                _become(parameter, nn.Parameter(fn(parameter), parameter.requires_grad))
                parameter.grad = None if gradient is None else fn(gradient)
        for name, buffer in self._buffers.items():
            self._buffers[name] = None if buffer is None else fn(buffer)
    return self


def _become(tensor: Any, other: Any) -> None:
    """What `torch.utils.swap_tensors` does, which refuses what has weak references, as fake tensors have."""
    tensor.__class__, other.__class__ = other.__class__, tensor.__class__
    tensor.__dict__, other.__dict__ = other.__dict__, tensor.__dict__
    torch._C._swap_tensor_impl(tensor, other)
