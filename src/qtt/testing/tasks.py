# ruff: noqa: D102 (test names say what they check)
"""Contract suite of tasks: subclass it in a test module, and pytest checks your own task against `Task`.

```python
class TestMine(TaskContract):
    def make(self):
        return MyTask()

    def write_dataset(self, folder): ...
    def pipelines(self): ...
    def new_examples(self, dataset): ...
```
"""

import json
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qtt.errors import ConfigError, DatasetError
from qtt.evaluation.rehearsal import rehearse
from qtt.evaluation.step import run_step
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.runs.record import RunRecord
from qtt.search.tuner import QuickTuner
from qtt.support import plugins
from qtt.tasks.contract import Task
from qtt.tasks.registry import GROUP, load_predictor, load_task, task_of, task_of_objective
from qtt.types import Candidates, Result, TaskInfo, Trial


class TaskContract(ABC):
    """What every task must do; small datasets and cheap pipelines keep it quick.

    epochs: the last one of every pipeline.
    """

    epochs = 3

    @abstractmethod
    def make(self) -> Task:
        """The task; installed, for commands find it by name."""

    @abstractmethod
    def write_dataset(self, folder: Path) -> Path:
        """Write a small dataset with a test split below `folder`; returns its path."""

    @abstractmethod
    def pipelines(self) -> Candidates:
        """Two or more pipelines, with the cards of their models where there are any."""

    @abstractmethod
    def new_examples(self, dataset: Path) -> Sequence[Path]:
        """Files or folders of the dataset to predict."""

    def labelled(self, dataset: Path) -> Path:
        """Labelled examples for a leaderboard; default: the dataset itself."""
        return dataset

    def settings(self) -> dict[str, object]:
        """Settings of the objective."""
        return {}

    def described(self, folder: Path) -> TaskInfo:
        task, _ = self.make().describe(self.write_dataset(folder), seed=1)
        task = replace(task, models=self.pipelines().models, settings=self.settings())
        return replace(task, max_fidelity=self.epochs, work_dir=folder / "work")

    def searched(self, folder: Path, isolation: str = "inline", epochs: int = 6) -> QuickTuner:
        """A finished search in `folder/run` on the dataset in `folder`."""
        run = folder / "run"
        info = RunRecord.load(run).task if run.exists() else self.described(folder)
        optimizer = EpochwiseRandomOptimizer(seed=0, max_fidelity=self.epochs)
        optimizer.setup(self.pipelines())
        tuner = QuickTuner(optimizer, self.make(), run, trackers=(), isolation=isolation)
        tuner.run(replace(info, work_dir=None), evaluations=epochs)
        return tuner

    def trained(self, info: TaskInfo, *fidelities: int) -> list[Result]:
        """Results of the first pipeline, trained until each of `fidelities` in turn."""
        objective, config = self.make().objective, self.pipelines().configs[0]
        return [r for f in fidelities for r in run_step(objective, Trial(0, config, f), info)]

    def test_it_is_found_by_its_name(self) -> None:
        task = self.make()
        assert task.name in plugins.installed(GROUP)
        assert type(load_task(task.name)) is type(task)

    def test_its_objective_can_be_imported_and_names_its_task(self) -> None:
        found = task_of_objective(self.make().objective)
        assert found is not None
        assert found.name == self.make().name

    def test_a_dataset_is_described_alike_each_time(self, tmp_path: Path) -> None:
        path = self.write_dataset(tmp_path)
        first, second = (self.make().describe(path, 0.25, seed=3) for _ in range(2))
        assert first == second
        task, metafeatures = first
        assert TaskInfo.from_dict(json.loads(json.dumps(task.to_dict()))) == task
        assert metafeatures.train_images > 0

    def test_a_dataset_that_is_not_there_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        try:
            self.make().describe(tmp_path / "nowhere")
        except DatasetError as error:
            assert "nowhere" in str(error)
        else:
            raise AssertionError("describe() must raise DatasetError where there is no dataset")

    def test_it_takes_its_own_pipelines(self, tmp_path: Path) -> None:
        self.make().check(self.pipelines(), self.described(tmp_path))

    def test_its_rehearsal_finds_all_in_order(self, tmp_path: Path) -> None:
        task, info, pipelines = self.make(), self.described(tmp_path), self.pipelines()
        needs = task.needs(pipelines, info)
        assert needs.disk >= 0
        assert needs.memory >= 0
        if task.rehearsal is not None:
            *said, last = rehearse(task.rehearsal, pipelines, info)
            assert last == {"done": True}, last
            assert any(message["fact"] for message in said)

    def test_every_epoch_has_one_result(self, tmp_path: Path) -> None:
        results = self.trained(self.described(tmp_path), self.epochs)
        assert [result.fidelity for result in results] == list(range(1, self.epochs + 1))
        assert all(result.succeeded and math.isfinite(result.score) for result in results)

    def test_one_epoch_at_a_time_equals_all_at_once(self, tmp_path: Path) -> None:
        info = self.described(tmp_path)
        stepwise = self.trained(replace(info, work_dir=tmp_path / "a"), *range(1, self.epochs + 1))
        at_once = self.trained(replace(info, work_dir=tmp_path / "b"), self.epochs)
        assert [(r.fidelity, r.score) for r in stepwise] == [(r.fidelity, r.score) for r in at_once]

    def test_every_metric_is_a_score_from_0_to_1(self, tmp_path: Path) -> None:
        info = self.described(tmp_path)
        for metric in self.make().metrics:
            asked = replace(info, metric=metric, work_dir=tmp_path / metric)
            try:
                self.make().check_metric(asked)
            except ConfigError:
                continue  # not for this dataset
            (result,) = self.trained(asked, 1)
            assert result.succeeded, result.info
            assert 0 <= result.score <= 1
            for name in ("stderr", "baseline"):  # where it reports them
                value = result.reported(name)
                assert value is None or 0 <= value <= 1
            assert self.make().score_name(metric)

    def test_an_unknown_metric_is_refused_with_those_there_are(self, tmp_path: Path) -> None:
        task = self.make()
        try:
            task.check_metric(replace(self.described(tmp_path), metric="nonsense"))
        except ConfigError as error:
            assert any(metric in str(error) for metric in task.metrics)
        else:
            raise AssertionError("check_metric() must raise ConfigError for a metric that there is not")

    def test_weights_are_left_of_epochs_that_reach_the_best(self, tmp_path: Path) -> None:
        info = self.described(tmp_path)
        (result,) = self.trained(info, 1)
        weights = info.weights_file(0, 1)
        assert weights is not None
        assert weights.is_file()
        info = replace(info, work_dir=tmp_path / "a", best_score=result.score)
        self.trained(info, 1)
        weights = info.weights_file(0, 1)
        assert weights is not None
        assert weights.is_file()
        beaten = replace(info, work_dir=tmp_path / "b", best_score=math.inf)
        self.trained(beaten, 1)
        weights = beaten.weights_file(0, 1)
        assert weights is not None
        assert not weights.exists()

    def test_a_pipeline_that_cannot_be_trained_fails_with_a_reason(self, tmp_path: Path) -> None:
        trial = Trial(0, {"no such": "hyperparameter"}, 1)
        (result,) = run_step(self.make().objective, trial, self.described(tmp_path))
        assert not result.succeeded
        assert result.info["reason"]

    def test_a_search_in_another_process_goes_on_where_it_ended(self, tmp_path: Path) -> None:
        self.searched(tmp_path, "process", epochs=2)
        again = self.searched(tmp_path, "process", epochs=4)
        record = again.record()
        assert record.history.evaluations == 4
        assert task_of(record).name == self.make().name

    def test_the_winner_is_evaluated_predicted_ranked_exported_and_reported(self, tmp_path: Path) -> None:
        record, task = self.searched(tmp_path).record(), self.make()
        dataset, best = record.task.path, record.best_model()
        figures = task.evaluate(best, record.task)
        assert figures
        assert all(math.isfinite(value) for value in figures.values())
        predictor = load_predictor(record.path)
        examples = predictor.examples(self.new_examples(dataset))
        parts = list(predictor.stream(examples))
        assert sum(map(len, parts)) == len(examples) > 0
        assert all(len(part.to_frame()) == len(part) for part in parts)
        together = predictor.predict(self.new_examples(dataset)[0])
        assert list(together.to_frame().columns) == list(parts[0].to_frame().columns)
        found = task.leaderboard(record, self.labelled(dataset))
        assert len(found.table) == len(record.kept())
        assert set(found.columns) <= set(found.table.columns)
        done = task.export(record, tmp_path / "exported")
        assert any(done.folder.iterdir())
        assert done.model == best
        parts_of_report = task.report(best, record, lambda message: None)
        assert len({chart.name for chart in parts_of_report.charts}) == len(parts_of_report.charts)

    def test_new_examples_need_no_dataset(self, tmp_path: Path) -> None:
        record = self.searched(tmp_path).record()
        files = self.new_examples(record.task.path)
        moved = tmp_path / "moved"
        moved.mkdir()
        copies = []
        for file in files:
            copy = moved / file.name
            shutil.copytree(file, copy) if file.is_dir() else shutil.copy(file, copy)
            copies.append(copy)
        dataset = record.task.path
        shutil.rmtree(dataset) if dataset.is_dir() else dataset.unlink()
        predictor = load_predictor(record.path)
        assert sum(len(part) for part in predictor.stream(predictor.examples(copies))) > 0
        self.make().report(record.best_model(), record, lambda message: None)  # says why, and does not fail
