"""What models and weights are to be had on this machine: the facts of `qtt.hub.auto`, and the hub `auto`."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from qtt.errors import ModelHubError
from qtt.hub.auto import Choice, Facts, choose
from qtt.hub.model_hub import ModelHub, load_hub
from qtt.hub.weight_files import folder_cards
from qtt.hub.wheels import WHEELS, installed
from qtt.support.announcements import announce
from qtt.support.machine import available_cores, trains_on_cpu
from qtt.support.network import Probe, answer
from qtt.types import ModelCard

AUTO = "auto"


def auto_hub(
    weights_dir: str | Path | None = None,
    licences: Sequence[str] | None = None,
    *,
    seconds: float | None = None,
    device: str | None = "auto",
    images: int | None = None,
    image_size: int | None = None,
) -> ModelHub:
    """The models that fit this machine, and a printed line that says which and why; see `qtt.hub.auto`.

    Args:
        weights_dir: folder of weights; the hub carries it.
        licences: of the models of today; see `load_hub`.
        seconds: of the search, None: not known.
        device: an objective's setting: "cpu", "cuda", "auto" (CUDA where there is one).
        images: that the search trains on, None: not known.
        image_size: their shorter side in pixels, None: not known.

    Raises:
        ModelHubError: `weights_dir` is no folder, or a file in it cannot be used.
    """
    folder = None if weights_dir is None else Path(weights_dir).absolute()
    choice = look_around(
        folder, licences, seconds=seconds, device=device, images=images, image_size=image_size
    )
    announce(f"Models for {choice.reason}")
    return ModelHub(AUTO, choice.cards, weights_dir=folder, advice=choice.advice)


def look_around(
    folder: Path | None = None,
    licences: Sequence[str] | None = None,
    *,
    seconds: float | None = None,
    device: str | None = "auto",
    images: int | None = None,
    image_size: int | None = None,
    reached: bool | None = None,
) -> Choice:
    """What `auto_hub` chooses, and why.

    reached: whether the Hugging Face hub answers; None: it is asked. For the others see `auto_hub`.
    """
    own = _own_cards(folder)
    modern = load_hub("modern", licences=licences)
    known = {card.timm_name for card in modern}
    facts = Facts(
        gpu_gb=gpu_memory(device),
        cores=available_cores(),
        seconds=seconds,
        images=images,
        image_size=image_size,
        lite=_lite(),
        lacking_packages=tuple(wheel.distribution for name, wheel in WHEELS.items() if not installed(name)),
        own=tuple(card for card in own if card.timm_name not in known),
        modern=modern.cards,
        at_hand=_at_hand(modern, {card.timm_name for card in own}),
        reachable=reachable() if reached is None else reached,
        tiny=load_hub("tiny").cards,
    )
    return choose(facts)


def gpu_memory(device: str | None) -> float | None:
    """Memory of the first CUDA device in 10⁹ bytes, None where training would be on the CPU."""
    if trains_on_cpu(device):
        return None
    import torch

    if not torch.cuda.device_count():
        return None
    return float(torch.cuda.get_device_properties(0).total_memory) / 1e9


@cache
def reachable(probe: Probe = answer) -> bool:
    """Whether the Hugging Face hub answers, asked once in a process.

    `HF_HUB_OFFLINE` is an answer too; `HF_ENDPOINT` and proxies are heeded.
    """
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and probe(constants.ENDPOINT) is None


def _lite() -> tuple[ModelCard, ...]:
    try:
        return load_hub("lite").cards
    except ModelHubError:  # no package of weights is installed
        return ()


def _own_cards(folder: Path | None) -> tuple[ModelCard, ...]:
    """Cards of the user's files; an empty folder has none."""
    if folder is None or (folder.is_dir() and not any(folder.glob("*.safetensors"))):
        return ()
    return folder_cards(folder)


def _at_hand(modern: Iterable[ModelCard], own: set[str]) -> frozenset[str]:
    """Names of models whose weights are in the user's folder or in the Hugging Face hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    return frozenset(
        card.name
        for card in modern
        if card.timm_name in own
        or isinstance(try_to_load_from_cache(f"timm/{card.timm_name}", "model.safetensors"), str)
    )
