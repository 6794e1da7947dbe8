"""A portfolio: pipelines that won on recorded datasets, for searches on others to begin with.

Notation: m entries to choose from, D datasets, n runs of one dataset, T = largest fidelity.

Greedy choice of a set that maximises the mean over datasets of the best value among its members; that mean is
submodular, so the greedy set is within 1 - 1/e of the best one (Nemhauser, Wolsey and Fisher 1978; as for
portfolios of classifiers in Feurer et al. 2022, JMLR, section 3).
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from qtt.errors import ArtifactError, ConfigError
from qtt.space.closeness import card_distance, is_number
from qtt.support.files import parse_json
from qtt.types import Config, ModelCard, with_tuples

if TYPE_CHECKING:
    from qtt.metatraining.runs import Runs

Array = NDArray[np.float64]

FORMAT = 1
HORIZONS = (900.0, 3600.0, 14400.0, 57600.0)
"""Seconds; a run is worth the mean of the relative scores that it has reached by then."""

POOL = 48
"""The best runs of every dataset that are considered."""

NEIGHBOURS = 8
"""So many of the closest runs on another dataset say what a pipeline is worth there."""

SPREAD = 0.5
"""By so much every use of a model moves it away from the models that are still to be replaced."""

_ABSENT = "inactive"


class Adapter(Protocol):
    """A space that foreign pipelines can be carried over to; a `ConfigManager` is one."""

    @property
    def hub(self) -> Iterable[ModelCard] | None:
        """Cards of the models of the space, None where it has no models."""
        ...

    def adapt(self, config: Config, card: ModelCard | None = None) -> Config | None:
        """The closest pipeline of this space, None where there is none."""
        ...


@dataclass(frozen=True)
class PortfolioEntry:
    """A pipeline that won somewhere: on which dataset, with which value (0 to 1; see `HORIZONS`)."""

    config: Config
    card: ModelCard | None
    dataset: str
    score: float


@dataclass(frozen=True)
class Portfolio:
    """Pipelines in the order in which they add most to those before them."""

    entries: tuple[PortfolioEntry, ...]

    def __len__(self) -> int:
        return len(self.entries)

    def pipelines(self, space: Adapter, n: int) -> list[Config]:
        """The first `n` distinct pipelines that the entries become in `space`, or as many as there are.

        A model that the hub lacks becomes one that is close by its card, and of those close the one that has
        become of fewest others: the models of a hub of small ones would else all become its largest.
        """
        found: list[Config] = []
        uses: Counter[str] = Counter()
        for entry in self.entries:
            if len(found) >= n:
                break
            card = None if space.hub is None else _replacement(entry, space.hub, uses)
            named = entry.config if card is None else {**entry.config, "model": card.name}
            config = space.adapt(named, card)
            if config is not None and config not in found:
                found.append(config)
                uses[str(config.get("model"))] += 1
        return found

    def to_json(self) -> str:
        """JSON text; inverse of `from_json`."""
        entries = [
            {
                "dataset": entry.dataset,
                "score": entry.score,
                "config": dict(entry.config),
                "card": None if entry.card is None else entry.card.to_dict(),
            }
            for entry in self.entries
        ]
        return json.dumps({"format": FORMAT, "entries": entries}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ArtifactError: the text is no portfolio of this format.
        """
        try:
            data = parse_json(text)
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']}; this version reads {FORMAT}")
            return cls(tuple(_entry(entry) for entry in data["entries"]))
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise ArtifactError(
                f"The portfolio cannot be read ({type(error).__name__}: {error}). Fit the artifact again."
            ) from error


