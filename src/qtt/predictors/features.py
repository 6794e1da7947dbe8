"""Features: pipelines, models and datasets as numbers.

Notation: n pipelines, d = encoded columns of a group. There are three groups:
  pipeline  the hyperparameters of the config, except the model
  model     the model's descriptors, its family, its pretraining and its name
  task      the descriptors of the dataset
A hyperparameter that is inactive in a config (absent there) has 0 in all of its columns.
"""

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from qtt.errors import PredictionError
from qtt.space.domains import Options, Range
from qtt.support.files import parse_json
from qtt.types import Candidates, Config, MetaFeatures, ModelCard, frozen

Array = NDArray[np.float64]
Group = Literal["pipeline", "model", "task"]
Kind = Literal["number", "log", "is", "zero", "active"]

LOG_RATIO = 10.0
"""Options whose positive values span at least this factor are encoded by their logarithm."""

LOG_CARD = ("params", "macs", "input_size")
"""Descriptors of a model that are always encoded by their logarithm."""

_ABSENT = object()
"""What stands for a value that an item does not have; None may be an option."""

TASK_SCALES = {
    "train_images": (1e4, 1.0),
    "num_classes": (50.0, 0.5),
    "image_size": (128.0, 0.3),
    "channels": (3.0, 0.5),
}
"""Center and scale (in decades) of the task's descriptors: the Meta-Album collection in round numbers."""


@dataclass(frozen=True)
class Column:
    """One encoded column.

    source: the hyperparameter, card attribute or meta-feature that it shows.
    kind: number, (x - center)/scale; log, the same of log10 x, and 0 at x = 0; is, 1 where the value equals
        `category`; zero, 1 where the value is 0; active, 1 where there is a number at all.
    """

    group: Group
    source: str
    kind: Kind
    category: Any = None
    center: float = 0.0
    scale: float = 1.0

    def encode(self, value: Any) -> float:
        """The column's number for a value that is present (it may be None where that is an option)."""
        if self.kind == "is":
            return float(_same(value, self.category))
        if value is None:
            return 0.0
        if self.kind == "active":
            return 1.0
        number = float(value)
        if self.kind == "zero":
            return float(number == 0.0)
        if self.kind == "log":
            if number == 0.0:
                return 0.0
            number = math.log10(number)
        return (number - self.center) / self.scale


@dataclass(frozen=True)
class Features:
    """Encoded candidates of one search: pipeline (n, dp), model (n, dm), task (dt,)."""

    pipeline: Array
    model: Array
    task: Array


@dataclass(frozen=True)
class _Occurring:
    """The values of one source: distinct ones, and the position among them of each item's; (n,)."""

    values: tuple[Any, ...]
    position: NDArray[np.int64]

    @classmethod
    def of(cls, found: Sequence[Any]) -> Self:
        """Of values, `_ABSENT` where an item has none."""
        try:
            known = {value: k for k, value in enumerate(dict.fromkeys(found))}
        except TypeError:  # lists, as JSON has them
            found = [frozen(value) for value in found]
            known = {value: k for k, value in enumerate(dict.fromkeys(found))}
        position = np.fromiter(map(known.__getitem__, found), dtype=np.int64, count=len(found))
        return cls(tuple(known), position)

    def encoded(self, column: Column) -> Array:
        """A column's number for each item, 0 where it is absent; (n,)."""
        numbers = np.zeros(len(self.values))
        for k, value in enumerate(self.values):
            if value is _ABSENT:
                continue
            try:
                numbers[k] = column.encode(value)
            except (TypeError, ValueError) as error:
                first = int(np.argmax(self.position == k))
                raise PredictionError(
                    f"{column.source} = {value!r} of candidate {first} cannot be encoded: {error}."
                ) from error
        return np.asarray(numbers[self.position])


