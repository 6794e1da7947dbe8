"""A task that lives elsewhere: the contract, its arrays against scikit-learn, and the commands."""

import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_iris

from qtt.errors import ConfigError, DatasetError
from qtt.tasks import Task, load_task
from qtt.testing import TaskContract
from qtt.types import Candidates

EXAMPLE = Path(__file__).parents[2] / "examples" / "tabular"
BOOSTED = {"learner": "gradient_boosting", "learning_rate": 0.2, "max_depth": 2, "subsample": 0.8}
NETWORK = {"learner": "mlp", "hidden": 16, "learning_rate_init": 1e-2, "alpha": 1e-4, "batch_size": 16}


def write(folder: Path, rows: pd.DataFrame) -> Path:
    folder.mkdir(parents=True)
    shuffled = rows.sample(frac=1, random_state=0)
    shuffled[:100].to_csv(folder / "train.csv", index=False)
    shuffled[100:].to_csv(folder / "test.csv", index=False)
    return folder


@pytest.mark.usefixtures("installed")
class TestTabular(TaskContract):
    def make(self) -> Task:
        return load_task("tabular")

    def write_dataset(self, folder: Path) -> Path:
        return write(folder / "iris", load_iris(as_frame=True).frame)

    def pipelines(self) -> Candidates:
        return Candidates((BOOSTED, NETWORK))

    def new_examples(self, dataset: Path) -> Sequence[Path]:
        return [dataset / "test.csv"]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("config", [BOOSTED, NETWORK], ids=["boosted", "network"])
@pytest.mark.parametrize("load", [load_iris, load_breast_cancer], ids=["three classes", "two classes"])
def test_the_arrays_say_what_scikit_learn_says(tmp_path: Path, config: dict, load) -> None:  # type: ignore
    arrays, learners, tables = (
        importlib.import_module(f"qtt_tabular.{name}") for name in ("arrays", "learners", "tables")
    )
    data = tables.read_tables(write(tmp_path / "data", load(as_frame=True).frame), 0.2, seed=0)
    learner = learners.Learner(config, data, seed=0)
    for _ in range(3):
        learner.train()
    learner.save(tmp_path / "weights.safetensors")
    ours = arrays.probabilities(*arrays.load(tmp_path / "weights.safetensors"), data.test.x)
    np.testing.assert_allclose(ours, learner.probabilities(data.test), atol=1e-9)


def test_bad_tables_say_what_is_wrong(tmp_path: Path, installed: Path) -> None:
    task = load_task("tabular")
    write(tmp_path / "text", pd.DataFrame({"a": ["x", "y"] * 60, "label": [0, 1] * 60}))
    with pytest.raises(DatasetError, match="no number"):
        task.describe(tmp_path / "text")
    write(tmp_path / "one", pd.DataFrame({"a": range(120), "label": 0}))
    with pytest.raises(DatasetError, match="one class alone"):
        task.describe(tmp_path / "one")


def test_the_task_is_unknown_where_it_is_not_installed() -> None:
    with pytest.raises(ConfigError, match="Unknown task 'tabular'"):
        load_task("tabular")


def _run(*arguments: object, cwd: Path) -> str:
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_command_works_on_tables(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QTT_CACHE", str(tmp_path / "cache"))
    run, test = tmp_path / "run", tmp_path / "cache" / "wine" / "test.csv"
    budget = ["budget.seconds=null", "budget.evaluations=12", "num_candidates=16"]
    search = ["qtt.run", "--config-dir", EXAMPLE / "conf", "+experiment=wine", f"run_dir={run}", *budget]
    told = _run(*search, cwd=tmp_path)
    assert "test accuracy" in told
    assert "12 epochs" in told
    told = _run(*search[:-2], "budget.evaluations=16", "num_candidates=16", cwd=tmp_path)
    assert "16 epochs" in told, "the same command goes on"
    assert "pipelines" in _run("qtt.statistics", run, "--csv", run / "all.csv", cwd=tmp_path)
    assert len(pd.read_csv(run / "all.csv")) > 1
    _run("qtt.finetune", run, "--k", 1, "--pipelines", 0, "--budget", 20, cwd=tmp_path)
    assert "log loss" in _run("qtt.leaderboard", run, test, cwd=tmp_path)
    assert "54 rows" in _run("qtt.predict", run, test, "--out", "p.csv", "--top", 2, cwd=tmp_path)
    assert list(pd.read_csv(tmp_path / "p.csv")) == ["class", "probability", "class_2", "probability_2"]
    _run("qtt.export", run, "--out", "out", cwd=tmp_path)
    alone = [sys.executable, "predict.py", "model.safetensors", str(test)]
    lines = subprocess.run(alone, cwd=tmp_path / "out", capture_output=True, text=True, check=True).stdout
    classes = [line.split(",")[0] for line in lines.splitlines()]
    assert classes == list(pd.read_csv(tmp_path / "p.csv")["class"].astype(str))
    _run("qtt.report", run, cwd=tmp_path)
    page = (run / "report.html").read_text()
    assert "Confusion matrix" in page
    assert "validation rows" in page
