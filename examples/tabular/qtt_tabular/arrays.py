"""What was learned, as arrays: needs numpy and safetensors alone, and goes with every export.

python predict.py model.safetensors rows.csv

Notation: n rows, d columns, c classes.
"""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

Arrays = Mapping[str, Any]


def load(path: Path | str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays of a file by name, and what they are: kind, columns, class_names."""
    with safe_open(str(path), "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        return arrays, json.loads(file.metadata()["about"])


def probabilities(arrays: Arrays, about: Mapping[str, Any], rows: Any) -> Any:
    """Probabilities (n, c) for rows (n, d)."""
    x = (np.asarray(rows, dtype=np.float64) - arrays["center"]) / arrays["scale"]
    scores = _boosted(arrays, x) if about["kind"] == "gradient_boosting" else _network(arrays, x)
    if scores.shape[1] == 1:  # two classes
        scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
    scores = np.exp(scores - scores.max(1, keepdims=True))
    return scores / scores.sum(1, keepdims=True)


def _boosted(arrays: Arrays, x: Any) -> Any:
    """Sums of trees; a row goes left where its value is at most the threshold, as 32-bit number."""
    x = x.astype(np.float32)
    scores = np.tile(arrays["initial"], (len(x), 1))
    for root, column in zip(arrays["roots"], arrays["classes"], strict=True):
        node = np.full(len(x), root)
        while (inner := arrays["left"][node] >= 0).any():
            at = node[inner]
            left = x[inner, arrays["feature"][at]] <= arrays["threshold"][at]
            node[inner] = root + np.where(left, arrays["left"][at], arrays["right"][at])
        scores[:, column] += arrays["value"][node]
    return scores


def _network(arrays: Arrays, x: Any) -> Any:
    """Layers with rectified outputs, but for the last one."""
    layers = sum(name.startswith("weight") for name in arrays)
    for i in range(layers):
        x = x @ arrays[f"weight{i}"] + arrays[f"bias{i}"]
        x = np.maximum(x, 0) if i < layers - 1 else x
    return x


def main(arguments: Sequence[str]) -> None:
    """Write the class of every row of a CSV file."""
    arrays, about = load(arguments[0])
    with Path(arguments[1]).open(newline="", encoding="utf-8") as file:
        rows = [[float(row[name]) for name in about["columns"]] for row in csv.DictReader(file)]
    for row in probabilities(arrays, about, rows):
        sys.stdout.write(f"{about['class_names'][int(row.argmax())]},{row.max():.6f}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
