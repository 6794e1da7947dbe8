"""Put what the steps of `run.sh` found into one JSON file and one table.

python experiments/gpu_check/summary.py OUT
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

STEPS = (
    *("machine", "process", "tests", "pretended", "repeat", "throughput"),
    *("utilisation", "quickstart", "search", "leftovers"),
)
SAID = {
    "tests": r"(\d+ (?:passed|failed|skipped).*)",
    "pretended": r"(\d+ (?:passed|failed|skipped).*)",
    "quickstart": r"(Best pipeline: .*|test accuracy: .*)",
    "search": r"(Best pipeline: .*|test accuracy: .*)",
}
"""Lines of a log that tell what a step found."""


def main(out: Path) -> int:
    """Write OUT/gpu_check.json and print the table; 1 where a step failed."""
    found = {step: read(out, step) for step in STEPS if (out / f"{step}.status.json").is_file()}
    (out / "gpu_check.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    table = Table(title=f"{found['machine'].get('gpu', 'unknown')}", title_justify="left")
    for column in ("step", "found", "value"):
        table.add_column(column, overflow="fold")
    for step, facts in found.items():
        ended = "" if facts["status"] == 0 else f" FAILED with status {facts['status']}"
        table.add_row(f"{step}{ended}", "seconds in all", str(facts["seconds"]))
        for name, value in facts.items():
            if name not in ("status", "seconds"):
                table.add_row("", name, f"{value:.4g}" if isinstance(value, float) else str(value))
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(table)
    console.print(f"All of it: {out / 'gpu_check.json'}", soft_wrap=True)
    return int(any(facts["status"] for facts in found.values()))


def read(out: Path, step: str) -> dict[str, Any]:
    """Status and seconds of a step, and what it found."""
    facts: dict[str, Any] = json.loads((out / f"{step}.status.json").read_text())
    if (out / f"{step}.json").is_file():
        facts |= json.loads((out / f"{step}.json").read_text())
    if step in SAID:
        lines = re.findall(SAID[step], (out / f"{step}.log").read_text(errors="replace"))
        facts |= {f"it said ({number})": line for number, line in enumerate(lines[-3:], start=1)}
    return facts


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
