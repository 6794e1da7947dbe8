"""A device whose tensors have no numbers: what is asked of it, and what it answers.

What is on the CPU is real. What is on the device is a fake tensor of torch's, with shape, type, strides and
device; every operation on one is that of torch's `FakeTensorMode`, which raises where devices or types do not
fit together. Numbers that Python wants to know are made up: see `FakeDevice`.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import kernel_rules

aten: Any = torch.ops.aten
TORCH = Path(torch.__file__).parent
TELLING = tuple(str(TORCH / part) for part in ("amp", "optim", "nn/utils"))
"""Parts of torch that ask a device for numbers of their own accord; its others do so for their callers."""
OURS = ("/fake_device.py", "/fake_cuda.py", "/graph_walk.py")
COPIES = (aten._to_copy.default, aten.detach.default, aten.clone.default, aten.alias.default)
SOLVERS = (
    aten._linalg_eigh.default,
    aten._linalg_svd.default,
    aten.linalg_cholesky_ex.default,
    aten.linalg_inv_ex.default,
    aten.linalg_lu_factor_ex.default,
)
"""On a real device these look whether they converged."""


@dataclass(frozen=True)
class Wait:
    """A moment at which Python waits for the device.

    kind: `read` of a number; `copy` of a tensor back; `upload` of one, where it is not pinned or the copy not
        asynchronous; `solver`, which looks whether it converged; `synchronize`.
    caller: file and line of whoever asked, below its source folder.
    updates: of optimizers that were finished before.
    """

    kind: str
    caller: str
    updates: int


class FakeDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers for `cuda:0` while it is active.

    A number that is asked for is the one that was uploaded, where that is known; else True for a boolean and
    0 for all others. Tensors that come back have the values with which they went to the device, and are 0
    where they were made there. `nonzero` finds everything, `equal` says yes.

    waits: in order, of the thread that entered it. updates: of optimizers.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits: list[Wait] = []
        self.updates = 0
        self._fakes = FakeTensorMode(allow_non_fake_inputs=True)
        self._lifted = False

    def during(self, update: int) -> list[Wait]:
        """Waits between the end of the update before and the end of this one; the first is 1."""
        return [wait for wait in self.waits if wait.updates == update - 1]

    def record(self, kind: str) -> None:
        """Note that somebody waits."""
        self.waits.append(Wait(kind, _caller(), self.updates))

    def __enter__(self) -> "FakeDevice":
        if not hasattr(torch._C, "_ensureCUDADeviceGuardSet"):
            pytest.skip(f"PyTorch {torch.__version__} has no devices that are not there")
        # as FakeTensorMode does where there is no device: torch.tensor(…, device="cuda") then makes a tensor
        # on the CPU and copies it through this mode, and nothing asks the driver which device is current
        self._lifted = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        torch._C._ensureCUDADeviceGuardSet()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        torch._C._set_only_lift_cpu_tensors(self._lifted)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is aten._pin_memory.default:
            args[0].pinned = True
            return args[0]
        if func is aten.is_pinned.default:
            return getattr(args[0], "pinned", False)
        target = kwargs.get("device")
        uploading = target is not None and torch.device(target).type == "cuda"
        tensors = list(_tensors((*args, *kwargs.values())))
        fakes = [tensor for tensor in tensors if isinstance(tensor, FakeTensor)]
        if not fakes and not uploading:
            return func(*args, **kwargs)
        answer = _ANSWERS.get(func)
        if answer is not None:
            self.record("read")
            return answer(self, *args, **kwargs)
        if func in SOLVERS:
            self.record("solver")
        kernel_rules.check(func, tensors)
        if func in kernel_rules.FUSED:
            return None
        return self._run(func, types, args, kwargs, fakes)

    def _run(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        fakes: list[FakeTensor],
    ) -> Any:
        asynchronous = kwargs.get(
            "non_blocking", args[2] if func is aten.copy_.default and len(args) > 2 else False
        )
        real: dict[int, tuple[FakeTensor, Tensor]] = {}

        def go(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return [go(item) for item in value]
            if not isinstance(value, Tensor) or isinstance(value, FakeTensor):
                return value
            fake = self.like(value, value.device)
            real[id(fake)] = fake, value
            return fake

        def come(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return [come(item) for item in value]
            if not isinstance(value, FakeTensor):
                return value
            if id(value) in real:  # what was changed in place, by copies from the device alone
                return real[id(value)][1].copy_(self._fetched(value, args[1]))
            return self._fetched(value, args[0]) if value.device.type == "cpu" else value

        given = tuple(go(value) for value in args), {name: go(value) for name, value in kwargs.items()}
        found: Any = self._fakes.__torch_dispatch__(func, types, *given)
        if func in (aten._to_copy.default, aten.copy_.default):
            self._record_copy(found.device, args[1] if func is aten.copy_.default else args[0], asynchronous)
        result = come(found)
        _remember(func, args, kwargs, fakes, result)
        return result

    def _record_copy(self, target: torch.device, source: Tensor, asynchronous: bool) -> None:
        if target.type == "cpu" and source.is_cuda and not asynchronous:
            self.record("copy")
        pinned = getattr(source, "pinned", False)
        if target.type == "cuda" and not source.is_cuda and not (asynchronous and pinned):
            self.record("upload")

    def like(self, tensor: Tensor, device: torch.device | str) -> FakeTensor:
        """A fake tensor on a device with another tensor's shape, strides and type."""
        empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
        return FakeTensor(self._fakes, empty, device)

    def _fetched(self, fake: FakeTensor, source: Any) -> Tensor:
        found = torch.empty_strided(fake.shape, fake.stride(), dtype=fake.dtype)
        known = getattr(source, "known", None)
        return found.zero_() if known is None else found.copy_(known)

    def _number(self, tensor: FakeTensor) -> float | int | bool:
        known = getattr(tensor, "known", None)
        if known is not None:
            number: float | int | bool = known.item()
            return number
        return True if tensor.dtype is torch.bool else 0.0 if tensor.is_floating_point() else 0

    def _nonzero(self, tensor: FakeTensor) -> FakeTensor:
        empty = torch.empty(tensor.numel(), tensor.ndim, dtype=torch.int64, device="meta")
        return FakeTensor(self._fakes, empty, tensor.device)

    def _bincount(self, tensor: FakeTensor, weights: Any = None, minlength: int = 0) -> FakeTensor:
        empty = torch.empty(max(minlength, 1), dtype=torch.int64, device="meta")
        return FakeTensor(self._fakes, empty, tensor.device)


