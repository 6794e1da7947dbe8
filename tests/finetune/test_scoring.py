"""What is optimised: metrics, class weights and the balanced sampler in real training."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from images import write_image_folder
from pipelines import PLAIN, checkpoint, forget, learned, run
from qtt.errors import ConfigError
from qtt.finetune.cv.classification import objective
from qtt.finetune.cv.classification.checkpoint import fingerprint
from qtt.finetune.cv.classification.scoring import Scorer, balanced_weights
from qtt.finetune.cv.classification.script import check_candidates
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.task import ImageClassification
from qtt.types import Candidates, TaskInfo, Trial

MakeTask = Callable[..., TaskInfo]
pytestmark = pytest.mark.usefixtures("cold")


def test_the_score_is_the_metric_on_the_whole_validation_split(make_task: MakeTask) -> None:
    accuracies = [result.score for result in run(make_task(work_dir=None), PLAIN, 2)]
    forget()
    results = run(make_task(metric="macro_f1"), PLAIN, 2)
    assert [result.info["accuracy"] for result in results] == accuracies
    ((pipeline, _),) = objective._warm._held.values()
    network = pipeline.module.eval()
    with torch.no_grad():
        batches = [(network(images.float()), labels) for images, labels in pipeline.val_loader]
    said, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    expected = sklearn_metrics.f1_score(labels, said.argmax(1), average="macro")
    assert results[-1].score == pytest.approx(expected)
    assert results[-1].info["examples"] == len(labels)
    assert results[-1].info["baseline"] == pytest.approx(
        (2 * (1 / 3) / (4 / 3)) / 3
    )  # one class is said, two never


def test_e_to_minus_log_loss_is_that_of_the_loss_beside_it(make_task: MakeTask) -> None:
    for result in run(make_task(metric="log_loss"), PLAIN, 3):
        assert result.score == pytest.approx(np.exp(-result.info["val_loss"]), rel=1e-5)


def test_accuracy_has_the_binomial_error(make_task: MakeTask) -> None:
    (result,) = run(make_task(), PLAIN, 1)
    n, score = result.info["examples"], result.score
    half = (score * n + 0.5) / (n + 1)
    assert result.info["stderr"] == pytest.approx(np.sqrt(half * (1 - half) / (n + 1)))
    assert "accuracy" not in result.info


def test_auroc_is_refused_before_a_search_of_three_classes(make_task: MakeTask) -> None:
    task = make_task(metric="auroc")
    with pytest.raises(ConfigError, match="there are 3"):
        check_candidates(Candidates((PLAIN,), task.models), task)
    with pytest.raises(ConfigError, match="there are 3"):
        ImageClassification().check_metric(task)
    with pytest.raises(ConfigError, match="Did you mean 'macro_f1'"):
        ImageClassification().check_metric(replace(task, metric="macrof1"))
    ImageClassification().check_metric(replace(task, class_names=("a", "b")))


def test_validation_of_one_class_has_no_auroc() -> None:
    with pytest.raises(ConfigError, match="of one"):
        Scorer.of("auroc", torch.tensor([0, 1]), torch.tensor([1, 1]), 2)


def test_a_checkpoint_of_the_time_before_metrics_goes_on(make_task: MakeTask) -> None:
    task, trial = make_task(), Trial(0, PLAIN, 1)
    settings = FinetuneSettings.from_mapping(task.settings)
    before = {
        name: value
        for name, value in asdict(settings).items()
        if name
        in ("image_size", "max_image_size", "pretrained", "crop_area", "hflip")  # what there was that counts
    }
    content = {
        "config": PLAIN,
        "card": task.card("test_resnet").trained(),
        "classes": list(task.class_names),
        "val_fraction": task.val_fraction,
        "seed": task.seed,
        "horizon": task.max_fidelity,
        "image_size": task.image_size,
        "settings": before,
    }
    old = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    assert fingerprint(trial, task, settings) == old
    others = [
        fingerprint(trial, replace(task, metric="macro_f1"), settings),
        fingerprint(trial, task, replace(settings, class_weights="balanced")),
        fingerprint(trial, task, replace(settings, sampler="balanced")),
    ]
    assert len({old, *others}) == 4


def test_a_checkpoint_of_another_metric_is_refused(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(work_dir=tmp_path / "work")
    run(task, PLAIN, 1)
    forget()
    with pytest.raises(ConfigError, match="another pipeline, dataset, seed or setting"):
        run(replace(task, metric="macro_f1"), PLAIN, 2)


def test_balanced_weights_are_scikit_learns() -> None:
    labels = torch.tensor([0] * 12 + [1] * 3 + [2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    np.testing.assert_allclose(balanced_weights(labels, 3), expected, rtol=1e-6)
    assert balanced_weights(labels, 3)[labels].mean() == pytest.approx(1)


def test_none_is_the_same_as_nothing() -> None:
    assert FinetuneSettings.from_mapping({"sampler": "none", "class_weights": "none"}) == FinetuneSettings()


@pytest.mark.parametrize("name", ["class_weights", "sampler"])
def test_impossible_balances_are_explained(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}='often' is impossible. Choose none or balanced"):
        FinetuneSettings.from_mapping({name: "often"})
    with pytest.raises(ConfigError, match="twice"):
        FinetuneSettings.from_mapping({"class_weights": "balanced", "sampler": "balanced"})


@pytest.fixture
def rare(tmp_path: Path) -> Path:
    """Twelve images of two classes and two of the third."""
    root = write_image_folder(tmp_path / "rare", {"train": 12, "val": 6})
    folders = sorted((root / "train").iterdir())
    for path in sorted(folders[-1].iterdir())[2:]:
        path.unlink()
    return root


def test_the_loss_is_weighted(make_task: MakeTask, rare: Path) -> None:
    task = make_task(path=rare, settings={"class_weights": "balanced"})
    run(task, PLAIN, 1)
    ((pipeline, _),) = objective._warm._held.values()
    module = pipeline.module.eval()
    images, labels = next(iter(pipeline.train_loader))
    targets = functional.one_hot(labels, 3).float()
    with torch.no_grad():
        found = module._loss(images.float(), targets, len(labels))
        each = functional.cross_entropy(module(images.float()), labels, reduction="none")
    counts = np.array([12, 12, 2])
    expected = (each * torch.tensor(26 / (3 * counts), dtype=torch.float32)[labels]).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_sampler_is_balanced_and_steps_are_repeatable(
    make_task: MakeTask, rare: Path, tmp_path: Path
) -> None:
    plain = learned(run(make_task(path=rare, work_dir=None), PLAIN, 2))
    forget()
    task = make_task(path=rare, work_dir=tmp_path / "whole", settings={"sampler": "balanced"})
    whole = run(task, PLAIN, 2)
    assert learned(whole) != plain
    ((pipeline, _),) = objective._warm._held.values()
    seen = torch.cat([labels for _, labels in pipeline.train_loader]).bincount()
    assert seen.max() - seen.min() <= 1
    forget()
    apart = replace(task, work_dir=tmp_path / "apart")
    assert learned(run(apart, PLAIN, 1)) + learned(run(apart, PLAIN, 2)) == learned(whole)
    assert checkpoint(task)["progress"]["records"][0]["info"]["baseline"] == pytest.approx(1 / 3)
