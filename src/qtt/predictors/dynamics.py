"""Dynamics: what a pipeline's hyperparameters mean for its training, as numbers that models generalise from.

Notation: n pipelines, N training images, b batch size, T = largest fidelity.

A learning rate alone says little: how far training gets depends on the learning rate that momentum makes of
it, on the number of steps, and on how much of the warm-up is over. These columns say so directly; on datasets
that were held out, rankings of pipelines improved more by them than by any choice of regression
(experiments/search_quality).

They are about the papers' hyperparameters alone, since trees and networks are fitted to a fixed number of
columns; for those of other packages see `qtt.predictors.unknown`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtt.predictors.base import SearchTask
from qtt.predictors.features import Features, FeatureSpec
from qtt.predictors.unknown import known_part, unknown_hyperparameters
from qtt.space.hyperparameters import BUILT_IN
from qtt.types import Config, MetaFeatures, ModelCard

Array = NDArray[np.float64]

ADAPTIVE = ("adam", "adamw", "adamp")
UNKNOWN_TASK = MetaFeatures(train_images=1000, num_classes=10, image_size=128, channels=3)
"""Stands for a dataset that was not described."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """All candidates of a search as numbers.

    features: columns of the feature spec. static (n, d): these, dynamics, model and dataset in logarithms.
    warmup (n,): epochs of warm-up. progress (n,): log of effective learning rate times steps per epoch.
    compute (n, c): what the seconds of an epoch depend on, beside `static`.
    """

    features: Features
    static: Array
    warmup: Array
    progress: Array
    compute: Array

    @classmethod
    def of(cls, spec: FeatureSpec, task: SearchTask) -> "Encoded":
        """Encode the candidates of a search: once for all predictors with the same `spec`.

        Raises:
            PredictionError: a config has a value that cannot be encoded.
        """
        return task.shared((cls, spec), lambda: cls._of(spec, task))

    @classmethod
    def _of(cls, spec: FeatureSpec, task: SearchTask) -> "Encoded":
        configs = task.candidates.configs
        known = known_part(task.candidates, unknown_hyperparameters(spec, task))
        features = spec.encode(known, task.metafeatures)
        described = task.metafeatures or UNKNOWN_TASK
        models = _models(task)
        dynamics, progress = _dynamics(configs, described)
        size = [np.log(described.train_images), np.log(described.num_classes)]
        task_columns = np.tile([*size, size[0] - size[1]], (len(configs), 1))
        steps = np.log(described.train_images / _positive(configs, "batch_size", 32.0))
        static = np.column_stack([features.pipeline, features.model, task_columns, models, steps, dynamics])
        warmup = _column(configs, "warmup_epochs")
        return cls(features, static, warmup, progress, _compute(configs, models))

    def __len__(self) -> int:
        return len(self.static)

    def begins_with(self, other: "Encoded") -> bool:
        """Whether the first candidates are those of `other`, as far as what follows from their rows goes."""
        count = len(other)
        mine, others = ((part.static, part.warmup[:, None], part.progress[:, None]) for part in (self, other))
        return len(self) >= count and all(
            a.shape[1] == b.shape[1] and np.array_equal(a[:count], b, equal_nan=True)
            for a, b in zip(mine, others, strict=True)
        )

    def schedule(self, ids: NDArray[np.int64], start: Array, end: Array) -> Array:
        """Training from epoch `start` until `end`, both (m,), of pipelines `ids`; (m, 4).

        The learning rate summed until the end, in epochs of the full rate; that times the rate and the steps
        per epoch, both in logarithms; the share of the warm-up that is over; the log ratio of these sums at
        end and start.
        """
        before, after = (_full_rate_epochs(epoch, self.warmup[ids]) for epoch in (start, end))
        log_after = np.log(after)
        over = np.clip(end / np.maximum(self.warmup[ids], 1e-9), 0.0, 1.0)
        added = np.log((after + 0.3) / (before + 0.3))
        return np.column_stack([log_after, self.progress[ids] + log_after, over, added])


def _full_rate_epochs(epoch: Array, warmup: Array) -> Array:
    """Epochs at the full learning rate that sum to the same, under a linear warm-up; (m,)."""
    rising = epoch**2 / (2.0 * np.maximum(warmup, 1.0))
    return np.asarray(np.where(epoch < warmup, rising, epoch - warmup / 2.0))


def _models(task: SearchTask) -> Array:
    """Log params, log multiply-adds, log input size and ImageNet accuracy, NaN where unknown; (n, 4)."""
    described = {card.name: _model(card) for card in task.candidates.models}
    unknown = _model(None)
    return np.array([described.get(str(config.get("model")), unknown) for config in task.candidates.configs])


def _model(card: ModelCard | None) -> list[float]:
    if card is None:
        return [np.nan] * 4
    macs = np.nan if card.macs is None else np.log(card.macs)
    top1 = np.nan if card.top1 is None else card.top1
    return [float(np.log(card.params)), float(macs), float(np.log(card.input_size)), top1]


def _dynamics(configs: Sequence[Config], task: MetaFeatures) -> tuple[Array, Array]:
    rate = _positive(configs, "lr", 1e-3)
    batch = _positive(configs, "batch_size", 32.0)
    heavy = np.array([config.get("opt") == "momentum" for config in configs], dtype=np.bool_)
    momentum = np.clip(np.where(heavy, _column(configs, "momentum"), 0.0), 0.0, 0.999)
    adaptive = np.array([float(config.get("opt") in ADAPTIVE) for config in configs])
    log_rate = np.log(rate / (1.0 - momentum))
    steps = np.log(task.train_images / batch)
    mixing = (_column(configs, "mixup") > 0) | (_column(configs, "cutmix") > 0)
    decay = _column(configs, "weight_decay")
    columns = [
        log_rate,
        steps,
        log_rate + steps,
        log_rate - 0.5 * np.log(batch),
        log_rate - np.log(batch),
        adaptive,
        adaptive * log_rate,
        (1.0 - adaptive) * (log_rate + steps),
        _column(configs, "warmup_epochs"),
        _column(configs, "mixup_prob") * mixing,
        np.log(_positive(configs, "layer_decay", 1.0)),
        frozen_share(configs),
        *(np.log(_column(configs, item.name) + 1e-5) for item in BUILT_IN if item.loss_weight == "log"),
        *(_column(configs, item.name) for item in BUILT_IN if item.loss_weight == "linear"),
        decay * rate,
        np.log(decay + 1e-6),
    ]
    return np.column_stack(columns), log_rate + steps


def _compute(configs: Sequence[Config], models: Array) -> Array:
    """Arithmetic and memory traffic of an image, in logarithms, and what adds to them; (n, c)."""
    params, macs = models[:, 0], models[:, 1]
    batch, amp, frozen = (
        np.log(_positive(configs, "batch_size", 32.0)),
        _column(configs, "amp"),
        frozen_share(configs),
    )
    delta, cotuning, bss, sp = (
        (_column(configs, name) > 0).astype(float)
        for name in ("delta_reg", "cotuning_reg", "bss_reg", "sp_reg")
    )
    arithmetic = macs + np.log(1.0 + 2.0 * (1.0 - frozen) + delta + 0.3 * cotuning)
    columns = [
        arithmetic,
        arithmetic - 0.7 * amp,
        params - batch,
        macs + batch,
        batch,
        frozen,
        amp,
        delta,
        cotuning,
        bss,
        sp,
        amp * batch,
        amp * arithmetic,
        frozen * macs,
        params - macs,
    ]
    return np.column_stack(columns)


def frozen_share(configs: Sequence[Config]) -> Array:
    """Share of the backbone that does not train; linear probing is all of it; (n,)."""
    probing = np.array([bool(config.get("linear_probing")) for config in configs])
    return np.where(probing, 1.0, np.minimum(_column(configs, "pct_to_freeze"), 1.0))


def _column(configs: Sequence[Config], name: str, default: float = 0.0) -> Array:
    """A hyperparameter from 0 up, `default` where it is absent, None or something else; (n,).

    A space of one's own may mean other things by the same names.
    """
    return np.array([number_or(config.get(name), default) for config in configs])


def _positive(configs: Sequence[Config], name: str, default: float) -> Array:
    """The same for one that is above 0; (n,)."""
    values = _column(configs, name, default)
    return np.where(values > 0.0, values, default)


def number_or(value: Any, default: float) -> float:
    """`value` where it is a number from 0 up, or a boolean; else the default."""
    return float(value) if isinstance(value, int | float) and value >= 0 else default
