import math
from typing import Any

import pytest

from qtt.curves.importers.values import read_config, read_value
from qtt.curves.schema import FLAG, INTEGER, NUMBER, NUMBERS, TEXT
from qtt.errors import CurveTableError


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (FLAG, "True", True),
        (FLAG, "0", False),
        (FLAG, 1, True),
        (FLAG, 0.0, False),
        (INTEGER, "20", 20),
        (INTEGER, "90.0", 90),
        (INTEGER, 9.0, 9),
        (NUMBER, "1e-05", 1e-5),
        (NUMBER, "0", 0.0),
        (NUMBER, "None", None),
        (NUMBER, math.nan, None),
        (NUMBERS, "[0, 0.999]", (0.0, 0.999)),
        (NUMBERS, "(0.9, 0.99)", (0.9, 0.99)),
        (NUMBERS, [0, 0.99], (0.0, 0.99)),
        (TEXT, "none", None),
        (TEXT, "", None),
        (None, "deep", "deep"),
    ],
)
def test_values_become_native(kind: str | None, raw: Any, value: Any) -> None:
    got = read_value(kind, raw)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (FLAG, "2"),
        (FLAG, "yes"),
        (INTEGER, "2.5"),
        (INTEGER, True),
        (NUMBER, "fast"),
        (NUMBER, "Infinity"),
        (NUMBERS, "0.9"),
        (TEXT, 3),
    ],
)
def test_other_kinds_are_refused(kind: str, raw: Any) -> None:
    with pytest.raises(ValueError, match=f"is not {kind}"):
        read_value(kind, raw)


def test_inactive_values_are_left_out_and_none_is_kept_where_it_is_an_option() -> None:
    raw = {
        "model": "m",
        "opt": "sgd",
        "momentum": "0.9",
        "opt_betas": "None",
        "clip_grad": "None",
        "lr": "0.01",
    }
    assert read_config(raw, "run 1") == {"model": "m", "opt": "sgd", "clip_grad": None, "lr": 0.01}


def test_aliases_of_the_papers_models_get_one_name() -> None:
    assert read_config({"model": "tf_efficientnet_b7"}, "") == {"model": "tf_efficientnet_b7_ns"}
    assert read_config({"model": "xcit_nano_12_p8_384"}, "") == {"model": "xcit_nano_12_p8_384_dist"}


@pytest.mark.parametrize(
    ("flags", "augmentation"),
    [
        ({"trivial_augment": True, "random_augment": False, "auto_augment": "None"}, "trivial_augment"),
        ({"trivial_augment": "False", "random_augment": "True", "auto_augment": ""}, "random_augment"),
        ({"trivial_augment": False, "random_augment": False, "auto_augment": "v0"}, "auto_augment"),
        ({"trivial_augment": False, "random_augment": False, "auto_augment": None}, None),
    ],
)
def test_flags_of_augmentation_are_one_hyperparameter(
    flags: dict[str, Any], augmentation: str | None
) -> None:
    config = read_config({"model": "m", "ra_num_ops": 2, "ra_magnitude": 9, **flags}, "")
    assert config["data_augmentation"] == augmentation
    assert ("ra_num_ops" in config) == (augmentation == "random_augment")
    assert config.get("auto_augment") == ("v0" if augmentation == "auto_augment" else None)
    assert "trivial_augment" not in config and "random_augment" not in config


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"lr": "0.1"}, "run 7 has no column 'model'"),
        ({"model": "m", "lr": "fast"}, "run 7, column 'lr': 'fast' is not a number"),
        ({"model": "m", "lr": None}, "run 7, column 'lr' has no value, and needs one"),
        ({"model": "m", "opt": "momentum", "momentum": ""}, "column 'momentum' has no value"),
        (
            {"model": "m", "trivial_augment": 1, "random_augment": 1},
            "trivial_augment and random_augment at once",
        ),
        ({"model": "m", "trivial_augment": "maybe"}, "is not true or false"),
    ],
)
def test_errors_name_run_column_and_value(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(CurveTableError, match=message):
        read_config(raw, "run 7")


def test_hyperparameters_of_ones_own_pass() -> None:
    assert read_config({"model": "m", "depth": 3, "width": None}, "") == {"model": "m", "depth": 3}
