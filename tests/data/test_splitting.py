from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtt.data.splitting import Sample, split_off


def _counts(samples: Sequence[Sample]) -> dict[int, int]:
    return dict(Counter(label for _, label in samples))


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_every_class_keeps_an_image_on_each_side(count: int, fraction: float) -> None:
    samples = [(Path(str(number)), 0) for number in range(count)] + [(Path("other"), 1)]
    rest, share = split_off(samples, fraction, seed=0)
    assert sorted(rest + share) == sorted(samples)
    expected = 0 if count == 1 else min(max(int(count * fraction + 0.5), 1), count - 1)
    assert _counts(share).get(0, 0) == expected
    assert (Path("other"), 1) in rest


IMAGES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=2, max_size=60)
"""Class and group of every image."""


@given(IMAGES, st.sampled_from([0.1, 0.2, 0.5]), st.integers(0, 3))
def test_groups_stay_whole_and_no_class_is_lost_to_training(
    images: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    samples = [(Path(str(number)), label) for number, (label, _) in enumerate(images)]
    groups = [str(group) for _, group in images]
    rest, share = split_off(samples, fraction, seed, groups)
    assert sorted(rest + share) == sorted(samples)
    of = dict(zip((path for path, _ in samples), groups, strict=True))
    assert not {of[path] for path, _ in rest} & {of[path] for path, _ in share}
    assert _counts(rest).keys() == _counts(samples).keys()
    assert split_off(samples, fraction, seed, groups) == (rest, share)


@given(st.lists(st.integers(2, 8), min_size=2, max_size=4), st.integers(0, 5))
def test_classes_of_several_groups_are_on_both_sides(sizes: list[int], seed: int) -> None:
    samples, groups = [], []
    for label, count in enumerate(sizes):  # every class in groups of its own, of three images each
        for group in range(count):
            samples += [(Path(f"{label}-{group}-{n}"), label) for n in range(3)]
            groups += [f"{label}-{group}"] * 3
    rest, share = split_off(samples, 0.25, seed, groups)
    for label, count in enumerate(sizes):
        expected = max(round(3 * count * 0.25 / 3), 1)
        assert abs(_counts(share)[label] // 3 - expected) <= 1
        assert _counts(rest)[label] + _counts(share)[label] == 3 * count


def test_a_group_for_every_image_is_a_stratified_split() -> None:
    samples = [(Path(str(number)), number % 3) for number in range(90)]
    rest, share = split_off(samples, 0.2, 1, [str(number) for number in range(90)])
    assert _counts(share) == {0: 6, 1: 6, 2: 6}
    assert split_off(samples, 0.2, 2, [str(number) for number in range(90)]) != (rest, share)
