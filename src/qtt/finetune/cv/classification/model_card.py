"""The model card of an exported network: what it is, where it comes from, how to load it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qtt.finetune.cv.classification.decoding import FILTERS
from qtt.finetune.cv.classification.provenance import weights_source
from qtt.runs.kept_models import KeptModel
from qtt.runs.record import RunRecord
from qtt.statistics.scores import TITLES
from qtt.support.plain_text import plain
from qtt.types import ACCURACY, ModelCard

LISTED = 100
"""Class names that the card lists."""

ROWS = 15
"""Epochs that the table of the learning curve shows."""


@dataclass(frozen=True)
class CardFacts:
    """What the card says beside what the run says.

    size: side of the images in pixels. parameters: of the network. test: figures on the test split.
    timm_agreement: how near timm's own preparation comes, in words; None: not measured.
    onnx: what the ONNX file differs by, in words; None: there is none.
    """

    model: KeptModel
    record: RunRecord
    size: int
    parameters: int
    test: Mapping[str, float]
    timm_agreement: str | None
    onnx: str | None


def card_text(facts: CardFacts) -> str:
    """The card in Markdown; nothing is in it that is not known."""
    card = facts.model.card
    assert card is not None
    parts = [
        _head(facts, card),
        _loading(facts, card),
        _data(facts),
        _figures(facts),
        _curve(facts),
        _pipeline(facts),
        _pretraining(facts, card),
        _versions(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _head(facts: CardFacts, card: ModelCard) -> str:
    dataset, classes = _name(facts.record.task.path.name), len(facts.model.class_names)
    return f"""---
library_name: timm
pipeline_tag: image-classification
tags: [image-classification, timm]
---

# {card.timm_name.partition(".")[0]} finetuned on {dataset}

An image classifier of {classes} classes with {facts.parameters / 1e6:.2f} million parameters, for images of
{facts.size} × {facts.size} pixels. Model and finetuning strategy were found by a search with qtt."""


def _loading(facts: CardFacts, card: ModelCard) -> str:
    known = card.interpolation if card.interpolation in FILTERS else "bicubic"
    shared = {"size": facts.size, "filter": known.upper(), "top": min(3, len(facts.model.class_names))}
    near = "" if facts.timm_agreement is None else f": {facts.timm_agreement}"
    sections = [
        "## Use",
        "With [timm](https://github.com/huggingface/pytorch-image-models), from this folder:",
        _code(_TIMM.format(**shared)),
        "`draft` and `fit` prepare an image as in training and validation: JPEGs decoded at the nearest "
        "larger scale, turned upright as EXIF data say, then the middle square resized. timm's transform "
        "alone, of upright images, resizes before it crops, which changes outputs, for large JPEGs "
        f"most{near}.",
    ]
    if facts.onnx is not None:
        sections += [
            "With ONNX Runtime and without PyTorch:",
            _code(_ONNX.format(**shared)),
            f"Outputs of `model.onnx` differ from PyTorch's by at most {facts.onnx}.",
        ]
    sections.append("With qtt, where the folder of the search is:")
    where = {"run_dir": json.dumps(str(facts.record.path)), "name": json.dumps(facts.model.name)}
    sections.append(_code(_QTT.format(**where, top=shared["top"])))
    return "\n\n".join(sections)


_TIMM = """import timm
import torch
from PIL import Image, ImageOps

