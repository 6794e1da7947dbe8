"""Compare the runs of a sweep: incumbent over time and test accuracy, mean and spread over seeds.

python experiments/quick_vs_random/summarize.py RUNS_DIR [RUNS_DIR …] [--csv FILE]
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from qtt.history import History
from qtt.journal import Journal

SHARES = (0.25, 0.5, 1.0)
"""Shares of the budget at which the incumbent is read."""


def main() -> None:
    """Print one row per dataset and optimizer; with --csv also write one row per run."""
    parser = argparse.ArgumentParser(description="Compare the runs of a sweep.")
    parser.add_argument("folders", nargs="+", type=Path, help="folders that hold run folders, at any depth")
    parser.add_argument("--csv", type=Path, help="file for the figures of every run")
    arguments = parser.parse_args()
    found = sorted(path.parent for folder in arguments.folders for path in folder.rglob("journal.jsonl"))
    if not found:
        parser.error("no run folder with a journal.jsonl in there")
    runs = pd.DataFrame([run_figures(path) for path in found])
    if arguments.csv:
        runs.to_csv(arguments.csv, index=False, float_format="%.4f")
    print(as_markdown(runs))  # noqa: T201 - the table is what this command is for


def run_figures(path: Path) -> dict[str, Any]:
    """Figures of one run folder."""
    config = yaml.safe_load((path / "config.yaml").read_text())
    entries = Journal(path / "journal.jsonl").read()
    history = History(entry.result for entry in entries)
    seconds = config["budget"]["seconds"]
    test = path / "incumbent" / "test.json"
    return {
        "dataset": Path(json.loads((path / "task.json").read_text())["path"]).name,
        "optimizer": config["optimizer"]["_target_"].rsplit(".", 1)[1],
        "seed": config["seed"],
        "seconds": seconds,
        **{f"val {share:.0%}": _incumbent(entries, share * seconds) for share in SHARES},
        "test": json.loads(test.read_text())["test accuracy"] if test.exists() else None,
        "epochs": history.evaluations,
        "pipelines": len(history.observed),
        "failed": len(history.failed),
    }


def as_markdown(runs: pd.DataFrame) -> str:
    """Markdown: mean ± standard deviation over seeds; `val` is the incumbent at a share of the budget."""
    figures = [name for name in runs if name not in ("dataset", "optimizer", "seed", "seconds")]
    lines = [
        "| dataset | seconds | optimizer | seeds | " + " | ".join(figures) + " |",
        "|---" * (len(figures) + 4) + "|",
    ]
    for (dataset, seconds, optimizer), group in runs.groupby(["dataset", "seconds", "optimizer"]):
        cells = [_mean(group[name]) for name in figures]
        lines.append(f"| {dataset} | {seconds:g} | {optimizer} | {len(group)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _incumbent(entries: list[Any], until: float) -> float | None:
    scores = [e.result.score for e in entries if e.result.succeeded and e.elapsed <= until]
    return max(scores, default=None)


def _mean(values: "pd.Series[float]") -> str:
    values = values.dropna().astype(float)
    if values.empty:
        return "–"
    digits = 3 if values.abs().max() <= 1 and (values % 1).any() else 1
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


if __name__ == "__main__":
    main()
