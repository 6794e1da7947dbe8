"""A comparison on the console."""

import math

import numpy as np
from rich.table import Table
from rich.text import Text

from qtt.benchmarking.tables import Comparison
from qtt.benchmarking.wording import counted, duration


def summary_table(comparison: Comparison) -> Table:
    """One row per policy: mean regrets, the lowest of each column in bold; `summary.csv` has all errors."""
    rows = {(row["policy"], row["seconds"]): row for row in comparison.summary()}
    times = list(dict.fromkeys(seconds for _, seconds in rows))
    count = f"{counted(len(comparison.datasets), 'dataset')}, {counted(len(comparison.seeds), 'seed')}"
    table = Table(title=f"Normalised regret, mean over {count}", title_justify="left")
    table.add_column("policy", no_wrap=True)
    headers = ["mean (auc)" if time == "auc" else f"at {duration(float(time))}" for time in times]
    for header in (*headers, "mean rank", "ms a decision"):
        table.add_column(header, justify="right", no_wrap=True)
    for policy in comparison.policies:
        cells = []
        for time in times:
            regret, stderr = rows[policy, time]["mean_regret"], rows[policy, time]["stderr"]
            error = f" ± {stderr:.3f}" if time == "auc" and not math.isnan(stderr) else ""
            lowest = regret == min(rows[other, time]["mean_regret"] for other in comparison.policies)
            cells.append(Text(f"{regret:.3f}{error}", style="bold" if lowest else ""))
        thinking = comparison.decision_seconds(policy)
        milliseconds = f"{1e3 * float(np.mean(thinking)):.1f}" if len(thinking) else "–"
        table.add_row(policy, *cells, f"{rows[policy, 'auc']['mean_rank']:.2f}", milliseconds)
    return table