def build_portfolio(runs: "Sequence[Runs]", size: int = 32) -> Portfolio:
    """Choose the pipelines that together do best on the recorded datasets, the most useful first.

    A pipeline was run on one dataset only. There its value is its own; on every other dataset it is the mean
    value of the `NEIGHBOURS` runs closest to it, where hyperparameters count by how much of the values they
    explain. No two entries of one dataset have the same model. When every dataset is served as well as it can
    be, a further round begins among the rest.

    Args:
        runs: of every dataset, one item a dataset and table; several of one dataset count apart.
        size: entries at most.

    Raises:
        ConfigError: no run succeeded, or size < 1.
    """
    if size < 1:
        raise ConfigError(f"A portfolio needs at least one entry; got size = {size}.")
    values = [anytime_values(r.scores, r.seconds, r.failed) for r in runs]
    pool = [(d, int(i)) for d, worth in enumerate(values) for i in _best(worth)]
    if not pool:
        raise ConfigError("There is nothing to make a portfolio of: no recorded run has a score.")
    expected = _expected_values(runs, values, pool)
    entries = [_entry_of(runs[d], i, values[d][i]) for d, i in pool]
    return Portfolio(tuple(entries[k] for k in _greedy(expected, entries, size)))


def anytime_values(scores: Array, seconds: Array, failed: NDArray[np.bool_]) -> Array:
    """What each run is worth (n,), from 0 to 1: the mean over `HORIZONS` of its relative score by then.

    Relative to the lowest and highest score of all runs. A run that failed, or finished no epoch by then, is
    worth 0. Epochs of which nothing was recorded took the mean of the others.

    Args:
        scores: (n, T), NaN where nothing was recorded.
        seconds: (n, T) of each epoch alone, NaN likewise.
        failed: (n,).
    """
    known = np.isfinite(scores)
    if not known.any():
        return np.zeros(len(scores))
    low, high = scores[known].min(), scores[known].max()
    relative = np.where(known, (scores - low) / max(high - low, 1e-12), 0.0)
    counts = np.maximum(np.isfinite(seconds).cumsum(axis=1), 1)
    elapsed = np.nancumsum(seconds, axis=1) / counts * np.arange(1, scores.shape[1] + 1)
    reached = [np.where(elapsed <= horizon, relative, 0.0).max(axis=1) for horizon in HORIZONS]
    return np.where(failed, 0.0, np.mean(reached, axis=0))


def _replacement(
    entry: PortfolioEntry, hub: Iterable[ModelCard], uses: Mapping[str, int]
) -> ModelCard | None:
    """The card of the hub that an entry's model becomes: itself, or a close one that was used little."""
    name, original = entry.config.get("model"), entry.card
    for card in hub:
        if name == card.name or name in card.aliases:
            return card
    if original is None:
        return None
    return min(hub, key=lambda card: card_distance(original, card) + SPREAD * uses.get(card.name, 0))


def _entry(data: dict[str, Any]) -> PortfolioEntry:
    config = with_tuples(data["config"])
    card = None if data["card"] is None else ModelCard.from_dict(data["card"])
    return PortfolioEntry(config, card, str(data["dataset"]), float(data["score"]))


def _entry_of(runs: "Runs", run: int, value: float) -> PortfolioEntry:
    candidates = runs.candidates
    return PortfolioEntry(candidates.configs[run], candidates.card(run), runs.dataset, round(float(value), 4))


def _best(values: Array) -> NDArray[np.int64]:
    order = np.argsort(-values, kind="stable")[:POOL]
    return order[values[order] > 0]


def _expected_values(
    runs: "Sequence[Runs]", values: Sequence[Array], pool: Sequence[tuple[int, int]]
) -> Array:
    """What every pipeline of the pool is worth on every dataset: (m, D)."""
    distance = _Distance(runs, values)
    entries = [runs[d].candidates.configs[i] for d, i in pool]
    expected = np.empty((len(pool), len(runs)))
    for column, (there, worth) in enumerate(zip(runs, values, strict=True)):
        apart = distance.between(entries, there.candidates.configs)
        closest = np.argsort(apart, axis=1, kind="stable")[:, :NEIGHBOURS]
        expected[:, column] = worth[closest].mean(axis=1)
    for row, (d, i) in enumerate(pool):
        expected[row, d] = values[d][i]
    return expected


