"""What all importers share: a run as they read it, how it ended, and the frames of a curve table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from qtt.curves.schema import CAPPED, FAILED, FINISHED, UNUSABLE, Frames
from qtt.types import Config, MetaFeatures

if TYPE_CHECKING:
    from qtt.data.meta_album import AlbumDataset

EPOCHS = 50
"""Epochs of a complete run of the Quick-Tune meta-dataset."""

TIME_CAP = 16 * 3600.0
"""Seconds after which its runs were stopped."""

CAP_SHARE = 0.75
"""Recorded seconds leave out loading and saving, so the cap shows before it is reached. In the published
extended data nothing lies between 0.62 and 0.79 of the cap."""

LINEAR_PROBING_NOTE = "linear probing: recorded with a single epoch of a few seconds whatever the dataset"


@dataclass(frozen=True)
class RecordedRun:
    """One run of a source. The curve's rows: epoch (from 1), score 0 to 1, seconds, and maybe the loss."""

    run_id: str
    dataset: str
    config: Config
    status: str
    epochs: Sequence[int]
    scores: Sequence[float]
    seconds: Sequence[float]
    losses: Sequence[float | None] | None = None
    max_memory: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class RecordedDataset:
    """One dataset of a source."""

    name: str
    metafeatures: MetaFeatures
    group: str | None = None
    domain: str | None = None


@dataclass(frozen=True)
class Imported:
    """What an importer read, for `qtt.curves.writing.write_table`."""

    frames: Frames
    source: str
    licence: str | None
    notes: tuple[str, ...] = field(default=())
    all_epochs: bool = True


def album_dataset(
    name: str, metafeatures: MetaFeatures, facts: "Mapping[str, AlbumDataset]", group: str | None = None
) -> RecordedDataset:
    """A dataset of Meta-Album; facts: what is known of it by its name, for set and domain."""
    known = facts.get(name)
    if known is None:
        return RecordedDataset(name, metafeatures, group)
    return RecordedDataset(name, metafeatures, f"set{known.album_set}", known.domain)


def ending(config: Config, seconds: Sequence[float]) -> str:
    """How a run of the Quick-Tune meta-dataset ended, told from its hyperparameters and seconds per epoch.

    unusable: linear probing with a single recorded epoch; finished: 50 epochs; capped: another epoch, as long
    as the run's slowest one, would have come near the time cap; failed: everything else.
    """
    if len(seconds) >= EPOCHS:
        return FINISHED
    if config.get("linear_probing") and len(seconds) == 1:
        return UNUSABLE
    if seconds and sum(seconds) + max(seconds) >= CAP_SHARE * TIME_CAP:
        return CAPPED
    return FAILED


def frames_of(runs: Iterable[RecordedRun], datasets: Iterable[RecordedDataset]) -> Frames:
    """The four frames of a curve table."""
    import pandas as pd

    runs = list(runs)
    names = dict.fromkeys(["model", *(name for run in runs for name in run.config)])
    configs = [[run.run_id, run.dataset, *(run.config.get(name) for name in names)] for run in runs]
    with_loss = any(run.losses is not None for run in runs)
    points = [
        (run.run_id, epoch, score, seconds, loss)
        for run in runs
        for epoch, score, seconds, loss in zip(
            run.epochs, run.scores, run.seconds, run.losses or [None] * len(run.epochs), strict=True
        )
    ]
    curves = pd.DataFrame(points, columns=["run_id", "epoch", "score", "seconds", "loss"])
    return Frames(
        configs=pd.DataFrame(configs, columns=["run_id", "dataset", *names], dtype=object),
        curves=curves if with_loss else curves.drop(columns="loss"),
        datasets=pd.DataFrame(
            [
                {"dataset": d.name, "set": d.group, "domain": d.domain, **asdict(d.metafeatures)}
                for d in datasets
            ]
        ),
        runs=pd.DataFrame(
            [(run.run_id, run.status, run.max_memory, run.note) for run in runs],
            columns=["run_id", "status", "max_memory", "note"],
            dtype=object,
        ),
    )
