"""What is ablated: variants of Quick-Tune, and the rules by which datasets and models are drawn.

Notation: n candidates, T epochs.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "search_quality"))

from folds import META, Contestant
from protocol import Study

from qtt.artifacts.pretrained import quick_tune
from qtt.benchmarking.policies import Policy
from qtt.benchmarking.runner import Problem
from qtt.optimizers.quick import QuickTune
from qtt.types import Candidates, MetaFeatures, Trial

NO_COST, NO_GRAYBOX = "optimizer.cost_aware=false", "optimizer.gray_box=false"
COLD = "optimizer=quick"

STEPS = (2, 5)
"""Epochs of a step, beside quick's 1."""

TRAINING_DATASETS = (4, 6, 9)
"""To meta-train on, beside all 12; meta-training refuses fewer than 4."""

HUBS, HUB_DRAWS = (3, 6, 12), 3
"""Models of the hub, beside quick's 24, and how many nested series of subsets are drawn."""


@dataclass(frozen=True)
class Variant:
    """One row of the tables: Quick-Tune with something changed.

    contestant: the optimizer; `{trained}` in its overrides stands for the fold's artifact.
    training: datasets that the artifact is meta-trained on; 0: there is none.
    models: of the hub; None: all. draws: seeds of what is random, or subsets of models.
    """

    contestant: Contestant
    training: int = 0
    models: int | None = None
    draws: int = 1

    @property
    def name(self) -> str:
        """As the tables have it."""
        return self.contestant.name

    def policy(self, artifact: Path | None) -> Policy:
        """The optimizer; one that trains pipelines to their end is asked once for each of them."""
        policy = self.contestant.policy({} if artifact is None else {"all": artifact})
        if policy.settings.get("gray_box", True):
            return policy
        return replace(policy, target="variants.to_the_end")

    def seed(self, draw: int) -> int:
        """Of the search in a draw: what draws nothing has one search."""
        return draw if self.contestant.seeded else 0


CORNERS = (
    Variant(Contestant("no_cost_no_graybox", f"{META} {NO_COST} {NO_GRAYBOX}"), training=12),
    Variant(Contestant("none", f"{COLD} {NO_COST} {NO_GRAYBOX}", seeded=True)),
    Variant(Contestant("no_meta_no_graybox", f"{COLD} {NO_GRAYBOX}", seeded=True)),
    Variant(Contestant("no_meta_no_cost", f"{COLD} {NO_COST}", seeded=True)),
)
"""Corners of meta-learning x costs x gray-box that experiments/search_quality has not."""

VARIANTS = (
    *CORNERS,
    Variant(Contestant("trained_on_12", META), training=12),
    *(
        Variant(Contestant(f"step_{step}", f"{META} optimizer.epochs_per_step={step}"), training=12)
        for step in STEPS
    ),
    *(Variant(Contestant(f"hub_{size}", META), 12, size, HUB_DRAWS) for size in HUBS),
    *(Variant(Contestant(f"trained_on_{count}", META), training=count) for count in TRAINING_DATASETS),
)


def training_datasets(folds: Sequence[Sequence[str]], fold: int, count: int) -> tuple[str, ...]:
    """Of the datasets of the other folds, the first ones of a permutation drawn with the fold as its seed.

    So the smaller sets are parts of the larger ones.

    Raises:
        ValueError: there are not so many.
    """
    others = sorted(name for k, names in enumerate(folds) if k != fold for name in names)
    if count > len(others):
        raise ValueError(f"Fold {fold} has {len(others)} datasets to train on, not {count}.")
    order = np.random.default_rng(fold).permutation(len(others))
    return tuple(others[i] for i in order[:count])


def hub_models(names: Sequence[str], size: int, draw: int) -> tuple[str, ...]:
    """The first models of a permutation drawn with this seed: nested over sizes.

    Raises:
        ValueError: there are not so many.
    """
    if size > len(names):
        raise ValueError(f"The hub has {len(names)} models, not {size}.")
    order = np.random.default_rng(draw).permutation(len(names))
    return tuple(sorted(names)[i] for i in order[:size])


def restricted(problem: Problem, models: Sequence[str]) -> Problem:
    """The same dataset with the runs of these models alone.

    Raises:
        ValueError: none of them was recorded on it.
    """
    curves = problem.curves
    kept = [i for i, config in enumerate(curves.configs) if config.get("model") in models]
    if not kept:
        raise ValueError(f"{curves.dataset} has no run of {', '.join(models)}.")
    fewer = replace(
        curves,
        run_ids=tuple(curves.run_ids[i] for i in kept),
        configs=tuple(curves.configs[i] for i in kept),
        scores=curves.scores[kept],
        seconds=curves.seconds[kept],
        lengths=curves.lengths[kept],
        statuses=tuple(curves.statuses[i] for i in kept),
    )
    cards = tuple(card for card in problem.candidates.models if card.name in models)
    return Problem(fewer, problem.metafeatures, Candidates(fewer.configs, cards))


def study_of(fold: int, study: Study, counts: Sequence[int]) -> Study:
    """The study whose artifacts `trained_on_<count>` have seen so many of the fold's training datasets.

    With all of them, it is meta-trained as search_quality's `all`, but for the paper's predictors.
    """
    whole = sum(len(names) for k, names in enumerate(study.folds) if k != fold)
    artifacts: dict[str, tuple[str, ...]] = {}
    for count in counts:
        names = training_datasets(study.folds, fold, count)
        artifacts[f"trained_on_{count}"] = () if count == whole else (f"datasets=[{','.join(names)}]",)
    return replace(study, artifacts=artifacts)


class ToTheEnd:
    """Quick-Tune without gray-box, which decides once a pipeline instead of after every epoch of it.

    What it decides is the same, for its predictors are functions of all that was observed.
    """

    def __init__(self, optimizer: QuickTune) -> None:
        self.optimizer = optimizer
        self.tell = optimizer.tell

    def setup(self, n: int | Candidates, metafeatures: MetaFeatures | None = None) -> None:
        """Start a new search."""
        self.optimizer.setup(n, metafeatures)

    def ask(self) -> Trial | None:
        """All epochs of the next pipeline."""
        trial = self.optimizer.ask()
        return trial and replace(trial, fidelity=self.optimizer.last_epoch(trial.config_id))


def to_the_end(**settings: Any) -> ToTheEnd:
    """From the settings of conf/optimizer/quick.yaml."""
    return ToTheEnd(quick_tune(**settings))


def by_name(names: Sequence[str] | None) -> Iterator[Variant]:
    """These variants, or all, in the order in which they are run."""
    known: Mapping[str, Variant] = {variant.name: variant for variant in VARIANTS}
    return iter(VARIANTS if names is None else [known[name] for name in names])
