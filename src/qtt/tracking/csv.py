"""The incumbent's trajectory as a CSV file."""

import csv

from qtt.runs.history import History
from qtt.tracking.base import SearchInfo, Summary
from qtt.types import Result, Trial


class CsvTracker:
    """Writes `trajectory.csv` into the run folder: one row per result, agreeing with the journal.

    Columns: elapsed (seconds of the budget), config_id, model, epoch, score, cost (seconds), status,
    incumbent (best score so far).
    """

    COLUMNS = ("elapsed", "config_id", "model", "epoch", "score", "cost", "status", "incumbent")

    def start(self, search: SearchInfo) -> None:
        """Write the header and the rows of earlier runs."""
        self._path = search.run_dir / "trajectory.csv"
        self._models = {i: config.get("model") for i, config in enumerate(search.candidates.configs)}
        self._path.unlink(missing_ok=True)
        self._write(self.COLUMNS)
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
        self._write(
            (
                f"{elapsed:.3f}",
                result.config_id,
                self._models[result.config_id],
                result.fidelity,
                result.score if result.succeeded else None,
                f"{result.cost:.3f}",
                result.status,
                None if best is None else best.score,
            )
        )

    def finish(self, summary: Summary) -> None:
        """Nothing is left to write."""

    def _write(self, row: tuple[object, ...]) -> None:
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(row)
