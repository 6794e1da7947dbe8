"""Long fuzzing of the readers with coverage, by Atheris (`make fuzz`, SECONDS=600 for each reader).

python tests/fuzz/campaign.py [--seconds 600] [--only journal image …] [--corpus build/fuzz]

What leads to an error that is not allowed is written to `tests/fuzz/found/<reader>/`, where every run of
the tests reads it, and the campaign ends with a table and status 1. Atheris is no dependency of qtt's; this
needs `pip install atheris`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz_targets import FOUND, TARGETS

NAMES = [target.name for target in TARGETS]
ONE = Path(__file__).with_name("one.py")
EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
COVERED = re.compile(r"cov: (\d+)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description="Fuzz the readers of files that strangers wrote.")
    parser.add_argument("--seconds", type=int, default=600, help="of each reader (default: 600)")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="these readers alone")
    parser.add_argument("--corpus", type=Path, default=Path("build/fuzz"), help="where inputs are kept")
    options = parser.parse_args(arguments)
    console = Console()
    table = Table("reader", "inputs", "branches reached", "errors")
    errors = 0
    for name in options.only:
        console.print(f"{name}: {options.seconds} s …")
        ended = _campaign(name, options.seconds, options.corpus / name)
        errors += ended.returncode != 0
        counts = [(found.findall(ended.stderr) or ["?"])[-1] for found in (EXECUTED, COVERED)]
        table.add_row(name, *counts, str(int(ended.returncode != 0)))
        if ended.returncode:
            console.print(Text(ended.stdout[-2000:] or ended.stderr[-2000:]))
    console.print(table)
    return int(errors > 0)


def _campaign(name: str, seconds: int, corpus: Path) -> "subprocess.CompletedProcess[str]":
    """One reader in a process of its own."""
    corpus.mkdir(parents=True, exist_ok=True)
    (FOUND / name).mkdir(parents=True, exist_ok=True)
    target = next(target for target in TARGETS if target.name == name)
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(target.seeds(Path(folder))):
            (corpus / f"seed-{number}").write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-print_final_stats=1", "-timeout=30", "-rss_limit_mb=4096"]
    command = [sys.executable, str(ONE), name, str(corpus), str(FOUND / name)]
    command += [*limits, f"-artifact_prefix={FOUND / name}/"]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


if __name__ == "__main__":
    sys.exit(main())
