"""A network as timm loads it without qtt: `timm.create_model("local-dir:FOLDER", pretrained=True)`."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from qtt.errors import ConfigError
from qtt.finetune.cv.classification.decoding import FILTERS
from qtt.finetune.cv.classification.inference import Classifier
from qtt.finetune.cv.classification.sizes import size_arguments
from qtt.support.files import usual_permissions, write_json

WEIGHTS, CONFIG = "model.safetensors", "config.json"
TOLERANCE = 1e-4

_OF_THE_ARCHITECTURE = ("first_conv", "classifier")
"""What timm must know of the weights, whatever they were trained on."""


def write_checkpoint(classifier: Classifier, folder: Path) -> None:
    """Write `model.safetensors` and `config.json`."""
    state = {name: tensor.cpu().contiguous() for name, tensor in classifier.network.state_dict().items()}
    with usual_permissions(folder / WEIGHTS):
        save_file(_distinct(state), folder / WEIGHTS, metadata={"format": "pt"})
    write_json(folder / CONFIG, checkpoint_config(classifier))


def checkpoint_config(classifier: Classifier) -> dict[str, Any]:
    """What timm's `config.json` says: architecture, arguments, classes, and how images are prepared.

    timm resizes the shorter side and then crops the middle, which is the nearest it has to `decode`.
    """
    card, size, network = classifier.card, classifier.size, classifier.network
    known: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    interpolation = card.interpolation if card.interpolation in FILTERS else "bicubic"
    return {
        "architecture": card.timm_name.partition(".")[0],
        "num_classes": len(classifier.class_names),
        "num_features": getattr(network, "num_features", None),
        "label_names": list(classifier.class_names),
        "model_args": {**dict(card.create_kwargs), **size_arguments(card, size)},
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [3, size, size],
            "fixed_input_size": card.fixed_input_size,
            "interpolation": interpolation,
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(card.mean),
            "std": list(card.std),
            "num_classes": len(classifier.class_names),
            **{name: known[name] for name in _OF_THE_ARCHITECTURE if known.get(name)},
        },
    }


@torch.inference_mode()
def check_checkpoint(network: nn.Module, inputs: Tensor, folder: Path) -> nn.Module:
    """Load the checkpoint as its users do and compare; inputs: (b, 3, s, s) normalised images.

    Raises:
        ConfigError: timm cannot load it, or it computes something else.
    """
    import timm

    try:
        loaded: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        difference = (loaded(inputs) - network(inputs)).abs().max().item()
    except (RuntimeError, TypeError, ValueError, AssertionError, KeyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"timm cannot load the checkpoint in {folder}: {reason}") from error
    if not difference <= TOLERANCE:
        raise ConfigError(
            f"The checkpoint in {folder}, loaded by timm, differs by {difference:.2g} from the network."
        )
    return loaded


def _distinct(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors that share memory, which safetensors refuses."""
    seen: set[int] = set()
    distinct = {}
    for name, tensor in state.items():
        distinct[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return distinct
