"""`python -m qtt.predict RUN_DIR IMAGES`: classify images with a network that a search kept.

python -m qtt.predict runs/quickstart/default photos --out predictions.csv --top 3
"""

import argparse
import shlex
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qtt.cli.common import INTERRUPTED, errors_for_people, python_command
from qtt.errors import ConfigError
from qtt.support.console_tables import positive_count, say

if TYPE_CHECKING:
    from qtt.finetune.cv.classification.image_predictions import Unreadable
    from qtt.finetune.cv.classification.predictor import ImageSource, Predictor

UNREADABLE = 3
"""Exit status when images were left out because they cannot be read."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 after an error, 3 where images were left out."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False)
    with errors_for_people():
        from qtt.finetune.cv.classification.predictor import list_images, load_predictor

        predictor = load_predictor(options.run_dir, options.model, options.device)
        if options.top > len(predictor.class_names):
            raise ConfigError(f"--top {options.top}: there are {len(predictor.class_names)} classes.")
        images = list_images(options.images)
        kept = predictor.kept
        described = f"{kept.config.get('model')}, epoch {kept.fidelity}, validation {kept.score:.4f}"
        say(console, f"{len(images)} images, pipeline #{kept.config_id} ({described})")
        with warnings.catch_warnings(action="ignore"):  # Pillow's, about metadata and large images
            done = _classify(predictor, images, options, console)
    return _report(done, len(images), options, console)


@dataclass
class _Done:
    """How far it came; rows are in the file as soon as their batch is."""

    images: int = 0
    unreadable: "list[Unreadable]" = field(default_factory=list)
    interrupted: bool = False


def _classify(
    predictor: "Predictor", images: "Sequence[ImageSource]", options: argparse.Namespace, console: Console
) -> _Done:
    done = _Done()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    bar = Progress(
        TextColumn("images"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with options.out.open("w", encoding="utf-8", newline="") as file, bar:
        task = bar.add_task("", total=len(images))
        try:
            for part in predictor.stream(images, skip_unreadable=True):
                first = file.tell() == 0
                part.to_frame(options.top).to_csv(file, index=False, header=first, float_format="%.6f")
                file.flush()
                done.images += len(part)
                done.unreadable += part.unreadable
                bar.update(task, completed=done.images + len(done.unreadable))
        except KeyboardInterrupt:
            done.interrupted = True
    return done


def _report(done: _Done, images: int, options: argparse.Namespace, console: Console) -> int:
    errors = Console(stderr=True, highlight=False)
    for left_out in done.unreadable:
        say(errors, left_out.reason)
    if done.interrupted:
        console.print(f"Interrupted after {done.images + len(done.unreadable)} of {images} images.")
    if done.unreadable:
        console.print(f"{len(done.unreadable)} of {images} images cannot be read and are left out.")
    say(console, f"Predictions of {done.images} images are in {options.out}")
    command = f"{python_command()} -m qtt.leaderboard {shlex.quote(str(options.run_dir))} TEST_DIR"
    say(console, f"To see how good they are, on labelled images: {command}")
    if done.interrupted:
        return INTERRUPTED
    return UNREADABLE if done.unreadable else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m qtt.predict",
        description="Classify images with a network that a search kept. Exit status: 0, 1 after an error, "
        "3 where images were left out because they cannot be read.",
    )
    parser.add_argument("run_dir", type=Path, help="folder of the search")
    parser.add_argument(
        "images", type=Path, nargs="+", help="folders (all images below them) and image files of any kind"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("predictions.csv"), help="file to write (default: predictions.csv)"
    )
    parser.add_argument(
        "--model", default="best", help="best (on the validation images), incumbent, or a pipeline's id"
    )
    parser.add_argument(
        "--top", type=positive_count, default=1, help="most probable classes to write (default: 1)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser


if __name__ == "__main__":
    sys.exit(main())
