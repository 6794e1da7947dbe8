"""Recorded runs of one dataset, as meta-training sees them.

Notation: n runs, T = largest fidelity.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qtt.curves.manifest import ALL_EPOCHS
from qtt.curves.schema import UNUSABLE
from qtt.curves.table import CurveTable
from qtt.errors import ConfigError
from qtt.hub.model_hub import ModelHub
from qtt.types import Candidates, Config, MetaFeatures

LAST_FIDELITY = 50
"""Epochs that every pipeline's schedule spans."""


@dataclass(frozen=True, eq=False)
class Runs:
    """All usable runs of one dataset from one table.

    candidates: the pipelines with the cards of their models.
    scores, seconds: (n, T), NaN where nothing was recorded.
    lengths: (n,) last recorded epoch; failed: (n,) the run broke off with an error.
    """

    dataset: str
    metafeatures: MetaFeatures
    candidates: Candidates
    scores: NDArray[np.float64]
    seconds: NDArray[np.float64]
    lengths: NDArray[np.int64]
    failed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.lengths)

    def select(self, keep: NDArray[np.bool_]) -> "Runs":
        """Those runs for which `keep` (n,) is true, with the cards of their models alone."""
        configs = tuple(config for config, kept in zip(self.candidates.configs, keep, strict=True) if kept)
        named = {config["model"] for config in configs}
        candidates = Candidates(configs, tuple(card for card in self.candidates.models if card.name in named))
        parts = (self.scores[keep], self.seconds[keep], self.lengths[keep], self.failed[keep])
        return Runs(self.dataset, self.metafeatures, candidates, *parts)


def read_runs(folder: Path, hub: ModelHub, datasets: Sequence[str] | None = None) -> list[Runs]:
    """The runs of a curve table, also of one that knows only the last epochs.

    Args:
        folder: of the table.
        hub: has the cards of the models that the table names.
        datasets: names of these; None: all.

    Raises:
        CurveTableError: no such table or dataset.
        ConfigError: curves longer than meta-training looks ahead.
        ModelHubError: the hub lacks a model.
    """
    table = CurveTable.load(folder)
    if table.manifest.longest > LAST_FIDELITY:
        raise ConfigError(
            f"{folder} has curves of {table.manifest.longest} epochs; predictors look at {LAST_FIDELITY}."
        )
    names = table.datasets if datasets is None else datasets
    return [_read(table, hub, name) for name in names]


def _read(table: CurveTable, hub: ModelHub, dataset: str) -> Runs:
    if table.manifest.epochs == ALL_EPOCHS:
        curves = table.curves(dataset)
        configs: tuple[Config, ...] = curves.configs
        width = curves.scores.shape[1]
        scores, seconds = np.full((2, len(configs), LAST_FIDELITY), np.nan)
        scores[:, :width], seconds[:, :width] = curves.scores, curves.seconds
        failed = np.array([status == "failed" for status in curves.statuses], dtype=np.bool_)
    else:
        configs, scores, seconds, failed = _last_epochs(table, dataset)
    models = tuple(hub[name] for name in sorted({str(config["model"]) for config in configs}))
    lengths = np.where(np.isfinite(scores), np.arange(1, LAST_FIDELITY + 1), 0).max(axis=1, initial=0)
    metafeatures = table.metafeatures(dataset)
    return Runs(dataset, metafeatures, Candidates(configs, models), scores, seconds, lengths, failed)


def _last_epochs(
    table: CurveTable, dataset: str
) -> tuple[tuple[Config, ...], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    known = table.configs(dataset)
    runs = table.read("runs", dataset).set_index("run_id")
    points = table.read("curves", dataset).set_index("run_id")
    names = [name for name in known if name in points.index and runs.status[name] != UNUSABLE]
    scores, seconds = np.full((2, len(names), LAST_FIDELITY), np.nan)
    for row, name in enumerate(names):
        point = points.loc[name]
        scores[row, int(point.epoch) - 1] = point.score
        seconds[row, int(point.epoch) - 1] = point.seconds
    failed = np.array([runs.status[name] == "failed" for name in names], dtype=np.bool_)
    return tuple(known[name] for name in names), scores, seconds, failed
