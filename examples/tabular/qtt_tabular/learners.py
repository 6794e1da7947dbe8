"""What is trained: gradient boosting and a neural network of scikit-learn, epoch by epoch, and as arrays."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from qtt.errors import ConfigError
from qtt_tabular.tables import Split, Tables

TREES = 5
"""Trees of each class that one epoch of boosting adds."""


class Learner:
    """A pipeline while it is trained: the same config, seed and data give the same epochs.

    Raises:
        ConfigError: the config names no learner that there is, or an impossible hyperparameter.
    """

    def __init__(self, config: Mapping[str, Any], tables: Tables, seed: int) -> None:
        self.epoch = 0
        self.tables = tables
        self._center, self._scale = tables.train.x.mean(0), tables.train.x.std(0) + 1e-12
        settings = {name: value for name, value in config.items() if name != "learner"}
        try:
            self._model = _build(str(config["learner"]), settings, seed)
        except (KeyError, TypeError) as error:
            raise ConfigError(f"The pipeline {dict(config)} cannot be built: {error}") from error
        self.kind = str(config["learner"])

    def train(self) -> Any:
        """One more epoch; probabilities (n, c) of the validation rows."""
        self.epoch += 1
        x, y = self._scaled(self.tables.train), self.tables.train.y
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            if isinstance(self._model, MLPClassifier):
                self._model.partial_fit(x, y, classes=np.arange(len(self.tables.class_names)))
            else:
                self._model.set_params(n_estimators=TREES * self.epoch).fit(x, y)
        return self.probabilities(self.tables.val)

    def probabilities(self, split: Split) -> Any:
        """What scikit-learn says, (n, c)."""
        return self._model.predict_proba(self._scaled(split))

    def save(self, path: Path) -> None:
        """Write what was learned as arrays; see `qtt_tabular.arrays`."""
        arrays = {"center": self._center, "scale": self._scale, **_arrays(self._model)}
        names, columns = self.tables.class_names, self.tables.columns
        about = json.dumps({"kind": self.kind, "columns": columns, "class_names": names})
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".unfinished")
        plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(plain, temporary, metadata={"about": about})
        temporary.replace(path)

    def _scaled(self, split: Split) -> Any:
        return (split.x - self._center) / self._scale


def _build(kind: str, settings: dict[str, Any], seed: int) -> GradientBoostingClassifier | MLPClassifier:
    if kind == "gradient_boosting":
        return GradientBoostingClassifier(**settings, warm_start=True, random_state=seed)
    if kind == "mlp":
        hidden = settings.pop("hidden")
        return MLPClassifier(hidden_layer_sizes=(hidden,), **settings, random_state=seed)
    raise KeyError(f"there is no learner '{kind}'")


def _arrays(model: GradientBoostingClassifier | MLPClassifier) -> dict[str, Any]:
    if isinstance(model, MLPClassifier):
        layers = enumerate(zip(model.coefs_, model.intercepts_, strict=True))
        return {name: a for i, (w, b) in layers for name, a in ((f"weight{i}", w), (f"bias{i}", b))}
    shares = model.init_.class_prior_
    initial = np.log(shares) if len(shares) > 2 else np.log(shares[1:] / shares[:1])
    trees = [(tree.tree_, column) for row in model.estimators_ for column, tree in enumerate(row)]
    starts = np.cumsum([0, *(tree.node_count for tree, _ in trees)])[:-1]
    joined = {
        "left": [tree.children_left for tree, _ in trees],
        "right": [tree.children_right for tree, _ in trees],
        "feature": [tree.feature for tree, _ in trees],
        "threshold": [tree.threshold for tree, _ in trees],
        "value": [model.learning_rate * tree.value[:, 0, 0] for tree, _ in trees],
    }
    arrays = {name: np.concatenate(parts) for name, parts in joined.items()}
    return arrays | {"initial": initial, "roots": starts, "classes": np.array([c for _, c in trees])}