def _greedy(expected: Array, entries: Sequence[PortfolioEntry], size: int) -> list[int]:
    """Positions of the chosen entries, in the order of choice."""
    chosen: list[int] = []
    taken: set[tuple[str, Any]] = set()
    best = np.zeros(expected.shape[1])
    left = list(range(len(entries)))
    while len(chosen) < size and left:
        gains = np.maximum(expected[left] - best, 0.0).mean(axis=1)
        if gains.max() <= 0.0:
            best = np.zeros_like(best)
            continue
        pick = left[int(np.argmax(gains))]
        chosen.append(pick)
        taken.add((entries[pick].dataset, entries[pick].config.get("model")))
        best = np.maximum(best, expected[pick])
        left = [k for k in left if (entries[k].dataset, entries[k].config.get("model")) not in taken]
    return chosen


class _Distance:
    """Distance of pipelines: the sum over hyperparameters of weight times difference, which is 0 to 1.

    weights: the share of the variance of values that a hyperparameter explains, the mean over datasets.
    """

    def __init__(self, runs: "Sequence[Runs]", values: Sequence[Array]) -> None:
        configs = [config for r in runs for config in r.candidates.configs]
        cards = {card.name: card for r in runs for card in r.candidates.models}
        self._options: dict[str, list[Any]] = {}
        self._differences: dict[str, Array] = {}
        for name in dict.fromkeys(name for config in configs for name in config):
            options = list(dict.fromkeys(config.get(name, _ABSENT) for config in configs))
            self._options[name] = options
            self._differences[name] = (
                _model_differences(options, cards) if name == "model" else _differences(options)
            )
        recorded = [(r.candidates.configs, worth) for r, worth in zip(runs, values, strict=True)]
        self.weights = {
            name: float(np.mean([explained(self._codes(name, there), worth) for there, worth in recorded]))
            for name in self._options
        }

    def between(self, first: Sequence[Config], second: Sequence[Config]) -> Array:
        """(len(first), len(second))."""
        total = np.zeros((len(first), len(second)))
        for name, weight in self.weights.items():
            rows, columns = self._codes(name, first), self._codes(name, second)
            total += weight * self._differences[name][np.ix_(rows, columns)]
        return total

    def _codes(self, name: str, configs: Sequence[Config]) -> NDArray[np.int64]:
        position = {option: i for i, option in enumerate(self._options[name])}
        return np.array([position[config.get(name, _ABSENT)] for config in configs], dtype=np.int64)


def explained(codes: NDArray[np.int64], values: Array) -> float:
    """Share of the variance of `values` (n,) between groups `codes` (n,), without what chance explains (ε²).

    1 - (within / (n - k)) / (total / (n - 1)) for k groups (Kelley 1935); at least 0.
    """
    groups, members = np.unique(codes, return_inverse=True)
    n, k = len(values), len(groups)
    total = float(((values - values.mean()) ** 2).sum())
    if n <= k or total <= 0.0:
        return 0.0
    means = np.bincount(members, values) / np.bincount(members)
    within = float(((values - means[members]) ** 2).sum())
    return max(0.0, 1.0 - within / (n - k) / (total / (n - 1)))


def _differences(options: Sequence[Any]) -> Array:
    """(k, k): 1 for different options, less for numbers that are close in rank."""
    numbers = sorted({option for option in options if is_number(option)})
    different = np.ones((len(options), len(options))) - np.eye(len(options))
    for i, first in enumerate(options):
        for j, second in enumerate(options):
            if is_number(first) and is_number(second) and first != second:
                different[i, j] = abs(numbers.index(first) - numbers.index(second)) / (len(numbers) - 1)
    return different


def _model_differences(models: Sequence[Any], cards: Mapping[str, ModelCard]) -> Array:
    """(k, k): 1 - exp(-distance of the cards); 1 where a card is missing."""
    different = np.ones((len(models), len(models))) - np.eye(len(models))
    for i, first in enumerate(models):
        for j, second in enumerate(models):
            if i != j and first in cards and second in cards:
                different[i, j] = 1.0 - math.exp(-card_distance(cards[first], cards[second]))
    return different
