"""Miniatures of all experiments, to see that they run: minutes instead of hours, results in their own folder.

python experiments/small.py [--out build/small] [--shared SHARED] [NAME …]

What an experiment needs and this machine does not have, recorded curves (`make curves`) or images with
weights (SHARED/images, SHARED/weights), is said, and the experiment left out. Ends with a table, and with
status 1 where a command failed; its output is in OUT/<name>.log.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CURVES = ROOT / "meta_dataset" / "tables" / "quicktune_extended"


@dataclass(frozen=True)
class Small:
    """The miniature of an experiment.

    commands: after `python`, run from the repository's root; `{out}` and `{shared}` stand for folders.
    curves, shared: whether it needs recorded curves, and images with weights.
    """

    name: str
    commands: tuple[str, ...]
    curves: bool = False
    shared: bool = False

    def lacks(self, shared: Path) -> str:
        """What it needs and cannot have; empty: nothing."""
        if self.curves and not CURVES.is_dir():
            return "recorded curves: make curves"
        if self.shared and not ((shared / "images").is_dir() and (shared / "weights").is_dir()):
            return f"images and weights in {shared}: --shared DIR"
        return ""


RUN = "-m qtt.run"
SMALL = (
    Small(
        "optimizers",
        (
            "experiments/search_quality/folds.py --out {out} --folds 0 --datasets ACT_40 --seeds 1 "
            "--seconds 1800 --policies asha random optuna optuna_halving smac dehb syne_asha bohb",
        ),
        curves=True,
    ),
    Small(
        "ablations",
        (
            "experiments/ablations/replay_variants.py --variants none no_meta_no_graybox --datasets ACT_40 "
            "--seeds 1 --seconds 600 --out {out} --results {out}/results",
        ),
        curves=True,
    ),
    Small(
        "parallel",
        (
            "experiments/parallel/replay_workers.py --policies quick random --datasets ACT_40 --seeds 1 "
            "--seconds 1800 --out {out} --results {out}/results",
        ),
        curves=True,
    ),
    Small(
        "default_or_search",
        ("experiments/default_or_search/recorded_defaults.py --datasets ACT_40 FLW --results {out}/results",),
        curves=True,
    ),
    Small(
        "model_choice",
        (
            "experiments/model_choice/choice_runs.py --shared {shared} --out {out} --results {out}/runs.csv "
            "--only set=blood_cells method=joint,imagenet budget=30 seed=0",
        ),
        shared=True,
    ),
    Small(
        "table1",
        (
            f"{RUN} +experiment=table1_small_imagenette dataset.path={{shared}}/images/imagenette_160 "
            "weights_dir={shared}/weights runs_dir={out} seed=0 optimizer.epochs_per_step=1 "
            "budget.seconds=30",
        ),
        shared=True,
    ),
    Small(
        "images",
        (
            "experiments/images/run.py --shared {shared} --out {out} "
            "--only set=neu_steel method=qtt,probe,asha budget=30 seed=0",
            "experiments/images/summary.py {out}/results.csv --plot {out}/results.png",
        ),
        shared=True,
    ),
    Small("tables", ("experiments/pages.py --check",)),
)


def run(small: Small, out: Path, shared: Path) -> str:
    """Run all commands of a miniature; what became of them, in words."""
    folder = out / small.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begin = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (out / f"{small.name}.log").open("w") as log:
        for command in small.commands:
            words = command.format(out=folder, shared=shared).split()
            ended = subprocess.run(
                [sys.executable, *words],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if ended.returncode:
                return f"failed with status {ended.returncode}, see {log.name}"
    return f"{time.monotonic() - begin:.0f} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the miniatures that are named, or all; returns the exit status."""
    names = [small.name for small in SMALL]
    parser = argparse.ArgumentParser(description="Miniatures of all experiments.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all ({', '.join(names)})")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "small", help="folder of results and logs"
    )
    shared = Path(os.environ.get("QTT_SHARED_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--shared", type=Path, default=shared, help="folder with images/ and weights/")
    options = parser.parse_args(arguments)
    if strangers := sorted(set(options.names) - set(names)):
        parser.error(f"no miniature is called {strangers[0]}; there are {', '.join(names)}")
    console, table = Console(), Table("experiment", "what came of it")
    failed = False
    for small in SMALL:
        if options.names and small.name not in options.names:
            continue
        missing = small.lacks(options.shared)
        if not missing:
            console.print(f"{small.name} …")
        ended = (
            f"left out, it needs {missing}" if missing else run(small, options.out.resolve(), options.shared)
        )
        failed |= ended.startswith("failed")
        table.add_row(small.name, ended)
    console.print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
