"""Backward passes without torch's engine, which asks the driver of every device that it meets.

The nodes of a graph are the engine's own. Only the order in which they are called is decided here, and what
the engine does between two of them: sums over broadcast dimensions, and casts to what went forwards there.
"""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

Gradients = dict[int, Tensor]
"""Gradients with respect to a node's outputs, by their position."""


@torch.no_grad()
def backward(root: Tensor, gradient: Tensor | None = None) -> None:
    """What `root.backward(gradient)` does to the `grad` of the leaves; hooks are not called.

    Raises:
        RuntimeError: `root` has no graph, or is no scalar and no gradient is given.
    """
    node: Any = root.grad_fn
    if node is None:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    if gradient is None:
        if root.numel() != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        gradient = torch.ones_like(root)
    waiting = _edges_into(node)
    arrived: dict[Any, Gradients] = defaultdict(dict)
    arrived[node][root.output_nr] = gradient
    ready = [node]
    while ready:
        node = ready.pop()
        given = arrived.pop(node, {})
        for (following, position), part in zip(node.next_functions, _call(node, given), strict=True):
            if following is None:
                continue
            if part is not None:
                _add(arrived[following], position, part, following)
            waiting[following] -= 1
            if not waiting[following]:
                ready.append(following)


def _edges_into(root: Any) -> dict[Any, int]:
    """How many edges lead to each node of the graph; a node's turn comes when all have been followed."""
    edges: dict[Any, int] = defaultdict(int)
    seen, to_visit = {root}, [root]
    while to_visit:
        for following, _ in to_visit.pop().next_functions:
            if following is None:
                continue
            edges[following] += 1
            if following not in seen:
                seen.add(following)
                to_visit.append(following)
    return edges


def _add(gradients: Gradients, position: int, part: Tensor, node: Any) -> None:
    """Add what one edge brings, in the shape and type of what went forwards there."""
    expected = node._input_metadata[position]
    if part.shape != tuple(expected.shape):
        part = part.sum_to_size(tuple(expected.shape))
    if part.dtype != expected.dtype:
        part = part.to(expected.dtype)
    gradients[position] = gradients[position] + part if position in gradients else part


def _call(node: Any, given: Gradients) -> tuple[Tensor | None, ...]:
    """A node's gradients, one for each edge that leaves it."""
    edges = len(node.next_functions)
    if not given:  # nothing came, for instance because a function gave None: nothing goes on
        return (None,) * edges
    inputs = [given.get(position) for position in range(len(node._input_metadata))]
    if not issubclass(type(node), torch.autograd.function.BackwardCFunction):
        found = node(*inputs)
        found = found if isinstance(found, tuple) else (found,)
        return found if edges else ()
    inputs = [
        _zeros(at) if part is None else part for part, at in zip(inputs, node._input_metadata, strict=True)
    ]
    found = node.apply(*inputs)
    # of a function in Python, one for each argument, and edges leave from tensors alone
    needed = iter(part for part, wanted in zip(_tuple(found), node.needs_input_grad, strict=False) if wanted)
    return tuple(None if following is None else next(needed) for following, _ in node.next_functions)


def _zeros(metadata: Any) -> Tensor:
    return torch.zeros(tuple(metadata.shape), dtype=metadata.dtype, device=metadata.device)


def _tuple(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)
