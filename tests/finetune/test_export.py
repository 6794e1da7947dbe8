"""Exported networks: what others load gives what the network gives."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from images import CLASSES
from kept_runs import SIDE
from models import FAMILIES, TABLE4_FAMILIES, build, make_card, side
from qtt.errors import ConfigError
from qtt.finetune.cv.classification import export_model, onnx_export
from qtt.finetune.cv.classification.inference import Classifier
from qtt.finetune.cv.classification.onnx_export import write_onnx
from qtt.finetune.cv.classification.predictor import load_predictor
from qtt.finetune.cv.classification.timm_checkpoint import check_checkpoint, write_checkpoint
from qtt.runs.record import RunRecord
from qtt.support.files import read_json, write_json

NAMES = ["incumbent", 0, 1, 2]


@pytest.fixture
def run(kept_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept_run, tmp_path / "run"))


def _without_qtt(code: str, folder: Path) -> str:
    """What a Python prints that cannot import qtt."""
    (folder / "snippet.py").write_text(f"import sys\nsys.modules['qtt'] = None\n{code}\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "snippet.py"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def _snippets(folder: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (folder / "README.md").read_text(), re.MULTILINE | re.DOTALL)


ALL_IMAGES_BY_ALL_NETWORKS = """
import json, timm, torch
from PIL import Image
from pathlib import Path
paths = json.loads(Path("paths.json").read_text())
found = []
for name in ("incumbent", "0", "1", "2"):
    model = timm.create_model(f"local-dir:{name}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    images = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
    with torch.inference_mode():
        found.append(model(images).softmax(1).tolist())
print(json.dumps(found))
"""


def test_timm_gives_the_same_without_qtt(kept_run: Path, tmp_path: Path) -> None:
    paths = sorted((RunRecord.load(kept_run).task.path / "val").rglob("*.png"))
    (tmp_path / "paths.json").write_text(json.dumps([str(path) for path in paths]))
    exported = [export_model(kept_run, tmp_path / str(name), model=name, onnx=False) for name in NAMES]
    found = np.array(json.loads(_without_qtt(ALL_IMAGES_BY_ALL_NETWORKS, tmp_path)))
    for name, probabilities, done in zip(NAMES, found, exported, strict=True):
        expected = load_predictor(kept_run, name).predict(list(paths)).probabilities
        np.testing.assert_allclose(probabilities, expected, atol=1e-4)
        assert done.agreement is not None
        assert (done.agreement.images, done.agreement.same) == (21, 21)
        assert done.agreement.difference < 1e-4
        assert done.onnx_difference is None
        assert not (done.folder / "model.onnx").exists()


def test_the_cards_snippets_work_word_for_word(
    kept_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    export_model(kept_run, out, onnx=True)
    image = np.random.default_rng(1).integers(0, 256, (401, 623, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(image).save(out / "image.jpg", quality=95, exif=exif)
    (top,) = load_predictor(kept_run).predict(out / "image.jpg").top(3)
    timm_snippet, onnx_snippet, qtt_snippet = _snippets(out)
    for snippet in (timm_snippet, onnx_snippet):
        lines = [line.rsplit(" ", 1) for line in _without_qtt(snippet, out).splitlines()]
        assert {name for name, _ in lines} == set(CLASSES)
        for name, value in lines:
            assert float(value) == pytest.approx(dict(top)[name], abs=2e-4)
    monkeypatch.chdir(out)
    exec(qtt_snippet, {})
    assert capsys.readouterr().out == f"[{top}]\n"


def test_onnx_takes_any_batch_and_knows_its_classes(kept_run: Path, tmp_path: Path) -> None:
    import onnxruntime

    done = export_model(kept_run, tmp_path / "out", model=0, onnx=True)
    assert done.onnx_difference is not None and done.onnx_difference < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["class_names"]) == list(CLASSES)
    assert facts["image_size"] == str(SIDE)
    classifier = Classifier.of(done.model, RunRecord.load(kept_run).task, "cpu")
    for count in (1, 3, 70):
        images = torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8)
        inputs = classifier.normalized(images).contiguous()
        (found,) = session.run(None, {"images": inputs.numpy()})
        np.testing.assert_allclose(found, classifier.logits(images).numpy(), atol=1e-4)


@pytest.mark.parametrize("family", [*FAMILIES, *TABLE4_FAMILIES])
def test_every_family_can_be_loaded_by_timm(family: str, tmp_path: Path) -> None:
    card = make_card(family)
    network = build(family).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():  # some begin at zero, with which every network agrees
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    write_checkpoint(Classifier(network, card, side(family), CLASSES, "cpu"), tmp_path)
    inputs = torch.randn(2, 3, side(family), side(family))
    loaded: Any = check_checkpoint(network, inputs, tmp_path)
    assert loaded.pretrained_cfg["label_names"] == list(CLASSES)
    assert loaded.num_classes == 3
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.2)
    with pytest.raises(ConfigError, match="loaded by timm, differs by"):
        check_checkpoint(network, inputs, tmp_path)


def test_a_checkpoint_that_timm_cannot_build_is_named(tmp_path: Path) -> None:
    network = build("test_resnet").eval()
    card = replace(make_card("test_resnet"), timm_name="test_resnet", create_kwargs=(("patch_size", 1),))
    write_checkpoint(Classifier(network, card, 32, CLASSES, "cpu"), tmp_path)
    with pytest.raises(ConfigError, match="timm cannot load the checkpoint in"):
        check_checkpoint(network, torch.zeros(1, 3, 32, 32), tmp_path)


def test_the_older_exporter_takes_what_the_newer_one_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise RuntimeError("no graph\nof many lines")

    monkeypatch.setattr(onnx_export, "_export_graph", refuse)
    network, inputs = build("test_resnet").eval(), torch.randn(3, 3, 32, 32)
    assert write_onnx(network, inputs, tmp_path / "m.onnx", {"a": "b"}) < 1e-4
    assert (tmp_path / "m.onnx").is_file()
    monkeypatch.setattr(onnx_export, "_export_trace", refuse)
    with pytest.raises(
        ConfigError, match=r"ResNet cannot be written as ONNX \(RuntimeError: no graph; "
    ) as caught:
        write_onnx(network, inputs, tmp_path / "m.onnx", {})
    assert "--no-onnx" in str(caught.value)
    assert not (tmp_path / "m.onnx").exists()


class _Wrong(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images) + 0.01
        return logits


def test_an_onnx_file_that_computes_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = onnx_export._export_trace

    def wrong(network: nn.Module, example: torch.Tensor, path: Path) -> None:
        export(_Wrong(network).eval(), example, path)

    monkeypatch.setattr(onnx_export, "_export_graph", wrong)
    monkeypatch.setattr(onnx_export, "_export_trace", wrong)
    with pytest.raises(ConfigError, match=r"differs by 0\.01 from PyTorch's, more than 0\.0001"):
        write_onnx(build("test_resnet").eval(), torch.randn(2, 3, 32, 32), tmp_path / "m.onnx", {})
    assert not (tmp_path / "m.onnx").exists()


def test_missing_packages_are_named_before_anything_is_written(
    kept_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(ConfigError, match=r"ONNX needs onnxruntime: pip install 'qtt\[export\]'"):
        export_model(kept_run, tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()
    assert export_model(kept_run, tmp_path / "out").onnx_difference is None


def test_an_earlier_export_is_replaced_and_nothing_else(kept_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_model(kept_run, out, model=0, onnx=False)
    (out / "model.onnx").write_bytes(b"of the network before")
    export_model(kept_run, out, model=1, onnx=False)
    assert not (out / "model.onnx").exists()
    assert read_json(out / "config.json")["architecture"] == "test_vit"
    (out / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"holds other files \(thesis\.tex\)"):
        export_model(kept_run, out, onnx=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds other files \(README\.md\)"):
        export_model(kept_run, tmp_path / "mine", onnx=False)
    with pytest.raises(ConfigError, match="is a file"):
        export_model(kept_run, tmp_path / "mine" / "README.md", onnx=False)


def test_the_card_says_what_is_known(kept_run: Path, tmp_path: Path) -> None:
    record = RunRecord.load(kept_run)
    done = export_model(record, tmp_path / "out", model=0, onnx=False)
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: timm\n")
    assert "# test_resnet finetuned on colours" in card
    assert "`amber`, `blue`, `coral`" in card
    assert f"| validation | top-1 accuracy | {done.model.score:.4f} |" in card
    assert "| test | top-1 accuracy | " in card and "The 15 test images chose nothing." in card
    assert f"| {done.model.fidelity} (these weights) | {done.model.score:.4f} |" in card
    curve = card.partition("## Learning curve")[2].partition("##")[0]
    assert len(re.findall(r"^\| \d+", curve, re.MULTILINE)) == 6
    for name, value in done.model.config.items():
        assert f"| {name} | {value} |" in card
    assert "Trained from random weights, without pretraining." in card
    assert "| seed | 3 |" in card
    assert f"| torch | {torch.__version__.partition('+')[0]}" in card
    assert "onnx" not in card.lower()


def test_without_the_dataset_less_is_claimed(run: Path, tmp_path: Path) -> None:
    write_json(run / "task.json", read_json(run / "task.json") | {"path": "/gone/colours"})
    done = export_model(run, onnx=False)
    assert done.folder == run / "export"
    assert done.agreement is None
    assert done.images == "8 images of noise"
    card = (run / "export" / "README.md").read_text()
    assert "There are no figures on test images." in card
    assert "| test " not in card
    assert "same class" not in card
