"""Recording runs with several training processes at once.

A thread per worker takes the next run, hands it to its own training process and journals every epoch. Nothing
else is state: after a crash the journals say which epochs are done, and each run goes on from its checkpoint.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from qtt.collecting.crew import Crew
from qtt.collecting.plan import Plan
from qtt.collecting.record import records
from qtt.collecting.runs import Limits, Run, Watcher
from qtt.curves.schema import FAILED
from qtt.errors import JournalError
from qtt.evaluation import Evaluator, make_evaluator
from qtt.runs.journal import Journal
from qtt.support.machine import visible_gpus
from qtt.types import Objective, Result


class Collector:
    """The runs of all plans, and their journals (one a dataset).

    journals: folder of the journals; what they hold is not trained again.

    Raises:
        JournalError: a journal is damaged, or has a run that its plan lacks.
    """

    def __init__(self, plans: Sequence[Plan], journals: Path, limits: Limits) -> None:
        self.limits = limits
        self.runs: list[Run] = []
        self._journals: dict[str, Journal] = {}
        journals.mkdir(parents=True, exist_ok=True)
        for plan in plans:
            journal = self._journals[plan.name] = Journal(journals / f"{plan.name}.jsonl")
            results = [entry.result for entry in journal.read()]
            count = len(plan.candidates)
            if any(not 0 <= result.config_id < count for result in results):
                raise JournalError(f"{journal.path} has results of pipelines that are not planned.")
            known = records(results, count)
            self.runs += [Run(plan, config_id, record) for config_id, record in enumerate(known)]

    def pending(self, runs_per_dataset: int, retry_failed: bool = False) -> list[Run]:
        """The runs that have not ended: those under way first, then one of every dataset in turn."""
        ends = {FAILED, None} if retry_failed else {None}
        left = [
            run
            for run in self.runs
            if run.config_id < runs_per_dataset and run.end(self.limits.epochs) in ends
        ]
        return sorted(left, key=lambda run: (not run.record.epochs, run.config_id))

    def ended(self) -> list[tuple[Run, str]]:
        """The runs that have ended, and how."""
        ends = ((run, run.end(self.limits.epochs)) for run in self.runs)
        return [(run, end) for run, end in ends if end is not None]

    def collect(
        self,
        runs: Sequence[Run],
        objective: Objective,
        workers: int,
        logs: Path,
        watcher: Watcher,
        *,
        patience: float = 600.0,
        prepare: Callable[[Evaluator], None] = lambda evaluator: None,
    ) -> None:
        """Train `runs` to their ends with as many training processes as `workers`.

        logs: folder for what the training processes print.
        patience: seconds to wait, in each run, for data, weights, device or disk to come back; such faults of
            the world enter no journal.
        prepare: is called with one of the evaluators before the first run.

        Raises:
            ConfigError: the objective cannot be imported by name, or every run fails.
            EnvironmentFault: the world did not mend in time; another call goes on.
        """
        chosen = any(str(run.plan.task.settings.get("device", "")).startswith("cuda:") for run in runs)
        gpus = () if chosen else visible_gpus()
        evaluators = [
            make_evaluator(objective, logs / f"worker-{number}.log", "process", gpu_of(number, gpus))
            for number in range(min(workers, len(runs)))
        ]
        self._discard_old_checkpoints()
        if evaluators:
            try:
                prepare(evaluators[0])
            except BaseException:
                evaluators[0].close()
                raise
        Crew(runs, evaluators, self.journal, self.limits, watcher, patience).work()
        self._discard_old_checkpoints()

    def journal(self, run: Run, result: Result) -> None:
        """Write one result durably; `elapsed` counts the seconds of its run."""
        spent = run.record.seconds + result.cost
        self._journals[run.plan.name].append(result, spent)
        run.record.results.append(result)

    def _discard_old_checkpoints(self) -> None:
        """Remove what a crash, or a checkpoint that came late, left of runs that have ended."""
        for run, _ in self.ended():
            run.discard_checkpoint()


def gpu_of(worker: int, gpus: Sequence[str]) -> dict[str, str]:
    """Variables by which the training process of a worker sees one GPU alone, where there are several."""
    return {"CUDA_VISIBLE_DEVICES": gpus[worker % len(gpus)]} if len(gpus) > 1 else {}
