"""Central types: frozen inside qtt, plain dicts at its public boundary.

Notation used throughout: a *config* is one pipeline (a pretrained model with its finetuning
hyperparameters), *fidelity* the epoch until which it is trained (cumulative, from 1), *score* a number to
maximise (validation top-1 accuracy or another metric, 0 to 1), *cost* seconds.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from qtt.errors import ConfigError, ObjectiveError
from qtt.json_rules import Kinds, check_fields, check_items
from qtt.model_card import ModelCard as ModelCard

Config = Mapping[str, Any]
"""Hyperparameters of one pipeline: names to native values; inactive ones are absent."""


ACCURACY = "accuracy"
"""The metric of searches that name none."""


def with_tuples(config: Config) -> dict[str, Any]:
    """A config as spaces have it: tuples for the lists that JSON knows, at every depth."""
    return {name: frozen(value) for name, value in config.items()}


def frozen(value: Any) -> Any:
    """`value` with tuples for lists, at every depth."""
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value


class Status(StrEnum):
    """How a step ended."""

    SUCCESS = "success"
    FAILED = "failed"
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class Trial:
    """One step that an optimizer asks for: train `config` until epoch `fidelity`."""

    config_id: int
    config: Config
    fidelity: int

    def __post_init__(self) -> None:
        if self.fidelity < 1:
            raise ConfigError(f"A trial's fidelity counts epochs from 1; got {self.fidelity}.")

    def to_dict(self) -> dict[str, Any]:
        """The plain dict that objectives may receive and that travels between processes."""
        return {"config_id": self.config_id, "config": dict(self.config), "fidelity": self.fidelity}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(int(data["config_id"]), with_tuples(data["config"]), int(data["fidelity"]))


@dataclass(frozen=True)
class Result:
    """Outcome of one finished epoch, or of a step that failed or ran out of time.

    score: higher is better; NaN unless `status` is success.
    cost: seconds of this step alone, > 0.
    info: JSON-able details (loss, reason of a failure, …). Names that mean the same in every task: `stderr`,
        the standard error of the score; `examples`, how many it is of; `baseline`, what the majority class
        alone would score; `estimate`, see `estimate`.
    """

    config_id: int
    fidelity: int
    score: float
    cost: float
    status: Status = Status.SUCCESS
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"result of config {self.config_id} at fidelity {self.fidelity}"
        if self.fidelity < 1:
            raise ObjectiveError(f"The {where} has an impossible fidelity; epochs count from 1.")
        if self.status is Status.SUCCESS and not math.isfinite(self.score):
            raise ObjectiveError(
                f"The {where} reports success with score {self.score}. "
                "Return a finite score, or status 'failed' with a reason in info."
            )
        if self.status is not Status.SUCCESS and not math.isnan(self.score):
            raise ObjectiveError(f"The {where} has status '{self.status}' and must have score NaN.")
        if not (math.isfinite(self.cost) and self.cost > 0):
            raise ObjectiveError(f"The {where} has cost {self.cost}; costs are positive seconds.")

    @property
    def succeeded(self) -> bool:
        """Whether the epoch finished with a score."""
        return self.status is Status.SUCCESS

    @property
    def estimate(self) -> float:
        """What the score is thought to be on other examples, by which incumbents are chosen.

        As reported in `info`, where the objective or the search knows better than the score itself.
        """
        reported = self.reported("estimate")
        return self.score if reported is None or not math.isfinite(reported) else reported

    def reported(self, name: str) -> float | None:
        """A number that the objective reported in `info`, None where it did not."""
        value = self.info.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def to_dict(self) -> dict[str, Any]:
        """The paper's result dict (tool paper, Figure 3), with `status` spelled out; NaN becomes None."""
        return {
            "config_id": self.config_id,
            "fidelity": self.fidelity,
            "score": self.score if self.succeeded else None,
            "cost": self.cost,
            "status": str(self.status),
            "info": dict(self.info),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read a result dict; `status` may be the paper's True/False or a word.

        Raises:
            ObjectiveError: a key is missing or a value is impossible.
        """
        if not isinstance(data, Mapping):
            raise ObjectiveError(f"A result is a {type(data).__name__}, {str(data)[:60]!r}. Expected a dict.")
        missing = {"config_id", "fidelity", "cost"} - data.keys()
        if missing:
            raise ObjectiveError(f"Result {dict(data)!r} lacks {', '.join(sorted(missing))}.")
        status = data.get("status", True)
        try:
            if isinstance(status, bool):
                status = Status.SUCCESS if status else Status.FAILED
            status = Status(status)
            score = data.get("score")
            failed = status is not Status.SUCCESS
            return cls(
                config_id=int(data["config_id"]),
                fidelity=int(data["fidelity"]),
                score=math.nan if failed or score is None else float(score),
                cost=float(data["cost"]),
                status=status,
                info=dict(data.get("info") or {}),
            )
        except (TypeError, ValueError) as error:
            raise ObjectiveError(f"Result {dict(data)!r} cannot be read: {error}.") from error


@dataclass(frozen=True)
class MetaFeatures:
    """Descriptors of a dataset (Quick-Tune, section on meta-features).

    train_images: images of the training split alone, after a validation share was split off.
    image_size: shorter side in pixels, median over the training images.
    """

    train_images: int
    num_classes: int
    image_size: int
    channels: int

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) < 1:
                raise ConfigError(f"Meta-feature {item.name} must be at least 1.")


TASK_FIELDS: Kinds = {
    **dict.fromkeys(("path", "metric"), str),
    **dict.fromkeys(("work_dir", "weights_dir", "dataset"), (str, type(None))),
    **dict.fromkeys(("seed", "max_fidelity", "workers"), int),
    **dict.fromkeys(("class_names", "models"), (list,)),
    **dict.fromkeys(("settings", "source"), dict),
    "val_fraction": float,
    "best_score": (float, type(None)),
    "image_size": (int, type(None)),
}
"""Kinds of the values of a task's JSON."""


@dataclass(frozen=True)
class TaskInfo:
    """What an objective must know of the task besides the trial.

    path: the dataset's root folder.
    work_dir: folder for the checkpoints of this search; None: the objective keeps nothing on disk.
    models: cards of the models that configs name; filled in by the tuner from the optimizer's candidates.
    weights_dir: local folder with `<timm_name>.safetensors`.
    best_score: what a pipeline must reach to become the incumbent; it keeps the weights of an epoch that does
        beside its checkpoint.
    settings: JSON-able settings of the objective (image size bound, workers, precision, …).
    image_size: median shorter side of the training images in pixels; None: not known.
    source: how the images below `path` are laid out, JSON-able; empty for folders train/<class>,
        val/<class> and test/<class>. See `qtt.data.sources.opening`.
    dataset: what training and validation held when the search began, in words and as a hash of names and
        sizes; None: changes go unnoticed until a process has listed the images.
    metric: what a score is, one of the task's `metrics`.
    workers: how many train pipelines at once. With several, a step ends when its checkpoint is written, for
        another worker may have the next one.
    """

    path: Path
    class_names: tuple[str, ...] = ()
    val_fraction: float = 0.2
    seed: int = 0
    max_fidelity: int = 50
    work_dir: Path | None = None
    models: tuple[ModelCard, ...] = ()
    weights_dir: Path | None = None
    best_score: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    dataset: str | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    metric: str = ACCURACY
    workers: int = 1

    @property
    def num_classes(self) -> int:
        """Number of classes of the task."""
        return len(self.class_names)

    def card(self, model: str) -> ModelCard:
        """The card that a config names.

        Raises:
            ConfigError: the task carries no such card.
        """
        for card in self.models:
            if card.name == model:
                return card
        raise ConfigError(f"The task carries no card of model '{model}'.")

    def pipeline_dir(self, config_id: int) -> Path | None:
        """Folder of one pipeline's checkpoint, None where nothing is kept on disk."""
        return None if self.work_dir is None else self.work_dir / f"{config_id:04d}"

    def weights_file(self, config_id: int, fidelity: int) -> Path | None:
        """Where an objective leaves the weights of an epoch that reached `best_score`, for the tuner."""
        folder = self.pipeline_dir(config_id)
        return None if folder is None else folder / f"weights-{fidelity:04d}.safetensors"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able dict; inverse of `from_dict`.

        The default metric is left out: a search of the time before there were others is the same search.
        """
        metric = {} if self.metric == ACCURACY else {"metric": self.metric}
        return {
            "path": str(self.path),
            "class_names": list(self.class_names),
            "val_fraction": self.val_fraction,
            "seed": self.seed,
            "max_fidelity": self.max_fidelity,
            "work_dir": None if self.work_dir is None else str(self.work_dir),
            "models": [card.to_dict() for card in self.models],
            "weights_dir": None if self.weights_dir is None else str(self.weights_dir),
            "best_score": self.best_score,
            "settings": dict(self.settings),
            "image_size": self.image_size,
            "dataset": self.dataset,
            **({"source": dict(self.source)} if self.source else {}),  # earlier versions know no source
            **metric,
            **({"workers": self.workers} if self.workers > 1 else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
            ConfigError: a value is of another kind than the field's.
        """
        values = check_fields(data, TASK_FIELDS, "The task")
        check_items(values["class_names"], str, "class_names of the task")
        values["path"] = Path(values["path"])
        values["class_names"] = tuple(values["class_names"])
        values["models"] = tuple(ModelCard.from_dict(card) for card in values["models"])
        for key in ("work_dir", "weights_dir"):
            values[key] = None if values[key] is None else Path(values[key])
        return cls(**values)


@dataclass(frozen=True)
class Candidates:
    """The pipelines an optimizer chooses from; a config's id is its position.

    models: cards of the models that the configs name.
    proposed: how many of them, at the end, the optimizer added during the search.
    """

    configs: tuple[Config, ...]
    models: tuple[ModelCard, ...] = ()
    proposed: int = 0

    def __len__(self) -> int:
        return len(self.configs)

    @property
    def initial(self) -> tuple[Config, ...]:
        """The pipelines that the search began with."""
        return self.configs[: len(self.configs) - self.proposed]

    def grown(self, configs: Iterable[Config], hub: Iterable[ModelCard]) -> "Candidates":
        """These candidates and, behind them, proposed ones; the cards of their models come from `hub`."""
        configs = tuple(configs)
        named = {config.get("model") for config in configs} - {card.name for card in self.models}
        models = tuple(card for card in hub if card.name in named)
        return Candidates(self.configs + configs, self.models + models, self.proposed + len(configs))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able dict; inverse of `from_dict`."""
        return {
            "proposed": self.proposed,
            "models": [card.to_dict() for card in self.models],
            "configs": [dict(config) for config in self.configs],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`; lists among the options, as JSON writes them, become tuples.

        Raises:
            ConfigError: configs or cards are none, or more of them were proposed than there are.
        """
        check_fields(data, {"configs": list, "models": list, "proposed": int}, "The list of candidates")
        configs = tuple(with_tuples(c) for c in check_items(data["configs"], dict, "configs"))
        models = tuple(ModelCard.from_dict(card) for card in data["models"])
        proposed = data.get("proposed", 0)
        if not 0 <= proposed <= len(configs):
            raise ConfigError(f"Of {len(configs)} candidates {proposed} are said to be proposed.")
        return cls(configs, models, proposed)

    def card(self, config_id: int) -> ModelCard | None:
        """The card of a candidate's model, None where the space has no hub."""
        name = self.configs[config_id].get("model")
        return next((card for card in self.models if card.name == name), None)


@dataclass(frozen=True)
class Budget:
    """What a search may spend: wall-clock seconds, finished epochs (evaluations), or both."""

    seconds: float | None = None
    evaluations: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is None and self.evaluations is None:
            raise ConfigError("A budget needs seconds, evaluations, or both.")
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ConfigError(f"budget.seconds must be positive; got {self.seconds}.")
        if self.evaluations is not None and self.evaluations < 1:
            raise ConfigError(f"budget.evaluations must be at least 1; got {self.evaluations}.")


@dataclass(frozen=True)
class Prediction:
    """Gaussian predictions of scores, or of their logits where `link` says so: mean and std, both (n,)."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    link: Literal["identity", "logit"] = "identity"


RawResult = Result | Mapping[str, Any]
Objective = Callable[[Trial, TaskInfo], RawResult | Iterable[RawResult]]
"""Trains `trial.config` until `trial.fidelity`; returns, or yields as they finish, one result per epoch."""
