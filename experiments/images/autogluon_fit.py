"""AutoGluon's MultiModalPredictor with the preset `medium_quality`, given the budget as its time limit.

It finetunes one network, here tf_efficientnet_lite0 as the plain finetune does, from a local folder instead
of a download. Everything else is AutoGluon's choice, but for 128 px, the network's own mean and std, 32 bits
on the CPU, and no processes that load images, for which one core has no use. It runs in an environment of its
own, without qtt. There is one point, when `fit` is over.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from autogluon.multimodal import MultiModalPredictor
from points import IMAGE_SIZE, Job, Point, answer, job_of, parser
from safetensors.torch import load_file

MODEL = "tf_efficientnet_lite0"
FEATURES = 1280
HEAD = "classifier."
PRESET = "medium_quality"


def fit(job: Job) -> Iterator[Point]:
    """The point of the finished predictor."""
    frames = {split: frame(job.images / split) for split in ("train", "val", "test")}
    predictor = MultiModalPredictor(
        label="label", problem_type="multiclass", eval_metric="accuracy", path=str(job.work / "predictor")
    )
    predictor.fit(
        frames["train"],
        tuning_data=frames["val"],
        presets=PRESET,
        time_limit=job.seconds,
        seed=job.seed,
        hyperparameters=settings(checkpoint(job.hub, job.work / MODEL)),
    )
    seconds = job.clock.seconds
    val, test = (predictor.evaluate(frames[split])["accuracy"] for split in ("val", "test"))
    yield Point(seconds, float(val), float(test), f"{MODEL} {PRESET}")


def frame(folder: Path) -> pd.DataFrame:
    """Files and classes of a split."""
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    return pd.DataFrame(
        {"image": [str(path) for path in files], "label": [path.parent.name for path in files]}
    )


def settings(network: Path) -> dict[str, Any]:
    """What is said to AutoGluon beyond its preset."""
    return {
        "model.names": ["timm_image"],
        "model.timm_image.checkpoint_name": str(network),
        "model.timm_image.image_size": IMAGE_SIZE,
        "model.timm_image.image_norm": "inception",
        "env.accelerator": "cpu",
        "env.precision": "32",
        "env.num_workers": 0,
        "env.num_workers_inference": 0,
    }


def checkpoint(hub: Path, folder: Path) -> Path:
    """The network as a folder that AutoGluon takes for a timm name; it wants no classifier in the weights."""
    facts = json.loads((hub / f"{MODEL}.json").read_text(encoding="utf-8"))
    state = load_file((hub / f"{MODEL}.safetensors").resolve())
    folder.mkdir(parents=True, exist_ok=True)
    body = {name: tensor for name, tensor in state.items() if not name.startswith(HEAD)}
    torch.save(body, folder / "pytorch_model.bin")
    size = [3, IMAGE_SIZE, IMAGE_SIZE]
    config = {
        "architecture": MODEL,
        "num_features": FEATURES,
        "num_classes": 0,
        "classifier": "classifier",
        "input_size": size,
        "test_input_size": facts["input_size"],
        **{name: facts[name] for name in ("mean", "std", "interpolation")},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


if __name__ == "__main__":
    answer(fit, job_of(parser(__doc__).parse_args()))
