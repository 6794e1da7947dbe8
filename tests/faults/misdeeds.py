"""Objectives that break their contract: one pipeline fails for it, and nothing else changes."""

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from faults.objectives import APART, misdoing
from faults.rules import Broken, check
from faults.searches import EVALUATIONS, Plan, Row, entries, story, undisturbed


@cache
def where_it_raises(optimizer: str, step: int, where: tuple[int, int], folder: Path) -> list[Row]:
    """The story of a search in which a pipeline plainly raises there."""
    settings = {"deed": "raises", "where": where, "seconds": 0.0}
    run = folder / f"raises-{optimizer}-{step}-{where[0]}-{where[1]}"
    Plan(optimizer, step, objective=misdoing, settings=settings).run(run)
    return story(run)


@dataclass(frozen=True)
class Misdeeds:
    """One of `deeds`, at an epoch of a pipeline that an undisturbed search reaches."""

    deeds: tuple[str, ...]

    def inject(self, folder: Path, draw: random.Random) -> int:
        """See `Injection.inject`."""
        optimizer, step = draw.choice(("epochwise", "asha", "random")), draw.choice((1, 3))
        rows, _ = undisturbed(optimizer, step, folder.parent)
        where = draw.choice([row[:2] for row in rows if row[1] > 1])
        deed = draw.choice(self.deeds)
        expected = where_it_raises(optimizer, step, where, folder.parent)
        settings = {"deed": deed, "where": where, "seconds": 0.0, "cost": 0.01}
        isolation = "process" if deed in APART else "inline"
        # a busy machine takes its time to start a training process
        hang = {"hang_factor": 2.0, "hang_floor": 20.0} if deed == "hangs" else {}
        Plan(optimizer, step, isolation, misdoing, settings, tuner=hang).run(folder)
        failed = [entry.result for entry in entries(folder) if entry.result.status == "failed"]
        if [result.config_id for result in failed] != [where[0]]:
            raise Broken(f"{deed}: {[(result.config_id, result.info) for result in failed]} failed")
        if not str(failed[0].info.get("reason", "")) and deed != "a failure":
            raise Broken(f"{deed}: it failed without a reason")
        check(folder, expected, EVALUATIONS)
        return 1
