"""`python -m qtt.fetch`: get a hub's weights in advance, for machines without internet.

python -m qtt.fetch table4 --weights-dir weights
python -m qtt.fetch timm --models resnet18 vit_small_patch16_224
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qtt.cli.interrupts import interruptible
from qtt.cli.invocation import command_for
from qtt.data.library_caches import keep_library_caches
from qtt.errors import ModelHubError
from qtt.hub.model_hub import load_hub, locate_weights
from qtt.support.files import usual_permissions
from qtt.types import ModelCard

if TYPE_CHECKING:
    from torch import Tensor

Download = Callable[[ModelCard], Mapping[str, "Tensor"]]


@dataclass(frozen=True)
class Fetched:
    """What became of one model: `outcome` is fetched, present or failed; `size` in bytes, 0 for none."""

    card: ModelCard
    outcome: str
    size: int
    detail: str


@interruptible()
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 when every model's weights are at hand, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog=command_for("fetch"), description="Get a hub's pretrained weights in advance."
    )
    parser.add_argument("hub", help="modern, table4, timm, or the path of a YAML hub")
    parser.add_argument(
        "--weights-dir", type=Path, default=Path("weights"), help="where to (default: weights)"
    )
    parser.add_argument("--models", nargs="+", help="these alone; with the hub 'timm' any timm names")
    parser.add_argument("--licences", nargs="+", help="those under these alone (default: those for any use)")
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    keep_library_caches()
    try:
        hub = load_hub(options.hub, models=options.models, licences=options.licences)
        options.weights_dir.mkdir(parents=True, exist_ok=True)
        done = fetch(hub, options.weights_dir, console=console)
    except (ModelHubError, OSError) as error:
        console.print(Text(str(error), style="red"), soft_wrap=True)
        return 1
    console.print(_table(done))
    failed = [item for item in done if item.outcome == "failed"]
    if failed:
        message = f"{len(failed)} of {len(done)} failed. {failed[0].detail}"
        console.print(Text(message, style="red"), soft_wrap=True)
        return 1
    console.print(f"All weights are at hand; search with weights_dir={options.weights_dir}.", soft_wrap=True)
    return 0


def fetch(
    cards: Iterable[ModelCard],
    weights_dir: Path,
    download: Download | None = None,
    console: Console | None = None,
) -> list[Fetched]:
    """Put the weights of every card into `weights_dir`; those that are there or in the package are kept.

    download: gives the tensors of a card; default: timm, from the Hugging Face hub.
    A model that cannot be had does not stop the others.
    """
    cards = list(cards)
    done = []
    for position, card in enumerate(cards, start=1):
        item = _fetch_one(card, weights_dir, download or _download)
        done.append(item)
        if console is not None:
            console.print(
                f"[{position}/{len(cards)}] {card.name}: {item.outcome}", markup=False, soft_wrap=True
            )
    return done


def _fetch_one(card: ModelCard, weights_dir: Path, download: Download) -> Fetched:
    present = locate_weights(card, weights_dir)
    if present is not None:
        return Fetched(card, "present", present.stat().st_size, str(present))
    if card.weights is not None:
        return Fetched(card, "failed", 0, f"{card.weights} is a file of its own, to be had from its maker.")
    try:
        tensors = download(card)
    except ModelHubError as error:
        return Fetched(card, "failed", 0, str(error))
    file = _save(tensors, weights_dir / f"{card.timm_name}.safetensors")
    return Fetched(card, "fetched", file.stat().st_size, str(file))


def _download(card: ModelCard) -> Mapping[str, "Tensor"]:
    from qtt.hub.weights import from_hugging_face

    return from_hugging_face(card).state_dict()


def _save(tensors: Mapping[str, "Tensor"], file: Path) -> Path:
    """Write a complete file or none."""
    from safetensors.torch import save_file

    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with usual_permissions(unfinished):
            save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, unfinished)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    return file


def _table(done: Sequence[Fetched]) -> Table:
    table = Table("model", "weights", "MB", "timm name")
    for item in done:
        size = f"{item.size / 1e6:.1f}" if item.size else ""
        table.add_row(item.card.name, item.outcome, size, item.card.timm_name)
    return table


if __name__ == "__main__":
    sys.exit(main())
