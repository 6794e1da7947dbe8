"""Fronts of a search: pipelines that no other one beats in both accuracy and what the network costs."""

from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import pandas as pd

from qtt.errors import ConfigError, DamagedFileError, unknown
from qtt.runs.record import RunRecord
from qtt.space.constraints import Footprint, pareto
from qtt.support.files import read_object

COSTS = ("params", "latency_ms", "seconds")
"""Parameters of the network; milliseconds for one image, where they were measured; seconds of an epoch."""


def recorded_footprints(record: RunRecord) -> dict[str, Footprint]:
    """What the run folder knows of its models: measured for the constraints, else from their cards."""
    path = record.path / "footprints.json"
    with suppress(OSError, TypeError, DamagedFileError):  # of a search without constraints, or damaged
        return {name: Footprint(**data) for name, data in read_object(path).items()}
    cards = record.candidates.models
    return {card.name: Footprint(round(1e6 * card.params), card.input_size) for card in cards}


def cost_table(record: RunRecord, footprints: Mapping[str, Footprint] | None = None) -> pd.DataFrame:
    """One row per observed pipeline that did not fail, best first.

    Columns: config_id, model, score (best), params, latency_ms (NaN where not measured), seconds (median of
    its epochs).
    """
    known = recorded_footprints(record) if footprints is None else footprints
    history, rows = record.history, []
    for config_id in history.ranking():
        best = history.best(config_id)
        model = record.candidates.configs[config_id].get("model")
        if best is None or config_id in history.failed:
            continue
        needs = known.get(str(model))
        params = np.nan if needs is None else float(needs.params)
        latency = np.nan if needs is None or needs.latency_ms is None else needs.latency_ms
        seconds = float(np.median([seen.cost for seen in history.curve(config_id)]))
        rows.append((config_id, model, best.score, params, latency, seconds))
    return pd.DataFrame(rows, columns=["config_id", "model", "score", *COSTS])


def front(
    record: RunRecord, cost: str = "params", footprints: Mapping[str, Footprint] | None = None
) -> pd.DataFrame:
    """The rows of `cost_table` that are on the front of score and `cost`, the best score first.

    Raises:
        ConfigError: an unknown cost, or one that is known of no pipeline.
    """
    if cost not in COSTS:
        raise ConfigError(unknown("cost", cost, COSTS))
    table = cost_table(record, footprints)
    chosen = table[pareto(table["score"].to_numpy(float), table[cost].to_numpy(float))]
    if chosen.empty:
        hint = " Bound it in the search (constraints.max_latency_ms) to have it measured."
        raise ConfigError(
            f"No pipeline of {record.path} has a known {cost}." + (hint if cost == "latency_ms" else "")
        )
    return chosen.reset_index(drop=True)


def cheapest(record: RunRecord, cost: str, within: float, count: int = 1) -> list[int]:
    """Pipelines of the front that score at most `within` below the best, the cheapest first.

    Raises:
        ConfigError: see `front`, or a negative `within`.
    """
    if not within >= 0:
        raise ConfigError(f"within must be a difference in score from 0; got {within}.")
    points = front(record, cost)
    near = points[points["score"] >= points["score"].max() - within]
    return [int(i) for i in near.sort_values(cost)["config_id"]][:count]