_ANSWERS: dict[Any, Callable[..., Any]] = {
    aten._local_scalar_dense.default: FakeDevice._number,
    aten.nonzero.default: FakeDevice._nonzero,
    aten.bincount.default: FakeDevice._bincount,
    aten.equal.default: lambda *_: True,
}
"""What depends on the numbers, of which fake tensors have none."""


def _remember(
    func: Any, args: Sequence[Any], kwargs: dict[str, Any], fakes: Sequence[Any], result: Any
) -> None:
    """Keep what is known of the values of what is on the device.

    That is the last of a tensor that the CPU saw, with which training goes on when it comes back, and what
    follows from numbers that came from the CPU, which Lightning for instance compares with zero.
    """
    answer: Any = result
    if func._schema.is_mutable:
        for fake in fakes:
            if fake.ndim == 0:
                fake.known = None
    elif not isinstance(result, FakeTensor):
        return
    elif func in COPIES:
        source = args[0]
        answer.known = getattr(source, "known", None) if isinstance(source, FakeTensor) else source.detach()
    elif result.ndim == 0 and "device" not in kwargs and all(_is_known_number(fake) for fake in fakes):
        values: list[Any] = [getattr(value, "known", value) for value in args]
        answer.known = func(*values, **kwargs)


def _is_known_number(fake: Any) -> bool:
    return fake.ndim == 0 and getattr(fake, "known", None) is not None


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _caller() -> str:
    """File and line of the innermost frame that is neither ours nor plumbing of torch."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None and _is_plumbing(frame.f_code.co_filename):
        frame = frame.f_back
    path = frame.f_code.co_filename
    for folder in ("site-packages", "src", "tests"):
        _, found, below = path.rpartition(f"/{folder}/")
        if found:
            return f"{below}:{frame.f_lineno}"
    return f"{path}:{frame.f_lineno}"


def _is_plumbing(path: str) -> bool:
    if path.startswith(str(TORCH)):
        return not path.startswith(TELLING)
    return path.endswith(OURS)
