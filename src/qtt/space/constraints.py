"""What a network may cost when it is used: bounds on parameters and latency, and the front of the rest."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qtt.errors import ConfigError, unknown
from qtt.hub.model_hub import ModelHub

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Footprint:
    """What one of a hub's models needs with the task's classifier.

    params: number of parameters. size: side of its square input in pixels. latency_ms: milliseconds for a
    batch of one image, where it was measured. device: where.
    """

    params: int
    size: int
    latency_ms: float | None = None
    device: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able dict; inverse of `Footprint(**data)`."""
        return asdict(self)


@dataclass(frozen=True)
class Constraints:
    """Hard bounds on the models of a search; None: no bound.

    max_params: parameters of the network, classifier included. max_latency_ms: milliseconds for a batch of
    one image on this machine.

    Raises:
        ConfigError: a bound that is not a positive number.
    """

    max_params: float | None = None
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        for name, bound in self.bounds.items():
            if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 < bound < math.inf:
                raise ConfigError(f"constraints.{name} must be a positive number; got {bound!r}.")

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Self:
        """Read bounds; an unknown name is an error with close matches."""
        known = {item.name for item in fields(cls)}
        for name in data:
            if name not in known:
                raise ConfigError(unknown("constraint", name, known))
        return cls(**data)

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that there are."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def allow(self, footprint: Footprint) -> bool:
        """Whether a model keeps all bounds.

        Raises:
            ConfigError: latency is bounded, and was not measured.
        """
        if self.max_latency_ms is not None and footprint.latency_ms is None:
            raise ConfigError("constraints.max_latency_ms needs latencies that were measured.")
        latency = footprint.latency_ms or 0.0
        return footprint.params <= (self.max_params or math.inf) and latency <= (
            self.max_latency_ms or math.inf
        )


def feasible(hub: ModelHub, footprints: Mapping[str, Footprint], constraints: Constraints) -> ModelHub:
    """The hub's models that keep all bounds.

    Args:
        hub: to choose from.
        footprints: of all of its models, by name.
        constraints: the bounds.

    Raises:
        ConfigError: no model keeps them; the nearest ones are named.
    """
    allowed = [name for name in hub.names if constraints.allow(footprints[name])]
    if not allowed:
        bounds = ", ".join(f"{name}={value:g}" for name, value in constraints.bounds.items())
        raise ConfigError(
            f"No model of hub '{hub.name}' keeps {bounds}. {_least(footprints)} Raise the bound, or choose "
            "another hub."
        )
    return hub.subset(allowed)


def _least(footprints: Mapping[str, Footprint]) -> str:
    """The smallest and the fastest model, in words."""
    smallest = min(footprints, key=lambda name: footprints[name].params)
    words = f"The smallest is {smallest} with {footprints[smallest].params:,} parameters"
    measured = {name: f.latency_ms for name, f in footprints.items() if f.latency_ms is not None}
    if measured:
        fastest = min(measured, key=lambda name: measured[name])
        words += f", the fastest {fastest} with {measured[fastest]:.3g} ms"
    return words + "."


def pareto(score: Array, cost: Array) -> NDArray[np.bool_]:
    """Which points no other one beats: none scores as high at less cost, or higher at the same; (n,).

    Args:
        score: (n,), higher is better.
        cost: (n,), lower is better; NaN is never on the front.
    """
    known = np.isfinite(cost) & np.isfinite(score)
    order = np.lexsort((-score, cost))
    best, front = -np.inf, np.zeros(len(score), dtype=np.bool_)
    for i in order:
        if known[i] and score[i] > best:
            front[i], best = True, score[i]
    return front
