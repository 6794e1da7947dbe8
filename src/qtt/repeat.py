"""`python -m qtt.repeat RUN_DIR`: search again as a run folder says it was done, and tell what differs.

python -m qtt.repeat runs/quickstart/default

The command that began the run is repeated in a folder of its own, for as many epochs as the run has. On the
same machine, on a CPU, a search that was bounded by epochs (`budget.evaluations`) asks and finds the same;
one that was bounded by seconds asks what the machine's speed allows, and what both have trained is the same.
"""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qtt.cli.interrupts import TO_GO_ON, interruptible
from qtt.cli.invocation import command_for
from qtt.cli.messages import errors_for_people
from qtt.errors import ConfigError
from qtt.runs.environment import differences
from qtt.runs.record import RunRecord
from qtt.support.console_tables import say, wide_console
from qtt.types import Result

NAMES_CODE = re.compile(r"_target_|function|^[+~]*hydra|^-")
"""Arguments of a command that may have code imported, which a stranger's folder must not choose."""

REPLACED = ("run_dir", "runs_dir", "budget.seconds", "budget.evaluations")
"""Arguments that the repetition sets itself."""


@dataclass(frozen=True)
class Comparison:
    """Two journals side by side.

    epochs: of both. same_asks: how many steps from the beginning on are the same (pipeline and epoch).
    shared: epochs of pipelines that both have; unequal: those of them whose scores differ; furthest: by how
    much at most.
    """

    epochs: tuple[int, int]
    same_asks: int
    shared: int
    unequal: int
    furthest: float

    @classmethod
    def of(cls, before: RunRecord, now: RunRecord) -> "Comparison":
        """Compare what two searches finished; their pipelines have the same numbers."""
        asks = [[(r.config_id, r.fidelity) for r in _finished(run)] for run in (before, now)]
        scores = [{(r.config_id, r.fidelity): r.score for r in _finished(run)} for run in (before, now)]
        same = next((i for i, (a, b) in enumerate(zip(*asks, strict=False)) if a != b), min(map(len, asks)))
        gaps = [abs(scores[0][step] - scores[1][step]) for step in scores[0].keys() & scores[1].keys()]
        return cls(
            (len(asks[0]), len(asks[1])),
            same,
            len(gaps),
            sum(gap > 0 for gap in gaps),
            max(gaps, default=0.0),
        )

    @property
    def whole(self) -> bool:
        """Whether everything is the same."""
        return self.same_asks == self.epochs[0] == self.epochs[1] and not self.unequal


@interruptible(TO_GO_ON)
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 where all is the same, 1 where something differs."""
    options = _parser().parse_args(arguments)
    console = wide_console()
    with errors_for_people():
        before = RunRecord.load(options.run_dir)
        target = (options.to or before.path.with_name(f"{before.path.name}-repeat")).absolute()
        command = [sys.executable, "-m", "qtt.run", *repeated(before, target, trusted=options.trust)]
    say(console, f"Repeating {before.path} in {target}")
    status = subprocess.run(command, check=False).returncode
    if status:
        return status
    with errors_for_people():
        now = RunRecord.load(target)
        compared = Comparison.of(before, now)
        _show(before, now, compared, console)
    say(console, f"To compare them: {command_for('report')} {shlex.join([str(before.path), str(target)])}")
    return 0 if compared.whole else 1


def repeated(record: RunRecord, target: Path, *, trusted: bool = False) -> list[str]:
    """Arguments of `qtt.run` that repeat a run in another folder.

    trusted: arguments that name code are repeated too.

    Raises:
        ConfigError: the folder does not say how it began, has no finished epoch, or names code.
    """
    command = record.environment.get("command")
    if (
        not isinstance(command, list)
        or len(command) < 2
        or not all(isinstance(part, str) for part in command)
    ):
        raise ConfigError(
            f"{record.path / 'environment.json'} does not say by which command the search began; searches "
            "of scripts are repeated by their scripts."
        )
    given = command[2:] if command[1] == "run" else command[1:]
    named = [argument for argument in given if NAMES_CODE.search(argument)]
    if named and not trusted:
        raise ConfigError(
            f"The command of {record.path} names code or settings of Hydra: {shlex.join(named)}. If you "
            "trust the folder: --trust."
        )
    epochs = len(_finished(record))
    if not epochs:
        raise ConfigError(f"No epoch is finished in {record.path}: there is nothing to repeat.")
    kept = [argument for argument in given if argument.partition("=")[0].lstrip("+") not in REPLACED]
    return [*kept, f"run_dir={target}", "budget.seconds=null", f"budget.evaluations={epochs}"]


def _is_command(told: object) -> bool:
    return isinstance(told, list) and len(told) > 1 and all(isinstance(part, str) for part in told)


def _finished(record: RunRecord) -> list[Result]:
    return [entry.result for entry in record.entries if entry.result.succeeded]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command_for("repeat"), description="Search again as a run folder says, and tell what differs."
    )
    parser.add_argument("run_dir", type=Path, help="folder of the search")
    parser.add_argument("--to", type=Path, help="folder of the repetition (default: RUN_DIR-repeat)")
    parser.add_argument("--trust", action="store_true", help="also where the command names code to import")
    return parser


def _show(before: RunRecord, now: RunRecord, compared: Comparison, console: Console) -> None:
    changed = differences(before.environment, now.environment)
    if changed:
        table = Table("", "there", "here", title="What differs around the search")
        for name, (there, here) in changed.items():
            table.add_row(Text(name), Text(str(there)), Text(str(here)))
        console.print(table)
    else:
        say(console, "Versions, commit and hardware are the same.")
    there, here = compared.epochs
    say(console, f"Steps that are the same, from the first on: {compared.same_asks} of {there} and {here}")
    scores = f"{compared.unequal} of {compared.shared} scores of the same epochs differ"
    say(console, f"{scores}, by at most {compared.furthest:.2g}" if compared.unequal else scores)
    if (before.setting("budget", dict) or {}).get("seconds"):
        say(console, "It was bounded by seconds: its steps depend on how fast the machine was.")


if __name__ == "__main__":
    sys.exit(main())
