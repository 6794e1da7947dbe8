"""The searches that faults are injected into, and the stories that their folders tell.

On the table objective a search takes a fraction of a second. It runs in a child of this process, forked, so
that nothing is imported again; what it trains with is in that child, or in a training process of its own.
"""

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from faults.objectives import table
from qtt.cli.messages import stop_as_by_ctrl_c
from qtt.errors import QTTError
from qtt.optimizers.asha import ASHAOptimizer
from qtt.optimizers.base import CandidateOptimizer
from qtt.optimizers.quick import QuickTune
from qtt.optimizers.random import EpochwiseRandomOptimizer, RandomOptimizer
from qtt.predictors.cost import PhysicalCost
from qtt.predictors.performance import DeepKernelGP
from qtt.runs.journal import Entry
from qtt.runs.record import RunRecord
from qtt.search.tuner import QuickTuner
from qtt.support.clock import Clock, WallClock
from qtt.testing import METAFEATURES, SyntheticSpace
from qtt.tracking.base import SearchInfo, Summary
from qtt.tracking.csv import CsvTracker
from qtt.types import Status, TaskInfo

Row = tuple[int, int, float]
EVALUATIONS, CANDIDATES, EPOCHS = 24, 6, 9
INTERRUPTED, OURS, THEIRS = 130, 3, 4
"""Exit statuses of a search: by Ctrl-C before it began, by an error of qtt's, by any other error."""


def optimizer_of(name: str, step: int) -> CandidateOptimizer:
    """An optimizer with its candidates."""
    space: Any = SyntheticSpace()
    settings: dict[str, Any] = {"seed": 5, "max_fidelity": EPOCHS, "epochs_per_step": step}
    if name == "quick":
        quick: dict[str, Any] = {"performance": DeepKernelGP(steps=1), "cost": PhysicalCost()}
        made: CandidateOptimizer = QuickTune(space, **quick, proposals=2, **settings)
    else:
        kinds = {"random": RandomOptimizer, "epochwise": EpochwiseRandomOptimizer, "asha": ASHAOptimizer}
        made = kinds[name](space, **settings)
    made.setup(CANDIDATES, METAFEATURES)
    return made


@dataclass(frozen=True)
class Plan:
    """A search: who asks, how many epochs a step has, where it trains, and what makes it special."""

    optimizer: str = "epochwise"
    step: int = 1
    isolation: str = "inline"
    objective: Any = table
    settings: dict[str, Any] = field(default_factory=dict)
    evaluations: int | None = EVALUATIONS
    seconds: float | None = None
    tuner: dict[str, Any] = field(default_factory=dict)
    clock: Callable[[], Clock] = WallClock

    def run(self, folder: Path) -> Summary:
        """Search in this process."""
        tuner = QuickTuner(
            optimizer_of(self.optimizer, self.step),
            self.objective,
            folder,
            isolation=self.isolation,
            clock=self.clock(),
            **{"trackers": [Begun()], "patience": 0.0} | self.tuner,
        )
        task = TaskInfo(path=Path("digits"), settings=self.settings)
        return tuner.run(task, self.seconds, self.evaluations)


class Begun(CsvTracker):
    """Leaves a file while the search lasts: as long Ctrl-C ends it with a summary, and no error."""

    def start(self, search: SearchInfo) -> None:
        super().start(search)
        (search.run_dir / "begun").touch()

    def finish(self, summary: Summary) -> None:
        super().finish(summary)
        (summary.run_dir / "begun").unlink()


class Child:
    """A search in a process of its own.

    errors: file for what it prints.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        handle, name = tempfile.mkstemp(prefix="qtt-fault-", suffix=".err")
        os.close(handle)
        self.errors = Path(name)
        sys.stdout.flush()
        listens, says = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._search(plan, folder, says)
        os.close(says)
        os.read(listens, 1)  # nothing, if it has ended
        os.close(listens)

    def _search(self, plan: Plan, folder: Path, says: int) -> None:
        """Search, and end this process; a byte says that it takes signals as commands do."""
        code = THEIRS
        try:
            descriptor = os.open(self.errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(descriptor, 2)
            os.dup2(descriptor, 1)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            stop_as_by_ctrl_c()
            os.write(says, b"!")
            os.close(says)
            plan.run(folder)
            code = 0
        except KeyboardInterrupt:
            code = INTERRUPTED
            self._where()
        except (QTTError, OSError) as error:
            code = OURS
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)

    def _where(self) -> None:
        """Write down where an interrupt got out, which is no error by itself."""
        frames = traceback.extract_tb(sys.exc_info()[2])
        os.write(2, "".join(f"{Path(f.filename).name}:{f.lineno} {f.name}\n" for f in frames).encode())

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; one that has ended hears nothing."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit status, negative for a signal's."""
        _, status = os.waitpid(self.pid, 0)
        self.printed = self.errors.read_text(errors="replace")
        self.errors.unlink()
        return os.waitstatus_to_exitcode(status)

    def said(self) -> str:
        """All that it wrote onto its streams; once it has ended."""
        return self.printed


def entries(folder: Path) -> tuple[Entry, ...]:
    """The journal's entries; none before there is one."""
    return RunRecord.load(folder).entries if (folder / "task.json").exists() else ()


def finished(results: Any) -> list[Row]:
    """The epochs that were finished, in order."""
    return [(r.config_id, r.fidelity, r.score) for r in results if r.status is Status.SUCCESS]


def story(folder: Path) -> list[Row]:
    """The epochs that a folder knows to be finished, in order."""
    return finished(entry.result for entry in entries(folder))


@cache
def undisturbed(optimizer: str, step: int, folder: Path) -> tuple[tuple[Row, ...], float]:
    """The story of a search that nothing happens to, and the seconds that it takes."""
    begin = time.monotonic()
    Plan(optimizer, step).run(folder / f"{optimizer}-{step}")
    return tuple(story(folder / f"{optimizer}-{step}")), time.monotonic() - begin
