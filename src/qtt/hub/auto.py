"""Which models a search should choose from on this machine: a decision on facts, without asking anything.

Facts come from `qtt.hub.surroundings`. With a GPU these are the models of today that fit its memory and the
budget and whose weights can be had; on a CPU small ones with weights from packages, and small fast ones whose
weights can be had; the package's own tiny networks where nothing else is.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qtt.types import ModelCard

TYPICAL_IMAGES = 1_000
"""Training images of a dataset that nobody has looked at yet."""

EPOCHS_IN_BUDGET = 20
"""A model has a place where the budget holds so many of its epochs: several pipelines begun, one finished."""

GPU_RATE, CORE_RATE = 1e13, 1.5e10
"""Multiply-adds a second that training reaches, forward and backward: on a GPU of recent years in 16 bits, on
one CPU core. Orders of magnitude, and meant to be no more."""

PASSES = 3
"""Multiply-adds of a training step over those of a forward pass."""

SMALL_PARAMS, SMALL_MACS = 15.0, 1.3
"""Millions of parameters and giga multiply-adds of what counts as small and fast on a CPU."""

BATCH, STATE_BYTES, ACTIVATION_BYTES, RESERVE_GB = 32, 16, 6, 1.0
"""Images in memory at once; bytes of a parameter with gradient and two moments; bytes of an activation that
waits for the backward pass; what the driver and the libraries take."""

NAMED = 12
"""Most models that a command names; beyond it takes the whole hub."""


@dataclass(frozen=True)
class Facts:
    """What the decision rests on.

    gpu_gb: memory of the GPU that training would use, 10⁹ bytes; None: training is on the CPU.
    cores: of the CPU. seconds: the budget, None: unknown or without bound.
    images, image_size: of the dataset's training part, None: not known.
    lite: models whose packages of weights are installed; lacking_packages: those that are not.
    own: of the user's weights folder, apart from those of `modern`.
    modern: models under permitted licences; at_hand: names of those whose weights are on this machine.
    reachable: whether the Hugging Face hub gives weights.
    tiny: what the package always has.
    """

    gpu_gb: float | None
    cores: int
    seconds: float | None
    images: int | None
    image_size: int | None
    lite: tuple[ModelCard, ...]
    lacking_packages: tuple[str, ...]
    own: tuple[ModelCard, ...]
    modern: tuple[ModelCard, ...]
    at_hand: frozenset[str]
    reachable: bool
    tiny: tuple[ModelCard, ...]


@dataclass(frozen=True)
class Choice:
    """The models, one line that says why these, and one on what would be better; empty: nothing would."""

    cards: tuple[ModelCard, ...]
    reason: str
    advice: str = ""


def choose(facts: Facts) -> Choice:
    """The models to choose from; the same for the same facts."""
    obtainable = [card for card in facts.modern if facts.reachable or card.name in facts.at_hand]
    fitting = [card for card in (*facts.own, *obtainable) if fits(card, facts)]
    lite = () if facts.gpu_gb is not None and facts.reachable and fitting else facts.lite
    cards = _distinct([*lite, *fitting])
    if not cards:
        return Choice(
            facts.tiny, f"{_where(facts)}: tiny, {_count(facts.tiny)}, for want of others", _advice(facts)
        )
    parts = [
        ("lite", lite, "weights from packages"),
        ("own", [card for card in fitting if card in facts.own], "weights from weights_dir"),
        ("modern", [card for card in fitting if card not in facts.own], _origin(facts, fitting)),
    ]
    said = " + ".join(f"{_count(part)} of {name} ({origin})" for name, part, origin in parts if part)
    return Choice(cards, f"{_where(facts)}: {said}", _advice(facts))


def fits(card: ModelCard, facts: Facts) -> bool:
    """Whether a model can be trained here: in memory, often enough within the budget, and fast on a CPU."""
    if facts.gpu_gb is None and (card.params > SMALL_PARAMS or _macs(card, facts) > SMALL_MACS):
        return False
    if facts.gpu_gb is not None and memory_gb(card, facts) > facts.gpu_gb:
        return False
    return facts.seconds is None or EPOCHS_IN_BUDGET * epoch_seconds(card, facts) <= facts.seconds


def epoch_seconds(card: ModelCard, facts: Facts) -> float:
    """A rough estimate of an epoch's seconds on this machine."""
    rate = CORE_RATE * facts.cores if facts.gpu_gb is None else GPU_RATE
    return (facts.images or TYPICAL_IMAGES) * PASSES * _macs(card, facts) * 1e9 / rate


