"""A search space as other libraries understand it, and which candidate is nearest to what they propose.

Options become their positions: whole numbers where they are ordered, categories elsewhere, so that no library
has to know what None, a tuple or the name of a model is. Ranges stay ranges. Conditions are translated too.

Notation: n candidates, d hyperparameters.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ConfigSpace as Cs
import numpy as np
from ConfigSpace.conditions import Condition
from ConfigSpace.util import deactivate_inactive_hyperparameters
from numpy.typing import NDArray

from qtt.space.closeness import card_distance, is_number
from qtt.space.config_manager import ConfigManager
from qtt.space.domains import Choices, Domain, Range
from qtt.types import Candidates, Config, ModelCard

Array = NDArray[np.float64]

ABSENT = "(absent)"
"""Option of a hyperparameter that some of the candidates of a table do not have."""

Values = Mapping[str, Any]
"""What a library proposes: positions of options and numbers, by hyperparameter; inactive ones are missing."""


@dataclass(frozen=True, eq=False)
class Positions:
    """A space for libraries.

    domains: options or range of each hyperparameter that has more than one value.
    constants: what all pipelines have in common.
    space: positions and ranges, with conditions.
    manager: makes valid pipelines of what is proposed; None: a table has what it has.
    """

    domains: Mapping[str, Domain]
    constants: Config
    space: Cs.ConfigurationSpace
    manager: ConfigManager | None = None

    @classmethod
    def of(cls, candidates: Candidates, source: object, seed: int) -> "Positions":
        """The open space of a source, where it is a config manager; else what candidates span."""
        if isinstance(source, ConfigManager):
            return cls.of_manager(source, seed)
        return cls.of_candidates(candidates, seed)

    @classmethod
    def of_candidates(cls, candidates: Candidates, seed: int) -> "Positions":
        """The space that candidates span, each hyperparameter's options those that occur."""
        names = dict.fromkeys(name for config in candidates.configs for name in config)
        found: dict[str, Domain] = {}
        constants: dict[str, Any] = {}
        for name in names:
            values = _distinct(config.get(name, ABSENT) for config in candidates.configs)
            if len(values) == 1:
                constants[name] = values[0]
            else:
                found[name] = _choices(values)
        return cls(found, constants, _space(found, seed))

    @classmethod
    def of_manager(cls, manager: ConfigManager, seed: int) -> "Positions":
        """The space of a config manager, conditions included; forbidden combinations become valid ones."""
        domains = manager.domains
        varied = {name: domain for name, domain in domains.items() if domain.size > 1}
        constants = {name: next(iter(domains[name].all())) for name in domains.keys() - varied.keys()}
        space = _space(varied, seed)
        for name in varied:
            for condition in manager.space.parent_conditions_of[name]:
                translated = _translated(condition, space, manager.domains)
                if translated is not None:
                    space.add(translated)
        return cls(varied, constants, space, manager)

    def config(self, values: Values) -> Config:
        """The pipeline that is proposed."""
        config = dict(self.constants)
        for name, value in values.items():
            domain = self.domains[name]
            config[name] = domain.match(value) if isinstance(domain, Range) else domain.values[int(value)]
        config = {name: value for name, value in config.items() if value != ABSENT}
        adapted = None if self.manager is None else self.manager.adapt(config)
        return config if adapted is None else dict(adapted)

    def active(self, values: Values) -> Values:
        """What of values for all hyperparameters has a meaning in their pipeline."""
        kept = deactivate_inactive_hyperparameters(dict(values), self.space)
        return {name: values[name] for name in kept}

    def values(self, config: Config) -> Values:
        """Positions and numbers of a pipeline; of what its space does not know, nothing."""
        found: dict[str, Any] = {}
        for name, domain in self.domains.items():
            value = config.get(name, ABSENT)
            if isinstance(domain, Range):
                if value != ABSENT:
                    found[name] = domain.closest(value)
            elif value in domain.values:
                found[name] = domain.values.index(value)
        return found

    def places(self, config: Config) -> Array:
        """Where a pipeline lies: of each hyperparameter from 0 to 1, NaN where it is absent; (d,)."""
        values = self.values(config)
        return np.array([self._place(name, values.get(name)) for name in self.domains])

    def _place(self, name: str, value: Any) -> float:
        domain = self.domains[name]
        if value is None:
            return math.nan
        if not isinstance(domain, Range):
            return float(value) / (domain.size - 1)
        low, high, at = (math.log(x) if domain.log else float(x) for x in (domain.lower, domain.upper, value))
        return (at - low) / (high - low)


