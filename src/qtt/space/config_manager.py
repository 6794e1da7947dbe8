"""ConfigManager: samples, checks, adapts and shows the pipelines of a search space over a model hub."""

import copy
import json
import math
from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from ConfigSpace import AndConjunction, Configuration, ConfigurationSpace, OrConjunction

from qtt.errors import ConfigError, ModelHubError, unknown
from qtt.hub.model_hub import ModelHub
from qtt.space.closeness import card_distance
from qtt.space.domains import Choices, Domain, Options, Range, domain_of
from qtt.space.horizon import HEAD, RECIPES, probe_of
from qtt.space.hyperparameters import OWN
from qtt.space.own_space import space_from_dict, space_to_dict, with_hashable_options
from qtt.support.files import parse_json
from qtt.types import Candidates, Config, ModelCard

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
_ROUNDS = 50
_MOST_CHANGES = 3
_MODEL_CHANGES = 0.25
_CLOSE_MODELS = 3


class ConfigManager:
    """The pipelines that a search may choose from: a conditional space, and the hub its models are of.

    domains: options or range of every hyperparameter, inactive ones included; `model` comes first.
    options: the same as predictors get them, options as plain tuples.

    Raises:
        ConfigError: an option that no file can hold, or a model that the hub lacks, or any without a hub.
    """

    def __init__(self, space: ConfigurationSpace, hub: ModelHub | None = None) -> None:
        self.space = with_hashable_options(space)
        self.hub = hub
        self.domains: dict[str, Domain] = {
            name: domain_of(self.space[name]) for name in sorted(self.space, key=_position)
        }
        self.options: dict[str, Options] = {
            name: domain if isinstance(domain, Range) else domain.values
            for name, domain in self.domains.items()
        }
        self._check_models()
        self._order = _parents_first(self.space, list(self.domains))
        self._conditions = {name: tuple(self.space.parent_conditions_of[name]) for name in self.domains}
        self._index = {name: self.space.index_of[name] for name in self.domains}

    def _check_models(self) -> None:
        """Raise ConfigError unless `model`, where there is one, is a choice among the hub's models."""
        domain = self.domains.get("model")
        if domain is None:
            return
        if self.hub is None:
            raise ConfigError(
                "The space has a hyperparameter 'model', whose options are the models of a hub, but there is "
                "no hub. Name one, for instance model_hub=tiny; or call the hyperparameter something else."
            )
        if isinstance(domain, Range):
            raise ConfigError(f"'model' must be a choice among the models of hub '{self.hub.name}'.")
        strangers = [str(model) for model in domain.values if model not in self.hub]
        if strangers:
            kind = f"model in the space (hub '{self.hub.name}')"
            raise ConfigError(unknown(kind, strangers[0], self.hub.names))

    def sample(self, n: int, seed: int) -> Candidates:
        """`n` distinct pipelines drawn at random; the same for the same space, n and seed.

        A finite space that holds fewer than `n` gives all of them, in random order.

        Raises:
            ConfigError: n < 1.
        """
        if n < 1:
            raise ConfigError(f"At least one candidate is needed; got n = {n}.")
        few = self._may_hold_few(4 * n)
        everything = list(islice(self._enumerate({}, 0), 4 * n + 1)) if few else []
        if few and len(everything) <= 4 * n:
            order = np.random.default_rng(seed).permutation(len(everything))
            return self._candidates([everything[i] for i in order[:n]])
        space = copy.deepcopy(self.space)
        space.seed(seed)
        drawn: dict[str, Config] = {}
        for _ in range(_ROUNDS):
            for sampled in space.sample_configuration(size=n + 1):  # a list for every n
                config = self._native(sampled)
                if config is not None:
                    drawn.setdefault(json.dumps(config), config)
            if len(drawn) >= n:
                break
        return self._candidates(list(drawn.values())[:n])

    def _may_hold_few(self, most: int) -> bool:
        """False where the space certainly holds more than `most` pipelines.

        As many it holds at least as its unconditional hyperparameters combine to, if nothing is forbidden.
        """
        if any(domain.size > most for domain in self.domains.values() if isinstance(domain, Range)):
            return False
        free = (domain.size for name, domain in self.domains.items() if not self._conditions[name])
        return bool(self.space.forbidden_clauses) or math.prod(free) <= most

    def probes(self) -> list[Config]:
        """Linear probes of the space's models, in the order of `_probed`; none where it has no such heads."""
        return [probe_of(card.name) for card in self._probed()]

    def recipes(self) -> list[Config]:
        """What `RECIPES` becomes in this space for each of its models with a probe, recipe by recipe."""
        found: list[Config] = []
        for recipe, card in product(RECIPES, self._probed()):
            config = self.adapt({**recipe, "model": card.name}, card)
            if config is not None and config not in found:
                found.append(config)
        return found

    def _probed(self) -> list[ModelCard]:
        """The models that have linear probes here.

        The cheapest comes first, for an incumbent within seconds, then the others by their ImageNet accuracy:
        features of better models mostly are better, too. Where it is unknown, those with ImageNet's classes
        come before those of narrower pretraining, and the cheaper ones first.
        """
        heads, models = self.domains.get(HEAD), self.domains.get("model")
        if not isinstance(heads, Choices) or "probe" not in heads.values:
            return []
        if self.hub is None or not isinstance(models, Choices):
            return []
        cards = [card for card in self.hub if card.name in models.values]
        cheapest, *others = sorted(cards, key=lambda card: card.macs or card.params)
        return [cheapest, *sorted(others, key=lambda card: (-(card.top1 or 0.0), card.num_classes != 1000))]

    def validate(self, config: Mapping[str, Any]) -> Config:
        """`config` with the space's own values in the space's order, as YAML or JSON may have written it.

        Raises:
            ConfigError: an unknown, missing or inactive hyperparameter, an impossible option, or a forbidden
                combination.
        """
        for name in config:
            if name not in self.domains:
                raise ConfigError(unknown("hyperparameter", str(name), self.domains))
        values: dict[str, Any] = {}
        for name in self._order:
            active = self._active(name, values)
            if active and name not in config:
                raise ConfigError(f"The config lacks '{name}'; {self.domains[name]}.")
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
        hub = None if self.hub is None else self.hub.to_dict()
        return json.dumps({"format": FORMAT, "space": space_to_dict(self.space), "hub": hub}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: the text is not a space of this format.
        """
        try:
            data = parse_json(text)
            if data["format"] != FORMAT:
                raise ConfigError(f"The space has format {data['format']}; this version reads {FORMAT}.")
            hub = None if data["hub"] is None else ModelHub.from_dict(data["hub"])
            return cls(space_from_dict(data["space"]), hub)
        except (KeyError, TypeError, ValueError, AttributeError, ModelHubError) as error:
            raise ConfigError(f"The search space cannot be read: {type(error).__name__}: {error}.") from error

    def neighbours(self, config: Config, count: int, seed: int) -> list[Config]:
        """Up to `count` distinct pipelines near `config`; the same for the same arguments.

        One to three of its hyperparameters, now and then the model among them, move to a neighbouring option:
        a step up or down where options are ordered, a number nearby in a range, any other option elsewhere,
        one of the closest models.
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
                values[name] = self.domains[name].closest(config[name])
            else:
                values[name] = self.domains[name].default
        return self._ordered(values) if self._allowed(values) else None

    def _neighbour(self, config: Config, generator: np.random.Generator) -> dict[str, Any]:
        """One change of one to three hyperparameters; it may be forbidden or change nothing."""
        names = [name for name in config if name != "model" and self.domains[name].size > 1]
        changes = min(int(generator.integers(1, _MOST_CHANGES + 1)), len(names))
        changed = generator.permutation(names)[:changes].tolist()
        models = self.domains.get("model")
        if models is not None and models.size > 1 and (not names or generator.random() < _MODEL_CHANGES):
            changed[:1] = ["model"]
        values: dict[str, Any] = {}
        for name in self._order:
            if not self._active(name, values):
                continue
            if name in config:
                values[name] = self._step(name, config[name], generator) if name in changed else config[name]
            else:
                values[name] = self.domains[name].draw(generator)
        return self._ordered(values)

    def _step(self, name: str, value: Any, generator: np.random.Generator) -> Any:
        """A value next to `value`."""
        if name != "model" or self.hub is None:
            return self.domains[name].beside(value, generator)
        near = [model for model in self._closest_models(self.hub[value]) if model != value][:_CLOSE_MODELS]
        return near[int(generator.integers(len(near)))]

    def _closest_model(self, config: Config, card: ModelCard | None) -> str | None:
        """The model of that name, else the one nearest to its card."""
        try:
            return str(self._match("model", config["model"]))
        except (KeyError, ConfigError):
            return None if card is None else self._closest_models(card)[0]

    def _closest_models(self, card: ModelCard) -> list[str]:
        """The models of the space, nearest first."""
        hub = self.hub
        assert hub is not None
        return sorted(self.domains["model"].all(), key=lambda name: card_distance(card, hub[name]))

    def _candidates(self, configs: list[Config]) -> Candidates:
        named = {config.get("model") for config in configs}
        return Candidates(tuple(configs), tuple(card for card in self.hub or () if card.name in named))

    def _native(self, sampled: Configuration) -> Config | None:
        """What ConfigSpace drew, with native values, without what is inactive.

        None where it drew no value, or a forbidden one: it compares places on a scale, which rounding moves.
        """
        vector = sampled.get_array()
        values: dict[str, Any] = {}
        for name in self._order:
            if not self._active(name, values):
                continue
            place = vector[self._index[name]]
            if math.isnan(place):
                return None
            domain = self.domains[name]
            drawn = sampled[name] if isinstance(domain, Range) else None  # takes longer than all the rest
            values[name] = domain.read(drawn, place)
        return self._ordered(values) if self._allowed(values) else None

    def _match(self, name: str, value: Any) -> Any:
        if name == "model" and self.hub is not None and isinstance(value, str) and value in self.hub:
            value = self.hub[value].name  # an alias
        domain = self.domains[name]
        try:
            return domain.match(value)
        except LookupError:
            pass
        if isinstance(domain, Range):
            raise ConfigError(f"{name} = {value!r} is impossible: it is {domain}.")
        raise ConfigError(unknown(f"option of {name}", str(value), map(str, domain.values)))

    def _ordered(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: values[name] for name in self.domains if name in values}

    def _active(self, name: str, values: dict[str, Any]) -> bool:
        """Whether a hyperparameter takes part, given the values of its parents."""
        return all(_holds(condition, values) for condition in self._conditions[name])

    def _reason(self, name: str) -> str:
        return "".join(f" ({condition})" for condition in self._conditions[name])

    def _allowed(self, values: dict[str, Any]) -> bool:
        if not self.space.forbidden_clauses:
            return True
        vector = np.full(len(self.space), np.nan)
        for name, value in values.items():
            vector[self._index[name]] = self.space[name].to_vector(value)
        return not any(clause.is_forbidden_vector(vector) for clause in self.space.forbidden_clauses)

    def _enumerate(self, values: dict[str, Any], position: int) -> Iterator[Config]:
        """All pipelines, lazily, that continue `values` from the hyperparameter at `position`."""
        if position == len(self._order):
            if self._allowed(values):
                yield self._ordered(values)
            return
        name = self._order[position]
        if not self._active(name, values):
            yield from self._enumerate(values, position + 1)
            return
        for value in self.domains[name].all():
            yield from self._enumerate({**values, name: value}, position + 1)


def _holds(condition: Any, values: Mapping[str, Any]) -> bool:
    """Whether one of ConfigSpace's conditions holds; not where it is about an inactive parent."""
    if isinstance(condition, AndConjunction):
        return all(_holds(part, values) for part in condition.components)
    if isinstance(condition, OrConjunction):
        return any(_holds(part, values) for part in condition.components)
    return condition.parent.name in values and bool(condition.satisfied_by_value(values))


def _position(name: str) -> tuple[int, str]:
    """Sort key: the model, then the papers' order, then others by name."""
    known = ["model", *OWN]
    return (known.index(name) if name in known else len(known), name)


def _parents_first(space: ConfigurationSpace, names: list[str]) -> list[str]:
    order: list[str] = []
    while len(order) < len(names):
        ready = (n for n in names if n not in order and all(p.name in order for p in space.parents_of[n]))
        order.append(next(ready))
    return order