def memory_gb(card: ModelCard, facts: Facts) -> float:
    """A rough estimate of the memory that training takes, in 10⁹ bytes.

    Activations follow multiply-adds: over timm's 1,600 models 6.1 · macs^0.67 million for macs giga
    multiply-adds, within a factor of 1.75 for two thirds of them.
    """
    activations = 6.1e6 * math.pow(_macs(card, facts), 0.67)
    return RESERVE_GB + (STATE_BYTES * card.params * 1e6 + BATCH * ACTIVATION_BYTES * activations) / 1e9


def _macs(card: ModelCard, facts: Facts) -> float:
    """Giga multiply-adds of an image at the size that training would use; of unknown cost is heavy."""
    if card.macs is None:
        return card.params
    smaller = (
        facts.image_size is not None and facts.image_size < card.input_size and not card.fixed_input_size
    )
    return card.macs * ((facts.image_size or 0) / card.input_size) ** 2 if smaller else card.macs


def _advice(facts: Facts) -> str:
    """What would give more or better models, with the command for it."""
    if facts.gpu_gb is None and facts.lacking_packages:
        return f"Better models for this machine are packages: pip install {' '.join(facts.lacking_packages)}"
    lacking = [card for card in facts.modern if card.name not in facts.at_hand and fits(card, facts)]
    if lacking and not facts.reachable:
        names = [card.name for card in lacking]
        chosen = f" --models {' '.join(names)}" if len(names) <= NAMED else ""
        return (
            f"{_count(lacking)} more would fit, but their weights cannot be had here. Where there is "
            f"internet: python -m qtt.fetch modern --weights-dir weights{chosen}; then a new search "
            "with weights_dir=weights run_dir=runs/more-models"
        )
    slow = [card for card in facts.modern if card not in lacking and not fits(card, facts)]
    if facts.gpu_gb is None:
        return f"{_count(slow)} of modern are for a GPU: repeat on a machine that has one" if slow else ""
    long = [card for card in slow if memory_gb(card, facts) <= facts.gpu_gb]
    if not long:
        return ""
    seconds = EPOCHS_IN_BUDGET * max(epoch_seconds(card, facts) for card in long)
    return f"{_count(long)} more would fit with more time: budget.seconds={_rounded(seconds)}"


def _where(facts: Facts) -> str:
    device = f"CPU, {facts.cores} cores" if facts.gpu_gb is None else f"GPU of {facts.gpu_gb:.0f} GB"
    budget = "" if facts.seconds is None else f", {facts.seconds:g} s"
    return f"{device}{budget}, Hugging Face hub {'reached' if facts.reachable else 'not reached'}"


def _origin(facts: Facts, cards: Iterable[ModelCard]) -> str:
    if all(card.name in facts.at_hand for card in cards if card in facts.modern):
        return "weights at hand"
    return "weights downloaded before the search"


def _count(cards: Sequence[ModelCard]) -> str:
    return f"{len(cards)} model{'' if len(cards) == 1 else 's'}"


def _distinct(cards: Iterable[ModelCard]) -> tuple[ModelCard, ...]:
    """The first card of each name."""
    return tuple({card.name: card for card in reversed(list(cards))}.values())[::-1]


def _rounded(seconds: float) -> int:
    """Up to the next ten minutes."""
    return int(-(-seconds // 600) * 600)
