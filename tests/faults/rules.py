"""What must hold of a run folder after any fault."""

import json
from pathlib import Path

from faults.searches import Row, entries, finished
from qtt.runs.record import RunRecord


class Broken(AssertionError):  # noqa: N818 - it is a rule that is
    """A rule that does not hold."""


def check(folder: Path, expected: list[Row] | None, evaluations: int | None) -> None:
    """The folder tells one story, whole and without doubles, and its end is told as it was.

    expected: the epochs of an undisturbed search, in their order; None: any that are true. evaluations: the
    budget; None: any number.

    Raises:
        Broken: it does not.
    """
    told = entries(folder)
    rows = finished(entry.result for entry in told)
    keys = [row[:2] for row in rows]
    _that(len(set(keys)) == len(keys), f"epochs are there twice: {keys}")
    elapsed = [entry.elapsed for entry in told]
    _that(elapsed == sorted(elapsed), "the seconds of the budget run backwards")
    end = json.loads((folder / "end.json").read_text())
    _that(end["results"] == len(told), f"the end is of {end['results']} results, and there are {len(told)}")
    if evaluations is not None:
        spent = f"The budget of {evaluations} epochs is spent."
        all_done = end["reason"].startswith("Every pipeline")
        _that(len(rows) == evaluations or (all_done and len(rows) < evaluations), f"{len(rows)} epochs")
        _that(end["reason"] == spent or (all_done and len(rows) < evaluations), end["reason"])
    if expected is not None:
        _that(rows == expected, f"asked in another order:\n{rows}\n{expected}")
    best = RunRecord.load(folder).history.incumbent
    if best is not None:
        kept = json.loads((folder / "incumbent" / "model.json").read_text())
        _that((kept["config_id"], kept["fidelity"]) == (best.config_id, best.fidelity), "another incumbent")


def _that(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)
