"""A search over photos: linear probes first, then finetuning from them, and what is made of either."""

import json
from pathlib import Path

import pytest

from images import write_image_folder
from qtt import QuickTuner, get_pretrained_optimizer, report
from qtt.finetune.cv.classification import extract_task_info_metafeat, finetune_script
from qtt.finetune.cv.classification.export import export_model
from qtt.finetune.cv.classification.predictor import load_predictor
from qtt.runs.record import RunRecord
from qtt.space.horizon import is_probe
from qtt.tracking.base import Summary

MODELS = ("test_resnet", "test_convnext3")
NARROW = {"schedule_epochs": [3], "batch_size": [16], "data_augmentation": [None]}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image_folder(tmp_path_factory.mktemp("images"), side=64)


def search(path: Path, dataset: Path, epochs: int) -> tuple[QuickTuner, Summary]:
    """So many epochs over two models that come with the package."""
    task, metafeatures = extract_task_info_metafeat(dataset)
    optimizer = get_pretrained_optimizer(
        "mtlbm/micro", model_hub="tiny", search_space="photos", narrow={**NARROW, "model": list(MODELS)}
    )
    optimizer.setup(8, metafeatures)
    tuner = QuickTuner(optimizer, finetune_script, path, trackers=[], isolation="inline")
    return tuner, tuner.run(task, evaluations=epochs)


def told(path: Path) -> list[tuple[int, int, float]]:
    lines = [json.loads(line) for line in (path / "journal.jsonl").read_text().splitlines()]
    return [(line["config_id"], line["fidelity"], line["score"]) for line in lines]


def test_probes_come_first_and_their_best_is_a_network_like_any_other(dataset: Path, tmp_path: Path) -> None:
    tuner, summary = search(tmp_path / "run", dataset, 2)
    assert [is_probe(summary.candidates.configs[i]) for i, _, _ in told(tmp_path / "run")] == [True, True]
    best = summary.incumbent
    assert best is not None and best.score >= 0.5
    record = RunRecord.load(tmp_path / "run")
    predicted = load_predictor(record.path).predict(dataset / "val").to_frame()
    right = (predicted["path"].map(lambda path: Path(path).parent.name) == predicted["class"]).mean()
    assert right == pytest.approx(best.score)
    assert len(tuner.leaderboard(dataset)) == 1
    assert export_model(record, tmp_path / "export", onnx=False).told  # what agreed with the network
    report.main([str(record.path)])
    assert "Linear probe: " in (record.path / "report.html").read_text()


def test_finetuning_begins_from_the_probes_and_ends_with_its_schedule(dataset: Path, tmp_path: Path) -> None:
    tuner, summary = search(tmp_path / "run", dataset, 9)
    finetuned = [
        entry for entry in told(tmp_path / "run") if not is_probe(summary.candidates.configs[entry[0]])
    ]
    assert len(finetuned) == 7
    assert max(fidelity for _, fidelity, _ in finetuned) == 3  # the last epoch of every schedule here
    assert all(summary.candidates.configs[i]["head_init"] == "probe" for i, _, _ in finetuned)
    kept = tuner.finetune(pipelines=[finetuned[0][0]])
    assert kept["epoch"].max() <= 3


def test_a_search_goes_on_where_it_ended(dataset: Path, tmp_path: Path) -> None:
    search(tmp_path / "run", dataset, 3)
    before = told(tmp_path / "run")
    _, summary = search(tmp_path / "run", dataset, 5)
    assert told(tmp_path / "run")[:3] == before
    assert summary.history.evaluations == 5
    assert len(set(told(tmp_path / "run"))) == 5
