"""The domain of a hyperparameter: a finite set of options, or a range of numbers.

Notation: u is a place on a range's own scale, 0 at its lower and 1 at its upper end; the scale is logarithmic
where the search space says so.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ConfigSpace import CategoricalHyperparameter, Constant, OrdinalHyperparameter
from ConfigSpace.hyperparameters import (
    Hyperparameter,
    IntegerHyperparameter,
    NumericalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)

from qtt.errors import ConfigError
from qtt.space.closeness import default_option, is_number, nearest_option
from qtt.types import frozen

UNIFORM_SPREAD = 1.0 / math.sqrt(12.0)
"""Standard deviation of u where all places are equally likely."""

STEP = 0.35
"""How far a neighbour lies, in standard deviations of what the range draws: a tenth of a uniform range."""

MOMENT_DRAWS = 4096
"""Draws that the moments of other distributions than uniform ones are estimated from."""


@dataclass(frozen=True)
class Choices:
    """A finite set of options; ordered: each is near to the ones before and after it alone."""

    values: tuple[Any, ...]
    ordered: bool = False

    @property
    def size(self) -> int:
        """How many options there are."""
        return len(self.values)

    @property
    def default(self) -> Any:
        """A neutral option; see `default_option`."""
        return default_option(self.values)

    def all(self) -> Iterable[Any]:
        """Every option."""
        return self.values

    def match(self, value: Any) -> Any:
        """The option that equals `value`; see `match_option`."""
        return match_option(value, self.values)

    def closest(self, value: Any) -> Any:
        """The option that equals `value`, else the nearest number, else the default."""
        try:
            return match_option(value, self.values)
        except LookupError:
            return nearest_option(value, self.values)

    def read(self, drawn: Any, place: float) -> Any:
        """The option that ConfigSpace drew, `place` its position; a constant's says nothing."""
        return self.values[int(place) if self.size > 1 else 0]

    def draw(self, generator: np.random.Generator) -> Any:
        """Any option."""
        return self.values[int(generator.integers(self.size))]

    def beside(self, value: Any, generator: np.random.Generator) -> Any:
        """An option next to `value` where options are ordered, any other one elsewhere."""
        if self.ordered:
            position = self.values.index(value)
            near = [self.values[i] for i in (position - 1, position + 1) if 0 <= i < self.size]
        else:
            near = [option for option in self.values if option != value]
        return near[int(generator.integers(len(near)))]

    def __str__(self) -> str:
        return f"options: {list(self.values)}"


