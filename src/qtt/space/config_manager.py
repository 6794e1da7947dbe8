"""ConfigManager: samples, checks, adapts and shows the pipelines of a search space over a model hub."""

import copy
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from ConfigSpace import (
    CategoricalHyperparameter,
    Configuration,
    ConfigurationSpace,
    Constant,
    OrdinalHyperparameter,
)
from ConfigSpace.exceptions import ForbiddenValueError

from qtt.errors import ConfigError, ModelHubError, unknown
from qtt.hub.model_hub import ModelHub
from qtt.space.closeness import card_distance, default_option, nearest_option
from qtt.space.hyperparameters import FULL
from qtt.space.search_space import match_option
from qtt.types import Candidates, Config, ModelCard

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
_ROUNDS = 50
_MOST_CHANGES = 3
_MODEL_CHANGES = 0.25
_CLOSE_MODELS = 3


class ConfigManager:
    """The pipelines that a search may choose from: a finite conditional space, and the hub its models are of.

    Raises:
        ConfigError: a hyperparameter that is not a finite set of options, or a model that the hub lacks.
    """

    def __init__(self, space: ConfigurationSpace, hub: ModelHub) -> None:
        self.space = space
        self.hub = hub
        self.options: dict[str, tuple[Any, ...]] = {
            name: _options_of(space, name) for name in sorted(space, key=_position)
        }
        """All options of every hyperparameter, inactive ones included; `model` comes first."""
        strangers = [str(model) for model in self.options.get("model", ()) if model not in hub]
        if strangers:
            raise ConfigError(unknown(f"model in the space (hub '{hub.name}')", strangers[0], hub.names))
        self._order = _parents_first(space, list(self.options))

    def sample(self, n: int, seed: int) -> Candidates:
        """`n` distinct pipelines drawn at random; the same for the same space, n and seed.

        A space that holds fewer than `n` gives all of them, in random order.

        Raises:
            ConfigError: n < 1.
        """
        if n < 1:
            raise ConfigError(f"At least one candidate is needed; got n = {n}.")
        everything = list(islice(self._enumerate({}, 0), 4 * n + 1))
        if len(everything) <= 4 * n:
            order = np.random.default_rng(seed).permutation(len(everything))
            return self._candidates([everything[i] for i in order[:n]])
        space = copy.deepcopy(self.space)
        space.seed(seed)
        drawn: dict[str, Config] = {}
        for _ in range(_ROUNDS):
            for sampled in space.sample_configuration(size=n + 1):  # a list for every n
                config = self._native(sampled)
                drawn.setdefault(json.dumps(config), config)
            if len(drawn) >= n:
                break
        return self._candidates(list(drawn.values())[:n])

    def validate(self, config: Mapping[str, Any]) -> Config:
        """`config` with the space's own values in the space's order, as YAML or JSON may have written it.

        Raises:
            ConfigError: an unknown, missing or inactive hyperparameter, an impossible option, or a forbidden
                combination.
        """
        for name in config:
            if name not in self.options:
                raise ConfigError(unknown("hyperparameter", str(name), self.options))
        values: dict[str, Any] = {}
        for name in self._order:
            active = self._active(name, values)
            if active and name not in config:
                raise ConfigError(f"The config lacks '{name}'; options: {list(self.options[name])}.")
            if not active and name in config:
                raise ConfigError(f"'{name}' has no effect in this config{self._reason(name)}; leave it out.")
            if active:
                values[name] = self._match(name, config[name])
        if not self._allowed(values):
            raise ConfigError(f"The space forbids this combination: {values}.")
        return self._ordered(values)

    def table(self, candidates: Candidates) -> "pd.DataFrame":
        """Candidates as a table: one row each, one column per hyperparameter, None where inactive."""
        import pandas as pd

        rows = [[config.get(name) for name in self.options] for config in candidates.configs]
        index = pd.RangeIndex(len(rows), name="config_id")
        return pd.DataFrame(rows, index=index, columns=list(self.options), dtype=object)

    def to_json(self) -> str:
        """Space and hub as JSON text; inverse of `from_json`."""
        data = {"format": FORMAT, "space": self.space.to_serialized_dict(), "hub": self.hub.to_dict()}
        return json.dumps(data, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: the text is not a space of this format.
        """
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise ConfigError(f"The space has format {data['format']}; this version reads {FORMAT}.")
            space = ConfigurationSpace.from_serialized_dict(_with_tuples(data["space"]))
            return cls(space, ModelHub.from_dict(data["hub"]))
        except (KeyError, TypeError, ValueError, AttributeError, ModelHubError) as error:
            raise ConfigError(f"The search space cannot be read: {type(error).__name__}: {error}.") from error

    def neighbours(self, config: Config, count: int, seed: int) -> list[Config]:
        """Up to `count` distinct pipelines near `config`; the same for the same arguments.

        One to three of its hyperparameters, now and then the model among them, move to a neighbouring option:
        a step up or down where options are ordered, any other option elsewhere, one of the closest models.
        What thereby becomes active is drawn at random, what becomes inactive is left out. Fewer come back
        where the space holds no more.

        Raises:
            ConfigError: `config` is no pipeline of the space.
        """
        config = self.validate(config)
        generator = np.random.default_rng(seed)
        found: list[Config] = []
        for _ in range(_ROUNDS * count):
            if len(found) >= count:
                break
            near = self._neighbour(config, generator)
            if near != config and near not in found and self._allowed(near):
                found.append(near)
        return found

    def adapt(self, config: Config, card: ModelCard | None = None) -> Config | None:
        """The pipeline of this space that is closest to one of another space or hub.

        Options that this space lacks become the nearest number or a neutral default, hyperparameters that are
        missing the default, and those that are unknown or inactive here are dropped. The model becomes the
        one whose card is nearest to `card`, unless this space has it by name.

        Returns None where the space forbids the combination, or nothing is known of a model it lacks.
        """
        values: dict[str, Any] = {}
        for name in self._order:
            if not self._active(name, values):
                continue
            if name == "model":
                values[name] = self._closest_model(config, card)
                if values[name] is None:
                    return None
            elif name in config:
                values[name] = _closest_option(config[name], self.options[name])
            else:
                values[name] = default_option(self.options[name])
        return self._ordered(values) if self._allowed(values) else None

    def _neighbour(self, config: Config, generator: np.random.Generator) -> dict[str, Any]:
        """One change of one to three hyperparameters; it may be forbidden or change nothing."""
        names = [name for name in config if name != "model" and len(self.options[name]) > 1]
        changes = min(int(generator.integers(1, _MOST_CHANGES + 1)), len(names))
        changed = generator.permutation(names)[:changes].tolist()
        if len(self.options.get("model", ())) > 1 and (not names or generator.random() < _MODEL_CHANGES):
            changed[:1] = ["model"]
        values: dict[str, Any] = {}
        for name in self._order:
            if not self._active(name, values):
                continue
            if name in config:
                values[name] = self._step(name, config[name], generator) if name in changed else config[name]
            else:
                values[name] = self.options[name][int(generator.integers(len(self.options[name])))]
        return self._ordered(values)

    def _step(self, name: str, value: Any, generator: np.random.Generator) -> Any:
        """An option next to `value`."""
        options = self.options[name]
        if name == "model":
            near = [model for model in self._closest_models(self.hub[value]) if model != value][
                :_CLOSE_MODELS
            ]
        elif isinstance(self.space[name], OrdinalHyperparameter):
            position = options.index(value)
            near = [options[i] for i in (position - 1, position + 1) if 0 <= i < len(options)]
        else:
            near = [option for option in options if option != value]
        return near[int(generator.integers(len(near)))]

    def _closest_model(self, config: Config, card: ModelCard | None) -> str | None:
        """The model of that name, else the one nearest to its card."""
        try:
            return str(self._match("model", config["model"]))
        except (KeyError, ConfigError):
            return None if card is None else self._closest_models(card)[0]

    def _closest_models(self, card: ModelCard) -> list[str]:
        """The models of the space, nearest first."""
        return sorted(self.options["model"], key=lambda name: card_distance(card, self.hub[name]))

    def _candidates(self, configs: list[Config]) -> Candidates:
        named = {config.get("model") for config in configs}
        return Candidates(tuple(configs), tuple(card for card in self.hub if card.name in named))

    def _native(self, sampled: Configuration) -> Config:
        """A ConfigSpace configuration with the options' own Python values instead of numpy's."""
        vector = sampled.get_array()
        values = {}
        for name, options in self.options.items():
            position = vector[self.space.index_of[name]]
            if not np.isnan(position):
                values[name] = options[int(position)]
        return values

    def _match(self, name: str, value: Any) -> Any:
        if name == "model" and isinstance(value, str) and value in self.hub:
            value = self.hub[value].name  # an alias
        try:
            return match_option(value, self.options[name])
        except LookupError:
            message = unknown(f"option of {name}", str(value), map(str, self.options[name]))
            raise ConfigError(message) from None

    def _ordered(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: values[name] for name in self.options if name in values}

    def _active(self, name: str, values: dict[str, Any]) -> bool:
        """Whether a hyperparameter takes part, given the values of its parents."""
        if any(parent.name not in values for parent in self.space.parents_of[name]):
            return False
        return all(
            condition.satisfied_by_value(values) for condition in self.space.parent_conditions_of[name]
        )

    def _reason(self, name: str) -> str:
        return "".join(f" ({condition})" for condition in self.space.parent_conditions_of[name])

    def _allowed(self, values: dict[str, Any]) -> bool:
        if not self.space.forbidden_clauses:
            return True
        try:
            Configuration(self.space, values=values).check_valid_configuration()
        except ForbiddenValueError:
            return False
        return True

    def _enumerate(self, values: dict[str, Any], position: int) -> Iterator[Config]:
        """All pipelines, lazily, that continue `values` from the hyperparameter at `position`."""
        if position == len(self._order):
            if self._allowed(values):
                yield self._ordered(values)
            return
        name = self._order[position]
        choices = [{name: option} for option in self.options[name]] if self._active(name, values) else [{}]
        for choice in choices:
            yield from self._enumerate({**values, **choice}, position + 1)


def _options_of(space: ConfigurationSpace, name: str) -> tuple[Any, ...]:
    hyperparameter = space[name]
    if isinstance(hyperparameter, CategoricalHyperparameter):
        return tuple(hyperparameter.choices)
    if isinstance(hyperparameter, OrdinalHyperparameter):
        return tuple(hyperparameter.sequence)
    if isinstance(hyperparameter, Constant):
        return (hyperparameter.value,)
    raise ConfigError(
        f"Hyperparameter '{name}' is a {type(hyperparameter).__name__}; qtt needs a finite set of options: "
        "write it as an ordinal or categorical one."
    )


def _closest_option(value: Any, options: tuple[Any, ...]) -> Any:
    try:
        return match_option(value, options)
    except LookupError:
        return nearest_option(value, options)


def _position(name: str) -> tuple[int, str]:
    """Sort key: the model, then the papers' order, then others by name."""
    known = ["model", *FULL]
    return (known.index(name) if name in known else len(known), name)


def _parents_first(space: ConfigurationSpace, names: list[str]) -> list[str]:
    order: list[str] = []
    while len(order) < len(names):
        ready = (n for n in names if n not in order and all(p.name in order for p in space.parents_of[n]))
        order.append(next(ready))
    return order


def _with_tuples(value: Any) -> Any:
    """JSON's lists of options as tuples again, so that betas are hashable; lists of objects stay lists."""
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        items = [_with_tuples(item) for item in value]
        return items if any(isinstance(item, dict) for item in items) else tuple(items)
    return value
