"""Steps that end before the epoch that was asked for, though nobody cut them off: what becomes of them.

An objective that stops early, or reports a timeout of its own, is asked again, for it may get further next
time. One that gets no further in `TRIES` steps fails, else a search without a limit of time would never end.
Nothing of this is state: the journal says how often a step was tried.
"""

from collections.abc import Iterable

from qtt.evaluation.faults import EXPLAINED
from qtt.evaluation.step import GAVE_UP, failure, timeout
from qtt.types import Result, Status, Trial

TRIES = 3
"""Steps in a row that may bring a pipeline no further."""

MISSED = "missed"
"""Entry of a timeout's info: how many steps in a row have not reached their epoch, with this one."""


def ended_early(last: Result | None, trial: Trial) -> bool:
    """Whether a step that nobody cut off has ended before its epoch; last: its last result."""
    if last is None:
        return True
    short = last.succeeded and last.fidelity < trial.fidelity
    return short or (last.status is Status.TIMEOUT and bool(last.info.get(GAVE_UP)))


def missed(trial: Trial, results: Iterable[Result], seconds: float) -> Result:
    """What is journaled of such a step: a timeout, after which it is asked again, or the pipeline's failure.

    results: all so far, in order. seconds: that the step took.
    """
    own = [result for result in results if result.config_id == trial.config_id]
    done = max((result.fidelity for result in own if result.succeeded), default=0)
    tries = 1 + _tries(own)
    stopped = f"The objective stopped at epoch {done} of {trial.fidelity}"
    if tries >= TRIES:
        reason = f"{stopped}, and got no further in {TRIES} steps."
        return failure(trial, reason, seconds, more={EXPLAINED: True})
    return timeout(trial, seconds, {"reason": f"{stopped}.", MISSED: tries})


def _tries(own: list[Result]) -> int:
    """How many steps of a pipeline have brought it no further, up to its last result."""
    for result in reversed(own):
        if MISSED in result.info:
            return int(result.info[MISSED])
        if result.succeeded or result.status is Status.FAILED or result.info:
            break  # it got further, or its failure was forgiven
    return 0