model = timm.create_model("local-dir:.", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
image = Image.open("image.jpg")
image.draft("RGB", ({size}, {size}))
image = ImageOps.exif_transpose(image).convert("RGB")
image = ImageOps.fit(image, ({size}, {size}), Image.Resampling.{filter})
with torch.inference_mode():
    probabilities = model(transform(image).unsqueeze(0)).softmax(1)[0]
for index in probabilities.topk({top}).indices.tolist():
    print(model.pretrained_cfg["label_names"][index], f"{{probabilities[index]:.4f}}")"""

_ONNX = """import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("model.onnx")
facts = session.get_modelmeta().custom_metadata_map
image = Image.open("image.jpg")
image.draft("RGB", ({size}, {size}))
image = ImageOps.exif_transpose(image).convert("RGB")
image = ImageOps.fit(image, ({size}, {size}), Image.Resampling.{filter})
pixels = (np.asarray(image) / 255 - json.loads(facts["mean"])) / json.loads(facts["std"])
(logits,) = session.run(["logits"], {{"images": pixels.transpose(2, 0, 1)[None].astype(np.float32)}})
probabilities = np.exp(logits[0] - logits[0].max())
probabilities /= probabilities.sum()
for index in np.argsort(-probabilities)[:{top}]:
    print(json.loads(facts["class_names"])[index], f"{{probabilities[index]:.4f}}")"""

_QTT = """import qtt

predictor = qtt.load_predictor({run_dir}, {name})
print(predictor.predict("image.jpg").top({top}))"""


def _data(facts: CardFacts) -> str:
    task = facts.record.task
    names = facts.model.class_names
    listed = ", ".join(f"`{_name(name)}`" for name in names[:LISTED])
    more = f", … ({len(names)})" if len(names) > LISTED else ""
    rows = [
        ("dataset", task.path.name),
        ("contents", task.dataset),
        ("test images", facts.test.get("images")),
    ]
    if task.image_size:
        rows.append(("median shorter side", f"{task.image_size} pixels"))
    return f"## Data\n\n{_table(('', ''), rows)}\n\nClasses, in the order of the outputs: {listed}{more}."


def _figures(facts: CardFacts) -> str:
    model = facts.model
    rows = [("validation", _metric(facts), f"{model.score:.4f}")]
    rows += [("test", name, f"{value:.4f}") for name, value in facts.test.items() if name != "images"]
    text = "Validation images chose this network and its epoch, and so flatter it."
    if facts.test:
        text += f" The {facts.test['images']:.0f} test images chose nothing."
    else:
        text += " There are no figures on test images."
    return f"## Figures\n\n{_table(('images', 'figure', 'value'), rows)}\n\n{text}"


def _curve(facts: CardFacts) -> str:
    seen = learning_curve(facts.record, facts.model.config_id)
    shown = _some(sorted(seen), ROWS, facts.model.fidelity)
    rows = [
        (f"{epoch}{' (these weights)' * (epoch == facts.model.fidelity)}", f"{seen[epoch]:.4f}")
        for epoch in shown
    ]
    left = f" {len(shown)} of {len(seen)} epochs." if len(shown) < len(seen) else ""
    return f"## Learning curve\n\n{_table(('epoch', f'validation {_metric(facts)}'), rows)}" + left


def _metric(facts: CardFacts) -> str:
    """What a score of the search is."""
    metric = facts.record.task.metric
    return "top-1 accuracy" if metric == ACCURACY else TITLES.get(metric, metric)


def learning_curve(record: RunRecord, config_id: int) -> dict[int, float]:
    """Scores of a pipeline by epoch, in the search and in later finetuning."""
    results = (entry.result for entry in (*record.entries, *record.finetuning))
    return {r.fidelity: r.score for r in results if r.config_id == config_id and r.succeeded}


def _some(epochs: Sequence[int], count: int, kept: int) -> list[int]:
    """Epochs from all over a curve, the first, the last and the kept one among them."""
    if len(epochs) <= count:
        return list(epochs)
    step = (len(epochs) - 1) / (count - 2)
    chosen = {epochs[round(place * step)] for place in range(count - 1)}
    return sorted(chosen | ({kept} & set(epochs)))


def _pipeline(facts: CardFacts) -> str:
    rows = [("epochs trained", facts.model.fidelity), *facts.model.config.items()]
    return f"## Pipeline\n\nPipeline {facts.model.config_id} of the search.\n\n{_table(('', ''), rows)}"


def _pretraining(facts: CardFacts, card: ModelCard) -> str:
    pretrained = bool(facts.record.task.settings.get("pretrained", True))
    folder = facts.record.settings.get("weights_dir")
    lines = weights_source(card, pretrained, None if folder is None else Path(folder))
    return "## Pretrained weights\n\n" + "\n".join(f"- {plain(line)}" for line in lines)


def _versions(facts: CardFacts) -> str:
    environment: dict[str, Any] = dict(facts.record.environment)
    rows = [("seed", facts.record.task.seed), ("python", environment.get("python"))]
    rows += [(name, found) for name, found in environment.get("packages", {}).items()]
    rows.append(("exported with", f"timm {version('timm')}, torch {version('torch')}"))
    return f"## Seed and versions\n\n{_table(('', ''), rows)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table without the rows whose last value is not known."""
    lines = [head, ["---"] * len(head), *(row for row in rows if row[-1] is not None)]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: object) -> str:
    return plain(str(value).replace("\n", " ")).replace("|", "\\|")


def _name(text: str) -> str:
    """A name of a folder or class, that ends neither its line nor its quotation marks."""
    return plain(text).replace("`", "'")


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
