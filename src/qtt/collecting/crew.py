"""The threads that record runs: each takes the next run and hands it to a training process of its own."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from qtt.collecting.runs import Limits, Run, Watcher
from qtt.curves.schema import FAILED
from qtt.errors import ConfigError, EnvironmentFault
from qtt.evaluation import Evaluator
from qtt.evaluation.step import failure, timeout
from qtt.search.faults import Suspicion, patiently
from qtt.types import Result, Trial

logger = logging.getLogger("qtt")

MOST_FAILURES = 10
"""Runs that may fail one after the other, from the start, before all is taken to be wrong."""


class Crew:
    """The threads of one call of `Collector.collect`.

    journal: writes a result of a run down durably. patience: seconds to wait, in each run, for the world to
    mend.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        evaluators: Sequence[Evaluator],
        journal: Callable[[Run, Result], None],
        limits: Limits,
        watcher: Watcher,
        patience: float,
    ) -> None:
        self._runs = deque(runs)
        self._evaluators = evaluators
        self._journal = journal
        self._limits = limits
        self._watcher = watcher
        self._patience = patience
        self._suspicion = Suspicion()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._ends: list[str] = []

    def work(self) -> None:
        """Train all runs to their ends.

        Raises:
            ConfigError: every run fails.
            EnvironmentFault: data, weights, device or disk did not come back in time.
        """
        threads = [
            threading.Thread(target=self._serve, args=(evaluator,), name=f"qtt-collect-{number}", daemon=True)
            for number, evaluator in enumerate(self._evaluators)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)  # in pieces, so that an interrupt is noticed
        finally:
            with self._lock:
                self._stop.set()
            for evaluator in self._evaluators:
                evaluator.close()
            for thread in threads:
                thread.join()
            for evaluator in self._evaluators:
                evaluator.close()  # that of a thread which was just about to start it again
        if self._error is not None:
            raise self._error

    def _serve(self, evaluator: Evaluator) -> None:
        try:
            while (run := self._next()) is not None:
                self._train(run, evaluator)
        except BaseException as error:
            with self._lock:
                if not self._stop.is_set():  # else the evaluator was closed under us, and broke somehow
                    self._error = error
                    self._stop.set()

    def _next(self) -> Run | None:
        with self._lock:
            return self._runs.popleft() if self._runs and not self._stop.is_set() else None

    def _train(self, run: Run, evaluator: Evaluator) -> None:
        fault = patiently(
            lambda: self._attempt(run, evaluator),
            self._patience,
            lambda fault, pause: self._wait(run, fault, pause),
        )
        if fault is not None:  # a run that was stopped while it waited is told to nobody; see `_serve`
            raise EnvironmentFault(
                f"{fault} Everything finished is kept, and {run.name} has not failed; mend it, and the same "
                "command goes on."
            )
        with self._lock:
            if not self._stop.is_set():
                self._finish(run)

    def _attempt(self, run: Run, evaluator: Evaluator) -> str | None:
        """Train a run as far as it gets; the fault of the world that it met, which enters no journal."""
        last = run.last(self._limits.epochs)
        trial = Trial(run.config_id, run.plan.candidates.configs[run.config_id], last)
        left = None if self._limits.time_cap is None else self._limits.time_cap - run.record.seconds
        fault = None
        if left is not None and left <= 0:
            self._record(run, timeout(trial, 0.0))
        else:
            for result in evaluator.evaluate(trial, run.plan.task, left):
                fault = self._judge(run, result)
                if fault is None:
                    self._record(run, result)
        if fault is None and run.end(self._limits.epochs) is None:
            reason = (
                f"The objective stopped at epoch {run.record.epochs} of {trial.fidelity} without a reason."
            )
            self._record(run, failure(trial, reason, 0.0))
        return fault

    def _judge(self, run: Run, result: Result) -> str | None:
        """The fault of the world that a result is; once stopped, whatever comes is nobody's."""
        with self._lock:
            return None if self._stop.is_set() else self._suspicion.fault(result, run.name)

    def _wait(self, run: Run, fault: str, pause: float) -> bool:
        """Let a pause pass; False where all is stopped meanwhile."""
        logger.info("%s waits %.0f s: %s", run.name, pause, fault)
        with self._lock:
            if not self._stop.is_set():
                self._watcher.waiting(run, fault, pause)
        return not self._stop.wait(pause)

    def _record(self, run: Run, result: Result) -> None:
        with self._lock:
            if self._stop.is_set() or run.record.knows(result):
                return
            self._journal(run, result)
            if result.succeeded:
                self._watcher.epoch(run, result)

    def _finish(self, run: Run) -> None:
        run.discard_checkpoint()
        end = run.end(self._limits.epochs)
        assert end is not None
        self._ends.append(end)
        note = f" ({run.record.note})" if run.record.note else ""
        logger.info("%s %s after %d epochs%s", run.name, end, run.record.epochs, note)
        self._watcher.ended(run, end, run.last(self._limits.epochs) - run.record.epochs)
        if len(self._ends) == MOST_FAILURES and set(self._ends) == {FAILED}:
            raise ConfigError(
                f"The first {MOST_FAILURES} runs all failed, the last one because: {run.record.note} "
                "Correct that, and repeat the command with retry_failed=true."
            )
