"""Image classification as a task: what commands, tuner and report know of it."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtt.finetune.cv.classification.pace import paced
from qtt.finetune.cv.classification.settings import WHERE_IT_RUNS
from qtt.statistics.scores import TITLES, find_metric
from qtt.tasks.contract import Export, ReportParts, Scoreboard, Task, Watch
from qtt.tasks.preflight import Needs
from qtt.types import Candidates, MetaFeatures, ModelCard, TaskInfo

if TYPE_CHECKING:
    from qtt.data.survey import Survey
    from qtt.finetune.cv.classification.predictor import ImagePredictor
    from qtt.runs.kept_models import KeptModel
    from qtt.runs.record import RunRecord
    from qtt.space.constraints import Footprint


class ImageClassification(Task):
    """Pretrained timm models finetuned on images; torch comes when something is trained or shown."""

    name = "image_classification"
    function = "qtt.finetune.cv.classification.finetune_script"
    examples = "images"
    metrics = TITLES
    where_it_runs = WHERE_IT_RUNS
    rehearsal = "qtt.finetune.cv.classification.script.rehearse"
    imports = tuple(f"qtt.finetune.cv.classification.{module}" for module in ("objective", "pipeline"))

    def describe(
        self, path: os.PathLike[str] | str, val_fraction: float = 0.2, seed: int = 0
    ) -> tuple[TaskInfo, MetaFeatures]:
        """See `extract_task_info_metafeat`; path may be a `qtt.data.sources.Source`."""
        from qtt.finetune.cv.classification.metafeatures import describe

        task, metafeatures, _ = describe(path, val_fraction, seed)
        return task, metafeatures

    def survey(self, task: TaskInfo) -> "Survey":
        """Images by split and class, formats, sizes, what is left out and why."""
        from qtt.finetune.cv.classification.metafeatures import survey_task

        return survey_task(task)

    def check_metric(self, task: TaskInfo) -> None:
        """See `find_metric`."""
        find_metric(task.metric, task.num_classes)

    def check(self, candidates: Candidates, task: TaskInfo) -> None:
        """See `check_candidates`."""
        from qtt.finetune.cv.classification.script import check_candidates

        check_candidates(candidates, task)

    def paced(
        self,
        task: TaskInfo,
        metafeatures: MetaFeatures,
        seconds: float,
        begun: Mapping[str, Any] | None = None,
    ) -> tuple[TaskInfo, MetaFeatures]:
        """See `pace.paced`."""
        return paced(task, metafeatures, seconds, begun)

    def needs(self, candidates: Candidates, task: TaskInfo) -> Needs:
        """See `script.needs`."""
        from qtt.finetune.cv.classification.script import needs

        return needs(candidates)

    def footprints(
        self, cards: Sequence[ModelCard], task: TaskInfo, latency: bool = False
    ) -> "dict[str, Footprint]":
        """See `footprint.footprints`."""
        from qtt.finetune.cv.classification.footprint import footprints

        return footprints(cards, task, latency)

    def evaluate(self, model: "KeptModel", task: TaskInfo) -> dict[str, float]:
        """See `evaluate.evaluate_model`."""
        from qtt.finetune.cv.classification.evaluate import evaluate_model

        return evaluate_model(model, task)

    def predictor(self, model: "KeptModel", record: "RunRecord", device: str = "auto") -> "ImagePredictor":
        """See `predictor.ImagePredictor`."""
        from qtt.finetune.cv.classification.predictor import ImagePredictor

        return ImagePredictor.of(model, record, device)

    def leaderboard(
        self,
        record: "RunRecord",
        path: Path | str,
        *,
        ignore_unknown: bool = False,
        device: str = "auto",
        watch: Watch = lambda name, done, total: None,
    ) -> Scoreboard:
        """See `leaderboard.leaderboard`."""
        from qtt.finetune.cv.classification.leaderboard import leaderboard

        return leaderboard(record, path, ignore_unknown=ignore_unknown, device=device, watch=watch)

    def export_arguments(self, parser: argparse.ArgumentParser) -> None:
        """`--onnx`."""
        parser.add_argument(
            "--onnx",
            action=argparse.BooleanOptionalAction,
            help="write model.onnx (default: where the packages of the extra 'export' are installed)",
        )

    def export(
        self, record: "RunRecord", out: Path | str | None = None, *, model: str | int = "best", **options: Any
    ) -> Export:
        """See `export.export_model`."""
        from qtt.finetune.cv.classification.export import export_model

        return export_model(record, out, model=model, **options)

    def report(self, model: "KeptModel", record: "RunRecord", say: Callable[[str], None]) -> ReportParts:
        """Confusion, calibration and pictures of the mistakes on the validation images."""
        from qtt.finetune.cv.classification.report import mistakes

        return mistakes(model, record, say)
