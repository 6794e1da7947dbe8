"""The generator of the hub `tiny` and the weights that ship with it."""

import hashlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

SCRIPTS = Path(__file__).parents[2] / "experiments" / "tiny_hub"
WEIGHTS = Path(__file__).parents[2] / "src" / "qtt" / "pretrained" / "tiny"
SIDECARS = sorted(WEIGHTS.glob("*.json"))


def small_world(scenes: ModuleType, seed: int = 3):
    return scenes.make_world(
        seed, num_systems=6, num_contours=3, num_glyphs=3, num_textures=4, num_palettes=3
    )


def test_the_same_seed_draws_the_same_scenes(load):
    scenes = load("scenes")
    first, second, other = (
        scenes.draw(np.random.default_rng(seed), small_world(scenes), 24, 40) for seed in (5, 5, 6)
    )
    assert np.array_equal(first.images, second.images)
    assert np.array_equal(first.labels, second.labels)
    assert not np.array_equal(first.images, other.images)


def test_scenes_have_the_promised_shapes_and_labels(load):
    scenes = load("scenes")
    world = small_world(scenes)
    drawn = scenes.draw(np.random.default_rng(0), world, 200, 40)
    assert drawn.images.shape == (200, 40, 40, 3)
    assert drawn.images.dtype == np.uint8
    assert world.class_counts == (12, 4, 3)
    for column, count in enumerate(world.class_counts):
        assert set(np.unique(drawn.labels[:, column])) == set(range(-1, count))
    assert (drawn.labels[:, :2] >= 0).any(1).all(), "every scene shows a shape or a texture"
    assert (drawn.images.reshape(200, -1).std(1) > 2).all(), "no scene is empty"


def test_maps_contract_by_their_largest_singular_value(load):
    fractals = load("fractals")
    systems = fractals.propose(np.random.default_rng(0), 200)
    norms = np.linalg.norm(fractals.matrices(systems), ord=2, axis=(-2, -1))
    assert norms.max() < 1
    assert np.allclose(norms, np.abs(systems.scales).max(-1), atol=1e-5)
    jittered = systems.jittered(np.random.default_rng(1), 0.5)
    assert np.linalg.norm(fractals.matrices(jittered), ord=2, axis=(-2, -1)).max() < 1
    with pytest.raises(ValueError, match="contraction"):
        fractals.Systems(systems.angles, systems.scales * 3, systems.shifts, systems.weights)


def test_attractors_stay_inside_the_ball_that_contraction_implies(load):
    fractals = load("fractals")
    systems = fractals.propose(np.random.default_rng(0), 50)
    points, colours = fractals.chaos_game(np.random.default_rng(1), systems, particles=64, steps=10)
    radius = np.linalg.norm(systems.shifts, axis=-1).max(-1) / (1 - np.abs(systems.scales).max((-1, -2)))
    assert (np.linalg.norm(points, axis=-1).max(-1) <= radius + 1e-4).all()
    assert ((colours >= 0) & (colours <= 1)).all()


def test_the_chaos_game_draws_the_sierpinski_triangle(load):
    fractals = load("fractals")
    corners = np.zeros((1, 6, 2), np.float32)
    corners[0, :3] = [[0, 0], [0.5, 0], [0, 0.5]]
    weights = np.array([[1, 1, 1, 0, 0, 0]], np.float32) / 3
    systems = fractals.Systems(np.zeros((1, 6, 2)), np.full((1, 6, 2), 0.5), corners, weights)
    points, _ = fractals.chaos_game(np.random.default_rng(0), systems, particles=400, steps=20, burn_in=20)
    x, y = points[0].T
    assert points.min() >= 0 and (x + y).max() <= 1 + 1e-5
    # With corners (0, 0), (1, 0), (0, 1) the points are those whose binary digits never are both 1.
    digits = (x * 256).astype(int) & (y * 256).astype(int)
    assert (digits == 0).mean() > 0.98
    assert np.allclose(points[0].mean(0), 1 / 3, atol=0.02)


def test_degenerate_systems_are_left_out(load):
    fractals = load("fractals")
    systems = fractals.sample_systems(np.random.default_rng(0), 20)
    assert len(systems) == 20
    points, _ = fractals.chaos_game(np.random.default_rng(9), systems)
    spread = fractals.normalised(points).std(1)
    assert (spread.max(-1) < 1).all() and (spread.max(-1) > 0.1).all()


