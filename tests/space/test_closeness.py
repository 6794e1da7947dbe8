import math
from dataclasses import replace

import pytest

from qtt.space.closeness import OTHER_KIND, UNKNOWN, card_distance, default_option, nearest_option
from qtt.types import ModelCard

CARD = ModelCard("a", "resnet18", "resnet", 11.0, 224, macs=1.8, top1=70.0, pretraining="in1k")


def test_a_model_is_nearest_to_itself_whatever_its_name() -> None:
    assert card_distance(CARD, replace(CARD, name="b", timm_name="other")) == 0.0


@pytest.mark.parametrize(
    ("changes", "distance"),
    [
        ({"params": 22.0}, math.log(2)),
        ({"macs": 0.9}, math.log(2)),
        ({"input_size": 112}, math.log(2)),
        ({"top1": 75.0}, 1.0),
        ({"top1": None}, UNKNOWN),
        ({"macs": None}, UNKNOWN),
        ({"family": "vit"}, OTHER_KIND),
        ({"family": "vit", "pretraining": "in22k"}, 2 * OTHER_KIND),
    ],
)
def test_every_descriptor_counts_both_ways(changes: dict[str, object], distance: float) -> None:
    other = replace(CARD, **changes)
    assert card_distance(CARD, other) == pytest.approx(distance)
    assert card_distance(other, CARD) == pytest.approx(distance)


@pytest.mark.parametrize(
    ("value", "options", "nearest"),
    [
        (0.1, (1e-5, 1e-3, 1e-2), 1e-2),
        (3e-4, (1e-5, 1e-4, 1e-3), 1e-4),
        (0.0, (1e-4, 1e-2), 1e-4),
        (48, (8, 64, 512), 64),
        (0.9, (None, 0.65, 0.75), 0.75),
        (None, (1.0, 10.0), 10.0),
        ("adamp", ("adam", "adamw"), "adam"),
        (True, (0.0, 1.0), 0.0),
    ],
)
def test_numbers_go_to_the_nearest_option_and_others_to_the_default(value, options, nearest) -> None:
    assert nearest_option(value, options) == nearest


@pytest.mark.parametrize(
    ("options", "default"),
    [
        ((False, True), False),
        ((0.65, None), None),
        ((0.0, 0.1), 0.0),
        ((1e-5, 1e-4, 1e-3), 1e-4),
        (("v0", "original"), "v0"),
        (((0.9, 0.999), (0.0, 0.99)), (0.9, 0.999)),
    ],
)
def test_defaults_are_neutral_or_in_the_middle(options, default) -> None:
    assert default_option(options) == default
