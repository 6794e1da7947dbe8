"""Kept networks as predictors: the same preparation as in validation, whatever the images are."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from images import CLASSES
from kept_runs import SIDE
from qtt.errors import ConfigError, DatasetError
from qtt.finetune.cv.classification.decoding import decode
from qtt.finetune.cv.classification.inference import predictions
from qtt.finetune.cv.classification.predictor import ImagePredictor, list_images, load_predictor
from qtt.runs.record import RunRecord
from qtt.support.files import read_json, write_json

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (90, 70, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (60, 75), dtype=np.uint8)


@pytest.fixture
def run(kept_run: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(kept_run, tmp_path / "run"))


def _names(run: Path) -> list[str]:
    return [model.name for model in RunRecord.load(run).kept()]


def test_validation_images_get_the_probabilities_of_validation(kept_run: Path) -> None:
    record = RunRecord.load(kept_run)
    for model in record.kept():
        expected = predictions(model, record.task)
        assert expected is not None
        found = load_predictor(kept_run, model.name).predict(list(expected.paths))
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)
        hits = [
            CLASSES.index(name) == label for name, label in zip(found.classes, expected.labels, strict=True)
        ]
        assert np.mean(hits) == pytest.approx(model.score)


def _expected(predictor: ImagePredictor, path: Path) -> np.ndarray:
    """By hand: decoded, normalised, through the network."""
    card = predictor.classifier.card
    pixels = decode(path, SIDE, card.interpolation) / 255
    inputs = (torch.tensor(pixels) - torch.tensor(card.mean)) / torch.tensor(card.std)
    with torch.no_grad():
        logits = predictor.classifier.network(inputs.permute(2, 0, 1)[None].float())
    return logits.softmax(1)[0].numpy()


def _write(kind: str, path: Path) -> Path:
    exif = Image.Exif()
    exif[274] = 6
    path = path / kind
    if kind == "grey.png":
        Image.fromarray(GREY).save(path)
    elif kind == "grey_16.png":
        Image.fromarray(GREY.astype(np.uint16) * 257).save(path)
    elif kind == "rgba.png":
        Image.fromarray(np.dstack([COLOURS, COLOURS[..., 0]])).save(path)
    elif kind.startswith("turned"):
        Image.fromarray(COLOURS).save(path, exif=exif)
    else:
        Image.fromarray(GREY).convert("P").save(path)
    return path


@pytest.mark.parametrize(
    "kind", ["grey.png", "grey_16.png", "rgba.png", "turned.png", "turned.jpg", "palette.png"]
)
def test_every_kind_of_image_is_prepared_as_in_training(kind: str, kept_run: Path, tmp_path: Path) -> None:
    path = _write(kind, tmp_path)
    predictor = load_predictor(kept_run)
    expected = _expected(predictor, path)
    np.testing.assert_allclose(predictor.predict(path).probabilities[0], expected, atol=1e-6)
    with Image.open(path) as image:
        before = image.mode, image.size
        opened = predictor.predict([image, image])
        assert (image.mode, image.size) == before
        assert image.getexif().get(274) == (6 if "turned" in kind else None)
    np.testing.assert_allclose(opened.probabilities, [expected, expected], atol=1e-6)
    assert opened.paths == (None, None)


def test_arrays_are_images(kept_run: Path, tmp_path: Path) -> None:
    predictor = load_predictor(kept_run)
    Image.fromarray(COLOURS).save(tmp_path / "c.png")
    Image.fromarray(GREY).save(tmp_path / "g.png")
    expected = predictor.predict([tmp_path / "c.png", tmp_path / "g.png"]).probabilities
    several = [COLOURS, GREY, GREY[..., None], np.dstack([COLOURS, COLOURS[..., 0]])]
    found = predictor.predict(several).probabilities
    np.testing.assert_allclose(found, expected[[0, 1, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(predictor.predict(COLOURS).probabilities, expected[:1], atol=1e-6)
    np.testing.assert_allclose(
        predictor.predict(np.stack([COLOURS, COLOURS])).probabilities, expected[[0, 0]], atol=1e-6
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (COLOURS.astype(np.float32), r"array \(90, 70, 3\) of float32"),
        (np.zeros((4, 4, 2), np.uint8), r"array \(4, 4, 2\) of uint8"),
        (np.zeros((0, 4, 3), np.uint8), r"array \(0, 4, 3\)"),
        (7, "it is a int"),
    ],
)
def test_what_is_no_image_is_named(source: object, words: str, kept_run: Path) -> None:
    with pytest.raises(DatasetError, match=f"Image number 1 of those given cannot be read: .*{words}"):
        load_predictor(kept_run).predict([COLOURS, source])  # type: ignore[list-item]


def test_folders_are_searched_and_damaged_images_skipped_on_demand(kept_run: Path, tmp_path: Path) -> None:
    shutil.copytree(RunRecord.load(kept_run).task.path / "test", tmp_path / "new")
    (tmp_path / "new" / "amber" / "001.png").write_bytes(b"no image")
    predictor = load_predictor(kept_run)
    with pytest.raises(DatasetError, match=r"001\.png cannot be read: "):
        predictor.predict(tmp_path / "new")
    found = predictor.predict(str(tmp_path / "new"), skip_unreadable=True)
    assert len(found) == 14
    assert found.positions.tolist() == [0, *range(2, 15)]
    assert found.paths[1] == tmp_path / "new" / "amber" / "002.png"
    (left_out,) = found.unreadable
    assert (left_out.position, left_out.path) == (1, tmp_path / "new" / "amber" / "001.png")
    frame = found.to_frame(top=2)
    assert list(frame.columns) == ["path", "class", "probability", "class_2", "probability_2"]
    assert list(frame.index) == found.positions.tolist()
    assert list(frame["class"]) == found.classes


def test_many_images_come_in_batches_and_in_order(kept_run: Path) -> None:
    predictor = load_predictor(kept_run)
    images = [RNG.integers(0, 256, (50, 50, 3), dtype=np.uint8) for _ in range(150)]
    parts = list(predictor.stream(images))
    assert [len(part) for part in parts] == [64, 64, 22]
    one_by_one = np.concatenate([predictor.predict(images[i]).probabilities for i in (0, 63, 64, 149)])
    together = predictor.predict(images)
    np.testing.assert_allclose(together.probabilities[[0, 63, 64, 149]], one_by_one, atol=1e-6)
    assert together.positions.tolist() == list(range(150))


def test_the_most_probable_classes_come_first(kept_run: Path) -> None:
    found = load_predictor(kept_run).predict([COLOURS, GREY])
    for row, best in zip(found.probabilities, found.top(3), strict=True):
        assert [name for name, _ in best] == [CLASSES[i] for i in np.argsort(-row)]
        assert [value for _, value in best] == pytest.approx(sorted(row.tolist(), reverse=True))
    assert [best[0][0] for best in found.top(1)] == found.classes
    for k in (0, 4):
        with pytest.raises(ConfigError, match=f"3 classes; the top {k}"):
            found.top(k)


def test_networks_are_chosen_by_name_or_id(kept_run: Path) -> None:
    kept = RunRecord.load(kept_run).kept()
    assert load_predictor(kept_run).kept == kept[0]
    assert load_predictor(kept_run, "incumbent").kept.name == "incumbent"
    for config_id in (0, 1, 2):
        best = next(model for model in kept if model.config_id == config_id)
        assert load_predictor(kept_run, config_id).kept == best
        assert load_predictor(kept_run, str(config_id)).kept == best
    with pytest.raises(ConfigError, match=r"Unknown network '17'.* keeps best, .*incumbent"):
        load_predictor(kept_run, 17)
    with pytest.raises(ConfigError, match="Did you mean 'incumbent'"):
        load_predictor(kept_run, "incumbant")


def test_without_a_kept_network_there_is_nothing_to_load(run: Path) -> None:
    for name in _names(run):
        (run / name / "weights.safetensors").unlink()
    with pytest.raises(ConfigError, match="holds no trained network"):
        load_predictor(run)
    with pytest.raises(ConfigError, match=r"There is no folder .*gone\. A run folder has"):
        load_predictor(run / "gone")


def test_the_dataset_may_be_gone(run: Path) -> None:
    task = read_json(run / "task.json")
    expected = load_predictor(run).predict(COLOURS).probabilities
    write_json(run / "task.json", task | {"path": "/gone"})
    np.testing.assert_array_equal(load_predictor(run).predict(COLOURS).probabilities, expected)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _another(path: Path) -> None:
    state = load_file(path)
    save_file(dict(list(state.items())[1:]), path)


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def _nothing(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut, _another, _nothing, _flipped])
def test_weights_that_were_not_kept_are_not_used(damage: Callable[[Path], None], run: Path) -> None:
    damage(run / _names(run)[0] / "weights.safetensors")
    with pytest.raises(ConfigError, match=r"weights\.safetensors is not the file that was kept"):
        load_predictor(run)


@pytest.mark.parametrize("damage", [_cut, _another, _nothing])
def test_damaged_weights_of_earlier_versions_are_named(damage: Callable[[Path], None], run: Path) -> None:
    folder = run / _names(run)[0]
    facts = read_json(folder / "model.json")
    del facts["sha256"]
    write_json(folder / "model.json", facts)
    load_predictor(run)
    damage(folder / "weights.safetensors")
    with pytest.raises(ConfigError, match=r"weights\.safetensors cannot be loaded into test_"):
        load_predictor(run)


def test_weights_that_are_no_numbers_are_named(run: Path) -> None:
    folder = run / _names(run)[0]
    state = load_file(folder / "weights.safetensors")
    name = next(name for name, tensor in state.items() if tensor.is_floating_point())
    save_file(state | {name: torch.full_like(state[name], torch.nan)}, folder / "weights.safetensors")
    write_json(folder / "model.json", read_json(folder / "model.json") | {"sha256": None})
    with pytest.raises(ConfigError, match=f"numbers that are none .* in {name}"):
        load_predictor(run)


def test_a_network_of_a_users_objective_cannot_classify(run: Path) -> None:
    name = _names(run)[0]
    facts = read_json(run / name / "model.json")
    write_json(run / name / "model.json", facts | {"card": None})
    with pytest.raises(ConfigError, match="holds no network of a model hub"):
        load_predictor(run, name)


def test_nothing_is_no_images(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no images to classify"):
        list_images([])
    with pytest.raises(DatasetError, match="holds no images"):
        list_images(tmp_path)
