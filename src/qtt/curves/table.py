"""Reading curve tables (format: `qtt.curves.schema`): cheap to open, one dataset at a time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from qtt.curves.manifest import ALL_EPOCHS, Manifest
from qtt.curves.schema import FILES, UNUSABLE, Frames, decode_configs
from qtt.curves.validation import checked
from qtt.errors import CurveTableError, QTTError, unknown
from qtt.json_rules import check_items
from qtt.support.files import parse_json
from qtt.types import Config, MetaFeatures

if TYPE_CHECKING:
    import pandas as pd

ROW_GROUPS = "qtt.datasets"
"""Key of a Parquet file's metadata: JSON list of the datasets of its row groups."""


@dataclass(frozen=True, eq=False)
class DatasetCurves:
    """The candidates of one dataset: all its runs that are not unusable, in the order of their names.

    run_ids, configs, statuses: n; configs are native, inactive hyperparameters absent, `model` included.
    scores, seconds: (n, T), NaN after the end of a curve; T is the longest curve of the whole table.
    lengths: (n,) epochs recorded; 0 where a run failed before its first epoch ended.
    """

    dataset: str
    run_ids: tuple[str, ...]
    configs: tuple[Config, ...]
    scores: NDArray[np.float64]
    seconds: NDArray[np.float64]
    lengths: NDArray[np.int64]
    statuses: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.run_ids)


@contextmanager
def _damage_told(place: Path) -> Iterator[None]:
    """Turn what Arrow, NumPy and Python say of files that hold something else into an error of the table.

    Whoever wrote them may have written the manifest's hashes too.
    """
    try:
        yield
    except QTTError:
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        what = " ".join(str(error).split())[:200]
        raise CurveTableError(
            f"The curve table {place} cannot be read ({type(error).__name__}: {what}). Write it anew."
        ) from error


