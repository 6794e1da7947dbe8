"""Predictions of the validation examples, kept in the run folder for the next report."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from qtt.reporting.validated import Validated
from qtt.runs.kept_models import KeptModel
from qtt.support.files import parse_json

FOLDER = "predictions"
"""Within the run folder."""


class KeptPredictions:
    """The predictions of one kept network, valid while it is of the same epoch of the same pipeline."""

    def __init__(self, run_dir: Path, model: KeptModel) -> None:
        self.file = run_dir / FOLDER / f"{model.name.replace('/', '-')}.npz"
        self._model = model

    def read(self) -> Validated | None:
        """What was kept; None where there is nothing, or it is of another network."""
        try:
            with np.load(self.file, allow_pickle=False) as kept:
                about, probabilities = parse_json(str(kept["about"])), kept["probabilities"]
            if about["network"] != self._identity():
                return None
            names = tuple(str(name) for name, _ in about["samples"])
            labels = np.array([label for _, label in about["samples"]], dtype=np.int64)
            return Validated(probabilities, labels, names, self._model.class_names)
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
            return None

    def write(self, seen: Validated) -> None:
        """Keep predictions; a folder that cannot be written to only costs the time to predict again."""
        unfinished = self.file.with_suffix(".unfinished")
        about = json.dumps({"network": self._identity(), "samples": seen.samples})
        try:
            self.file.parent.mkdir(exist_ok=True)
            with unfinished.open("wb") as stream:
                np.savez_compressed(stream, about=np.array(about), probabilities=seen.probabilities)
            unfinished.replace(self.file)
        except OSError:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def _identity(self) -> dict[str, Any]:
        """What tells one network from another, as JSON gives it back."""
        model = self._model
        return {"pipeline": model.config_id, "epoch": model.fidelity, "score": model.score}
