"""Finetuning by this project against linear probing by scikit-learn, with the same pretrained weights.

    python experiments/finetune_vs_probe/run.py --shared ../shared/data --out results.csv
    python experiments/finetune_vs_probe/run.py --out results.csv --table

Runs found in the results are not repeated. Every choice (of C, epoch, pipeline, size) is made on validation.
"""

import argparse
import logging
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from by_hand import PIPELINES, settings
from comparison import KEY, PROBE, Run, append_run, every_method, is_done, read_runs, summary
from numpy.typing import NDArray
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from qtt.data.image_folder import ImageFolder, Sample, scan_image_folder
from qtt.evaluation.memory import keep_memory
from qtt.finetune.cv.classification import finetune_script
from qtt.finetune.cv.classification.cache import decode
from qtt.hub.model_hub import load_hub
from qtt.hub.weights import create_model
from qtt.types import ModelCard, TaskInfo, Trial

LOG = logging.getLogger("finetune_vs_probe")
DATASETS = ("trashnet", "dtd", "gtsrb43")
MODELS = ("tf_mobilenetv3_small_100", "mobilenetv2_100", "mobilenetv1_100")
BATCH = 64
STRENGTHS = tuple(10.0**power for power in range(-5, 3))
"""C of the logistic regression: inverse strengths of its regularisation."""

Labelled = tuple[Tensor, NDArray[np.int64]]
"""Images (n, 3, s, s) uint8 and labels (n,)."""


def load_images(samples: tuple[Sample, ...], card: ModelCard, size: int) -> Labelled:
    """A split's images as a model sees them at evaluation, before they are normalised."""
    pixels = np.stack([decode(path, size, card.interpolation) for path, _ in samples])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), np.array([label for _, label in samples])


@torch.inference_mode()
def outputs(function: Callable[[Tensor], Tensor], images: Tensor, card: ModelCard) -> NDArray[np.float32]:
    """`function` of normalised images (n, 3, s, s), in batches."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (card.mean, card.std))
    parts = [function((part.float() / 255 - mean) / std) for part in torch.split(images, BATCH)]
    found: NDArray[np.float32] = torch.cat(parts).numpy()
    return found


def extractor(network: Any) -> Callable[[Tensor], Tensor]:
    """The pretrained features (b, d) that the classifier would get."""
    network.eval()
    return lambda x: network.forward_head(network.forward_features(x), pre_logits=True)


def probe(
    features: dict[str, NDArray[np.float32]], labels: dict[str, NDArray[np.int64]]
) -> tuple[float, float, float]:
    """C, validation and test accuracy of the logistic regression that does best on validation.

    Features are standardised by the training split; among equals the strongest regularisation wins.
    """
    best = (0.0, -1.0, 0.0)
    for strength in STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))
        model.fit(features["train"], labels["train"])
        val = model.score(features["val"], labels["val"])
        if val > best[1]:
            best = strength, val, model.score(features["test"], labels["test"])
    return best


def run_probe(folder: ImageFolder, card: ModelCard, size: int, weights: Path) -> tuple[float, float, float]:
    """What `probe` finds with the features of images of `size` pixels."""
    splits = {part: load_images(getattr(folder, part), card, size) for part in ("train", "val", "test")}
    function = extractor(create_model(card, len(folder.class_names), weights_dir=weights))
    features = {part: outputs(function, images, card) for part, (images, _) in splits.items()}
    return probe(features, {part: labels for part, (_, labels) in splits.items()})


def finetuned(task: TaskInfo, config: dict[str, Any], epochs: int) -> tuple[nn.Module, int, float]:
    """The network after the epoch with the best validation accuracy, that epoch, and that accuracy."""
    results = list(finetune_script(Trial(0, config, epochs), task))
    best = max(results, key=lambda result: (result.score, -result.fidelity))
    path = task.weights_file(0, best.fidelity)
    assert path is not None
    network = create_model(task.card(config["model"]), task.num_classes, pretrained=False)
    network.load_state_dict(load_file(path))
    return network.eval(), best.fidelity, best.score


def run_finetuning(
    folder: ImageFolder, card: ModelCard, method: str, options: argparse.Namespace
) -> tuple[float, float, float]:
    """Epoch, validation and test accuracy of a pipeline, trained by the project's own objective."""
    with TemporaryDirectory() as work:
        task = TaskInfo(
            folder.root,
            folder.class_names,
            seed=options.seed,
            work_dir=Path(work),
            models=(card,),
            weights_dir=options.shared / "weights",
            settings=settings(folder.root.name, options.image_size),
        )
        network, epoch, val = finetuned(task, PIPELINES[method] | {"model": card.name}, options.epochs)
    images, labels = load_images(folder.test, card, options.image_size)
    return epoch, val, float((outputs(network, images, card).argmax(1) == labels).mean())


def run_missing(options: argparse.Namespace) -> None:
    """Run what the results lack, all models and datasets of a method before the next method."""
    cards = load_hub("folder", options.models, options.shared / "weights")
    for method, dataset, card in product(options.methods, options.datasets, cards):
        size, seed, epochs = options.image_size, options.seed, options.epochs
        if method == PROBE:
            seed = epochs = 0
        key = dict(zip(KEY, (dataset, card.name, method, size, seed, epochs), strict=True))
        if is_done(options.out, **key):
            continue
        started = time.process_time()
        folder = scan_image_folder(options.shared / "images" / dataset, 0.2, 0)
        if method == PROBE:
            chosen, val, test = run_probe(folder, card, size, options.shared / "weights")
        else:
            chosen, val, test = run_finetuning(folder, card, method, options)
        seconds = round(time.process_time() - started, 1)
        append_run(
            options.out, Run(**key, chosen=chosen, val_accuracy=val, test_accuracy=test, cpu_seconds=seconds)
        )
        LOG.info("%s %s %s %d: test accuracy %.3f", dataset, card.name, method, seed, test)


def main() -> None:
    """Parse the command line; run what the results do not hold yet, or only print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shared", type=Path, default=Path("../shared/data"), help="folder with images/ and weights/"
    )
    parser.add_argument("--out", type=Path, required=True, help="CSV of the results")
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--methods", nargs="+", choices=(PROBE, *PIPELINES), default=[PROBE, *PIPELINES])
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0, help="of finetuning; the probe has no chance in it")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only print the Markdown tables")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    keep_memory()
    if not options.table:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        run_missing(options)
    runs = read_runs(options.out)
    LOG.info("\n%s\n\n%s", summary(runs), every_method(runs))


if __name__ == "__main__":
    main()
