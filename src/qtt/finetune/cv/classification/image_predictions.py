"""What a network says of images: classes and their probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qtt.errors import ConfigError
from qtt.tasks.contract import LeftOut


@dataclass(frozen=True, eq=False)
class ImagePredictions:
    """Predictions for n images and c classes.

    class_names: (c,). probabilities: (n, c) float32. positions: (n,) of the images among those given.
    paths: (n,), None for images that are no files. unreadable: images that were left out.
    """

    class_names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    positions: NDArray[np.int64]
    paths: tuple[Path | None, ...]
    unreadable: tuple[LeftOut, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    @classmethod
    def joined(cls, class_names: tuple[str, ...], parts: Sequence["ImagePredictions"]) -> Self:
        """Predictions one after the other."""
        nothing = np.empty((0, len(class_names)), dtype=np.float32)
        return cls(
            class_names,
            np.concatenate([nothing, *(part.probabilities for part in parts)]),
            np.concatenate([np.empty(0, dtype=np.int64), *(part.positions for part in parts)]),
            tuple(path for part in parts for path in part.paths),
            tuple(left_out for part in parts for left_out in part.unreadable),
        )

    @property
    def classes(self) -> list[str]:
        """Most probable class of every image."""
        return [self.class_names[index] for index in self.probabilities.argmax(1)]

    def top(self, k: int = 3) -> list[list[tuple[str, float]]]:
        """The k most probable classes of every image with their probabilities, best first.

        Raises:
            ConfigError: k lies outside 1 to c.
        """
        ranked = self._ranked(k)
        return [
            [(self.class_names[index], float(row[index])) for index in best]
            for row, best in zip(self.probabilities, ranked, strict=True)
        ]

    def to_frame(self, top: int = 1) -> pd.DataFrame:
        """One row per image: path, class, probability, then class_2, probability_2 and so on up to `top`.

        Its index is `positions`.

        Raises:
            ConfigError: top lies outside 1 to c.
        """
        columns: dict[str, Any] = {"path": [None if path is None else str(path) for path in self.paths]}
        names = np.asarray(self.class_names, dtype=object)
        for place, best in enumerate(self._ranked(top).T, start=1):
            ending = "" if place == 1 else f"_{place}"
            columns[f"class{ending}"] = names[best]
            columns[f"probability{ending}"] = self.probabilities[np.arange(len(self)), best]
        return pd.DataFrame(columns, index=self.positions)

    def _ranked(self, k: int) -> NDArray[np.int64]:
        """(n, k) positions in the class names; of equally probable ones the first comes first."""
        if not 1 <= k <= len(self.class_names):
            raise ConfigError(f"There are {len(self.class_names)} classes; the top {k} cannot be shown.")
        return np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k]