class Nearest:
    """Which candidate is nearest to a pipeline: the sum over hyperparameters of differences from 0 to 1.

    Models differ by their cards (`closeness.card_distance`, the largest of all being 1), ordered options and
    ranges by the difference of their places, all others by 0 or 1, as does what only one of them has.
    """

    def __init__(self, positions: Positions, candidates: Candidates) -> None:
        self._positions = positions
        names = list(positions.domains)
        self._graded = np.array([isinstance(d, Range) or d.ordered for d in positions.domains.values()])
        self._models = names.index("model") if "model" in names and candidates.models else None
        self._cards = {card.name: card for card in candidates.models}
        self._of = [str(config.get("model")) for config in candidates.configs]
        self._largest = _largest_distance(candidates.models)
        self._places = np.array([positions.places(config) for config in candidates.configs])

    def among(self, ids: Sequence[int], config: Config) -> int:
        """The nearest of these candidates, the first of equals."""
        rows, place = self._places[list(ids)], self._positions.places(config)
        apart = np.abs(rows - place)
        apart = np.where(self._graded, apart, apart > 0)
        apart = np.where(np.isnan(rows) & np.isnan(place), 0.0, np.where(np.isnan(apart), 1.0, apart))
        if self._models is not None and (card := self._cards.get(str(config.get("model")))) is not None:
            far = {name: card_distance(card, other) / self._largest for name, other in self._cards.items()}
            apart[:, self._models] = [far.get(self._of[i], 1.0) for i in ids]
        return ids[int(np.argmin(apart.sum(axis=1)))]


def key(values: Values) -> str:
    """The same for the same proposal."""
    return json.dumps({name: float(value) for name, value in values.items()}, sort_keys=True)


def _distinct(values: Iterable[Any]) -> list[Any]:
    found: dict[str, Any] = {}
    for value in values:
        found.setdefault(repr(value), value)
    return list(found.values())


def _choices(values: list[Any]) -> Choices:
    """Numbers in their order, and before them the option to have none; others as they come, by name."""
    numbers = sorted(value for value in values if is_number(value))
    others = sorted((value for value in values if not is_number(value)), key=repr)
    ordered = len(numbers) > 1 and len(others) <= 1
    return Choices((*others, *numbers), ordered)


def _space(domains: Mapping[str, Domain], seed: int) -> Cs.ConfigurationSpace:
    space = Cs.ConfigurationSpace(seed=seed)
    for name, domain in domains.items():
        space.add(_hyperparameter(name, domain))
    return space


def _hyperparameter(name: str, domain: Domain) -> Any:
    if isinstance(domain, Range):
        kind = Cs.UniformIntegerHyperparameter if domain.integer else Cs.UniformFloatHyperparameter
        return kind(name, domain.lower, domain.upper, log=domain.log)
    if domain.ordered:
        return Cs.UniformIntegerHyperparameter(name, 0, domain.size - 1)
    return Cs.CategoricalHyperparameter(name, list(range(domain.size)))


def _translated(condition: Any, space: Cs.ConfigurationSpace, domains: Mapping[str, Domain]) -> Any:
    """A condition among positions; None where its parent has one value alone, and so decides nothing."""
    if isinstance(condition, Cs.AndConjunction | Cs.OrConjunction):
        parts = [_translated(part, space, domains) for part in condition.components]
        kept = [part for part in parts if part is not None]
        return type(condition)(*kept) if len(kept) > 1 else next(iter(kept), None)
    assert isinstance(condition, Condition)
    child, parent = condition.child.name, condition.parent.name
    if parent not in space:
        return None

    def position(value: Any) -> Any:
        domain = domains[parent]
        return value if isinstance(domain, Range) else domain.values.index(domain.match(value))

    if isinstance(condition, Cs.InCondition):
        return Cs.InCondition(space[child], space[parent], [position(value) for value in condition.values])
    return type(condition)(space[child], space[parent], position(condition.value))


def _largest_distance(cards: Sequence[ModelCard]) -> float:
    return max((card_distance(a, b) for a in cards for b in cards), default=0.0) or 1.0
