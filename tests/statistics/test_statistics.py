import pandas as pd

from qtt.runs.history import History
from qtt.statistics import pipeline_table
from qtt.types import Candidates, Result

CANDIDATES = Candidates(
    (
        {"model": "vit", "lr": 0.1, "opt": "sgd", "clip_grad": None},
        {"model": "vit", "lr": 0.01, "opt": "sgd", "clip_grad": None, "momentum": 0.9},
        {"model": "resnet", "lr": 0.5, "opt": "adam", "clip_grad": 1},
    )
)


def test_the_table_has_the_best_first_and_only_what_differs() -> None:
    history = History(
        [Result(0, 1, 0.6, 2.0), Result(1, 1, 0.7, 1.0), Result(0, 2, 0.9, 3.0), Result(0, 3, 0.8, 3.0)]
    )
    table = pipeline_table(history, CANDIDATES)
    assert list(table.columns) == [
        "config_id",
        "score",
        "epoch",
        "epochs",
        "seconds",
        "model",
        "lr",
        "momentum",
    ]
    first, second = table.to_dict("records")
    assert (first["config_id"], first["score"], first["epoch"], first["epochs"], first["seconds"]) == (
        0,
        0.9,
        2,
        3,
        8.0,
    )
    assert pd.isna(first["momentum"])
    assert second["momentum"] == 0.9


def test_an_empty_history_is_an_empty_table() -> None:
    table = pipeline_table(History(), CANDIDATES)
    assert len(table) == 0
    assert "score" in table
