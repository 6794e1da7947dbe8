"""What meta-training reads: curve tables, each with the hub of its models, less what is left out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from qtt.curves.manifest import Manifest
from qtt.curves.table import CurveTable
from qtt.errors import ConfigError, unknown
from qtt.hub.model_hub import ModelHub
from qtt.metatraining.runs import Runs, read_runs


@dataclass(frozen=True)
class TableChoice:
    """A curve table to learn from.

    folder: of the table. hub: what `ModelHub.load` takes; has the cards of the table's models.
    optional: pass the table over where it is not there.
    """

    folder: Path
    hub: str
    optional: bool = False

    @classmethod
    def of(cls, entry: Any, hub: str) -> Self:
        """From a path, or a mapping with `table` and perhaps `hub` (else the one given) and `optional`.

        Raises:
            ConfigError: the entry is neither.
        """
        given = {"table": entry} if isinstance(entry, str) else entry
        known = {"table", "hub", "optional"}
        if not isinstance(given, Mapping) or "table" not in given or not known >= given.keys():
            raise ConfigError(
                f"A table is a path, or has the keys {', '.join(sorted(known))}; got {entry!r}."
            )
        return cls(Path(given["table"]), str(given.get("hub", hub)), bool(given.get("optional", False)))

    @property
    def name(self) -> str:
        """The folder as it was given, or its last part where that path means nothing elsewhere."""
        here = self.folder.is_absolute() or ".." in self.folder.parts
        return self.folder.name if here else self.folder.as_posix()


@dataclass(frozen=True)
class Choice:
    """Which runs of the tables to learn from.

    datasets: these alone; None: all. exclude: not these, in no table. exclude_models: no runs of these.
    """

    datasets: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    exclude_models: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Source:
    """A curve table's runs to learn from, one entry a dataset."""

    name: str
    manifest: Manifest
    hub: ModelHub
    runs: tuple[Runs, ...]


def read_sources(tables: Sequence[TableChoice], choice: Choice) -> list[Source]:
    """The runs of all tables that `choice` leaves; tables without any are left out.

    Raises:
        ConfigError: a table that is not there, an unknown dataset or model, or nothing left.
        CurveTableError: a table that cannot be read.
        ModelHubError: a hub that cannot be had, or lacks a model of its table.
    """
    if not tables:
        raise ConfigError("There is no curve table to learn from; name folders by tables=[DIR].")
    there = [table for table in tables if table.folder.exists() or not table.optional]
    for table in there:
        if not table.folder.exists():
            raise ConfigError(
                f"There is no curve table {table.folder}. In a checkout, `make curves` imports the published "
                "ones; others are named by tables=[DIR], and `python -m qtt.collect` records new ones."
            )
    opened = [(table, CurveTable.load(table.folder), ModelHub.load(table.hub)) for table in there]
    _check(
        "dataset", (*(choice.datasets or ()), *choice.exclude), {d for _, t, _ in opened for d in t.datasets}
    )
    _check("model", choice.exclude_models, {name for _, _, hub in opened for name in hub.names})
    sources = []
    for table, curves, hub in opened:
        wanted = curves.datasets if choice.datasets is None else choice.datasets
        datasets = [d for d in curves.datasets if d in wanted and d not in choice.exclude]
        found = (_without(runs, choice.exclude_models) for runs in read_runs(table.folder, hub, datasets))
        runs = tuple(part for part in found if len(part))
        if runs:
            sources.append(Source(table.name, curves.manifest, hub, runs))
    if not sources:
        raise ConfigError("No runs are left to learn from; see tables, datasets, exclude and exclude_models.")
    return sources


def _check(what: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(unknown(what, name, known))


def _without(runs: Runs, models: Collection[str]) -> Runs:
    keep = np.array([config.get("model") not in models for config in runs.candidates.configs], dtype=np.bool_)
    return runs if keep.all() else runs.select(keep)
