from typing import Any

import numpy as np
import pytest

from qtt.reporting.importance import EPOCH, LEAST_PIPELINES, hyperparameter_importance, varying

OPTIONS: dict[str, tuple[Any, ...]] = {
    "lr": (1e-4, 1e-3, 1e-2),
    "opt": ("sgd", "adam", "adamw"),
    "drop": (None, 0.1, 0.5),
    "betas": ((0.9, 0.99), (0.8, 0.9)),
    "constant": (1,),
}


def _configs(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [{name: o[rng.integers(len(o))] for name, o in OPTIONS.items()} for _ in range(count)]


def _curves(
    configs: list[dict[str, Any]], effect: Any, epochs: int = 3
) -> tuple[list[int], list[int], list[float]]:
    rng = np.random.default_rng(1)
    rows = [
        (i, e, effect(config) + 0.05 * e + 0.01 * float(rng.normal()))
        for i, config in enumerate(configs)
        for e in range(1, epochs + 1)
    ]
    pipelines, at, scores = (list(column) for column in zip(*rows, strict=True))
    return pipelines, at, scores


@pytest.mark.parametrize(
    ("planted", "effect"),
    [
        ("opt", lambda c: {"sgd": 0.1, "adam": 0.6, "adamw": 0.3}[c["opt"]]),
        ("lr", lambda c: 0.2 * np.log10(c["lr"])),
        ("drop", lambda c: 0.4 if c["drop"] is None else 0.0),
        ("betas", lambda c: c["betas"][0]),
    ],
)
def test_a_planted_hyperparameter_is_found(planted: str, effect: Any) -> None:
    configs = _configs(60)
    found = hyperparameter_importance(configs, *_curves(configs, effect))
    assert found is not None
    others = [name for name in found.names if name not in (planted, EPOCH)]
    drop = dict(zip(found.names, found.drop, strict=True))
    assert found.r2 > 0.7
    assert drop[planted] > 5 * max(abs(drop[name]) for name in others)
    assert "constant" not in found.names
    assert (found.pipelines, found.observations) == (60, 180)


def test_a_conditional_hyperparameter_may_be_absent() -> None:
    configs = _configs(60)
    for config in configs:
        if config["opt"] == "sgd":
            config["momentum"] = 0.9
    found = hyperparameter_importance(configs, *_curves(configs, lambda c: 0.5 * ("momentum" in c)))
    assert found is not None
    drop = dict(zip(found.names, found.drop, strict=True))
    assert drop["momentum"] + drop["opt"] > 0.5


def test_the_epoch_is_told_apart_from_hyperparameters() -> None:
    configs = _configs(40)
    found = hyperparameter_importance(configs, *_curves(configs, lambda c: 0.0, epochs=5))
    assert found is not None
    assert found.names[0] == EPOCH


def test_pure_noise_of_pipelines_is_not_explained_by_their_other_epochs() -> None:
    configs = _configs(60)
    luck = dict(zip(map(id, configs), np.random.default_rng(5).normal(size=60), strict=True))
    found = hyperparameter_importance(configs, *_curves(configs, lambda c: luck[id(c)], epochs=10))
    assert found is not None
    assert found.r2 < 0.1


def test_it_is_the_same_every_time() -> None:
    configs = _configs(20)
    told = _curves(configs, lambda c: c["lr"])
    first, second = (hyperparameter_importance(configs, *told) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.names == second.names
    np.testing.assert_array_equal(first.drop, second.drop)


def test_too_little_is_said_to_be_too_little() -> None:
    few = _configs(LEAST_PIPELINES - 1)
    assert hyperparameter_importance(few, *_curves(few, lambda c: c["lr"])) is None
    same = [{"lr": 0.1}] * 20
    assert hyperparameter_importance(same, *_curves(same, lambda c: 1.0)) is None
    configs = _configs(20)
    flat = _curves(configs, lambda c: 1.0)
    assert hyperparameter_importance(configs, flat[0], flat[1], [0.5] * len(flat[2])) is None


def test_only_what_differs_varies() -> None:
    assert varying(
        [{"a": 1, "b": None, "c": 2}, {"a": 1, "b": 0.5, "c": 2}, {"a": 1, "b": None, "c": 2, "d": 1}]
    ) == [
        "b",
        "d",
    ]
