"""Pretrained models ready for finetuning: from the package, a local folder, or the Hugging Face hub."""

import socket
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
from huggingface_hub import constants, try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from qtt.errors import ModelHubError
from qtt.hub.model_hub import locate_weights
from qtt.types import ModelCard

_CACHED_FILES = 8
_CACHED_BYTES = 128 * 2**20  # larger files are left to the operating system's cache


def create_model(
    card: ModelCard,
    num_classes: int | None,
    *,
    weights_dir: Path | None = None,
    pretrained: bool = True,
    **timm_kwargs: Any,
) -> nn.Module:
    """The card's model with its pretrained weights, and a fresh classifier unless it shall keep its own.

    The classifier (and with `pretrained=False` every weight) is drawn from torch's global generator: seed it
    before the call, as `torch.manual_seed`, to get the same model again.

    Args:
        card: which model; its `create_kwargs` go to timm as well.
        num_classes: outputs of the new classifier; None keeps the one that was pretrained.
        weights_dir: local folder to look in after the package and before the Hugging Face hub.
        pretrained: False for random weights.
        timm_kwargs: further arguments of `timm.create_model`, for instance `drop_rate`; an `img_size` other
            than the weights' resamples position embeddings, as timm does.

    Raises:
        ModelHubError: weights that cannot be had, or do not fit the architecture.
    """
    kwargs = {**dict(card.create_kwargs), **timm_kwargs}
    if not pretrained:
        return _build(card, card.num_classes if num_classes is None else num_classes, kwargs)
    file = locate_weights(card, weights_dir)
    if file is None:
        model = from_hugging_face(card, weights_dir, kwargs)
    else:
        model = _build(card, card.num_classes, kwargs)
        _load(model, card, file)
    if num_classes is not None:
        model.reset_classifier(num_classes)  # type: ignore[operator]
    return model


def _build(card: ModelCard, num_classes: int, kwargs: Mapping[str, Any]) -> nn.Module:
    try:
        return timm.create_model(card.timm_name, pretrained=False, num_classes=num_classes, **kwargs)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ModelHubError(
            f"timm cannot build model '{card.name}' ({card.timm_name}) with {dict(kwargs)}: {error}"
        ) from error


def _load(model: nn.Module, card: ModelCard, file: Path) -> None:
    """Load a file strictly: as it is, or through timm's own remapping where the layout differs."""
    state = fitted(dict(read_state(file)), model, card)
    wrong = mismatches(model, state)
    if wrong:
        shown = "; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise ModelHubError(
            f"The weights {file} do not fit model '{card.name}' ({card.timm_name} with {card.num_classes} "
            f"classes, {dict(card.create_kwargs)}): {shown}. Correct the file, its sidecar or the card."
        )
    model.load_state_dict(state, strict=True)  # copies into float32 parameters, so float16 files are upcast


def fitted(state: dict[str, Tensor], model: nn.Module, card: ModelCard) -> dict[str, Tensor]:
    """Weights in the model's own layout and for its input size, as far as that is known; see `mismatches`."""
    if not mismatches(model, state):
        return state
    remap = _timm_filter(card)
    if remap is not None:
        # a layout that timm does not know makes it stumble; a comparison afterwards says what differs
        with (
            suppress(KeyError, RuntimeError, ValueError, IndexError, AttributeError),
            warnings.catch_warnings(action="ignore"),  # torch's, about how timm resamples BEiT's positions
        ):
            state = remap(state, model)
    return _resample_grid(state, model)


