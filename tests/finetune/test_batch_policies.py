"""Policies on batches against torchvision's and timm's: every operation and strength, and how often each."""

import random
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import chi2_contingency, chisquare
from torchvision.transforms import InterpolationMode, RandAugment, TrivialAugmentWide, autoaugment

from images import photos
from qtt.finetune.cv.classification.batch_operations import NAMES, OPERATIONS
from qtt.finetune.cv.classification.batch_policies import (
    NOTHING,
    PairPolicy,
    UniformPolicy,
    auto_augment,
    rand_augment,
    trivial_augment,
)
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.transforms import image_transform

FILL = [128, 102, 76]
SIDE = 32
IMAGES = 6000


def _ours(choice: NDArray[np.float64], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    batch = torch.from_numpy(image)[None].permute(0, 3, 1, 2)
    if int(choice[0]) != NOTHING:
        values, fill = torch.from_numpy(choice[None, 1:]), torch.tensor(FILL, dtype=torch.uint8)
        batch = OPERATIONS[NAMES[int(choice[0])]](batch, values, fill)
    return batch[0].permute(1, 2, 0).numpy()


TORCHVISION: list[tuple[Callable[[int], UniformPolicy], Callable[[int], dict[str, Any]], slice]] = [
    (trivial_augment, lambda side: TrivialAugmentWide()._augmentation_space(31), slice(None)),
    (
        lambda side: rand_augment(2, 9, side),
        lambda side: RandAugment()._augmentation_space(31, (side, side)),
        slice(9, 10),
    ),
    (
        lambda side: rand_augment(3, 17, side),
        lambda side: RandAugment()._augmentation_space(31, (side, side)),
        slice(17, 18),
    ),
]


@pytest.mark.parametrize("side", [SIDE, 37])
@pytest.mark.parametrize(("ours", "theirs", "strengths"), TORCHVISION, ids=["trivial", "rand 9", "rand 17"])
def test_every_choice_of_torchvision_gives_the_same_bytes(
    ours: Callable[[int], UniformPolicy],
    theirs: Callable[[int], dict[str, Any]],
    strengths: slice,
    side: int,
) -> None:
    choices, image = ours(side).choices, photos(1, side)[0]
    space = theirs(side)
    assert len(choices) == len(space)
    for operation, (name, (magnitudes, signed)) in zip(choices, space.items(), strict=True):
        magnitudes = magnitudes.expand(31)[strengths].tolist()
        assert len(operation) == len(magnitudes)
        for both, magnitude in zip(operation, magnitudes, strict=True):
            for choice, sign in zip(both, (1, -1 if signed else 1), strict=True):
                expected = autoaugment._apply_op(
                    Image.fromarray(image), name, sign * float(magnitude), InterpolationMode.NEAREST, FILL
                )
                np.testing.assert_array_equal(_ours(choice, image), np.asarray(expected), name)


def _timm(name: str, side: int = SIDE) -> Any:
    recipe = Recipe("m", data_augmentation="auto_augment", auto_augment=name)
    return image_transform(recipe, tuple(level / 255 for level in FILL), side)


@pytest.mark.parametrize("name", ["v0", "original"])
def test_every_choice_of_timm_gives_the_same_image(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to a grey level in few places where it interpolates, else the same bytes."""
    image = photos(1, SIDE)[0]
    theirs = _timm(name)
    ours = auto_augment(theirs.policy, SIDE)
    for pair, choices in zip(theirs.policy, ours.choices, strict=True):
        for operation, rows in zip(pair, choices, strict=True):
            for sign, uniform in enumerate((0.0, 0.9)):  # timm takes the negative strength above one half
                for cubic in (0, 1):
                    monkeypatch.setattr(random, "random", lambda uniform=uniform: uniform)
                    monkeypatch.setattr(random, "choice", lambda options, cubic=cubic: options[cubic])
                    operation.prob = 1.0
                    expected = np.asarray(operation(Image.fromarray(image))).astype(int)
                    far = np.abs(_ours(rows[sign, cubic], image) - expected)
                    moved = NAMES[int(rows[sign, cubic, 0])] == "interpolated"
                    assert far.max() <= moved, operation
                    assert (far > 0).mean() < 0.01, operation


def _alike(ours: list[Hashable], theirs: list[Hashable]) -> float:
    """Chance of two samples to differ so, if they are of one distribution; rare outcomes are put together."""
    counts = Counter(ours), Counter(theirs)
    common = [key for key in counts[0] | counts[1] if sum(count[key] for count in counts) >= 20]
    table = [[count[key] for key in common] for count in counts]
    for row, sample in zip(table, (ours, theirs), strict=True):
        row.append(len(sample) - sum(row) + 10)
    return float(chi2_contingency(table).pvalue)


@pytest.mark.parametrize(
    ("policy", "rounds", "strengths"),
    [(trivial_augment(SIDE), 1, 31), (rand_augment(2, 9, SIDE), 2, 1), (rand_augment(3, 17, SIDE), 3, 1)],
    ids=["trivial", "rand 9", "rand 17"],
)
def test_uniform_policies_draw_at_equal_odds(policy: UniformPolicy, rounds: int, strengths: int) -> None:
    """All 14 operations, their strengths and both directions, independently of each other."""
    named = UniformPolicy(np.indices(policy.choices.shape[:3]).transpose(1, 2, 3, 0), policy.rounds)
    drawn = named.draw(60_000, np.random.default_rng(0))
    assert len(drawn) == rounds
    for one in drawn:
        cells = (one.operations * strengths + one.values[:, 0]) * 2 + one.values[:, 1]
        counts = np.bincount(cells.astype(int), minlength=14 * strengths * 2)
        assert len(counts) == 14 * strengths * 2
        assert chisquare(counts).pvalue > 0.01
    if rounds > 1:
        pairs = np.bincount(drawn[0].operations * 14 + drawn[1].operations, minlength=196)
        assert chisquare(pairs).pvalue > 0.01


def test_trivial_augment_draws_as_torchvision_does(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs: list[Hashable] = []
    monkeypatch.setattr(
        autoaugment, "_apply_op", lambda image, name, magnitude, **_: theirs.append((name, magnitude > 0))
    )
    transform, image = TrivialAugmentWide(), Image.new("RGB", (SIDE, SIDE))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(IMAGES):
            transform(image)
    space = list(transform._augmentation_space(31).items())
    policy = trivial_augment(SIDE)
    named = UniformPolicy(np.indices(policy.choices.shape[:3]).transpose(1, 2, 3, 0))
    drawn = named.draw(IMAGES, np.random.default_rng(0))[0]
    ours: list[Hashable] = []
    for operation, (strength, sign) in zip(drawn.operations, drawn.values[:, :2].astype(int), strict=True):
        name, (magnitudes, signed) = space[operation]
        magnitude = float(magnitudes.expand(31)[strength]) * (-1 if signed and sign else 1)
        ours.append((name, magnitude > 0))
    assert _alike(ours, theirs) > 0.01


TURNED = ("Rotate", "ShearX", "ShearY", "TranslateYRel")
"""Timm's operations that have two directions and two interpolations."""


def _of_ours(policy: list[list[Any]], probabilities: Any = None) -> list[Hashable]:
    """What `PairPolicy` draws: for every image, the operations one after the other, in timm's words."""
    drawing = auto_augment(policy, SIDE)
    odds = drawing.probabilities if probabilities is None else probabilities
    named = PairPolicy(
        np.concatenate(
            [np.zeros((1, *drawing.choices.shape[:4])), np.indices(drawing.choices.shape[:4])]
        ).transpose(1, 2, 3, 4, 0),
        odds,
    )
    images: list[list[Hashable]] = [[] for _ in range(IMAGES)]
    for drawn in named.draw(IMAGES, np.random.default_rng(0)):
        for image in np.flatnonzero(drawn.operations != NOTHING):
            pair, place, negative, cubic = drawn.values[image, :4].astype(int)
            operation = policy[pair][place]
            strength = (
                abs(operation.level_fn(operation.magnitude, operation.hparams)[0])
                if operation.level_fn
                else 0
            )
            turned = operation.name in TURNED
            signed = -strength if turned and negative else strength
            images[image].append((operation.name, round(signed, 6), turned and cubic))
    return [tuple(image) for image in images]


def _of_timm(transform: Any) -> list[Hashable]:
    """The same of timm, which is told to note its operations in place of doing them."""
    images: list[Hashable] = []
    done: list[Hashable] = []

    def noting(name: str) -> Callable[..., Image.Image]:
        def note(image: Image.Image, *strength: float, **options: Any) -> Image.Image:
            turned = name in TURNED
            cubic = turned and random.choice(options["resample"]) == Image.Resampling.BICUBIC
            done.append((name, round(sum(strength), 6), int(cubic)))
            return image

        return note

    for operation in (operation for pair in transform.policy for operation in pair):
        operation.aug_fn = noting(operation.name)
    state = random.getstate()
    random.seed(0)
    for _ in range(IMAGES):
        done.clear()
        transform(Image.new("RGB", (1, 1)))
        images.append(tuple(done))
    random.setstate(state)
    return images


@pytest.mark.parametrize("name", ["v0", "original"])
def test_auto_augment_draws_as_timm_does(name: str) -> None:
    """Which operations an image gets one after the other, with which strengths, signs and interpolations."""
    ours, theirs = _of_ours(_timm(name).policy), _of_timm(_timm(name))
    assert len(set(ours) & set(theirs)) > 60
    assert _alike(ours, theirs) > 0.01


def test_the_comparison_sees_a_wrong_probability() -> None:
    policy = _timm("original").policy
    wrong = np.clip([[operation.prob for operation in pair] for pair in policy] + np.array([0, 0.15]), 0, 1)
    assert _alike(_of_ours(policy), _of_ours(policy, wrong)) < 1e-3
