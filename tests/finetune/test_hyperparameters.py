"""What says that each hyperparameter means what its paper says: a table of independent computations.

That each also changes training is checked in test_every_option.py.
"""

import ast
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import beta, chisquare, kstest
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, autoaugment

from qtt.finetune.cv.classification import mixing
from qtt.finetune.cv.classification.mixing import Mixer
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.transforms import image_transform
from qtt.space.hyperparameters import FULL

TABLE: dict[str, tuple[tuple[str, str], ...]] = {
    # finetuning strategy
    "pct_to_freeze": (
        ("test_freezing::test_frozen_blocks_come_first_in_forward_order", "the order in which modules run"),
        ("test_freezing::test_transformers_by_hand", "blocks counted by hand"),
        ("test_families::test_what_is_frozen_stays_as_it_was", "weights before and after an epoch"),
    ),
    "layer_decay": (
        ("test_model::test_layer_decay_of_a_transformer_by_hand", "blocks counted by hand"),
        ("test_schedule::test_every_group_follows_the_formula", "powers by timm's depth, over 50 epochs"),
    ),
    "linear_probing": (
        ("test_objective::test_linear_probing_changes_the_head_alone", "weights before and after"),
        ("test_recipe::test_linear_probing_is_freezing_everything", "the definition"),
    ),
    "stoch_norm": (
        ("test_stoch_norm::test_is_its_definition", "a loop over channels and numbers"),
        ("test_stoch_norm::test_draws_each_channel_for_itself", "the binomial distribution"),
        ("test_stoch_norm::test_gradients_are_finite_differences", "finite differences"),
    ),
    "sp_reg": (
        ("test_sp::test_squared_distance_by_hand", "numbers by hand"),
        ("test_sp::test_one_update_against_a_hand_written_loop", "a hand-written update"),
    ),
    "delta_reg": (
        ("test_delta::test_feature_distance_by_hand", "numbers by hand"),
        ("test_delta::test_gradients_are_finite_differences", "finite differences"),
    ),
    "bss_reg": (
        ("test_bss::test_against_singular_values", "torch's singular values"),
        ("test_bss::test_gradients_are_finite_differences", "finite differences"),
    ),
    "cotuning_reg": (
        ("test_cotuning::test_term_by_hand", "numbers by hand"),
        ("test_cotuning::test_relationship_against_a_loop_over_the_files", "a loop over the images"),
    ),
    # regularisation
    "mixup": (
        ("test_mixing::test_mixup_by_hand", "numbers by hand"),
        ("test_mixing::test_share_is_beta_distributed", "SciPy's Beta distribution"),
    ),
    "mixup_prob": (("test_mixing::test_probability_and_the_switch_between_both", "frequencies"),),
    "cutmix": (
        ("test_mixing::test_cutmix_targets_are_the_pixels_share", "pixels counted"),
        ("test_hyperparameters::test_cutmix_share_is_beta_distributed", "SciPy's Beta distribution"),
    ),
    "drop": (
        (
            "test_families::test_dropout_has_its_probability_and_rests_in_evaluation",
            "the binomial distribution, and what is left over 1 − p",
        ),
        ("test_table4::test_dropout_is_active_in_training_alone", "every call of dropout"),
    ),
    "smoothing": (("test_mixing::test_smoothing_is_torchs", "torch's label_smoothing"),),
    "clip_grad": (("test_objective::test_training_is_what_a_plain_loop_does", "a hand-written loop"),),
    # augmentation
    "data_augmentation": (
        ("test_hyperparameters::test_trivial_augment_is_one_operation_of_any_strength", "the paper's ranges"),
    ),
    "auto_augment": (
        ("test_hyperparameters::test_auto_augment_policies", "torchvision's policy; the published table"),
        ("test_hyperparameters::test_auto_augment_magnitudes", "the paper's ranges"),
    ),
    "ra_num_ops": (("test_hyperparameters::test_rand_augment", "operations counted"),),
    "ra_magnitude": (("test_hyperparameters::test_rand_augment", "closed forms of every operation"),),
    # optimizer
    "opt": (("test_model::test_updates_are_the_papers", "the papers' update rules, in double precision"),),
    "lr": (
        ("test_model::test_updates_are_the_papers", "the papers' update rules"),
        ("test_schedule::test_a_pipeline_updates_its_weights_at_the_written_rates", "the written schedule"),
    ),
    "weight_decay": (
        ("test_model::test_updates_are_the_papers", "the papers' update rules"),
        ("test_model::test_weight_decay_leaves_out_norms_biases_and_embeddings", "parameters by hand"),
    ),
    "batch_size": (("test_data::test_an_epoch_has_every_image_once", "images counted"),),
    "amp": (("test_objective::test_amp_changes_nothing_on_the_cpu_and_says_so_once", "32-bit training"),),
    "opt_betas": (("test_model::test_updates_are_the_papers", "the papers' update rules"),),
    "momentum": (("test_model::test_updates_are_the_papers", "the papers' update rules"),),
    # schedule
    "sched": (("test_schedule::test_every_group_follows_the_formula", "closed forms"),),
    "warmup_epochs": (("test_schedule::test_every_group_follows_the_formula", "closed forms"),),
    "warmup_lr": (("test_schedule::test_every_group_follows_the_formula", "closed forms"),),
    "decay_rate": (("test_schedule::test_every_group_follows_the_formula", "closed forms"),),
    "decay_epochs": (("test_schedule::test_every_group_follows_the_formula", "closed forms"),),
    "patience_epochs": (
        ("test_schedule::test_every_group_follows_the_formula", "torch's ReduceLROnPlateau"),
        ("test_schedule::test_plateau_by_hand", "epochs counted by hand"),
    ),
}
"""hyperparameter: tests (module::function), and what each compares with."""


