"""Small curve tables to meta-train on, and the command called as a function."""

import io
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from rich.console import Console

from qtt import metatrain
from qtt.artifacts.files import Facts
from qtt.cli.configuration import config_directory
from qtt.curves.writing import write_table
from qtt.metatraining import fit_networks, fit_prior, fit_residual
from qtt.testing.synthetic import CARDS
from recorded import frames, recorded

DATASETS = ("A", "B", "C", "D", "E")


def write_tables(folder: Path) -> tuple[Path, Path]:
    """A curve table of five synthetic datasets, and the hub of its models."""
    curves = [recorded(name, n=12, epochs=50, seed=seed) for seed, name in enumerate(DATASETS)]
    write_table(folder / "table", frames(curves), source="synthetic", licence="CC0")
    hub = folder / "hub.yaml"
    hub.write_text(yaml.safe_dump({"name": "synthetic", "cards": [card.to_dict() for card in CARDS]}))
    return folder / "table", hub


def call(table: Path, hub: Path, out: Path, *overrides: str) -> tuple[Facts, str]:
    """What `python -m qtt.metatrain` does, and what it says."""
    settings = ["artifact=own", f"tables=[{table}]", f"hub={hub}", f"out={out}", *overrides]
    with initialize_config_dir(config_directory(), version_base="1.3"):
        config = compose("metatrain", settings)
    console = Console(record=True, width=120, file=io.StringIO())
    facts, _ = metatrain.metatrain(config, console)
    return facts, console.export_text()


def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit in seconds: a few small trees, a few steps of Adam."""
    boosted = fit_prior.boosted
    monkeypatch.setattr(
        fit_prior,
        "boosted",
        lambda settings, seed, rows, target: boosted({**settings, "max_iter": 4}, seed, rows, target),
    )
    monkeypatch.setattr(fit_residual, "STEPS", 5)
    monkeypatch.setattr(fit_networks, "EPOCHS", 1)