def test_classes_differ_more_than_their_members(load):
    scenes, shapes = load("scenes"), load("shapes")
    world = small_world(scenes)
    pose = shapes.Pose(
        np.repeat(0.8 * np.eye(2, dtype=np.float32)[None], 12, 0), np.zeros((12, 2), np.float32)
    )
    renders = (
        (world.systems, shapes.fractal_masks, 6),
        (world.glyphs, shapes.glyph_masks, 3),
    )
    for family, render, count in renders:
        label = np.repeat(np.arange(count), 12 // count)
        masks = render(np.random.default_rng(0), family, label, pose, 24)[0].reshape(12, -1)
        similarity = np.corrcoef(masks)
        same = label[:, None] == label[None]
        own = similarity[same & ~np.eye(12, dtype=bool)].mean()
        assert own > similarity[~same].mean() + 0.2


def test_textures_follow_their_class_spectrum(load):
    textures = load("textures")
    classes = textures.Textures(
        frequency=np.array([[4.0, 4.0, 4.0], [12.0, 12.0, 12.0]]),
        angle=np.zeros((2, 3)),
        amplitude=np.ones((2, 3)),
        bandwidth=np.full((2, 3), 0.1),
        slope=np.ones(2),
        mix=np.ones(2),
        nonlinearity=np.zeros(2, np.int64),
        gain=np.ones(2),
    )
    fields = textures.render(np.random.default_rng(0), classes, np.array([0] * 20 + [1] * 20), 64)
    assert fields.min() >= 0 and fields.max() <= 1
    power = np.abs(np.fft.rfft2(fields - fields.mean((1, 2), keepdims=True))) ** 2
    ky = np.fft.fftfreq(64, 1 / 64)[:, None]
    kx = np.fft.rfftfreq(64, 1 / 64)[None]
    peak = np.hypot(kx, ky).ravel()[power.reshape(40, -1).argmax(1)]
    assert np.median(peak[:20]) == pytest.approx(4, abs=1)
    assert np.median(peak[20:]) == pytest.approx(12, abs=2.5)


def test_chunks_on_disk_equal_those_drawn_again(load, tmp_path, monkeypatch):
    imageset, scenes = load("imageset"), load("scenes")
    monkeypatch.setattr(imageset, "CHUNK", 8)
    monkeypatch.setattr(imageset, "SIDE", 24)
    world = small_world(scenes)
    monkeypatch.setattr(scenes, "make_world", lambda seed: world)
    first = imageset.load_or_draw(tmp_path, seed=1, count=20)
    assert len(first.images) == len(first.labels) == 24
    again = imageset.load_or_draw(tmp_path, seed=1, count=20)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(imageset.draw_chunk(world, 1, 2).images, first.images[16:])


def test_losses_leave_out_unlabelled_images(load):
    pretrain = load("pretrain")
    logits = torch.randn(6, 5 + 4 + 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, -1, 2], [4, 3, -1], [-1, 0, 1], [2, -1, -1], [-1, -1, 0], [1, 1, 1]])
    found = pretrain.task_losses(logits, labels, (5, 4, 3))
    for k, (first, count) in enumerate(((0, 5), (5, 4), (9, 3))):
        shown = labels[:, k] >= 0
        log_p = logits[shown, first : first + count].double().log_softmax(1)
        target = torch.full((int(shown.sum()), count), pretrain.SMOOTHING / count, dtype=torch.float64)
        target[torch.arange(len(target)), labels[shown, k]] += 1 - pretrain.SMOOTHING
        assert found[k].item() == pytest.approx(-(target * log_p).sum(1).mean().item(), rel=1e-5)


def test_an_interrupted_pretraining_ends_where_an_uninterrupted_one_does(load, tmp_path, monkeypatch):
    pretrain, imageset, scenes = load("pretrain"), load("imageset"), load("scenes")
    monkeypatch.setattr(pretrain, "HELD_OUT", 8)
    monkeypatch.setattr(pretrain, "CHECKPOINT_EVERY", 2)
    world = small_world(scenes)
    drawn = scenes.draw(np.random.default_rng(0), world, 40, 72)
    data = imageset.ImageSet(drawn.images, drawn.labels, world.class_counts)
    recipe = pretrain.Recipe(1e-3, 4 * pretrain.BATCH, widen=True, create_kwargs={"img_size": 64})
    whole = pretrain.train("test_vit", recipe, data, 0, tmp_path / "whole.pt", None)
    stop = monkeypatch.context()
    with stop as patch, pytest.raises(KeyboardInterrupt):
        original = torch.save

        def save_and_stop(*args):
            original(*args)
            raise KeyboardInterrupt

        patch.setattr(torch, "save", save_and_stop)
        pretrain.train("test_vit", recipe, data, 0, tmp_path / "cut.pt", None)
    resumed = pretrain.train("test_vit", recipe, data, 0, tmp_path / "cut.pt", None)
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    shipped = pretrain.shipped_state(whole, world.num_shapes)
    assert shipped["head.weight"].shape == (12, 64)
    assert torch.allclose(shipped["head.weight"].float(), whole.head.weight[:12], atol=1e-3)


def test_the_benefit_table_takes_the_rate_that_validates_best_on_the_first_seed(load):
    benefit = load("benefit")
    runs = [
        benefit.Run("m", "dtd", start, rate, seed, val, test, 1.0)
        for start, rate, seed, val, test in (
            ("scratch", 0.001, 0, 0.5, 0.1),
            ("scratch", 0.004, 0, 0.6, 0.2),
            ("scratch", 0.004, 1, 0.1, 0.4),
            ("pretrained", 0.001, 0, 0.9, 0.8),
            ("pretrained", 0.004, 0, 0.8, 0.9),
        )
    ]
    assert benefit.table(runs).splitlines()[-1] == "| m | 0.300 ± 0.141 | 0.800 |"


def test_the_hub_is_small_and_of_several_families():
    assert len(SIDECARS) >= 5
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) <= 8_000_000
    assert {path.stem for path in WEIGHTS.glob("*.safetensors")} == {path.stem for path in SIDECARS}


@pytest.mark.parametrize("path", SIDECARS, ids=lambda path: path.stem)
def test_weights_match_their_sidecar_and_load_strictly(path):
    card = json.loads(path.read_text(encoding="utf-8"))
    weights = path.with_suffix(".safetensors")
    assert card["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    state = load_file(weights)
    assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())
    model = timm.create_model(card["timm_name"], num_classes=card["num_classes"], **card["create_kwargs"])
    model.load_state_dict(
        {key: value.to(model.state_dict()[key].dtype) for key, value in state.items()}, strict=True
    )
    model.reset_classifier(7)
    assert model.eval()(torch.zeros(1, *card["input_size"])).shape == (1, 7)
    model.reset_classifier(0)
    assert sum(p.numel() for p in model.parameters()) == card["params"] <= 1_200_000
    assert card["licence"] == "Apache-2.0"