def _resample_grid(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """VOLO's position embeddings (1, height, width, d) at the model's size; timm leaves them as they are."""
    own, given = getattr(model, "pos_embed", None), state.get("pos_embed")
    if own is None or given is None or given.ndim != 4 or given.shape == own.shape:
        return state
    grid = functional.interpolate(
        given.float().permute(0, 3, 1, 2), size=own.shape[1:3], mode="bicubic", antialias=True
    )
    return {**state, "pos_embed": grid.permute(0, 2, 3, 1)}


def mismatches(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """What keeps `state` from loading strictly into `model`, in the model's order; empty where it fits."""
    own = model.state_dict()
    wrong = []
    for name, tensor in own.items():
        if name not in state:
            wrong.append(f"{name} is missing")
        elif state[name].shape != tensor.shape:
            wrong.append(f"{name} has shape {tuple(state[name].shape)}, not {tuple(tensor.shape)}")
    return wrong + [f"{name} is unknown to the model" for name in state if name not in own]


def read_state(file: Path) -> Mapping[str, Tensor]:
    """Tensors of a safetensors file, kept between calls; not to be written to.

    Raises:
        ModelHubError: the file cannot be read.
    """
    facts = file.stat()
    if facts.st_size > _CACHED_BYTES:
        return _read(file)
    return _read_cached(file, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=_CACHED_FILES)
def _read_cached(file: Path, changed: int, size: int) -> Mapping[str, Tensor]:
    return _read(file)


def _read(file: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelHubError(
            f"The weights {file} cannot be read ({error}); fetch or copy them again."
        ) from error


def _timm_filter(card: ModelCard) -> Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] | None:
    """The function of timm that adapts original layouts and input sizes to its own model, if it has one."""
    module = sys.modules[timm.models.model_entrypoint(card.timm_name.partition(".")[0]).__module__]
    found: Any = getattr(module, "checkpoint_filter_fn", None) or getattr(module, "_filter_fn", None)
    return found  # type: ignore[no-any-return]


def from_hugging_face(
    card: ModelCard, weights_dir: Path | None = None, kwargs: Mapping[str, Any] | None = None
) -> nn.Module:
    """The card's model with its source classifier, downloaded once by timm or taken from its cache.

    kwargs: all further arguments of `timm.create_model`; default: the card's.

    Raises:
        ModelHubError: the weights cannot be had.
    """
    kwargs = dict(card.create_kwargs) if kwargs is None else kwargs
    if card.weights is not None:
        raise ModelHubError(
            f"No weights for model '{card.name}': {card.weights} is neither in the package nor in "
            f"{'a weights folder (none given)' if weights_dir is None else weights_dir}."
        )
    cached = in_hugging_face_cache(card)
    if cached is None:
        try:
            _require_network()
            return timm.create_model(card.timm_name, pretrained=True, num_classes=card.num_classes, **kwargs)
        except Exception as error:  # whatever the network stack raises is one answer: not to be had
            cached = in_hugging_face_cache(card)  # there now if timm fetched it but could not resample it
            if cached is None:
                raise no_weights(card, weights_dir, error) from error
    model = _build(card, card.num_classes, kwargs)
    _load(model, card, cached)
    return model


def in_hugging_face_cache(card: ModelCard) -> Path | None:
    """The weights file of an earlier download, so that no later step asks the network again."""
    config = timm.models.get_pretrained_cfg(card.timm_name)
    if config is None or not config.hf_hub_id:
        return None
    found = try_to_load_from_cache(config.hf_hub_id, "model.safetensors")
    return Path(found) if isinstance(found, str) else None


def _require_network() -> None:
    """Fail at once where the hub's address has no answer; its client would retry for most of a minute."""
    if not getproxies():
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)


def no_weights(card: ModelCard, weights_dir: Path | None, error: Exception) -> ModelHubError:
    """The error that names the three ways to come by weights."""
    folder = "a folder given as weights_dir" if weights_dir is None else str(weights_dir)
    reason = str(error).strip().splitlines()
    return ModelHubError(
        f"No weights for model '{card.name}' ({type(error).__name__}: {reason[0] if reason else ''}). "
        "They can come from (1) packages: use the hub 'lite' or 'tiny'; "
        f"(2) {folder}: put {card.timm_name}.safetensors there, "
        "or run `python -m qtt.fetch HUB --weights-dir DIR` where there is a network; "
        "(3) the Hugging Face hub: give this machine access to it."
    )
