"""What is seen to before anything is journaled: all that pipelines would otherwise fail for, one by one.

Folders, disk and memory are looked at here; a task's rehearsal looks at the rest in the training process,
which is warm when the first pipeline comes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from qtt.errors import EnvironmentFault
from qtt.evaluation.base import Rehearser
from qtt.support import resources
from qtt.tasks.contract import Task
from qtt.tasks.preflight import Needs
from qtt.types import Candidates, Objective, TaskInfo

LEAST_DISK = 10_000_000
"""Bytes that journal, log and the search's other files take, of any objective."""

NOTHING_LOST = "Nothing of it is recorded; mend it, and the same command goes on."


@dataclass(frozen=True)
class Preflight:
    """The preflight of one search or collection.

    task: None for an objective of the user's own, of which nothing is known. folder: of the run. elsewhere:
    training is on other machines, whose memory nobody looks at.
    """

    task: Task | None
    candidates: Candidates
    info: TaskInfo
    folder: Path
    elsewhere: bool = False

    def run(self, evaluator: Rehearser, say: Callable[[str], None]) -> tuple[str, ...]:
        """Facts that are in order, in few words; the evaluator is started.

        say: is told what takes time.

        Raises:
            EnvironmentFault: something is missing; the message says what, and what mends it.
            ConfigError: the task refuses a setting.
        """
        try:
            needs = Needs() if self.task is None else self.task.needs(self.candidates, self.info)
            free = check_room(self.folder, needs.disk * self.info.workers)
            if not self.elsewhere:
                check_memory(needs.memory * self.info.workers)
            return (*self._rehearse(evaluator, say), f"{in_words(free)} free")
        except EnvironmentFault as fault:
            raise EnvironmentFault(f"{fault} {NOTHING_LOST}") from fault

    def _rehearse(self, evaluator: Rehearser, say: Callable[[str], None]) -> list[str]:
        facts: list[str] = []
        if self.task is None or self.task.rehearsal is None:
            return facts
        for said in evaluator.rehearse(self.task.rehearsal, self.candidates, self.info):
            if said.fact:
                facts.append(said.text)
            else:
                say(said.text)
        return facts


def whose(task: Task | None, objective: Objective) -> Task | None:
    """The task where it trains itself; None where a function of the user's does."""
    return task if task is not None and task.objective is objective else None


def summary(facts: Iterable[str]) -> str:
    """The line for people."""
    return f"Checked: {', '.join(facts)}"


def check_writable(folder: Path) -> None:
    """See whether a run folder, which may not exist yet, can be written to.

    Raises:
        EnvironmentFault: it cannot.
    """
    reason = resources.refusal(folder)
    if reason is not None:
        raise EnvironmentFault(
            f"The run folder {folder} cannot be written to: {reason}. Correct its rights or its disk, or "
            f"name another one (run_dir=DIR). {NOTHING_LOST}"
        )


def check_room(folder: Path, needed: int) -> int:
    """Bytes free where a run folder lies.

    needed: by the pipelines that train at once.

    Raises:
        EnvironmentFault: they are too few.
    """
    needed += LEAST_DISK
    free = resources.free_disk(folder)
    if free < needed:
        raise EnvironmentFault(
            f"The disk of {folder} has {in_words(free)} free, and the checkpoints of one pipeline may take "
            f"{in_words(needed)}. Make room, or name a run folder on another disk (run_dir=DIR)."
        )
    return free


def check_memory(needed: int) -> None:
    """See whether there is memory for the training processes.

    Raises:
        EnvironmentFault: there is not.
    """
    _, free = resources.memory()
    if free is not None and free < needed:
        raise EnvironmentFault(
            f"{in_words(free)} of memory are free, and training takes {in_words(needed)} at least. Close "
            "other programs, ask the job queue for more, or choose smaller models."
        )


def in_words(size: int) -> str:
    """Bytes for people: `1.4 GB`, `812 MB`."""
    if size < 1e9:
        return f"{size / 1e6:.0f} MB"
    return f"{size / 1e9:.1f} GB" if size < 1e10 else f"{size / 1e9:,.0f} GB"
