"""Hyperparameters that a predictor was not made for: its prior ignores them, the search learns their effect.

Notation: n candidates, k columns. An effect is a Gaussian process, linear in columns of the unknown
hyperparameters: a number's standardised value x and half its square, and an indicator of each option. So one
observation moves all pipelines with the same or a near value.
"""

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from qtt.predictors.base import SearchTask
from qtt.predictors.features import FeatureSpec
from qtt.types import Candidates

Array = NDArray[np.float64]


def unknown_hyperparameters(spec: FeatureSpec, task: SearchTask) -> tuple[str, ...]:
    """A search's hyperparameters, except the model, without columns in `spec`, or none for their values."""
    return tuple(
        name for name, options in task.options.items() if name != "model" and not spec.encodes(name, options)
    )


def unknown_effects(names: Collection[str], task: SearchTask) -> Array:
    """Columns of the unknown hyperparameters `names`, whose squares sum to about one; (n, k), (n, 0) without.

    Divided by the root of their number, so that many of them do not count more than few.
    """
    if not names:
        return np.zeros((len(task.candidates), 0))
    spec = FeatureSpec.from_options({name: task.options[name] for name in names}, (), task.conditional)
    columns = spec.encode(Candidates(task.candidates.configs), None).pipeline
    numbers = [column.kind in ("number", "log") for column in spec.columns if column.group == "pipeline"]
    x = columns[:, np.array(numbers, dtype=np.bool_)]
    return np.column_stack([columns, 0.5 * x * x]) / math.sqrt(len(names))


def known_part(candidates: Candidates, names: Collection[str]) -> Candidates:
    """The candidates without the hyperparameters `names`."""
    if not names:
        return candidates
    configs = [
        {name: value for name, value in config.items() if name not in names} for config in candidates.configs
    ]
    return Candidates(tuple(configs), candidates.models, candidates.proposed)
