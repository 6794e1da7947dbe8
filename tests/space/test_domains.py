"""Options and ranges: what one domain of a hyperparameter can do, whatever its kind."""

import json
import math

import ConfigSpace as Cs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, truncnorm

from qtt.errors import ConfigError
from qtt.space.domains import Choices, Range, domain_of

finite = st.floats(-1e9, 1e9, allow_nan=False)
places = st.floats(0.0, 1.0)
seeds = st.integers(0, 2**31)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    integer, log = draw(st.booleans()), draw(st.booleans())
    lower = draw(st.integers(1, 1000)) if log else draw(st.integers(-1000, 1000))
    upper = lower + draw(st.integers(1, 10**6))
    scale = 1 if integer else draw(st.sampled_from([1.0, 0.37, 1e-7]))
    return Range(lower * scale, upper * scale, log, integer)


@given(ranges(), places)
def test_every_place_is_a_value_of_the_range_and_back(domain: Range, place: float) -> None:
    value = domain.at(place)
    assert domain.lower <= value <= domain.upper
    assert type(value) is (int if domain.integer else float)
    assert domain.match(json.loads(json.dumps(value))) == value
    if not domain.integer:
        assert domain.place(value) == pytest.approx(place, abs=1e-6)


@given(ranges(), places, seeds)
def test_neighbours_stay_in_the_range_are_near_and_the_same_for_a_seed(
    domain: Range, place: float, seed: int
) -> None:
    value = domain.at(place)
    near = domain.beside(value, np.random.default_rng(seed))
    assert domain.match(near) == near == domain.beside(value, np.random.default_rng(seed))
    if domain.integer:
        assert near != value
    assert abs(domain.place(near) - domain.place(value)) < 0.7 or domain.size < 5
    assert domain.match(domain.draw(np.random.default_rng(seed))) is not None


@given(ranges(), finite)
def test_the_closest_value_is_the_number_itself_or_an_end(domain: Range, number: float) -> None:
    found = domain.closest(number)
    distance = abs(min(max(number, domain.lower), domain.upper) - found)
    assert distance <= (0.5 if domain.integer else 0.0)
    assert domain.closest("adam") == domain.closest(None) == domain.closest(math.nan) == domain.default


def test_ranges_take_numbers_as_files_write_them_and_no_others() -> None:
    integers, numbers = Range(1, 9, integer=True), Range(0.0, 1.0)
    assert integers.match(8.0) == 8 and type(integers.match(8.0)) is int
    assert numbers.match(1) == 1.0 and type(numbers.match(1)) is float
    assert numbers.match(np.float64(0.5)) == 0.5
    for domain, value in (
        (integers, 8.5),
        (integers, 10),
        (integers, True),
        (numbers, "0.5"),
        (numbers, math.nan),
    ):
        with pytest.raises(LookupError):
            domain.match(value)


@pytest.mark.parametrize("ends", [(1.0, 1.0), (2.0, 1.0), (0.0, math.inf), (math.nan, 1.0)])
def test_a_range_must_hold_something(ends: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="no such range"):
        Range(*ends)
    with pytest.raises(ConfigError, match="no such range"):
        Range(0.0, 1.0, log=True)


@pytest.mark.parametrize(
    ("hyperparameter", "mean", "std"),
    [
        (Cs.UniformFloatHyperparameter("x", 1.0, 3.0), 2.0, 2.0 / math.sqrt(12)),
        (Cs.UniformFloatHyperparameter("x", 1e-4, 1e-2, log=True), -3.0, 2.0 / math.sqrt(12)),
        (Cs.NormalFloatHyperparameter("x", 1.0, 0.5, -100.0, 100.0), 1.0, 0.5),
        (Cs.NormalFloatHyperparameter("x", 0.0, 1.0, -1.0, 1.0), 0.0, truncnorm.std(-1, 1)),
        (Cs.BetaFloatHyperparameter("x", 2, 5, 0.0, 4.0), 4 * beta.mean(2, 5), 4 * beta.std(2, 5)),
    ],
    ids=str,
)
def test_moments_are_those_of_the_distribution(hyperparameter: object, mean: float, std: float) -> None:
    found = domain_of(hyperparameter)
    assert isinstance(found, Range)
    assert found.moments[0] == pytest.approx(mean, abs=0.03 * std + 1e-12)
    assert found.moments[1] == pytest.approx(std, rel=0.03)


def test_numpys_options_become_pythons() -> None:
    domain = domain_of(Cs.OrdinalHyperparameter("x", list(np.logspace(-3, -1, 3))))
    assert domain == Choices((0.001, 0.01, 0.1), ordered=True)
    assert {type(value) for value in domain.all()} == {float}
    whole = domain_of(Cs.CategoricalHyperparameter("x", [np.int64(3), (np.float32(0.5), None)]))
    assert json.dumps(list(whole.all())) == "[3, [0.5, null]]"


def test_options_that_no_file_can_hold_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Option <function .* of 'act' is a function.*names"):
        domain_of(Cs.CategoricalHyperparameter("act", [np.tanh.__class__, lambda x: x][1:]))


@given(st.lists(st.integers(), min_size=2, max_size=6, unique=True), seeds)
@settings(max_examples=30)
def test_options_move_to_others_and_ordered_ones_by_one_place(options: list[int], seed: int) -> None:
    for ordered in (True, False):
        domain = Choices(tuple(options), ordered)
        value = domain.draw(np.random.default_rng(seed))
        near = domain.beside(value, np.random.default_rng(seed))
        assert near in options and near != value
        assert not ordered or abs(options.index(near) - options.index(value)) == 1
