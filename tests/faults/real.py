"""Faults of a search that finetunes: handwritten digits, tiny networks, the command as people type it."""

import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from faults.rules import Broken, check
from faults.searches import INTERRUPTED, Row, entries, story
from faults.signals import Hit

EVALUATIONS = 4
ENDS = (0, INTERRUPTED, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM)
"""Exit statuses; the last two before and after all else, where nothing is to be kept."""

COMMAND = (
    *(sys.executable, "-m", "qtt.run", "+experiment=quickstart", "optimizer=random_epochwise"),
    *("num_candidates=4", "run_dir=run", "quiet=true", "budget.seconds=null"),
    *(f"budget.evaluations={EVALUATIONS}", "objective.settings.num_workers=0"),
    "search_space.narrow={batch_size:[64],sched:[cosine],opt:[adamw],lr:[0.001]}",
)


class Command:
    """The command under way; it takes signals as `faults.searches.Child` does."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            COMMAND, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self) -> tuple[int, str]:
        """Exit status and stderr."""
        _, said = self._process.communicate()
        return self._process.returncode, said


@cache
def undisturbed(place: Path) -> tuple[tuple[Row, ...], float]:
    """The story of a search that nothing happens to, and the seconds that it takes."""
    begin = time.monotonic()
    code, said = Command(place / "images").wait()
    assert code == 0, said
    return tuple(story(place / "images" / "run")), time.monotonic() - begin


@dataclass(frozen=True)
class Real:
    """A signal at a random instant; then the same command goes on. same: see `faults.signals.Signals`."""

    hit: Hit
    same: bool = True

    def inject(self, folder: Path, draw: random.Random) -> int:
        """See `Injection.inject`."""
        expected, seconds = undisturbed(folder.parent)
        command = Command(folder)
        time.sleep(draw.uniform(0.1, 1.0) * seconds)
        self.hit(command, draw)
        code, said = command.wait()
        if code not in ENDS or "Traceback" in said:
            raise Broken(f"it ended with {code}: {said[-2000:]}")
        known = story(folder / "run")
        code, said = Command(folder).wait()
        if (code, said) != (0, ""):
            raise Broken(f"it did not go on: {code} {said[-2000:]}")
        if story(folder / "run")[: len(known)] != known:
            raise Broken("results were lost or changed")
        failures = sum(entry.result.status == "failed" for entry in entries(folder / "run"))
        if failures > (0 if self.same else 1):
            raise Broken(f"{failures} pipelines failed")
        check(folder / "run", None if failures else list(expected), EVALUATIONS)
        return 1
