"""Figures of kept networks on images that the search has not seen."""

from pathlib import Path

from qtt.errors import ConfigError
from qtt.finetune.cv.classification.inference import predictions
from qtt.runs.folder import RunFolder
from qtt.runs.kept_models import INCUMBENT, WEIGHTS, KeptModel
from qtt.statistics.scores import find_metric, test_figures
from qtt.types import TaskInfo


def evaluate_incumbent(run_dir: Path | str) -> dict[str, float]:
    """Figures of a run folder's incumbent on the dataset's test split; empty where there is none.

    Raises:
        ConfigError: the folder holds no incumbent with weights.
        DatasetError: the dataset is gone or has changed.
    """
    folder = Path(run_dir) / INCUMBENT
    if not (folder / WEIGHTS).exists():
        raise ConfigError(f"{run_dir} holds no weights of an incumbent ({INCUMBENT}/{WEIGHTS}).")
    return evaluate_model(KeptModel.read(folder), RunFolder(Path(run_dir)).task())


def evaluate_model(model: KeptModel, task: TaskInfo) -> dict[str, float]:
    """Figures of a kept network on the dataset's test split, where there is one.

    The task's metric with its standard error and the majority baseline, and top-1 accuracy: see
    `scores.test_figures`. Where the search scored a share of the validation images, the metric on all.

    Raises:
        ConfigError: the network cannot be loaded.
        DatasetError: the dataset is gone or has changed.
    """
    tested, figures = predictions(model, task, "test"), {}
    if tested is not None:
        figures = test_figures(task.metric, tested.probabilities, tested.labels, tested.class_counts)
    if task.settings.get("val_images") is not None:
        whole = predictions(model, task, "val")
        assert whole is not None
        metric = find_metric(task.metric, task.num_classes)
        figures[f"{metric.title} on all {len(whole.labels):,} validation images"] = metric.score(
            whole.probabilities, whole.labels
        )
    return figures
