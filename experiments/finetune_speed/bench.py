"""How much finetuning costs beyond its forward and backward passes (`make bench-finetune`).

python experiments/finetune_speed/bench.py [--models NAME …] [--rounds N] [--device cuda] [--amp] [--csv FILE]

Per model, everything side by side in one process, on images of noise:
  training     images per second of a steady training epoch of ours (cached images, random crops, schedule,
               loss sums) over a bare PyTorch loop (the same network, batch size, optimizer and precision, on
               batches that lie ready as normalised floats)
  step         seconds of a whole freeze-thaw step (look up the pipeline, one epoch, evaluation, checkpoint)
               over the bare epoch and a bare evaluation
  probing      images per second of linear probing over full finetuning, both ours
  batches      images per second with augmentation in batches on the device over image by image, both ours
Rounds of the two sides take turns; a ratio is the median over rounds, its spread half the interquartile
range.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from qtt.evaluation.memory import keep_memory
from qtt.finetune.cv.classification import finetune_script
from qtt.finetune.cv.classification.data import DataStore
from qtt.finetune.cv.classification.pipeline import Pipeline
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.hub.model_hub import load_hub
from qtt.support.machine import choose_device, on_gpu
from qtt.types import ModelCard, TaskInfo, Trial

CLASSES = 10
VALIDATION = 0.25
"""Validation images per training image."""


@dataclass(frozen=True)
class Case:
    """A model with the side of its images in pixels, its batch size, and the number of training images."""

    model: str
    side: int
    batch_size: int
    images: int


CPU_CASES = (
    Case("test_resnet", 64, 32, 1280),
    Case("test_convnext3", 64, 32, 640),
    Case("mobilenetv2_100", 128, 32, 640),
    Case("edgenext_xx_small", 128, 32, 640),
    Case("resnet18", 128, 32, 320),
    Case("vit_tiny_patch16_224", 224, 16, 96),
)
CUDA_CASES = (
    Case("mobilenetv2_100", 128, 128, 40_000),
    Case("edgenext_small", 128, 128, 20_000),
    Case("resnet50", 224, 128, 10_000),
    Case("vit_small_patch16_224", 224, 128, 10_000),
)


def main() -> None:
    """Measure every case and print one row for each."""
    parser = argparse.ArgumentParser(description="Measure what finetuning costs beside its arithmetic.")
    parser.add_argument("--models", nargs="+", help="cases to run; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of either side")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--amp", action="store_true", help="mixed precision")
    parser.add_argument("--workers", type=int, default=0, help="processes that augment images")
    parser.add_argument("--csv", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    keep_memory()
    device = choose_device(arguments.device)
    cases = CUDA_CASES if on_gpu(device) else CPU_CASES
    chosen = [case for case in cases if not arguments.models or case.model in arguments.models]
    console = Console(soft_wrap=True)
    console.print(f"{_machine(device)}; medians of {arguments.rounds} rounds, images of noise")
    rows = []
    with tempfile.TemporaryDirectory(prefix="qtt-bench-") as folder:
        for case in chosen:
            with console.status(f"{case.model} at {case.side} px"):
                bench = Bench.of(case, Path(folder), device, arguments.amp, arguments.workers)
                rows.append(bench.run(arguments.rounds))
            console.print(_in_words(rows[-1]))
    console.print(_as_markdown(rows))
    if arguments.csv:
        pd.DataFrame(rows).to_csv(arguments.csv, index=False, float_format="%.4f")


@dataclass(frozen=True)
class Bench:
    """One case with its images on disk and its task."""

    case: Case
    task: TaskInfo
    settings: FinetuneSettings
    recipe: Recipe

    @classmethod
    def of(cls, case: Case, folder: Path, device: str, amp: bool, workers: int) -> "Bench":
        """Write the images of a case that are not there yet, and describe the task."""
        root = folder / f"{case.side}-{case.images}"
        if not root.exists():
            _write_images(root / "train", case.side, case.images)
            _write_images(root / "val", case.side, int(case.images * VALIDATION))
        settings = FinetuneSettings(
            image_size=case.side, pretrained=False, device=device, num_workers=workers, cache_gb=0
        )
        task = TaskInfo(
            root,
            tuple(sorted(path.name for path in (root / "train").iterdir())),
            work_dir=folder / "pipelines" / case.model,
            models=(_card(case.model),),
            settings=asdict(settings),
        )
        recipe = Recipe(case.model, batch_size=case.batch_size, weight_decay=0.01, amp=amp)
        return cls(case, task, settings, recipe)

    def run(self, rounds: int) -> dict[str, Any]:
        """All figures of the case; everything is warm before the first measurement."""
        store = DataStore()
        full, probe = (
            Pipeline(recipe, self.settings, self.task, 0, store)
            for recipe in (self.recipe, replace(self.recipe, linear_probing=True))
        )
        batches, images = (
            Pipeline(self.recipe, self.settings, self.task, 0, store, augment_in_batches=in_batches)
            for in_batches in (True, False)
        )
        bare = BareLoop(full, self.case)
        steps = self._steps()
        for pipeline in (full, probe, batches, images):
            _training_seconds(pipeline)
        next(steps), bare.train(), bare.evaluate()
        measured = [
            {
                "ours": _training_seconds(full),
                "bare": _seconds(bare.train),
                "step": next(steps),
                "evaluation": _seconds(bare.evaluate),
                "probing": _training_seconds(probe),
                "batches": _training_seconds(batches),
                "each": _training_seconds(images),
            }
            for _ in range(rounds)
        ]
        return self._figures(pd.DataFrame(measured))

    def _steps(self) -> Iterator[float]:
        """Seconds of one step after the other, as a search asks for them."""
        config = {
            "model": self.recipe.model,
            "batch_size": self.recipe.batch_size,
            "weight_decay": self.recipe.weight_decay,
            "amp": self.recipe.amp,
        }
        for fidelity in range(1, self.task.max_fidelity + 1):
            trial = Trial(0, config, fidelity)
            yield _seconds(lambda trial=trial: list(finetune_script(trial, self.task)))  # type: ignore[misc]

    def _figures(self, seconds: pd.DataFrame) -> dict[str, Any]:
        images = self.case.images
        floor = seconds["bare"] + seconds["evaluation"]
        ratios = {
            "training / bare": seconds["bare"] / seconds["ours"],
            "step / bare": seconds["step"] / floor,
            "probing / full": seconds["ours"] / seconds["probing"],
            "batches / images": seconds["each"] / seconds["batches"],
        }
        return {
            "model": self.case.model,
            "px": self.case.side,
            "batch": self.case.batch_size,
            "images/s": images / seconds["ours"].median(),
            "bare images/s": images / seconds["bare"].median(),
            "training / bare": ratios["training / bare"].median(),
            "training spread": _spread(ratios["training / bare"]),
            "step s": seconds["step"].median(),
            "step / bare": ratios["step / bare"].median(),
            "step spread": _spread(ratios["step / bare"]),
            "overhead s": (seconds["step"] - floor).median(),
            "probing / full": ratios["probing / full"].median(),
            "probing spread": _spread(ratios["probing / full"]),
            "batches / images": ratios["batches / images"].median(),
            "batches spread": _spread(ratios["batches / images"]),
        }


class BareLoop:
    """The same network and optimizer, trained and evaluated in the plainest way."""

    def __init__(self, pipeline: Pipeline, case: Case) -> None:
        self.device = torch.device(pipeline.settings.device)
        self.network = pipeline.learner.network.to(self.device)
        self.optimizer = pipeline.learner.optimizer
        self.precision = pipeline.precision
        generator = torch.Generator().manual_seed(0)
        self.batches = [self._batch(case, generator) for _ in range(4)]
        self.updates = pipeline.updates
        self.evaluations = -(-int(case.images * VALIDATION) // case.batch_size)

    def train(self) -> None:
        """One epoch of forward, backward and update."""
        self.network.train()
        for update in range(self.updates):
            images, labels = self.batches[update % len(self.batches)]
            self.optimizer.zero_grad()
            with self._autocast():
                loss = functional.cross_entropy(self.network(images).float(), labels)
            loss.backward()
            self.optimizer.step()

    @torch.inference_mode()
    def evaluate(self) -> None:
        """Forward passes over as many images as the validation split has."""
        self.network.eval()
        for batch in range(self.evaluations):
            with self._autocast():
                self.network(self.batches[batch % len(self.batches)][0])

    def _batch(self, case: Case, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images = torch.randn(case.batch_size, 3, case.side, case.side, generator=generator)
        labels = torch.randint(CLASSES, (case.batch_size,), generator=generator)
        weight = next(p for p in self.network.parameters() if p.ndim == 4)
        if weight.is_contiguous(memory_format=torch.channels_last) and weight.shape[1] > 1:
            images = images.contiguous(memory_format=torch.channels_last)
        return images.to(self.device), labels.to(self.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed")


def _training_seconds(pipeline: Pipeline) -> float:
    """Seconds from the first batch of an epoch to its last update, without the evaluation that follows."""
    marks: dict[str, float] = {}
    pipeline.module.on_train_epoch_start = lambda: marks.update(start=_now())  # type: ignore[method-assign]
    pipeline.module.on_validation_start = lambda: marks.update(end=_now())  # type: ignore[method-assign]
    pipeline.train_epoch()
    return marks["end"] - marks["start"]


def _seconds(work: Callable[[], Any]) -> float:
    start = _now()
    work()
    return _now() - start


def _now() -> float:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
    return time.perf_counter()


def _spread(values: "pd.Series[float]") -> float:
    return float(values.quantile(0.75) - values.quantile(0.25)) / 2


def _card(model: str) -> ModelCard:
    tiny = load_hub("tiny")
    return tiny[model] if model in tiny.names else load_hub("timm", [model]).cards[0]


def _write_images(folder: Path, side: int, count: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"class{number % CLASSES}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)


def _in_words(row: dict[str, Any]) -> str:
    return (
        f"{row['model']}: {row['images/s']:.0f} images/s, {row['training / bare']:.3f} of bare; "
        f"step {row['step s']:.2f} s, {row['step / bare']:.3f} of bare ({row['overhead s']:+.2f} s); "
        f"probing {row['probing / full']:.2f} × full"
    )


def _as_markdown(rows: list[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    for row in rows:
        cells = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _machine(device: str) -> str:
    where = torch.cuda.get_device_name() if on_gpu(device) else f"{torch.get_num_threads()} threads"
    return f"{platform.machine()}, {where}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
