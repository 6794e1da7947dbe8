"""Probes of a search: fitted once for each model, as pipelines of their own and as starts of others."""

from dataclasses import dataclass

from torch import nn

from qtt.finetune.cv.classification.checkpoint import EpochRecord
from qtt.finetune.cv.classification.data import DataStore
from qtt.finetune.cv.classification.frozen import frozen_features
from qtt.finetune.cv.classification.loss_terms import NotApplicable
from qtt.finetune.cv.classification.model import build_plain
from qtt.finetune.cv.classification.probe import NOT_PRETRAINED, Fit, fit
from qtt.finetune.cv.classification.scoring import Scorer
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.types import ModelCard, TaskInfo


@dataclass(frozen=True, eq=False)
class Probe:
    """A model's probe: the fitted classifier, and what its pipeline reports."""

    found: Fit
    record: EpochRecord


class Probes:
    """Probes that were fitted in this process; all of a search are, for they are small."""

    def __init__(self) -> None:
        self._known: dict[str, Probe] = {}

    def of(self, model: str, settings: FinetuneSettings, task: TaskInfo, store: DataStore) -> Probe:
        """The probe of a model on a task's images.

        Raises:
            NotApplicable: the model has no pretrained features, or a classifier of another kind.
            DatasetError, ModelHubError, RuntimeError: see `frozen_features`.
        """
        card = task.card(model)
        places = (task.path, task.val_fraction, task.seed, dict(task.source), task.metric, task.dataset)
        key = f"{card}|{settings}|{places}|{task.image_size}"
        if key not in self._known:
            self._known[key] = _fitted(card, settings, task, store)
        return self._known[key]


def probed_network(probe: Probe, model: str, settings: FinetuneSettings, task: TaskInfo) -> nn.Module:
    """The complete network of a probe."""
    network = build_plain(task.card(model), settings, task)
    probe.found.head.into(network)
    return network


def _fitted(card: ModelCard, settings: FinetuneSettings, task: TaskInfo, store: DataStore) -> Probe:
    if not settings.pretrained:
        raise NotApplicable(NOT_PRETRAINED)
    frozen = frozen_features(card, settings, task, store)
    scorer = Scorer.of(task.metric, frozen.train.labels, frozen.val.labels, task.num_classes)
    balanced = bool(settings.class_weights or settings.sampler)
    found = fit(frozen.train, frozen.val, task.num_classes, balanced)
    hits = float((found.logits.argmax(1) == frozen.val.labels).sum())
    score, known = scorer.score(hits, len(frozen.val.labels), [(found.logits, frozen.val.labels)])
    loss = nn.functional.cross_entropy(found.logits, frozen.val.labels)
    info = {"train_loss": found.train_loss, "val_loss": float(loss), "lr": 0.0, "strength": found.strength}
    return Probe(found, {"score": score, "info": info | known | {"pace": frozen.seconds}})
