import json
import math
from pathlib import Path

import pytest

from qtt.errors import ConfigError, ObjectiveError
from qtt.types import Budget, MetaFeatures, ModelCard, Result, Status, TaskInfo, Trial


def test_the_papers_result_dict_is_read() -> None:
    result = Result.from_dict({"config_id": 42, "score": 0.99, "cost": 123.45, "fidelity": 1, "status": True})
    assert result == Result(42, 1, 0.99, 123.45)
    assert Result.from_dict(result.to_dict()) == result


def test_a_failure_has_no_score_and_survives_json() -> None:
    result = Result.from_dict({"config_id": 0, "fidelity": 3, "cost": 1.0, "score": 0.9, "status": False})
    assert result.status is Status.FAILED
    assert math.isnan(result.score)
    back = Result.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    assert back.status is Status.FAILED
    assert math.isnan(back.score)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": math.nan}, "finite score"),
        ({"score": math.inf}, "finite score"),
        ({"score": None}, "finite score"),
        ({"score": "high"}, "cannot be read"),
        ({"cost": 0.0}, "positive seconds"),
        ({"cost": -1.0}, "positive seconds"),
        ({"cost": math.nan}, "positive seconds"),
        ({"fidelity": 0}, "epochs count from 1"),
        ({"status": "great"}, "cannot be read"),
    ],
)
def test_impossible_results_are_refused(change: dict[str, object], message: str) -> None:
    data = {"config_id": 1, "fidelity": 1, "score": 0.5, "cost": 1.0, "status": "success"}
    with pytest.raises(ObjectiveError, match=message):
        Result.from_dict(data | change)


def test_a_result_without_a_key_names_it() -> None:
    with pytest.raises(ObjectiveError, match="lacks cost, fidelity"):
        Result.from_dict({"config_id": 1, "score": 0.5})


def test_zero_and_negative_scores_are_scores() -> None:
    assert Result(0, 1, 0.0, 1.0).succeeded
    assert Result(0, 1, -3.0, 1.0).succeeded


def test_trials_count_epochs_from_one() -> None:
    with pytest.raises(ConfigError, match="from 1"):
        Trial(0, {}, 0)
    trial = Trial(3, {"lr": 0.1}, 2)
    assert Trial.from_dict(trial.to_dict()) == trial


@pytest.mark.parametrize(
    "values", [{}, {"seconds": 0.0}, {"seconds": -1.0}, {"seconds": math.inf}, {"evaluations": 0}]
)
def test_a_budget_bounds_something(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="budget"):
        Budget(**values)  # type: ignore[arg-type]


def test_metafeatures_are_positive() -> None:
    with pytest.raises(ConfigError, match="channels"):
        MetaFeatures(10, 2, 32, 0)


def test_cards_and_tasks_survive_json(tmp_path: Path) -> None:
    card = ModelCard(
        "vit", "test_vit", "vit", 0.4, 64, create_kwargs=(("img_size", 64),), aliases=("old name",)
    )
    task = TaskInfo(
        tmp_path, ("a", "b"), work_dir=tmp_path / "w", models=(card,), best_score=0.5, settings={"x": 1}
    )
    assert TaskInfo.from_dict(json.loads(json.dumps(task.to_dict()))) == task
    assert task.num_classes == 2
    assert task.card("vit") is task.models[0]
    with pytest.raises(ConfigError, match="no card"):
        task.card("resnet")


def test_a_card_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="colour"):
        ModelCard.from_dict({"name": "a", "timm_name": "a", "colour": "red"})
