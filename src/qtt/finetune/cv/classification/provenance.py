"""Where a network's pretrained weights come from, as far as files and timm say."""

from pathlib import Path
from typing import Any

from qtt.errors import ModelHubError
from qtt.hub.model_hub import SHIPPED_WEIGHTS, locate_weights
from qtt.hub.wheels import WHEELS
from qtt.support.files import read_json
from qtt.types import ModelCard

UNKNOWN_LICENCE = "The licence of these weights is not known here: ask those who made them."


def weights_source(card: ModelCard, pretrained: bool, weights_dir: Path | None) -> list[str]:
    """Sentences about pretraining, source and licence.

    pretrained: whether training started from weights at all. weights_dir: that of the search.
    """
    if not pretrained:
        return ["Trained from random weights, without pretraining."]
    lines = [
        f"Pretraining: {card.pretraining}." if card.pretraining != "unknown" else "Pretraining: unknown."
    ]
    if card.weights is None:
        return lines + _of_timm(card)
    return lines + (_of_package(card) if card.weights in WHEELS else _of_file(card, weights_dir))


def _of_timm(card: ModelCard) -> list[str]:
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(card.timm_name)
    lines = [f"Weights: those that timm names `{card.timm_name}`."]
    if config is not None and config.origin_url:
        lines.append(f"Origin: <{config.origin_url}>.")
    licence = None if config is None else config.license
    return [*lines, f"Licence, as timm states it: {licence}." if licence else UNKNOWN_LICENCE]


def _of_package(card: ModelCard) -> list[str]:
    return [f"Weights: the package {WHEELS[card.weights].distribution}.", f"Licence: {card.licence}."]


def _of_file(card: ModelCard, weights_dir: Path | None) -> list[str]:
    """A file of its own says in its sidecar what it is; timm's pretraining of that name may be another."""
    try:
        file = locate_weights(card, weights_dir)
    except ModelHubError:
        file = None
    sidecar = {} if file is None else _sidecar(file.with_suffix(".json"))
    where = "the qtt package" if file and file.is_relative_to(SHIPPED_WEIGHTS) else "the weights folder"
    lines = [f"Weights: the file `{card.weights}` of {where}."]
    source = sidecar.get("source") or sidecar.get("source_repo")
    if source:
        lines.append(f"Source, as its sidecar states it: {source}.")
    if sidecar.get("note"):
        lines.append(f"Note of its sidecar: {sidecar['note']}.")
    licence = sidecar.get("licence") or sidecar.get("license")
    return [*lines, f"Licence, as its sidecar states it: {licence}." if licence else UNKNOWN_LICENCE]


def _sidecar(path: Path) -> dict[str, Any]:
    try:
        data = read_json(path)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
