"""What a search found, as tables."""

from typing import TYPE_CHECKING, Any

from qtt.runs.history import History
from qtt.statistics.certainty import ties
from qtt.types import Candidates

if TYPE_CHECKING:
    import pandas as pd

HEADLINE = ("opt", "lr", "batch_size", "pct_to_freeze", "sched", "layer_decay", "data_augmentation")
"""Hyperparameters that say most about a pipeline, shown where there is room for a few."""


def pipeline_table(history: History, candidates: Candidates) -> "pd.DataFrame":
    """One row per observed pipeline, best first (tool paper, Figure 6).

    Columns: config_id, score (best so far), where the objective reports it stderr (standard error of that
    score) and tie (whether it is within the best one's error), epoch (of that score), epochs (trained),
    seconds (spent on it), model, then every hyperparameter that differs between observed pipelines; inactive
    ones are missing.
    """
    import pandas as pd  # training processes score without it

    rows: list[dict[str, Any]] = []
    tied = {history.incumbent.config_id, *ties(history)} if history.incumbent is not None else set()
    certain = any(seen.stderr is not None for i in history.observed if (seen := history.best(i)) is not None)
    for config_id in history.ranking():
        best = history.best(config_id)
        assert best is not None
        rows.append(
            {
                "config_id": config_id,
                "score": best.score,
                **({"stderr": best.stderr, "tie": config_id in tied} if certain else {}),
                "epoch": best.fidelity,
                "epochs": history.fidelity(config_id),
                "seconds": sum(seen.cost for seen in history.curve(config_id)),
                **_hyperparameters(candidates, config_id, history.observed),
            }
        )
    columns = ["config_id", "score", "epoch", "epochs", "seconds"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def _hyperparameters(candidates: Candidates, config_id: int, observed: list[int]) -> dict[str, Any]:
    configs = [candidates.configs[i] for i in observed]
    names = dict.fromkeys(name for config in configs for name in config)
    shown = {"model": None} if "model" in names else {}
    shown |= {
        name: None for name in names if len({repr(config.get(name, "inactive")) for config in configs}) > 1
    }
    config = candidates.configs[config_id]
    return {name: config.get(name) for name in shown}
