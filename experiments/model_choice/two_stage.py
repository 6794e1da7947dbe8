"""A search within a budget: of all networks at once, or of the one that a first stage has chosen.

Called as every method of experiments/images (see points.py there), with --by: `joint` is qtt as it comes;
`imagenet`, `logme` and `leep` choose a network first, and the search has what is left of the budget. The
clock is that of the search, and before it that of the first stage; Python's start counts in neither.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "images"))

import torch
from choice_scores import choose
from points import Job, Point, answer, job_of, parser
from qtt_search import search

from qtt.evaluation.memory import keep_memory
from qtt.hub.model_hub import load_hub

METHODS = ("joint", "imagenet", "logme", "leep")
LEAST = 1.0
"""Seconds of a budget below which no search begins."""


def method(job: Job, source: Path, by: str) -> Iterator[Point]:
    """A point for each incumbent; none where the first stage has taken the whole budget."""
    begun = time.monotonic()
    overrides = []
    if by != "joint":
        model = choose(by, load_hub("folder", weights_dir=job.hub), job.images)
        overrides.append(f"model_hub.models=['{model}']")
    spent = time.monotonic() - begun
    if job.seconds - spent < LEAST:
        return
    for point in search(replace(job, seconds=job.seconds - spent), source, overrides):
        yield replace(point, seconds=point.seconds + spent)


def main() -> None:
    """Search as the command line says."""
    arguments = parser(__doc__)
    arguments.add_argument("--source", type=Path, required=True, help="checkout whose qtt is run")
    arguments.add_argument("--by", choices=METHODS, required=True, help="how the network is chosen")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    answer(lambda job: method(job, options.source, options.by), job_of(options))


if __name__ == "__main__":
    main()