class CurveTable:
    """A folder of recorded learning curves; made by `load`, written by `qtt.curves.writing.write_table`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._files = {name: _PartedFile(folder / f"{name}.parquet") for name in FILES}

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Open a table: its files are compared with the manifest's sha256, and read when asked for.

        Raises:
            CurveTableError: no table, one of another format, or files that are missing or changed.
        """
        folder = Path(folder)
        return cls(folder, Manifest.read(folder))

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets that have runs, sorted."""
        with _damage_told(self.folder):
            return self._files["configs"].datasets

    def metafeatures(self, dataset: str) -> MetaFeatures:
        """Descriptors of a dataset.

        Raises:
            CurveTableError: the table has no such dataset.
        """
        with _damage_told(self.folder):
            row = self._descriptions.get(dataset)
            if row is None:
                raise CurveTableError(self._unknown(dataset))
            return MetaFeatures(row["train_images"], row["num_classes"], row["image_size"], row["channels"])

    def curves(self, dataset: str) -> DatasetCurves:
        """The candidates of a dataset with their learning curves.

        Raises:
            CurveTableError: the table has no such dataset, or knows only the last epochs of its runs.
        """
        if self.manifest.epochs != ALL_EPOCHS:
            raise CurveTableError(
                f"{self.folder} knows only the last epoch of every run; it has no learning curves. "
                "Its rows are there through read('curves')."
            )
        with _damage_told(self.folder):
            return self._curves(dataset)

    def _curves(self, dataset: str) -> DatasetCurves:
        runs = self._rows("runs", dataset, ("run_id", "status"))
        runs = runs.filter(pc.not_equal(runs["status"].cast(pa.string()), UNUSABLE))
        run_ids = runs["run_id"].to_pylist()
        configs = self.configs(dataset)
        scores, seconds = self._matrices(dataset, run_ids)
        return DatasetCurves(
            dataset=dataset,
            run_ids=tuple(run_ids),
            configs=tuple(configs[run_id] for run_id in run_ids),
            scores=scores,
            seconds=seconds,
            lengths=np.isfinite(scores).sum(axis=1),
            statuses=tuple(runs["status"].to_pylist()),
        )

    def configs(self, dataset: str) -> dict[str, Config]:
        """The configs of all runs of a dataset, unusable ones included, by run, in the order of their names.

        Raises:
            CurveTableError: the table has no such dataset.
        """
        with _damage_told(self.folder):
            columns = self._rows("configs", dataset).to_pydict()
            run_ids = columns.pop("run_id")
            del columns["dataset"]
            return dict(zip(run_ids, decode_configs(columns), strict=True))

    def read(self, name: str, dataset: str | None = None) -> "pd.DataFrame":
        """One file as a data frame, whole or of one dataset; `name` is configs, curves, datasets or runs.

        Raises:
            CurveTableError: an unknown file or dataset.
        """
        if name not in FILES:
            raise CurveTableError(unknown("file of a curve table", name, FILES))
        with _damage_told(self.folder):
            if dataset is None:
                return self._files[name].read().to_pandas()
            if name == "datasets":
                table = self._files[name].read()
                return table.filter(pc.equal(table["dataset"].cast(pa.string()), dataset)).to_pandas()
            return self._rows(name, dataset).to_pandas()

    def check(self) -> None:
        """Check every value, as writing does.

        Raises:
            CurveTableError: the first violation, with row, column and value.
        """
        checked(Frames(*(self.read(name) for name in FILES)), self.manifest.epochs == ALL_EPOCHS)

    @cached_property
    def _descriptions(self) -> Mapping[str, dict[str, Any]]:
        return {row["dataset"]: row for row in self._files["datasets"].read().to_pylist()}

    def _rows(self, name: str, dataset: str, columns: Sequence[str] | None = None) -> pa.Table:
        if dataset not in self.datasets:
            raise CurveTableError(self._unknown(dataset))
        return self._files[name].read(dataset, columns)

    def _matrices(
        self, dataset: str, run_ids: Sequence[str]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores and seconds of these runs, both (n, T)."""
        points = self._rows("curves", dataset, ("run_id", "epoch", "score", "seconds"))
        position = pc.index_in(points["run_id"].cast(pa.string()), value_set=pa.array(run_ids, pa.string()))
        points = points.filter(position.is_valid())  # the others are unusable
        row = position.drop_null().to_numpy()
        column = points["epoch"].to_numpy() - 1
        if len(column) and column.min() < 0:
            raise CurveTableError(f"The curve table {self.folder} has epochs before the first.")
        scores, seconds = np.full((2, len(run_ids), self.manifest.longest), np.nan)
        scores[row, column] = points["score"].to_numpy()
        seconds[row, column] = points["seconds"].to_numpy()
        return scores, seconds

    def _unknown(self, dataset: str) -> str:
        return unknown("dataset", dataset, self.datasets) + f" (table {self.folder})"


class _PartedFile:
    """A Parquet file with a row group per dataset; of the file `datasets` itself, one without a name."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _metadata(self) -> pq.FileMetaData:
        return pq.read_metadata(self._path)

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        """The names of the row groups: the datasets that have rows here, sorted."""
        metadata = self._metadata.metadata or {}
        if ROW_GROUPS.encode() not in metadata:
            raise CurveTableError(
                f"{self._path} does not name its row groups' datasets; write the table anew."
            )
        return tuple(check_items(parse_json(metadata[ROW_GROUPS.encode()]), str, str(self._path)))

    def read(self, dataset: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, or those of one dataset, which may be none; all columns or some."""
        names = None if columns is None else list(columns)
        with pq.ParquetFile(self._path, metadata=self._metadata, memory_map=True) as file:
            groups: Sequence[int] = range(file.num_row_groups)
            if dataset is not None:
                groups = [self.datasets.index(dataset)] if dataset in self.datasets else []
            if not groups:  # which older versions of Arrow cannot read
                empty = file.schema_arrow.empty_table()
                return empty if names is None else empty.select(names)
            return file.read_row_groups(groups, names, use_threads=False)
