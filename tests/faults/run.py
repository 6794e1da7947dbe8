"""Inject every fault many times, and say what did not hold: `python -m faults.run --share 1`.

Most are on the table objective, a second each. `--share 0.1` injects a tenth of them, `--only NAME` one kind.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from faults.catalogue import CATALOGUE, Fault
from faults.rules import Broken


@dataclass
class Outcome:
    """What came of one kind of fault."""

    injections: int = 0
    seconds: float = 0.0
    skipped: str = ""
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def inject(fault: Fault, count: int, seed: int, place: Path) -> Outcome:
    """Inject a fault `count` times; what fails is kept in its folder, below `place`."""
    outcome, begin, number = Outcome(skipped=fault.missing()), time.monotonic(), 0
    while outcome.injections < count and not outcome.skipped:
        number += 1
        folder = place / f"{fault.name.replace(' ', '-').replace('/', '-')}-{number}"
        try:
            injected = fault.injection.inject(folder, random.Random(f"{seed} {fault.name} {number}"))
            outcome.injections += injected
        except Exception as error:
            outcome.injections += 1
            told = str(error) if isinstance(error, Broken) else traceback.format_exc()
            outcome.failures.append(f"{fault.name}, {folder}: {told}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    outcome.seconds = time.monotonic() - begin
    outcome.notes = list(getattr(fault.injection, "notes", ()))
    return outcome


def main() -> None:
    """Inject, print the table, and exit with status 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the injections of a full run")
    parser.add_argument("--only", default="", help="kinds whose names contain this")
    parser.add_argument("--quick", action="store_true", help="one of each kind that takes a moment")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where searches go; those that fail stay")
    chosen = parser.parse_args()
    place = chosen.folder or Path(tempfile.mkdtemp(prefix="qtt-faults-"))
    place.mkdir(parents=True, exist_ok=True)
    console, outcomes = Console(width=140), {}
    for fault in CATALOGUE:
        if chosen.only in fault.name and (fault.quick or not chosen.quick):
            count = 1 if chosen.quick else max(1, round(chosen.share * fault.count))
            outcomes[fault.name] = outcome = inject(fault, count, chosen.seed, place)
            for failure in outcome.failures:
                console.print(failure, markup=False, highlight=False)
    console.print(table(outcomes))
    failed = sum(len(outcome.failures) for outcome in outcomes.values())
    injected = sum(outcome.injections for outcome in outcomes.values())
    console.print(f"{injected} faults, {failed} failures; what failed is in {place}")
    if not failed:
        shutil.rmtree(place)
    sys.exit(bool(failed))


def table(outcomes: dict[str, Outcome]) -> Table:
    """One row for each kind of fault."""
    shown = Table(title="Faults")
    for name in ("fault", "injections", "failures", "seconds", ""):
        shown.add_column(name, justify="left" if name in ("fault", "") else "right")
    for name, outcome in outcomes.items():
        numbers = (outcome.injections, len(outcome.failures), round(outcome.seconds))
        shown.add_row(name, *map(str, numbers), outcome.skipped or "; ".join(outcome.notes))
    return shown


if __name__ == "__main__":
    main()
