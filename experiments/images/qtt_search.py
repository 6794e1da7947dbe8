"""A search by qtt, as a user starts it, with the incumbent over time.

The command is `python -m qtt.run +experiment=image_folder …` of the checkout --source, and the clock begins
with it. Its incumbents are kept every second, and tested by the same checkout when it has ended.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from kept import Incumbents, Kept
from points import IMAGE_SIZE, Job, Point, answer, job_of, parser

LOOK = 1.0
"""Seconds between two looks at the incumbent."""

TEST = """
import json, sys
from qtt.finetune.cv.classification import evaluate_incumbent
print(json.dumps([evaluate_incumbent(folder)["test accuracy"] for folder in sys.argv[1:]]))
"""
"""Of the source tree that made the networks, whose preprocessing it is."""


def command(job: Job, overrides: list[str]) -> list[str]:
    """What a user would type."""
    return [
        *(sys.executable, "-m", "qtt.run", "+experiment=image_folder", f"dataset.path='{job.images}'"),
        *("model_hub=folder", f"weights_dir='{job.hub}'", "trainer=cpu", f"seed={job.seed}"),
        f"objective.settings.image_size={IMAGE_SIZE}",
        f"budget.seconds={job.seconds:g}",
        f"run_dir='{job.work / 'run'}'",
        *overrides,
    ]


def search(job: Job, source: Path, overrides: list[str]) -> Iterator[Point]:
    """A point for each incumbent.

    Raises:
        subprocess.CalledProcessError: the search failed, and not because no epoch was finished.
    """
    environment = {**os.environ, "PYTHONPATH": str(source / "src"), "QTT_CACHE": str(job.work / "cache")}
    incumbents = Incumbents(job.work / "run", job.work / "kept")
    started = time.time()
    with subprocess.Popen(command(job, overrides), env=environment, cwd=job.work) as process:
        while process.poll() is None:
            incumbents.look()
            _wait(process)
    incumbents.look()
    searched = (job.work / "run" / "candidates.json").exists()
    if process.returncode and (incumbents.kept or not searched):
        raise subprocess.CalledProcessError(process.returncode, process.args)
    for kept, test in zip(incumbents.kept, tested(incumbents.kept, environment), strict=True):
        facts = kept.facts
        what = f"{facts['config']['model']} #{facts['config_id']} epoch {facts['fidelity']}"
        yield Point(kept.published - started, facts["score"], test, what)


def tested(kept: list[Kept], environment: dict[str, str]) -> list[float]:
    """Test accuracy of each."""
    if not kept:
        return []
    folders = [str(one.folder) for one in kept]
    said = subprocess.run(
        [sys.executable, "-c", TEST, *folders], env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    found: list[float] = json.loads(said.splitlines()[-1])
    return found


def _wait(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(timeout=LOOK)
    except subprocess.TimeoutExpired:
        return


def main() -> None:
    """Search as the command line says."""
    arguments = parser(__doc__)
    arguments.add_argument("--source", type=Path, required=True, help="checkout whose qtt is run")
    arguments.add_argument("overrides", nargs=argparse.REMAINDER, help="after `--`: further ones of qtt.run")
    options = arguments.parse_args()
    overrides = [override for override in options.overrides if override != "--"]
    answer(lambda job: search(job, options.source, overrides), job_of(options))


if __name__ == "__main__":
    main()
