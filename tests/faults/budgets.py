"""Budgets of seconds: what they are overrun by, and that what is left of them has a true reason."""

import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from faults.objectives import timed
from faults.rules import Broken, check
from faults.searches import Plan, entries
from qtt.search.loop import LEAST_SECONDS
from qtt.tracking.base import SearchInfo
from qtt.tracking.csv import CsvTracker

BOUND, SHARE = 30.0, 0.02
"""Seconds, or share of the budget where that is more, by which it may be overrun: machines may be busy. On an
idle one 2 seconds are the bound, and the table of a full run shows the real ones."""

WAYS = {"inline": ("plain", "catches", "cleans up"), "process": ("plain", "thread", "catches", "cleans up")}


class Watch(CsvTracker):
    """Notes when the budget begins."""

    def start(self, search: SearchInfo) -> None:
        """See `Tracker.start`."""
        super().start(search)
        self.begin = time.monotonic()


@dataclass
class Budgets:
    """Random budgets and lengths of epochs; notes what was overrun most, in seconds of a real clock."""

    isolation: str
    most: dict[str, float] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """The largest overruns so far."""
        return [f"{way} {seconds:+.2f} s" for way, seconds in self.most.items()]

    def inject(self, folder: Path, draw: random.Random) -> int:
        """See `Injection.inject`."""
        budget, epoch = draw.uniform(0.3, 3.0), draw.choice((0.01, 0.05, 0.3, 1.0, 20.0))
        way, watch = draw.choice(WAYS[self.isolation]), Watch()
        plan = Plan(
            draw.choice(("epochwise", "asha", "random")),
            draw.choice((1, 3)),
            self.isolation,
            timed,
            {"seconds": epoch, "way": way},
            evaluations=None,
            seconds=budget,
            tuner={"trackers": [watch]},
        )
        summary = plan.run(folder)
        over = time.monotonic() - watch.begin - budget
        self.most[way] = max(over, self.most.get(way, over))
        if over > max(BOUND, SHARE * budget):
            raise Broken(
                f"{way}, epochs of {epoch} s: a budget of {budget:.2f} s was overrun by {over:.1f} s"
            )
        if summary.reason.startswith("The budget of"):
            if summary.elapsed < budget - LEAST_SECONDS:
                raise Broken(f"{summary.elapsed:.2f} of {budget:.2f} s, and {summary.reason}")
        elif not summary.reason.startswith(("No step fits", "Every pipeline is trained to its end")):
            raise Broken(summary.reason)
        late = [e for e in entries(folder) if e.result.succeeded and e.elapsed > budget + BOUND]
        if late:
            raise Broken(f"{len(late)} results came after the end of the budget, and count")
        check(folder, None, None)
        return 1
