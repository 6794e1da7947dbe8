"""Model cards: what is known of the pretrained models that a search chooses from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from qtt.card_rules import check_card
from qtt.errors import ConfigError
from qtt.json_rules import Kinds, check_fields

CARD_FIELDS: Kinds = {
    **dict.fromkeys(("name", "timm_name", "family", "pretraining", "interpolation"), str),
    **dict.fromkeys(("weights", "licence"), (str, type(None))),
    **dict.fromkeys(("fixed_input_size", "gated"), bool),
    **dict.fromkeys(("mean", "std", "aliases"), list),
    "create_kwargs": (dict, type(None)),
}
"""Kinds of the values of a card's JSON; its numbers are seen to by `qtt.card_rules`."""


@dataclass(frozen=True)
class ModelCard:
    """What is known of one pretrained model of a hub.

    name: key within the hub and value of the hyperparameter `model`; one architecture with several
        pretrainings makes several cards.
    timm_name: name for `timm.create_model`, with pretraining tag where there is one.
    params: millions, without classifier where that is known; macs: giga multiply-adds at `input_size`.
    input_size: side of the square input in pixels; fixed_input_size: the model takes no other.
    top1: ImageNet-1k validation accuracy in percent, None where unknown.
    weights: file name within the package's or the user's weights folder; None: `<timm_name>.safetensors`.
    create_kwargs: extra arguments for `timm.create_model`, as (name, value) pairs sorted by name.
    licence: of the weights, as timm or their maker names it; None where unknown.
    gated: the Hugging Face hub gives the weights only to those who log in and agree to conditions.

    Raises:
        ConfigError: it says what no card may; see `qtt.card_rules`.
    """

    name: str
    timm_name: str
    family: str
    params: float
    input_size: int
    macs: float | None = None
    fixed_input_size: bool = False
    top1: float | None = None
    pretraining: str = "unknown"
    num_classes: int = 1000
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"
    weights: str | None = None
    create_kwargs: tuple[tuple[str, Any], ...] = ()
    aliases: tuple[str, ...] = ()
    licence: str | None = None
    gated: bool = False

    def __post_init__(self) -> None:
        check_card(self)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able dict; inverse of `from_dict`."""
        data = asdict(self)
        data["create_kwargs"] = dict(self.create_kwargs)
        return data

    def trained(self) -> dict[str, Any]:
        """What of `to_dict` tells searches and checkpoints apart: no facts about the use of weights."""
        return {name: value for name, value in self.to_dict().items() if name not in ("licence", "gated")}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read a card.

        Raises:
            ConfigError: unknown keys, or values that no card may have.
        """
        data = check_fields(data, CARD_FIELDS, "A model card")
        known = {item.name for item in fields(cls)}
        unknown_keys = sorted(data.keys() - known)
        if unknown_keys:
            raise ConfigError(
                f"Model card {data.get('name', '?')!r} has unknown keys {unknown_keys}; "
                f"known: {sorted(known)}."
            )
        values = dict(data)
        values["create_kwargs"] = tuple(sorted(dict(values.get("create_kwargs") or {}).items()))
        for key in ("mean", "std", "aliases"):
            if key in values:
                values[key] = tuple(values[key])
        return cls(**values)