def test_every_hyperparameter_has_a_check() -> None:
    assert list(TABLE) == list(FULL)


@pytest.mark.parametrize("name", TABLE)
def test_the_checks_exist(name: str) -> None:
    for node, _ in TABLE[name]:
        module, function = node.split("::")
        tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
        assert function in {part.name for part in tree.body if isinstance(part, ast.FunctionDef)}, node


@pytest.mark.parametrize("alpha", [0.25, 1.0, 4.0])
def test_cutmix_share_is_beta_distributed(alpha: float, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    centres: list[float] = []

    def note(images: Any, targets: Any, share: float, centre: tuple[float, float]) -> tuple[Any, Any]:
        shares.append(share)
        centres.extend(centre)
        return images, targets

    monkeypatch.setattr(mixing, "cut_and_mix", note)
    mixer, rng = Mixer(2, 0.0, alpha, 1.0, 0.0), np.random.default_rng(0)
    for _ in range(800):
        mixer(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]), rng)
    assert kstest(shares, beta(alpha, alpha).cdf).pvalue > 0.01
    assert kstest(centres, "uniform").pvalue > 0.01


Operation = tuple[str, float]


def _operations(
    recipe: Recipe, side: int, images: int, monkeypatch: pytest.MonkeyPatch
) -> list[list[Operation]]:
    """Names and magnitudes of what torchvision does to each image."""
    done: list[list[Operation]] = []

    def note(image: Image.Image, name: str, magnitude: float, *_: Any, **__: Any) -> Image.Image:
        done[-1].append((name, magnitude))
        return image

    monkeypatch.setattr(autoaugment, "_apply_op", note)
    transform = image_transform(recipe, (0.5, 0.5, 0.5), side)
    assert transform is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(images):
            done.append([])
            transform(Image.new("RGB", (side, side)))
    return done


def _strengths(share: float, side: int) -> dict[str, float]:
    """RandAugment's magnitudes (Cubuk et al. 2020, as torchvision reads it) at a share of the largest."""
    closed = dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 0.9 * share)
    closed |= dict.fromkeys(("ShearX", "ShearY"), 0.3 * share)
    closed |= dict.fromkeys(("TranslateX", "TranslateY"), 150 / 331 * side * share)
    closed |= dict.fromkeys(("Identity", "AutoContrast", "Equalize"), 0.0)
    return closed | {"Rotate": 30 * share, "Posterize": 8 - round(4 * share), "Solarize": 255 * (1 - share)}


def _uniform(names: list[str], options: int) -> bool:
    counts = Counter(names)
    return len(counts) == options and chisquare(list(counts.values())).pvalue > 0.01


