import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from models import make_card
from qtt.finetune.cv.classification import finetune_script
from qtt.finetune.cv.classification.model import build_network
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.sizes import input_size, size_arguments, takes
from qtt.hub.model_hub import load_hub
from qtt.hub.weights import create_model
from qtt.types import ModelCard, TaskInfo, Trial

PLAIN = FinetuneSettings()
FREE = ModelCard("m", "m", "f", 1.0, input_size=256)
FIXED = ModelCard("fixed", "test_vit", "f", 1.0, input_size=160, fixed_input_size=True)
VOLO = ModelCard("volo", "volo_d1_224", "volo", 1.0, input_size=224, fixed_input_size=True)
SWIN = ModelCard("swin", "swinv2_cr_tiny_ns_224", "swin", 1.0, input_size=224, fixed_input_size=True)


@pytest.mark.parametrize(
    ("dataset", "side"),
    [(None, 256), (1, 64), (28, 64), (64, 64), (65, 96), (224, 224), (230, 256), (257, 256), (4000, 256)],
)
def test_models_of_free_size_get_the_datasets(dataset: int | None, side: int) -> None:
    assert input_size(FREE, PLAIN, dataset) == side
    assert input_size(replace(FREE, input_size=48), PLAIN, dataset) == 48
    assert input_size(FREE, FinetuneSettings(image_size=100), dataset) == 100
    assert input_size(FREE, FinetuneSettings(image_size=100, max_image_size=72), dataset) == 72
    assert input_size(FREE, FinetuneSettings(max_image_size=72), dataset) == min(side, 72)
    assert size_arguments(FREE, 72) == {}


def test_the_digits_train_at_the_size_of_the_tiny_hub() -> None:
    for card in load_hub("tiny").cards:
        assert input_size(card, PLAIN, 32) == card.input_size == 64
        assert size_arguments(card, 64) == {}


def test_models_of_fixed_size_give_way_to_the_bound_alone() -> None:
    assert input_size(FIXED, PLAIN, 64) == 160
    assert input_size(FIXED, FinetuneSettings(image_size=64), 64) == 160
    assert input_size(FIXED, FinetuneSettings(max_image_size=160), 64) == 160
    assert input_size(FIXED, FinetuneSettings(max_image_size=159), 64) == 128
    assert size_arguments(FIXED, 160) == {}
    assert size_arguments(FIXED, 128) == {"img_size": 128}
    built = replace(FIXED, create_kwargs=(("img_size", 96),), input_size=96)
    assert size_arguments(built, 96) == {}
    assert size_arguments(built, 64) == {"img_size": 64}


def test_sides_are_multiples_of_the_patch() -> None:
    card = replace(FIXED, timm_name="vit_tiny_r_s16_p8_224", input_size=224)
    assert input_size(card, FinetuneSettings(max_image_size=130)) == 128
    fourteen = replace(FIXED, timm_name="vit_small_patch14_dinov2", input_size=518)
    assert input_size(fourteen, FinetuneSettings(max_image_size=128)) == 126


def test_a_model_that_cannot_change_keeps_its_size_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    tnt = ModelCard("stiff", "test_resnet", "f", 1.0, input_size=160, fixed_input_size=True)  # no img_size
    for _ in range(2):
        assert input_size(tnt, FinetuneSettings(max_image_size=100)) == 160
    assert [record.getMessage() for record in caplog.records] == [
        "stiff keeps its 160 pixels: timm cannot build it for at most 100."
    ]
    assert not takes(tnt, 96)


@pytest.mark.parametrize("card", [FIXED, VOLO, SWIN], ids=lambda card: card.name)
def test_bounded_models_start_from_resampled_weights(card: ModelCard, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = timm.create_model(card.timm_name, num_classes=1000).eval()
    save_file(whole.state_dict(), tmp_path / f"{card.timm_name}.safetensors")
    side = input_size(card, FinetuneSettings(max_image_size=130))
    assert side == 128
    model = create_model(card, 3, weights_dir=tmp_path, **size_arguments(card, side)).eval()
    assert model(torch.zeros(1, 3, side, side)).shape == (1, 3)
    ours, theirs = model.state_dict(), whole.state_dict()
    changed = {name for name in ours if ours[name].shape != theirs[name].shape}
    assert all("pos_embed" in name or "head" in name or "position" in name for name in changed)
    for name in ours.keys() - changed:
        assert torch.equal(ours[name], theirs[name]) or "head" in name, name
    if card is VOLO:
        grid = functional.interpolate(
            whole.pos_embed.permute(0, 3, 1, 2), (8, 8), mode="bicubic", antialias=True
        )
        torch.testing.assert_close(model.pos_embed, grid.permute(0, 2, 3, 1))


def test_weights_that_timm_fetches_but_cannot_resample_are_taken_from_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.safetensors"
    save_file(timm.create_model("test_vit", num_classes=1000).state_dict(), file)
    build, calls = timm.create_model, []

    def fetch(name: str, pretrained: bool = False, **kwargs: Any) -> torch.nn.Module:
        calls.append(pretrained)
        if pretrained:
            raise RuntimeError("size mismatch for pos_embed")
        return build(name, **kwargs)

    monkeypatch.setattr(timm, "create_model", fetch)
    monkeypatch.setattr("qtt.hub.weights._require_network", lambda: None)
    monkeypatch.setattr("qtt.hub.weights.in_hugging_face_cache", lambda card: file if calls else None)
    model = create_model(FIXED, 3, img_size=64)
    assert calls == [True, False]
    assert model.patch_embed.img_size == (64, 64)


SMALL = ("xcit_nano_12_p8_384_dist", "deit3_small_patch16_384_in21ft1k", "tf_efficientnet_b7_ns", "dla46x_c")


@pytest.mark.parametrize("cards", [SMALL, pytest.param(None, marks=pytest.mark.slow)], ids=["some", "all"])
def test_every_model_of_table_4_runs_at_128(cards: tuple[str, ...] | None) -> None:
    hub = load_hub("table4")
    settings = FinetuneSettings(max_image_size=128)
    for card in [hub[name] for name in cards] if cards else hub.cards:
        side = input_size(card, settings, 200)
        assert side == 128, card.name
        with torch.device("meta"), torch.no_grad():
            model = timm.create_model(card.timm_name, num_classes=7, **size_arguments(card, side)).eval()
            assert model(torch.empty(1, 3, side, side)).shape == (1, 7), card.name


def test_training_builds_the_bounded_model_and_leaves_its_weights(
    make_task: Callable[..., TaskInfo], tmp_path: Path
) -> None:
    card = replace(
        make_card("test_vit"), input_size=64, fixed_input_size=True, create_kwargs=(("img_size", 64),)
    )
    task = make_task(models=(card,), settings={"max_image_size": 32})
    settings = FinetuneSettings.from_mapping(task.settings)
    recipe = Recipe("test_vit")
    assert build_network(recipe, settings, task, 0).patch_embed.img_size == (32, 32)
    (result,) = finetune_script(Trial(0, {"model": "test_vit", "batch_size": 8}, 1), task)
    assert np.isfinite(result.score)
    (weights,) = (tmp_path / "pipelines").rglob("weights-*.safetensors")
    assert load_file(weights)["pos_embed"].shape[1] == 1 + (32 // 16) ** 2  # a token, and patches
