"""Hyperparameters as files write them (texts, 0 and 1, "None", inactive defaults), in native types."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from qtt.curves.schema import FLAG, HYPERPARAMETERS, INTEGER, NUMBER, NUMBERS, active, missing, native
from qtt.errors import CurveTableError
from qtt.hub.model_hub import ModelHub
from qtt.space.hyperparameters import FULL
from qtt.types import Config

FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
NONES = ("none", "nan", "null", "")
AUGMENTATION = ("trivial_augment", "random_augment")
"""Flags of their own in the authors' arguments; one hyperparameter, data_augmentation, here."""


@cache
def paper_hub() -> ModelHub:
    """The 24 models of the papers, with the aliases under which timm knew them."""
    return ModelHub.load("table4")


def read_config(raw: Mapping[str, Any], where: str) -> Config:
    """The config that `raw` means: hyperparameters by name, native types, inactive ones left out.

    Models of the papers get their hub's name. Unknown names are hyperparameters of a space of one's own:
    their values stay as they are, and None leaves them out.

    where: which run this is, for errors.

    Raises:
        CurveTableError: no model, or a value of the wrong type or missing; run, column and value are named.
    """
    values: dict[str, Any] = {}
    for name, value in _with_augmentation(raw, where).items():
        try:
            values[name] = read_value(HYPERPARAMETERS.get(name), value)
        except ValueError as error:
            raise CurveTableError(f"{where}, column '{name}': {value!r} {error}.") from error
    config: dict[str, Any] = {}
    for name, value in values.items():
        if value is None and active(name, values) and name in HYPERPARAMETERS:
            if None not in FULL.get(name, ()):
                raise CurveTableError(f"{where}, column '{name}' has no value, and needs one.")
            config[name] = None
        elif value is not None and active(name, values):
            config[name] = value
    if "model" not in config:
        raise CurveTableError(f"{where} has no column 'model'.")
    if config["model"] in paper_hub():
        config["model"] = paper_hub()[config["model"]].name
    return config


def read_value(kind: str | None, value: Any) -> Any:
    """One value as files write it, in the native type of its kind; kind None: as it is.

    Raises:
        ValueError: the value is of another kind.
    """
    if missing(value) or (isinstance(value, str) and value.strip().lower() in NONES):
        return None
    if kind == FLAG and str(value).lower() in FLAGS:
        return FLAGS[str(value).lower()]
    if kind in (INTEGER, NUMBER, NUMBERS) and isinstance(value, str):
        try:
            value = json.loads(value.strip().replace("(", "[").replace(")", "]"), parse_constant=_refuse)
        except ValueError:
            raise ValueError(f"is not {kind}") from None
    return value if kind is None else native(kind, value)


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def _with_augmentation(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`raw` with data_augmentation in place of the authors' flags.

    A run with automatic augmentation under no policy is one without augmentation: the flags do not tell
    them apart, and both do the same.
    """
    values = dict(raw)
    if "data_augmentation" in values or not any(name in values for name in AUGMENTATION):
        return values
    try:
        chosen = [name for name in AUGMENTATION if read_value(FLAG, values.pop(name, False))]
        if read_value(HYPERPARAMETERS["auto_augment"], values.get("auto_augment")) is not None:
            chosen.append("auto_augment")
    except ValueError as error:
        raise CurveTableError(f"{where}, columns {' and '.join(AUGMENTATION)}: a value {error}.") from error
    if len(chosen) > 1:
        raise CurveTableError(f"{where} has {' and '.join(chosen)} at once.")
    return {**values, "data_augmentation": chosen[0] if chosen else None}
