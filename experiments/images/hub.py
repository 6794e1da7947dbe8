"""One folder of weights for all methods: the networks of hub `lite` and those of the shared data.

Weights are links. Beside each lies a complete sidecar, made from the network's own card, so that no method
has to measure or to guess anything: padding, mean, std and interpolation are those of the hub it came from.
"""

import json
from pathlib import Path
from typing import Any

from qtt.errors import ModelHubError
from qtt.hub.model_hub import ModelHub, load_hub, locate_weights
from qtt.types import ModelCard

FACTS = (
    *("timm_name", "family", "num_classes", "mean", "std", "interpolation", "fixed_input_size"),
    *("pretraining", "licence", "top1"),
)
"""What a sidecar takes from a card as it is, where it is known."""


def make_hub(weights: Path, folder: Path) -> ModelHub:
    """The hub of `folder`, which gets the networks of hub `lite` and those of the folder `weights`.

    Raises:
        ModelHubError: weights are missing, or two networks have one name.
    """
    own = {
        card.name: (card, hub.weights_dir)
        for hub in (load_hub("folder", weights_dir=weights), load_hub("lite"))
        for card in hub
    }
    folder.mkdir(parents=True, exist_ok=True)
    for card, place in own.values():
        _add(card, place, folder)
    return load_hub("folder", weights_dir=folder)


def sidecar(card: ModelCard) -> dict[str, Any]:
    """The facts of a card as the JSON file beside its weights states them."""
    facts = {name: getattr(card, name) for name in FACTS if getattr(card, name) is not None}
    size = {"input_size": [3, card.input_size, card.input_size]}
    counts = {"params": card.params * 1e6} | ({} if card.macs is None else {"macs": card.macs * 1e9})
    return facts | size | counts | {"create_kwargs": dict(card.create_kwargs)}


def _add(card: ModelCard, place: Path | None, folder: Path) -> None:
    """Link a network's weights into the folder, with a sidecar beside them; what is there is left alone."""
    source = locate_weights(card, place)
    if source is None:
        raise ModelHubError(f"The weights of {card.name} are not on this machine: make install.")
    link, text = folder / f"{card.name}.safetensors", json.dumps(sidecar(card), indent=1) + "\n"
    if not (link.exists() and link.samefile(source)):
        link.unlink(missing_ok=True)
        link.symlink_to(source.resolve())
    facts = link.with_suffix(".json")
    if not (facts.exists() and facts.read_text(encoding="utf-8") == text):
        facts.write_text(text, encoding="utf-8")
