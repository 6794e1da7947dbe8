"""One step of an objective: from whatever it returns or raises to checked results."""

import json
import time
import traceback
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from qtt.errors import ObjectiveError, QTTError
from qtt.evaluation.faults import ENVIRONMENT, is_of_the_world
from qtt.types import Objective, RawResult, Result, Status, TaskInfo, Trial

REASON_LENGTH = 500
DETAILS_LENGTH = 20_000
"""Characters of a failed result's info, which enters the journal."""

GAVE_UP = "gave_up"
"""Entry of a timeout's info: the objective reported it, and nobody cut its step off."""


def run_step(
    objective: Objective, trial: Trial, task: TaskInfo, caught: type[BaseException] = Exception
) -> Generator[Result, None, None]:
    """Yield the results of one step; an exception becomes a failed result, for training errors are data.

    The objective gets copies of what it could change. What it reports after a failure or a timeout is not
    asked for.

    caught: which do; a process of its own takes none for the user's wish to stop.
    """
    start = time.monotonic()
    reached = 0
    returned: Any = None
    try:
        returned = objective(*_copies(trial, task))
        for raw in _as_iterable(returned):
            result = raw if isinstance(raw, Result) else Result.from_dict(_as_mapping(raw))
            _check(result, trial, reached)
            reached = result.fidelity
            if result.status is Status.TIMEOUT:
                result = replace(result, info={**result.info, GAVE_UP: True})
            yield result
            if not result.succeeded:
                break
        if not reached:
            raise ObjectiveError("The objective returned no result.")
    except caught as error:
        told = dict(getattr(error, "info", {})) if isinstance(error, QTTError) else {}
        if is_of_the_world(error):
            told[ENVIRONMENT] = True
        yield failure(trial, describe(error), time.monotonic() - start, _traceback(), told)
    finally:
        if isinstance(returned, Generator):
            with suppress(Exception):  # what it says when nobody listens any more
                returned.close()


def _copies(trial: Trial, task: TaskInfo) -> tuple[Trial, TaskInfo]:
    """The same for an objective to keep: what it does to them changes no candidate and no later step."""
    settings, source = deepcopy(dict(task.settings)), deepcopy(dict(task.source))
    config = deepcopy(dict(trial.config))
    return replace(trial, config=config), replace(task, settings=settings, source=source)


def failure(
    trial: Trial,
    reason: str,
    seconds: float,
    details: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> Result:
    """A failed result; details: traceback or the last lines of a log; more: goes into its info, too."""
    info = dict(more or {}) | {"reason": reason[:REASON_LENGTH]} | ({"details": details} if details else {})
    return Result(trial.config_id, trial.fidelity, float("nan"), max(seconds, 1e-3), Status.FAILED, info)


def timeout(trial: Trial, seconds: float, info: Mapping[str, Any] = MappingProxyType({})) -> Result:
    """A step that was cut off; its pipeline keeps the last checkpoint."""
    cost = max(seconds, 1e-3)
    return Result(trial.config_id, trial.fidelity, float("nan"), cost, Status.TIMEOUT, dict(info))


def describe(error: BaseException) -> str:
    """First line of an error with its type, without the type for our own errors."""
    first = (_text(error).strip().splitlines() or [""])[0]
    if type(error).__module__.startswith("qtt."):
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # its own mistake must not hide it
        return ""


def _traceback() -> str:
    """That of the current exception, without the middle where its message is very long."""
    text = traceback.format_exc()
    if len(text) <= DETAILS_LENGTH:
        return text
    half = DETAILS_LENGTH // 2
    return f"{text[:half]}\n[…]\n{text[-half:]}"


def _as_iterable(returned: Any) -> Iterable[RawResult]:
    if isinstance(returned, Result | Mapping):
        return [returned]
    if isinstance(returned, Iterable) and not isinstance(returned, str | bytes):
        return returned
    raise ObjectiveError(
        f"The objective returned {type(returned).__name__}; it must return a result (dict or Result), "
        "a list of them, or yield them."
    )


def _as_mapping(raw: Any) -> Mapping[str, Any]:
    if isinstance(raw, Mapping):
        return raw
    raise ObjectiveError(f"The objective gave {raw!r} where a result (dict or Result) was expected.")


def _check(result: Result, trial: Trial, reached: int) -> None:
    if result.config_id != trial.config_id:
        raise ObjectiveError(f"Asked for config {trial.config_id}, got a result of {result.config_id}.")
    if not reached < result.fidelity <= trial.fidelity:
        raise ObjectiveError(
            f"Asked to train until epoch {trial.fidelity}, with epoch {reached or 'none'} reported so far, "
            f"the objective reported epoch {result.fidelity}."
        )
    try:
        json.dumps(result.to_dict(), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ObjectiveError(f"The result's info must be JSON with finite numbers: {error}.") from error