@pytest.mark.parametrize("magnitude", FULL["ra_magnitude"])
@pytest.mark.parametrize("count", FULL["ra_num_ops"])
def test_rand_augment(count: int, magnitude: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many operations as told, uniform out of 14, each at magnitude / 30 of its range, either way."""
    recipe = Recipe("m", data_augmentation="random_augment", ra_num_ops=count, ra_magnitude=magnitude)
    done = _operations(recipe, 64, 600, monkeypatch)
    assert {len(operations) for operations in done} == {count}
    flat = [operation for operations in done for operation in operations]
    expected = _strengths(magnitude / 30, 64)
    for name, strength in flat:
        assert abs(strength) == pytest.approx(expected[name], abs=1e-4)
    assert _uniform([name for name, _ in flat], 14)
    signs = [strength > 0 for name, strength in flat if name == "Rotate"]
    assert 0.2 < sum(signs) / len(signs) < 0.8


def test_trivial_augment_is_one_operation_of_any_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    """One operation, uniform out of 14, at a strength that is uniform over its range (Müller and Hutter)."""
    done = _operations(Recipe("m", data_augmentation="trivial_augment"), 64, 3000, monkeypatch)
    assert {len(operations) for operations in done} == {1}
    flat = [operations[0] for operations in done]
    assert _uniform([name for name, _ in flat], 14)
    wide = dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness", "ShearX", "ShearY"), 0.99)
    wide |= {"TranslateX": 32, "TranslateY": 32, "Rotate": 135, "Solarize": 255}
    for name, largest in wide.items():
        drawn = [abs(strength) / largest for other, strength in flat if other == name]
        steps = np.array(drawn) * 30  # 31 strengths, equally likely
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
        assert kstest(drawn, "uniform").pvalue > 0.001
        assert max(drawn) <= 1 + 1e-6
    assert {strength for name, strength in flat if name == "Posterize"} == set(range(2, 9))


V0 = """
Equalize .8 1 ShearY .8 4 | Color .4 9 Equalize .6 3 | Color .4 1 Rotate .6 8 | Solarize .8 3 Equalize .4 7
Solarize .4 2 Solarize .6 2 | Color .2 0 Equalize .8 8 | Equalize .4 8 SolarizeAdd .8 3
ShearX .2 9 Rotate .6 8
Color .6 1 Equalize 1 2 | Invert .4 9 Rotate .6 0 | Equalize 1 9 ShearY .6 3 | Color .4 7 Equalize .6 0
Posterize .4 6 AutoContrast .4 7 | Solarize .6 8 Color .6 9 | Solarize .2 4 Rotate .8 9
Rotate 1 7 TranslateYRel .8 9 | ShearX 0 0 Solarize .8 4 | ShearY .8 0 Color .6 4 | Color 1 0 Rotate .6 2
Equalize .8 4 Equalize 0 8 | Equalize 1 4 AutoContrast .6 2 | ShearY .4 7 SolarizeAdd .6 7
Posterize .8 2 Solarize .6 10 | Solarize .6 8 Equalize .6 1 | Color .8 6 Rotate .4 5
"""
"""Policy v0 as it was published with EfficientNet: name, probability and level of two operations a policy."""


def _policy(name: str) -> list[list[Any]]:
    transform: Any = image_transform(
        Recipe("m", data_augmentation="auto_augment", auto_augment=name), (0.5, 0.5, 0.5), 64
    )
    return transform.policy  # type: ignore[no-any-return]


def test_auto_augment_policies() -> None:
    plain = [
        [(operation.name.removesuffix("Original"), operation.prob, operation.magnitude) for operation in pair]
        for pair in _policy("original")
    ]
    theirs = AutoAugment(AutoAugmentPolicy.IMAGENET).policies
    for ours, published in zip(plain, theirs, strict=True):
        assert [operation[:2] for operation in ours] == [operation[:2] for operation in published]
        assert all(
            one[2] == other[2] for one, other in zip(ours, published, strict=True) if other[2] is not None
        )
    words = V0.replace("|", " ").split()
    flat = [(words[i], float(words[i + 1]), int(words[i + 2])) for i in range(0, len(words), 3)]
    assert [(o.name, o.prob, o.magnitude) for pair in _policy("v0") for o in pair] == flat


RANGES: dict[str, Callable[[float], float]] = {
    "ShearX": lambda share: 0.3 * share,
    "ShearY": lambda share: 0.3 * share,
    "TranslateYRel": lambda share: 0.45 * share,
    "Rotate": lambda share: 30 * share,
    "Color": lambda share: 0.1 + 1.8 * share,
    "Contrast": lambda share: 0.1 + 1.8 * share,
    "Sharpness": lambda share: 0.1 + 1.8 * share,
    "Solarize": lambda share: min(256, int(256 * share)),
    "SolarizeAdd": lambda share: min(128, int(110 * share)),
    "Posterize": lambda share: max(int(4 * share), 1),
    "PosterizeOriginal": lambda share: 4 + int(4 * share),
}
"""Of AutoAugment's operations (Cubuk et al. 2019, appendix), by the level's share of 10."""


@pytest.mark.parametrize("name", ["v0", "original"])
def test_auto_augment_magnitudes(name: str) -> None:
    """Operations without an entry in `RANGES` have no magnitude."""
    for operation in (operation for pair in _policy(name) for operation in pair):
        assert (operation.level_fn is not None) == (operation.name in RANGES), operation.name
        if operation.level_fn is not None:
            (value, *_) = operation.level_fn(operation.magnitude, operation.hparams)
            assert abs(value) == pytest.approx(RANGES[operation.name](operation.magnitude / 10))
