"""The search loop: ask the optimizer, run the step, write it down, tell everyone."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from qtt.errors import ConfigError, ObjectiveError
from qtt.evaluation.pool import Pool
from qtt.evaluation.preflight import Preflight, summary
from qtt.evaluation.step import GAVE_UP, timeout
from qtt.optimizers.base import Optimizer
from qtt.runs.folder import END, RunFolder
from qtt.runs.history import History
from qtt.runs.record import check_entries
from qtt.search.estimates import Estimates
from qtt.search.faults import Suspicion, patiently
from qtt.search.misses import ended_early, missed
from qtt.search.quota import DiskQuota
from qtt.search.steps import Step, Steps
from qtt.search.watchdog import Pace, Watch, Watchdog, predicted_seconds
from qtt.space.horizon import last_epoch
from qtt.support.clock import Clock
from qtt.support.files import write_json
from qtt.support.machine import trains_on_cpu
from qtt.support.signals import OneInterrupt, interrupts_held
from qtt.tracking.base import SearchInfo, Summary, Tracker, TrackerGroup
from qtt.types import Budget, Result, Status, TaskInfo, Trial

logger = logging.getLogger("qtt")

BROKEN = "Stopped by an error; everything finished is kept."

LEAST_SECONDS = 1.0
"""With less than this left, and nothing that fits into it, a budget counts as spent."""


class SearchLoop:
    """One search in one run folder, from resuming to the summary; used once."""

    def __init__(
        self,
        optimizer: Optimizer,
        pool: Pool,
        folder: RunFolder,
        task: TaskInfo,
        budget: Budget,
        *,
        trackers: Sequence[Tracker],
        clock: Clock,
        preflight: Preflight | None = None,
        quota: int | None = None,
        watchdog: Watchdog | None = None,
        patience: float = 0.0,
        advice: str = "",
    ) -> None:
        """See `QuickTuner`.

        Args:
            optimizer: set up with its candidates.
            pool: of workers that run the objective; closed at the end.
            folder: locked, and claimed for this search.
            task: with its place in `folder`, and how many workers `pool` has.
            budget: earlier searches in the folder count towards it.
            trackers: told of everything.
            clock: for all durations.
            preflight: what is seen to before the first step; its seconds are none of the budget's.
            quota: bound on all checkpoints together, in bytes.
            watchdog: bounds the seconds of every step; None: nothing does.
            patience: seconds to wait for the world to mend before the search stops.
            advice: on what would make the next search better; for the trackers.

        Raises:
            JournalError: the folder's journal is damaged.
        """
        self._optimizer = optimizer
        self._pool = pool
        self._folder = folder
        self._task = task
        self._budget = budget
        self._clock = clock
        self._quota = DiskQuota(quota, folder, None if preflight is None else preflight.task)
        self._watchdog = watchdog or Watchdog(None)
        self._patience = patience
        self._suspicion = Suspicion()
        self._fault: str | None = None
        self._advice = advice
        self._trackers = TrackerGroup(trackers)
        self._entries = tuple(folder.journal.read())
        self._history = History(entry.result for entry in self._entries)
        self._estimates = Estimates()
        self._pace = Pace(self._entries)
        self._preflight = preflight
        self._begin = clock.now() - (self._entries[-1].elapsed if self._entries else 0.0)
        self._notes = notes(optimizer, task)
        self._steps = Steps()
        self._lost: list[Trial] = []

    def run(self) -> Summary:
        """Search until the budget is spent or someone interrupts.

        Raises:
            ConfigError: the journal is of another search.
            EnvironmentFault: the preflight found that something is missing.
        """
        self._optimizer.epochs_count = self._budget.seconds is None
        self._optimizer.on_cpu = trains_on_cpu(self._task.settings.get("device"))
        self._restore()
        if self._spent() is None:
            self._make_ready()
        reason, interrupted = BROKEN, False
        with OneInterrupt() as interrupts:
            try:
                self._start_trackers()
                reason = self._loop()
                interrupts.hold()
            except KeyboardInterrupt:
                reason, interrupted = "Interrupted; everything finished is kept.", True
            finally:
                interrupts.hold()
                end = self._summary(reason, interrupted)
                self._wind_up(end, interrupts)
        return end

    def _summary(self, reason: str, interrupted: bool) -> Summary:
        return Summary(
            self._folder.path,
            self._optimizer.candidates,
            self._history,
            self._elapsed(),
            reason,
            interrupted,
            self._fault,
            tuple(self._quota.evicted),
        )

    def _wind_up(self, end: Summary, interrupts: OneInterrupt) -> None:
        """Write down how the search ended, end the training processes, tell the trackers.

        Further interrupts, of an impatient user, hurry the latter two, and are no error.
        """
        try:
            for step in self._steps if end.interrupted else ():
                self._record(timeout(step.asked, self._clock.now() - step.begin), step)
            self._note_end(end, end.fault is None and not end.interrupted and end.reason != BROKEN)
        finally:
            try:
                with interrupts.heeded():
                    self._pool.close()
            finally:
                with interrupts.heeded():
                    self._trackers.finish(end)

    def _note_end(self, end: Summary, whole: bool) -> None:
        """Leave word of why the search ended, for whoever reads the folder."""
        with suppress(OSError):  # a full disk: the journal says as much as it can
            results = len(self._folder.journal.read(repair=False))
            write_json(self._folder.path / END, {"reason": end.reason, "results": results, "whole": whole})

    def _restore(self) -> None:
        """Tell the optimizer what earlier runs journaled; it proposes again what it proposed then."""
        check_entries(self._entries, len(self._folder.candidates()), self._folder.journal.path)
        known = len(self._optimizer.history)  # a second run of the same tuner has told these already
        try:
            self._optimizer.tell([entry.result for entry in self._entries[known:]])
        except ObjectiveError as error:
            raise ConfigError(
                f"{self._folder.journal.path} does not belong to this search: {error} "
                "Repeat the settings of the search to continue it, or give this one another run folder."
            ) from error
        self._folder.keep_proposals(self._optimizer.candidates)
        if self._history.incumbent is not None:
            self._folder.keep_incumbent(self._history.incumbent, self._optimizer.candidates, self._task)

    def _make_ready(self) -> None:
        """Start the training processes, and see whether all is there that they need."""
        begin = self._clock.now()
        self._pool.start()
        if self._preflight is None:
            return
        try:
            facts = self._preflight.run(self._pool.first, self._trackers.preparing)
        except BaseException:
            self._pool.close()
            raise
        finally:
            self._trackers.preparing("")
        logger.info("%s", summary(facts))
        self._notes = (*self._notes, summary(facts))
        self._begin += self._clock.now() - begin

    def _start_trackers(self) -> None:
        self._trackers.start(
            SearchInfo(
                run_dir=self._folder.path,
                optimizer=type(self._optimizer).__name__,
                task=self._task,
                candidates=self._optimizer.candidates,
                budget=self._budget,
                entries=self._entries,
                outlook=getattr(self._optimizer, "outlook", None),
                advice=self._advice,
                notes=self._notes,
                places=tuple(self._pool.places),
            )
        )

    def _loop(self) -> str:
        """Keep the workers busy until nothing more may begin and all have ended; returns why."""
        while True:
            reason = self._occupy()
            if not self._steps and reason is not None:
                return reason
            ended = self._listen()
            if ended is not None and ended.fault is not None:
                self._fault = self._mend(ended)
                if self._fault is not None:
                    return self._gave_up(self._fault)

    def _occupy(self) -> str | None:
        """Begin a step on every free worker; why none begins any more, None where more may be asked later."""
        while self._steps.free(there := self._pool.there):
            if (reason := self._spent()) is not None:
                return reason
            if self._steps and self._epochs_left() == 0:
                return None
            trial = self._lost.pop(0) if self._lost else self._ask()
            if trial is None:
                return None if self._steps else self._nothing_left()
            self._trackers.asked(trial, self._elapsed())
            running = self._steps.pipelines
            self._quota.before(trial, self._history, self._optimizer.candidates, self._task, running)
            self._begin_step(trial, self._steps.worker_for(trial.config_id, there))
        return None if self._steps else self._spent()

    def _ask(self) -> Trial | None:
        self._optimizer.seconds_left = self._seconds_left()
        return self._optimizer.ask()

    def _mend(self, step: Step) -> str | None:
        """Wait for the world to mend, and try steps again that met its fault; the fault that stayed, if any.

        Meanwhile nothing new begins: what other workers were at ends first.
        """
        faulty = [step]
        while self._steps:
            ended = self._listen()
            if ended is not None and ended.fault is not None:
                faulty.append(ended)
        met = step.fault
        for one in faulty:
            attempt = partial(self._attempt, one.asked, one.worker)
            fault = patiently(attempt, self._patience, self._wait, met)
            if fault is not None:
                return fault
            met = None  # it has mended: the next step need not wait for that
        return None

    def _gave_up(self, fault: str) -> str:
        spent = self._spent()
        if spent is None:
            return f"Stopped, for this did not mend: {fault}"
        return f"{spent} It ended waiting: {fault}"

    def _wait(self, fault: str, pause: float) -> bool:
        """Let a pause pass; False where the budget ends before it does."""
        left = self._seconds_left()
        seconds = pause if left is None else max(0.0, min(pause, left))
        logger.info("Waiting %.0f s: %s", seconds, fault)
        self._trackers.waiting(fault, seconds)
        self._clock.sleep(seconds)
        return self._spent() is None

    def _attempt(self, trial: Trial, worker: int) -> str | None:
        """Run a step alone; the fault of the world that it met, which enters no record."""
        self._begin_step(trial, worker)
        while (ended := self._listen()) is None:
            pass
        return ended.fault

    def _begin_step(self, asked: Trial, worker: int) -> None:
        """Have a worker run a step."""
        trial = self._within_budget(asked)
        step = Step(asked, trial, worker, self._watch(trial), self._clock.now())
        self._steps.begin(step)
        self._trackers.begun(worker, trial, self._elapsed())
        self._pool.submit(worker, trial, self._task_now(trial), step.watch.seconds)

    def _listen(self) -> Step | None:
        """Record the next result of any worker; its step, where that has ended."""
        event = self._pool.next()
        if event is None:
            return None
        step = self._steps[event.worker]
        if event.lost is not None:
            logger.info("Step %s is asked again: %s", step.asked.to_dict(), event.lost)
            self._lost.append(step.asked)
            self._steps.lose(step)
            self._trackers.ended(step.worker, self._elapsed())
            return step
        if event.result is None:
            self._end(step)
            return step
        result = step.watch.judged(event.result, step.trial)
        step.last, step.fault = event.result, self._suspicion.fault(result)
        if step.fault is None and not result.info.get(GAVE_UP):
            self._record(result, step)
        return None

    def _end(self, step: Step) -> None:
        if step.fault is None and ended_early(step.last, step.trial):
            self._record(missed(step.trial, self._history, self._clock.now() - step.begin), step)
        elif step.last is not None and step.last.succeeded and step.trial is not step.asked:
            self._record(timeout(step.asked, 0.0), step)
        self._steps.end(step)
        self._trackers.ended(step.worker, self._elapsed())

    def _epochs_left(self) -> int | None:
        """Of the budget, less those that are under way; None where it counts none."""
        if self._budget.evaluations is None:
            return None
        promised = self._steps.promised(self._history)
        return max(self._budget.evaluations - self._history.evaluations - promised, 0)

    def _within_budget(self, trial: Trial) -> Trial:
        """The step, or as much of it as the epochs left in the budget allow."""
        left = self._epochs_left()
        if left is None:
            return trial
        last = self._history.fidelity(trial.config_id) + left
        return trial if trial.fidelity <= last else replace(trial, fidelity=last)

    def _watch(self, trial: Trial) -> Watch:
        predicted = predicted_seconds(self._optimizer)
        limit = self._watchdog.limit(trial, self._history, predicted, self._pace.scale)
        return self._watchdog.watch(trial, limit, self._seconds_left())

    def _task_now(self, trial: Trial) -> TaskInfo:
        """The task with what has changed since the search began: the score to beat, models of proposals."""
        candidates = self._optimizer.candidates
        to_reach = self._estimates.to_reach(trial.config_id, self._history, candidates)
        return replace(self._task, best_score=to_reach, models=candidates.models)

    def _record(self, result: Result, step: Step) -> None:
        result = replace(result, info={**result.info, **self._pool.places[step.worker]})
        if result.succeeded and result.fidelity <= self._history.fidelity(result.config_id):
            return  # a step that was cut short is asked again and may report what it finished before
        result = self._estimates.with_estimate(result, self._history, self._optimizer.candidates)
        elapsed = self._elapsed()
        with interrupts_held():  # journal, history, optimizer and incumbent know the same
            self._keep(result, elapsed)
        self._pace.add(result, elapsed)
        logger.info("%s", json.dumps(replace(result, info=_without_details(result)).to_dict()))
        self._trackers.told(result, self._history, elapsed)

    def _keep(self, result: Result, elapsed: float) -> None:
        self._folder.journal.append(result, elapsed)  # durable before anyone learns from it
        self._history.add(result)
        known = len(self._optimizer.candidates)
        self._optimizer.tell(result)
        if len(self._optimizer.candidates) > known:
            self._folder.keep_proposals(self._optimizer.candidates)
        if result is self._history.incumbent:
            self._folder.keep_incumbent(result, self._optimizer.candidates, self._task)
        else:
            self._folder.drop_weights(result, self._task)
        self._tidy(result)

    def _tidy(self, result: Result) -> None:
        at_end = result.fidelity >= self._last_epoch(result.config_id)
        done = at_end or result.config_id in self._history.failed
        if done and result.status is not Status.TIMEOUT:
            self._folder.discard(result.config_id, self._task)
        self._quota.after(result.config_id, self._history, self._task, self._steps.pipelines)

    def _last_epoch(self, config_id: int) -> int:
        return last_epoch(self._optimizer.candidates.configs[config_id], self._task.max_fidelity)

    def _elapsed(self) -> float:
        return self._clock.now() - self._begin

    def _seconds_left(self) -> float | None:
        return None if self._budget.seconds is None else self._budget.seconds - self._elapsed()

    def _spent(self, least: float = 0.0) -> str | None:
        """Which budget is spent, None: neither; `least` seconds or less count as none."""
        left = self._seconds_left()
        if left is not None and left <= least:
            return f"The budget of {self._budget.seconds:g} s is spent."
        if self._budget.evaluations is not None and self._history.evaluations >= self._budget.evaluations:
            return f"The budget of {self._budget.evaluations} epochs is spent."
        return None

    def _nothing_left(self) -> str:
        if self._optimizer.nothing_fits:
            shortest = self._optimizer.shortest_step
            left = f"No step fits into the remaining {self._optimizer.seconds_left or 0.0:.0f} s"
            about = "" if shortest is None else f"; the shortest would take about {shortest:.0f} s"
            return self._spent(LEAST_SECONDS) or f"{left}{about}."
        failed, count = self._history.failed, len(self._optimizer.candidates)
        done = {i for i in range(count) if self._history.fidelity(i) >= self._last_epoch(i)}
        missing = count - len(done | failed.keys())
        if missing:
            return (
                f"The optimizer asks for nothing more, with {missing} of {count} pipelines not at their ends."
            )
        if len(failed) < count:
            but = f", but for {len(failed)} that failed" if failed else ""
            end = f"Every pipeline is trained to its end{but}"
            return f"{end}; more candidates would use the rest of the budget."
        reason, times = Counter(failed.values()).most_common(1)[0]
        return f"Every pipeline failed; {times} of {count} because: {reason}"


def notes(optimizer: Optimizer, task: TaskInfo) -> tuple[str, ...]:
    """What one should know of a search before it begins, in sentences."""
    learned = getattr(optimizer, "learned_metric", None)
    if learned is None or learned == task.metric:
        return ()
    return (
        f"The optimizer's predictors were meta-learned on {learned}; what they expect of {task.metric} is "
        "corrected by this search's results alone.",
    )


def _without_details(result: Result) -> dict[str, Any]:
    """For the log, whose last lines are the details of a training process that died."""
    return {name: value for name, value in result.info.items() if name != "details"}
