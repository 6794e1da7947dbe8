"""Leave-datasets-out: three folds of six datasets, and predictors that have seen none of a fold's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from rich.console import Console

from qtt.benchmark import load_problems
from qtt.benchmarking.runner import Problem
from qtt.cli.configuration import config_directory
from qtt.curves.table import CurveTable
from qtt.hub.model_hub import ModelHub
from qtt.metatrain import metatrain

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "meta_dataset" / "tables"
TABLE, FINAL_TABLE = TABLES / "quicktune_extended", TABLES / "quicktune_micro_final"

UNSEEN = (
    "mobilevit_xs",
    "edgenext_small",
    "xcit_tiny_12_p8_384_dist",
    "deit3_small_patch16_384_in21ft1k",
    "tf_efficientnet_b6_ns",
    "volo_d4_448",
)
"""Models that `unseen` is not trained on: of six families, one of them whole; 2 to 193 million parameters."""

PAPER_STEPS = 10_000
ARTIFACTS: Mapping[str, tuple[str, ...]] = {
    "all": (f"paper_steps={PAPER_STEPS}",),
    "unseen": (f"exclude_models=[{','.join(UNSEEN)}]",),
}
"""Overrides of `python -m qtt.metatrain` by the artifact's name."""


def read_folds() -> tuple[tuple[str, ...], ...]:
    """The datasets of each fold of `three` in meta_dataset/folds.yaml."""
    folds = yaml.safe_load((ROOT / "meta_dataset" / "folds.yaml").read_text())
    return tuple(tuple(fold) for fold in folds["three"])


def configuration(name: str, overrides: Sequence[str]) -> DictConfig:
    """What a command of the package would be configured with."""
    with initialize_config_dir(config_directory(), version_base="1.3"):
        return compose(name, list(overrides))


@dataclass(frozen=True)
class Study:
    """Where everything is.

    out: folder of artifacts and results. table: curve table of all folds' datasets. hub: of its models.
    folds: datasets by fold. artifacts: overrides of meta-training by name.
    """

    out: Path
    table: Path = TABLE
    hub: str = "table4"
    folds: tuple[tuple[str, ...], ...] = field(default_factory=read_folds)
    artifacts: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(ARTIFACTS))

    def artifact(self, fold: int, name: str, console: Console) -> Path:
        """Folder of an artifact meta-trained without the fold's datasets; what is there is not fitted again.

        Raises:
            QTTError: whatever `python -m qtt.metatrain` refuses.
        """
        folder = self.out / f"fold{fold}" / name
        overrides = [
            f"tables=['{self.table}']",
            f"hub='{self.hub}'",
            f"exclude=[{','.join(self.folds[fold])}]",
            f"out='{folder}'",
            *self.artifacts[name],
        ]
        console.print(f"Fold {fold}: meta-training '{name}' without {', '.join(self.folds[fold])}")
        metatrain(configuration("metatrain", overrides), console)
        return folder

    def problems(self, fold: int, datasets: Sequence[str] | None = None) -> list[Problem]:
        """The fold's datasets with their curves, or those of them that `datasets` names."""
        names = [name for name in self.folds[fold] if datasets is None or name in datasets]
        return load_problems(CurveTable.load(self.table), names, ModelHub.load(self.hub))


def mean_and_error(values: Sequence[float] | Any) -> str:
    """Mean ± standard error over datasets, as the README's tables have it."""
    import numpy as np

    numbers = np.asarray(values, dtype=np.float64)
    error = numbers.std(ddof=1) / np.sqrt(len(numbers)) if len(numbers) > 1 else float("nan")
    return f"{numbers.mean():.3f} ± {error:.3f}"