@dataclass(frozen=True)
class Range:
    """All numbers from `lower` to `upper`, or all integers.

    log: whether its scale is logarithmic. center, spread: mean and standard deviation of u among the values
    that the space draws. default: the value of a pipeline that does not say; None: the one at `center`.

    Raises:
        ConfigError: an empty range, or a logarithmic one that does not begin above 0.
    """

    lower: float
    upper: float
    log: bool = False
    integer: bool = False
    center: float = 0.5
    spread: float = UNIFORM_SPREAD
    default: Any = None

    def __post_init__(self) -> None:
        finite = math.isfinite(self.lower) and math.isfinite(self.upper)
        if not (finite and self.lower < self.upper) or (self.log and self.lower <= 0):
            raise ConfigError(f"There is no such range: {self!r}.")
        if self.default is None:
            object.__setattr__(self, "default", self.at(self.center))

    @property
    def size(self) -> float:
        """How many values there are; infinity for real numbers."""
        return self.upper - self.lower + 1 if self.integer else math.inf

    def all(self) -> Iterable[Any]:
        """Every integer."""
        return range(int(self.lower), int(self.upper) + 1)

    def match(self, value: Any) -> Any:
        """`value` as this range has it: 8.0 as the integer 8, 1 as the real number 1.0.

        Raises:
            LookupError: it is no number of the range.
        """
        if isinstance(value, np.generic):
            value = value.item()
        if not self.holds(value):
            raise LookupError(value)
        return self._native(value)

    def holds(self, value: Any) -> bool:
        """Whether a value is a number of the range."""
        inside = is_number(value) and self.lower <= value <= self.upper
        return inside and not (self.integer and value != round(value))

    def closest(self, value: Any) -> Any:
        """The number of the range nearest to `value`; the default where that is no number."""
        if not is_number(value) or math.isnan(value):
            return self.default
        return self._native(min(max(value, self.lower), self.upper))

    def read(self, drawn: Any, place: float) -> Any:
        """What ConfigSpace drew, as a native number."""
        return self.closest(drawn.item() if isinstance(drawn, np.generic) else drawn)

    def draw(self, generator: np.random.Generator) -> Any:
        """A number where the space draws most of its own."""
        half = math.sqrt(3.0) * self.spread
        return self.at(self.center + half * (2.0 * generator.random() - 1.0))

    def beside(self, value: Any, generator: np.random.Generator) -> Any:
        """A number near `value`, another one where there is one."""
        step = STEP * self.spread * float(generator.standard_normal())
        found = self.at(self.place(value) + step)
        if self.integer and found == value:
            found = value + (1 if step > 0 else -1)
            found = found if self.lower <= found <= self.upper else 2 * value - found
        return found

    def place(self, value: float) -> float:
        """U of a value."""
        lower, upper = self._ends
        return ((math.log10(value) if self.log else value) - lower) / (upper - lower)

    def at(self, place: float) -> Any:
        """The value at u; the nearest end for a place outside."""
        lower, upper = self._ends
        scaled = lower + min(max(place, 0.0), 1.0) * (upper - lower)
        return self.closest(10.0**scaled if self.log else scaled)

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of what the space draws, of log10 where the scale is logarithmic."""
        lower, upper = self._ends
        return lower + self.center * (upper - lower), self.spread * (upper - lower)

    @property
    def _ends(self) -> tuple[float, float]:
        ends = float(self.lower), float(self.upper)
        return (math.log10(ends[0]), math.log10(ends[1])) if self.log else ends

    def _native(self, value: float) -> Any:
        return round(value) if self.integer else float(value)

    def __str__(self) -> str:
        kind = "an integer" if self.integer else "a number"
        return f"{kind} from {self.lower:g} to {self.upper:g}"


Domain = Choices | Range
Options = Sequence[Any] | Range
"""All values of a hyperparameter, as predictors get them."""


def domain_of(hyperparameter: Hyperparameter[Any, Any]) -> Domain:
    """The domain of one of ConfigSpace's hyperparameters.

    Raises:
        ConfigError: a kind that ConfigSpace does not have, or an option that JSON cannot hold.
    """
    name = hyperparameter.name
    if isinstance(hyperparameter, CategoricalHyperparameter):
        return Choices(tuple(_option(name, value) for value in hyperparameter.choices))
    if isinstance(hyperparameter, OrdinalHyperparameter):
        return Choices(tuple(_option(name, value) for value in hyperparameter.sequence), ordered=True)
    if isinstance(hyperparameter, Constant):
        return Choices((_option(name, hyperparameter.value),))
    if not isinstance(hyperparameter, NumericalHyperparameter):
        raise ConfigError(
            f"Hyperparameter '{name}' is a {type(hyperparameter).__name__}, which qtt does not know: "
            "write it as an integer, float, ordinal, categorical or constant one."
        )
    integer = isinstance(hyperparameter, IntegerHyperparameter)
    center, spread = _moments(hyperparameter)
    native = int if integer else float
    ends = native(hyperparameter.lower), native(hyperparameter.upper)
    default = native(hyperparameter.default_value)
    return Range(*ends, bool(hyperparameter.log), integer, center, spread, default)


def match_option(value: Any, options: Sequence[Any]) -> Any:
    """The option that equals `value` as YAML, JSON or a command line may write it.

    Lists stand for tuples, "none" for None, numbers for equal numbers; booleans and numbers never mix.

    Raises:
        LookupError: no option does.
    """
    value = frozen(value)
    if isinstance(value, str) and value.lower() == "none" and None in options:
        value = None
    for option in options:
        if isinstance(option, bool) == isinstance(value, bool) and option == value:
            return option
    raise LookupError(value)


def _option(name: str, value: Any) -> Any:
    """An option with native values."""
    if isinstance(value, list | tuple):
        return tuple(_option(name, item) for item in value)
    native = value.item() if isinstance(value, np.generic) else value
    if native is None or isinstance(native, bool | int | float | str):
        return native
    raise ConfigError(
        f"Option {value!r} of '{name}' is a {type(value).__name__}, which does not survive in a file: use "
        "numbers, texts, booleans, None or lists of them, for instance names that the objective looks up."
    )


def _moments(hyperparameter: NumericalHyperparameter[Any, Any]) -> tuple[float, float]:
    """Mean and standard deviation of u, for a normal or beta distribution from draws of a fixed seed."""
    if isinstance(hyperparameter, UniformFloatHyperparameter | UniformIntegerHyperparameter):
        return 0.5, UNIFORM_SPREAD
    drawn = hyperparameter.sample_vector(size=MOMENT_DRAWS, seed=np.random.RandomState(0))
    return float(drawn.mean()), max(float(drawn.std()), 1e-3)
