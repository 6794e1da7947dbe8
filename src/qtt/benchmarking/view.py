"""A comparison on the console."""

import numpy as np
from rich.table import Table

from qtt.benchmarking.plots import duration
from qtt.benchmarking.tables import Comparison


def summary_table(comparison: Comparison) -> Table:
    """One row per policy: mean regret ± its standard error over datasets, the best of each column in bold."""
    rows = comparison.summary()
    labels = list(dict.fromkeys(row["seconds"] for row in rows))
    cells = {(row["policy"], row["seconds"]): row for row in rows}
    count = f"{len(comparison.datasets)} datasets, {len(comparison.seeds)} seeds"
    table = Table(title=f"Normalised regret, {count}: mean ± standard error", title_justify="left")
    table.add_column("policy", no_wrap=True)
    for label in labels:
        name = "over all (auc)" if label == "auc" else duration(float(label))
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("mean rank", justify="right", no_wrap=True)
    table.add_column("ms a decision", justify="right", no_wrap=True)
    lowest = {
        label: min(cells[policy, label]["mean_regret"] for policy in comparison.policies) for label in labels
    }
    for policy in comparison.policies:
        shown = []
        for label in labels:
            row = cells[policy, label]
            text = f"{row['mean_regret']:.3f} ± {row['stderr']:.3f}"
            shown.append(f"[bold]{text}[/]" if row["mean_regret"] == lowest[label] else text)
        thinking = comparison.decision_seconds(policy)
        milliseconds = f"{1e3 * float(np.mean(thinking)):.2g}" if len(thinking) else "–"
        table.add_row(policy, *shown, f"{cells[policy, 'auc']['mean_rank']:.2f}", milliseconds)
    return table
