"""The incumbent's trajectory as a CSV file."""

import csv
from collections.abc import Sequence

from qtt.evaluation.pool import WORKER
from qtt.runs.history import History
from qtt.support.plain_text import cell
from qtt.tracking.base import SearchInfo, Summary
from qtt.types import Result, Trial


class CsvTracker:
    """Writes `trajectory.csv` into the run folder: one row per result, agreeing with the journal.

    Columns: elapsed (seconds of the budget), config_id, model, epoch, score, cost (seconds), status,
    incumbent (best score so far), worker (who trained it; empty where there is one).
    """

    COLUMNS = ("elapsed", "config_id", "model", "epoch", "score", "cost", "status", "incumbent", "worker")

    def start(self, search: SearchInfo) -> None:
        """Write the header and the rows of earlier runs."""
        self._path = search.run_dir / "trajectory.csv"
        self._models = {i: config.get("model") for i, config in enumerate(search.candidates.configs)}
        self._rows: list[tuple[object, ...]] = []
        self._whole = False
        self._add(self.COLUMNS)
        history = History()
        for entry in search.entries:
            history.add(entry.result)
            self.told(entry.result, history, entry.elapsed)

    def asked(self, trial: Trial, elapsed: float) -> None:
        """Remember the model, for the pipeline may be one that was proposed after the start."""
        self._models[trial.config_id] = trial.config.get("model")

    def told(self, result: Result, history: History, elapsed: float) -> None:
        """Append one row."""
        best = history.incumbent
        self._add(
            (
                f"{elapsed:.3f}",
                result.config_id,
                self._models[result.config_id],
                result.fidelity,
                result.score if result.succeeded else None,
                f"{result.cost:.3f}",
                result.status,
                None if best is None else best.score,
                result.info.get(WORKER),
            )
        )

    def finish(self, summary: Summary) -> None:
        """Write what a full disk has kept back so far.

        Raises:
            OSError: there is still no room.
        """
        if not self._whole:
            self._write("w", self._rows)

    def _add(self, row: tuple[object, ...]) -> None:
        """Append a row; while that is not possible, the next one tries to write them all."""
        self._rows.append(row)
        try:
            self._write(*(("a", [row]) if self._whole else ("w", self._rows)))
            self._whole = True
        except OSError:
            self._whole = False

    def _write(self, mode: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._path.open(mode, newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([cell(value) for value in row] for row in rows)
