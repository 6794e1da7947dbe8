"""What the weights of the hub `tiny` are worth: finetuning from them against training from scratch.

    python experiments/tiny_hub/benefit.py --weights src/qtt/pretrained/tiny --shared SHARED --out results
    python experiments/tiny_hub/benefit.py --out results --table

Both sides get the same epochs, batches and augmentation, and the better of two learning rates by the
validation accuracy of seed 0; the other seeds run at that rate. Runs found in the table are not repeated.
"""

import argparse
import csv
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

LOG = logging.getLogger("benefit")
SIDE, CROP = 72, 64
BATCH = 32
LEARNING_RATES = (1e-3, 4e-3)
DATASETS = ("digits", "neu_steel", "dtd", "flowers5")
STARTS = ("scratch", "pretrained")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Images (N, 3, 72, 72) uint8 and labels (N,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Run:
    """One row of the results."""

    model: str
    dataset: str
    start: str
    learning_rate: float
    seed: int
    val_accuracy: float
    test_accuracy: float
    seconds: float


def resized(image: Image.Image) -> Tensor:
    """A PIL image with its shorter side at 72 px, cropped to the centre: uint8 (3, 72, 72)."""
    scale = SIDE / min(image.size)
    width, height = (max(SIDE, round(length * scale)) for length in image.size)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    small = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small.crop((left, top, left + SIDE, top + SIDE)))).permute(2, 0, 1)


def load_digits_splits() -> dict[str, Split]:
    """scikit-learn's 1,797 digits: 500 to train on, 400 for validation, the rest for the test, stratified."""
    pixels, target = load_digits(return_X_y=True)
    images = torch.stack(
        [resized(Image.fromarray((row.reshape(8, 8) * 15.9).astype(np.uint8))) for row in pixels]
    )
    train, rest = train_test_split(np.arange(len(target)), train_size=500, stratify=target, random_state=0)
    val, test = train_test_split(rest, train_size=400, stratify=target[rest], random_state=0)
    labels = torch.from_numpy(target)
    return {
        name: Split(images[index], labels[index])
        for name, index in zip(SPLITS, (train, val, test), strict=True)
    }


def load_folder_splits(folder: Path) -> dict[str, Split]:
    """An image folder `{train,val,test}/<class>/*`."""
    classes = sorted(path.name for path in (folder / "train").iterdir())
    splits = {}
    for name in SPLITS:
        files = [
            (path, k) for k, label in enumerate(classes) for path in sorted((folder / name / label).iterdir())
        ]
        images = torch.stack([resized(Image.open(path)) for path, _ in files])
        splits[name] = Split(images, torch.tensor([k for _, k in files]))
    return splits


def load_splits(dataset: str, shared: Path) -> dict[str, Split]:
    """The splits of a dataset by its name."""
    return load_digits_splits() if dataset == "digits" else load_folder_splits(shared / "images" / dataset)


def to_input(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> float in -1...1, as the sidecars ask."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def batches(split: Split, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in random order, a batch cropped at one random place; a last, smaller batch is left out."""
    order = torch.randperm(len(split.labels), generator=generator)
    for index in torch.split(order, BATCH):
        if len(index) == BATCH:
            top, left = torch.randint(SIDE - CROP + 1, (2,), generator=generator).tolist()
            yield to_input(split.images[index, :, top : top + CROP, left : left + CROP]), split.labels[index]


@torch.no_grad()
def accuracy(model: nn.Module, split: Split) -> float:
    """Top-1 accuracy on centre crops."""
    model.eval()
    margin = (SIDE - CROP) // 2
    crops = split.images[:, :, margin : margin + CROP, margin : margin + CROP]
    predicted = torch.cat([model(to_input(part)).argmax(1) for part in torch.split(crops, 200)])
    return (predicted == split.labels).float().mean().item()


def build(sidecar: Path, start: str, classes: int) -> nn.Module:
    """The architecture of a sidecar with random or with pretrained weights and a new classifier."""
    card = json.loads(sidecar.read_text(encoding="utf-8"))
    model: Any = timm.create_model(
        card["timm_name"], num_classes=card["num_classes"], **card["create_kwargs"]
    )
    if start == "pretrained":
        state = load_file(sidecar.with_suffix(".safetensors"))
        model.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
        )
    model.reset_classifier(classes)
    prepared: nn.Module = model.to(memory_format=torch.channels_last)
    return prepared


