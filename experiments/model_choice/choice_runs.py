"""Joint search against two stages, one run after another on one core.

    python experiments/model_choice/choice_runs.py --shared SHARED
    python experiments/model_choice/choice_runs.py … --only set=flowers5 method=joint,logme seed=0 budget=60
    python experiments/model_choice/choice_runs.py … --core 1        # a second process on the same results
    make tables                                                      # tables and figures of what there is

Every run is a row of results/runs.csv once it is finished, and is not repeated. README.md has the protocol.
Runs, clocks and rows are those of experiments/images.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "images"))

from methods import Call, Places
from results import Key
from run import Bench, carry_out
from two_stage import METHODS

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
RUNS = HERE / "results" / "runs.csv"
AXES: Mapping[str, Sequence[str]] = {
    "set": ("flowers5", "blood_cells", "trashnet"),
    "method": METHODS,
    "budget": ("60",),
    "seed": ("0", "1", "2"),
}
"""What is run where the command line says nothing else."""


@dataclass(frozen=True)
class Choices(Bench):
    """A bench of images whose methods are those of `two_stage.py`. table: of the rows."""

    table: Path
    script: Path = HERE / "two_stage.py"

    @property
    def results(self) -> Path:
        """The rows."""
        return self.table

    def call_of(self, key: Key) -> Call:
        """See `Bench.call_of`."""
        source = self.places.source
        arguments = ("--by", key.method, "--source", str(source))
        return Call(Path(sys.executable), self.script, source, arguments)


def grid(axes: Mapping[str, Sequence[str]]) -> Iterator[Key]:
    """The runs of these values, all sets and methods of a seed before the next seed."""
    values = product(map(float, axes["budget"]), map(int, axes["seed"]), axes["set"], axes["method"])
    return (Key(name, method, budget, seed) for budget, seed, name, method in values)


def _axis(text: str) -> tuple[str, list[str]]:
    """`set=dtd,trashnet` as an axis and its values."""
    name, _, listed = text.partition("=")
    values = listed.split(",")
    strangers = name == "method" and not set(METHODS) >= set(values)
    numbers = name in ("budget", "seed") and not all(map(str.isdecimal, values))
    if name not in AXES or not listed or strangers or numbers:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no AXIS=VALUE[,VALUE…]: set, method ({', '.join(METHODS)}), budget or seed"
        )
    return name, values


def _arguments() -> argparse.Namespace:
    shared = Path(os.environ.get("QTT_SHARED_DATA", "../shared/data"))
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--shared", type=Path, default=shared, help="folder with images/ and weights/")
    made.add_argument("--out", type=Path, default=Path("runs/model_choice"), help="folder of hub and logs")
    made.add_argument("--results", type=Path, default=RUNS, help="CSV of the rows")
    made.add_argument("--source", type=Path, default=CHECKOUT, help="checkout of the qtt to be measured")
    made.add_argument("--only", nargs="+", type=_axis, default=[], metavar="AXIS=VALUE[,VALUE…]")
    made.add_argument("--core", type=int, default=0, help="the one core that everything runs on")
    made.add_argument("--retry", action="store_true", help="run failed ones again")
    made.add_argument("--dry-run", action="store_true", help="only list what is missing")
    return made.parse_args()


def main() -> int:
    """Run what is missing; 130 after an interrupt."""
    options = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    out, table = options.out.resolve(), options.results.resolve()
    places = Places(out / "hub", out / "environments", options.source.resolve())
    bench = Choices((options.shared / "images").resolve(), out, places, table)
    return carry_out(bench, list(grid({**AXES, **dict(options.only)})), options)


if __name__ == "__main__":
    raise SystemExit(main())
