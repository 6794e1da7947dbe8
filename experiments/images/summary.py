"""Tables and a plot of the results.

python experiments/images/summary.py RESULTS.csv [--plot FILE.png] [--reference qtt]

Accuracy is of the test images; without a network a method guesses, 1 / classes. The figure of a budget is the
last point within it, on the wall clock of the whole command.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from points import last_within
from results import NO_BUDGET, Key, Run, read_runs

from curves import draw

REFERENCE, PROBE = "qtt", "probe"


@dataclass(frozen=True)
class Table:
    """All runs that have not failed.

    timeless: methods without budget and seed; a run of theirs stands for all that others have on its set.
    """

    runs: dict[Key, Run]
    timeless: frozenset[str]

    @classmethod
    def of(cls, runs: Iterable[Run]) -> "Table":
        """The table of the rows of a results file."""
        whole = [run for run in runs if not run.note]
        timed = [run.key for run in whole if run.key.budget != NO_BUDGET]
        found = {}
        for run in whole:
            if run.key.budget != NO_BUDGET:
                found[run.key] = run
                continue
            for other in [key for key in timed if key.set == run.key.set]:
                key = replace(other, method=run.key.method)
                found[key] = replace(run, key=key)
        return cls(found, frozenset(run.key.method for run in whole if run.key.budget == NO_BUDGET))

    @property
    def methods(self) -> list[str]:
        """In the order of the file."""
        return list(dict.fromkeys(key.method for key in self.runs))

    @property
    def budgets(self) -> list[float]:
        """In ascending order."""
        return sorted({key.budget for key in self.runs})

    @property
    def sets(self) -> list[str]:
        """In the order of the file."""
        return list(dict.fromkeys(key.set for key in self.runs))

    def of_method(self, method: str, budget: float) -> list[Run]:
        """Its runs with a budget."""
        return [run for key, run in self.runs.items() if (key.method, key.budget) == (method, budget)]

    def once(self, method: str, budget: float) -> list[Run]:
        """The same, but one a set where it stands for those of several seeds."""
        runs = self.of_method(method, budget)
        return list({run.key.set: run for run in runs}.values()) if method in self.timeless else runs

    def pairs(self, first: str, second: str, budget: float) -> list[tuple[Run, Run]]:
        """Runs of two methods on the same set with the same seed."""
        others = {(run.key.set, run.key.seed): run for run in self.of_method(second, budget)}
        mine = ((run, others.get((run.key.set, run.key.seed))) for run in self.of_method(first, budget))
        return [(run, other) for run, other in mine if other is not None]


def mean(values: Sequence[float], digits: int = 3, *, sign: bool = False) -> str:
    """Mean ± standard error, the latter from two values on; a dash without any."""
    if not values:
        return "–"
    shown = f"{np.mean(values):{'+' if sign else ''}.{digits}f}"
    if len(values) == 1:
        return shown
    return f"{shown} ± {np.std(values, ddof=1) / math.sqrt(len(values)):.{digits}f}"


def overall(table: Table, reference: str) -> str:
    """A row a budget and method: mean accuracy within the budget, and pairs with the reference."""
    head = ["budget", "method", "runs", "within the budget", "at its end", "no network in time"]
    versus = [f"{reference} wins", "ties", "losses", f"{reference} ahead by"]
    rows = []
    for budget in table.budgets:
        for method in table.methods:
            runs = table.once(method, budget)
            if not runs:
                continue
            late = sum(last_within(run.points, budget) is None for run in runs)
            within = mean([run.accuracy(budget) for run in runs])
            at_end = mean([run.accuracy(math.inf) for run in runs])
            ours = compared(table, reference, method, budget) if method != reference else [""] * 4
            rows.append([f"{budget:g} s", method, str(len(runs)), within, at_end, str(late), *ours])
    return markdown([*head, *versus], rows)


def compared(table: Table, reference: str, method: str, budget: float) -> list[str]:
    """Wins, ties and losses of the reference, paired by set and seed, and its mean lead."""
    pairs = table.pairs(reference, method, budget)
    leads = [mine.accuracy(budget) - other.accuracy(budget) for mine, other in pairs]
    counts = [sum(lead > 0 for lead in leads), leads.count(0.0), sum(lead < 0 for lead in leads)]
    return [*map(str, counts), mean(leads, sign=True)]


def by_set(table: Table, budget: float) -> str:
    """A row a method, a column a set: mean accuracy within the budget over seeds."""
    rows = []
    for method in table.methods:
        runs = table.once(method, budget)
        cells = [[run.accuracy(budget) for run in runs if run.key.set == name] for name in table.sets]
        if runs:
            rows.append([method, *map(mean, cells)])
    return markdown([f"{budget:g} s", *table.sets], rows)


def seconds_to_beat(run: Run, goal: float) -> float:
    """When a run's network first was better than the goal on the test images; infinity: never."""
    return min((point.seconds for point in run.points if point.test > goal), default=math.inf)


def against_probe(table: Table) -> str:
    """A row a budget and method: seconds until the probe's final accuracy is beaten, and how often it is."""
    rows = []
    for budget in table.budgets:
        for method in table.methods:
            pairs = table.pairs(method, PROBE, budget)
            if method == PROBE or not pairs:
                continue
            seconds = [seconds_to_beat(run, probe.accuracy(math.inf)) for run, probe in pairs]
            beaten = [value for value in seconds if value < math.inf]
            shown = f"{np.median(seconds):.0f}" if 2 * len(beaten) > len(seconds) else "never"
            rows.append([f"{budget:g} s", method, f"{len(beaten)} of {len(seconds)}", shown])
    return markdown(["budget", "method", "runs that beat it", "median seconds"], rows)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def failed(runs: Iterable[Run]) -> str:
    """What was not run to its end, and why; a line each."""
    return "\n".join(f"- {run.key}: {run.note}" for run in runs if run.note)


def text(runs: Sequence[Run], reference: str = REFERENCE) -> str:
    """All tables, as Markdown."""
    table = Table.of(runs)
    parts = [
        ("Test accuracy, mean ± standard error over sets and seeds", overall(table, reference)),
        *((f"Within {budget:g} s, by set", by_set(table, budget)) for budget in table.budgets),
        ("Until the probe's final accuracy is beaten", against_probe(table)),
        ("Not run", failed(runs)),
    ]
    return "\n\n".join(f"## {title}\n\n{part}" for title, part in parts if part) + "\n"


def main() -> None:
    """Print the tables, and draw the plot where it is asked for."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("results", type=Path, help="CSV of run.py")
    made.add_argument("--plot", type=Path, help="PNG of accuracy over time")
    made.add_argument("--reference", default=REFERENCE, help="the method that the others are compared with")
    options = made.parse_args()
    runs = read_runs(options.results)
    sys.stdout.write(text(runs, options.reference))
    if options.plot is not None:
        table = Table.of(runs)
        panels = {budget: {m: table.of_method(m, budget) for m in table.methods} for budget in table.budgets}
        draw(panels).savefig(options.plot)


if __name__ == "__main__":
    main()