def finetune(
    sidecar: Path, dataset: str, splits: dict[str, Split], start: str, rate: float, seed: int, epochs: int
) -> Run:
    """Train for `epochs` with AdamW and a one-cycle schedule, then evaluate on val and test."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    started = time.perf_counter()
    model = build(sidecar, start, int(splits["train"].labels.max()) + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    total = epochs * (len(splits["train"].labels) // BATCH)
    step = 0
    for _ in range(epochs):
        model.train()
        for x, y in batches(splits["train"], generator):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(
                    (step + 1) / (0.1 * total), 0.5 * (1 + math.cos(math.pi * step / total))
                )
            loss = functional.cross_entropy(model(x), y, label_smoothing=0.1)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            step += 1
    val, test = accuracy(model, splits["val"]), accuracy(model, splits["test"])
    seconds = time.perf_counter() - started
    return Run(sidecar.stem, dataset, start, rate, seed, round(val, 4), round(test, 4), round(seconds, 2))


def read_runs(path: Path) -> list[Run]:
    """The rows of a results file, none where the file does not exist yet."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Run(
                row["model"],
                row["dataset"],
                row["start"],
                float(row["learning_rate"]),
                int(row["seed"]),
                float(row["val_accuracy"]),
                float(row["test_accuracy"]),
                float(row["seconds"]),
            )
            for row in csv.DictReader(file)
        ]


def append_run(path: Path, run: Run) -> None:
    """Add one row, with the header first in a new file."""
    names = [item.name for item in fields(Run)]
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(names)
        writer.writerow([getattr(run, name) for name in names])


def chosen_runs(runs: list[Run]) -> list[Run]:
    """Of the runs of one cell: those at the learning rate with the best validation accuracy of seed 0."""
    first = [run for run in runs if run.seed == 0]
    best = max(first, key=lambda run: (run.val_accuracy, -run.learning_rate)).learning_rate
    return [run for run in runs if run.learning_rate == best]


def complete_cell(
    path: Path, sidecar: Path, dataset: str, splits: dict[str, Split], start: str, seeds: int, epochs: int
) -> None:
    """Run what the table at `path` lacks of one model, dataset and start."""

    def mine() -> list[Run]:
        return [
            run
            for run in read_runs(path)
            if (run.model, run.dataset, run.start) == (sidecar.stem, dataset, start)
        ]

    def need(rate: float, seed: int) -> None:
        if not any((run.learning_rate, run.seed) == (rate, seed) for run in mine()):
            append_run(path, finetune(sidecar, dataset, splits, start, rate, seed, epochs))

    for rate in LEARNING_RATES:
        need(rate, 0)
    best = chosen_runs(mine())[0].learning_rate
    for seed in range(1, seeds):
        need(best, seed)


def table(runs: list[Run]) -> str:
    """Markdown: a row a model, a column a dataset and start, test accuracy as mean ± sd over seeds."""
    datasets = [name for name in DATASETS if any(run.dataset == name for run in runs)]
    lines = [
        "| model | " + " | ".join(f"{name}, scratch | {name}, pretrained" for name in datasets) + " |",
        "|---|" + "---|" * (2 * len(datasets)),
    ]
    for model in dict.fromkeys(run.model for run in runs):
        cells = []
        for dataset in datasets:
            for start in STARTS:
                mine = [run for run in runs if (run.model, run.dataset, run.start) == (model, dataset, start)]
                scores = [run.test_accuracy for run in chosen_runs(mine)] if mine else []
                spread = f" ± {stdev(scores):.3f}" if len(scores) > 1 else ""
                cells.append(f"{mean(scores):.3f}{spread}" if scores else "")
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line; run what the results do not hold yet, or only print their table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", type=Path, default=Path("src/qtt/pretrained/tiny"), help="weights and sidecars"
    )
    parser.add_argument(
        "--shared", type=Path, help="folder with images/<dataset>; needed for all sets but digits"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results, epochs<N>.csv")
    parser.add_argument("--models", nargs="+", help="names of sidecars; all by default")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="only print the Markdown table")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    path = arguments.out / f"epochs{arguments.epochs}.csv"
    if not arguments.table:
        arguments.out.mkdir(parents=True, exist_ok=True)
        sidecars = sorted(arguments.weights.glob("*.json"))
        for dataset in arguments.datasets:
            if dataset != "digits" and arguments.shared is None:
                parser.error(f"--shared is needed for {dataset}: the folder that holds images/{dataset}.")
            splits = load_splits(dataset, arguments.shared)
            for sidecar in sidecars:
                if arguments.models is None or sidecar.stem in arguments.models:
                    for start in arguments.starts:
                        complete_cell(
                            path, sidecar, dataset, splits, start, arguments.seeds, arguments.epochs
                        )
    LOG.info("\n%s", table(read_runs(path)))


if __name__ == "__main__":
    main()