@dataclass(frozen=True)
class FeatureSpec:
    """Which columns there are, and how each is computed."""

    columns: tuple[Column, ...]

    @classmethod
    def from_options(
        cls,
        options: Mapping[str, Options],
        cards: Sequence[ModelCard] = (),
        conditional: Collection[str] = (),
    ) -> Self:
        """The columns for a search space.

        Args:
            options: every hyperparameter with all of its options, or its range.
            cards: the models that `options["model"]` names.
            conditional: hyperparameters that are inactive in some configs.
        """
        columns: list[Column] = []
        for name, values in options.items():
            if name == "model":
                continue
            if isinstance(values, Range):
                columns += _range_columns(name, values, name in conditional)
            else:
                columns += _value_columns("pipeline", name, list(values), name in conditional)
        for name in ("params", "macs", "input_size", "top1"):
            columns += _value_columns("model", name, [getattr(card, name) for card in cards])
        for name in ("family", "pretraining", "name"):
            columns += _categories("model", name, [getattr(card, name) for card in cards])
        columns += [
            Column("task", name, "log", center=math.log10(center), scale=scale)
            for name, (center, scale) in TASK_SCALES.items()
        ]
        return cls(tuple(columns))

    def width(self, group: Group) -> int:
        """Number of encoded columns of a group."""
        return sum(column.group == group for column in self.columns)

    def index(self, group: Group, source: str, kind: Kind) -> int | None:
        """Position of a column within its group, None where there is none."""
        members = [column for column in self.columns if column.group == group]
        return next((i for i, c in enumerate(members) if c.source == source and c.kind == kind), None)

    def encodes(self, hyperparameter: str, options: Options) -> bool:
        """Whether there are columns of a hyperparameter, and all of its options are such as these take."""
        columns = [c for c in self.columns if (c.group, c.source) == ("pipeline", hyperparameter)]
        try:
            for value in (options.lower,) if isinstance(options, Range) else options:
                for column in columns:
                    column.encode(value)
        except (TypeError, ValueError):
            return False
        return bool(columns)

    def categories(self, group: Group, source: str) -> frozenset[Any]:
        """Values of a source that have a column of their own; empty where there were fewer than two."""
        return frozenset(
            c.category for c in self.columns if (c.group, c.source, c.kind) == (group, source, "is")
        )

    def encode(self, candidates: Candidates, metafeatures: MetaFeatures | None) -> Features:
        """Encode all candidates of a search; without meta-features the task's columns are 0.

        Raises:
            PredictionError: a config has a value that cannot be encoded, or names a model without a card.
        """
        cards = {card.name: card for card in candidates.models}
        return Features(
            pipeline=self._rows("pipeline", candidates.configs, _in_config),
            model=self._rows("model", [_card_of(config, cards) for config in candidates.configs], _in_card),
            task=self._rows("task", [metafeatures], _in_card)[0],
        )

    def _rows(self, group: Group, items: Sequence[Any], read: Callable[[Any, str], Any]) -> Array:
        """Columns of a group, each computed once for every value that occurs; (n, d)."""
        columns = [column for column in self.columns if column.group == group]
        rows = np.zeros((len(items), len(columns)))
        occurring = {
            source: _Occurring.of([read(item, source) for item in items])
            for source in dict.fromkeys(column.source for column in columns)
        }
        for j, column in enumerate(columns):
            rows[:, j] = occurring[column.source].encoded(column)
        return rows

    def to_json(self) -> str:
        """Inverse of `from_json`."""
        return json.dumps([asdict(column) for column in self.columns], indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        columns = parse_json(text)
        if not isinstance(columns, list) or not columns:
            raise ValueError("it lists no columns")
        return cls(tuple(Column(**{**data, "category": frozen(data["category"])}) for data in columns))


def _value_columns(group: Group, name: str, values: list[Any], conditional: bool = False) -> list[Column]:
    """Columns of one value with these options; none at all where it is always the same."""
    numbers = [value for value in values if value is not None]
    if not all(isinstance(value, int | float) for value in numbers):
        return _categories(group, name, values)
    distinct = sorted({float(value) for value in numbers})
    maybe_absent = conditional or None in values
    columns = [Column(group, name, "active")] if maybe_absent and numbers else []
    if len(distinct) < 2:
        return columns
    positive = [value for value in distinct if value > 0]
    logarithmic = len(positive) > 1 and positive[-1] / positive[0] >= LOG_RATIO
    if min(distinct) >= 0 and (logarithmic or name in LOG_CARD):
        if 0.0 in distinct:
            columns.append(Column(group, name, "zero"))
        logs = np.log10(positive)
        return [*columns, Column(group, name, "log", None, float(logs.mean()), float(logs.std()))]
    return [*columns, Column(group, name, "number", None, float(np.mean(distinct)), float(np.std(distinct)))]


def _range_columns(name: str, values: Range, conditional: bool) -> list[Column]:
    """Columns of a hyperparameter that takes any number of a range, on the scale that the space gives it."""
    columns = [Column("pipeline", name, "active")] if conditional else []
    kind: Kind = "log" if values.log else "number"
    return [*columns, Column("pipeline", name, kind, None, *values.moments)]


def _categories(group: Group, name: str, values: Iterable[Any]) -> list[Column]:
    distinct = list(dict.fromkeys(frozen(value) for value in values))
    return [Column(group, name, "is", value) for value in distinct] if len(distinct) > 1 else []


def _card_of(config: Config, cards: Mapping[str, ModelCard]) -> ModelCard | None:
    name = config.get("model")
    if cards and name is not None and name not in cards:
        raise PredictionError(f"The candidates carry no card of model '{name}'; known: {sorted(cards)}.")
    return cards.get(name) if name is not None else None


def _in_config(config: Config, name: str) -> Any:
    return config.get(name, _ABSENT)


def _in_card(card: ModelCard | MetaFeatures | None, name: str) -> Any:
    return _ABSENT if card is None else getattr(card, name, None)


def _same(value: Any, category: Any) -> bool:
    return bool(frozen(value) == category)
