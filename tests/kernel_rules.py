"""What CUDA refuses and fake kernels let pass: mixed types in products, mixed devices in lists."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

aten: Any = torch.ops.aten
OF_ONE_TYPE = frozenset(
    (
        aten.mm.default,
        aten.addmm.default,
        aten.mv.default,
        aten.addmv.default,
        aten.dot.default,
        aten.bmm.default,
        aten.baddbmm.default,
        aten.convolution.default,
        aten.convolution_backward.default,
        aten.cudnn_convolution.default,
        aten.native_group_norm.default,
        aten.nll_loss_forward.default,
        aten.nll_loss_backward.default,
        aten.nll_loss2d_forward.default,
        aten.nll_loss2d_backward.default,
        aten.index_put.default,
        aten.index_put_.default,
        aten.masked_scatter.default,
    )
)
"""Operations whose floating tensors are all of one type."""

FUSED = frozenset(
    getattr(getattr(aten, name), overload)
    for name in ("_fused_sgd_", "_fused_adam_", "_fused_adamw_", "_fused_adagrad_")
    for overload in getattr(aten, name).overloads()
)
"""Updates of fused optimizers, in place; torch has no fake kernels for some of them."""

OF_ONE_DEVICE = FUSED | {aten.stack.default, aten.cat.default}
"""Operations that take no numbers from the CPU, as others do."""


def check(func: Any, tensors: Sequence[Tensor]) -> None:
    """See whether a kernel would take these arguments.

    Raises:
        RuntimeError: it would not.
    """
    if func in OF_ONE_TYPE:
        types = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
        if len(types) > 1:
            raise RuntimeError(f"{func} expects tensors of the same dtype, not {sorted(map(str, types))}")
    elif func in OF_ONE_DEVICE:
        devices = {str(tensor.device) for tensor in tensors}
        if len(devices) > 1:
            raise RuntimeError(f"{func} expects all tensors to be on the same device, not {sorted(devices)}")
