"""What an evaluator is, and which one suits an objective."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from qtt.errors import ConfigError
from qtt.tasks.preflight import Said
from qtt.types import Candidates, Objective, Result, TaskInfo, Trial


class Rehearser(Protocol):
    """Runs what a task wants to be seen to before the first trial."""

    def rehearse(self, rehearsal: str, candidates: Candidates, task: TaskInfo) -> Iterator[Said]:
        """Yield what a task's rehearsal says; it runs where trials do, and what it loads stays there.

        rehearsal: as `package.module.name`.

        Raises:
            ConfigError: it stumbled over a mistake of the user.
            EnvironmentFault: over anything else, or the training process died of it.
        """
        ...


class Evaluator(Rehearser, Protocol):
    """Runs one trial at a time and yields its results as they finish."""

    def start(self) -> None:
        """Make ready in the background; optional before the first `evaluate`."""
        ...

    def evaluate(self, trial: Trial, task: TaskInfo, seconds: float | None) -> Iterator[Result]:
        """Yield one result per finished epoch; the last one may be a failure or a timeout.

        seconds: time after which the step is cut off with a timeout, None for no limit.
        """
        ...

    def close(self) -> None:
        """Release what the evaluator holds; it may be started again."""
        ...


def make_evaluator(
    objective: Objective,
    log: Path,
    isolation: str = "auto",
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Evaluator:
    """An evaluator for `objective`.

    isolation: `process` trains in a long-lived process of its own, which survives nothing but harms nobody;
        `inline` runs in this process (for debugging, and for functions that cannot be imported by name);
        `auto` takes a process where the objective, and what registered hyperparameters of its own, can be
        imported there.
    log: file for everything that the training process prints.
    environment: variables that a training process has beside those of this one.

    Raises:
        ConfigError: unknown isolation, or a process is demanded for a function, or hyperparameters, that
            cannot be imported.
    """
    from qtt.evaluation.inline import InlineEvaluator
    from qtt.evaluation.process import ProcessEvaluator, import_path
    from qtt.space.hyperparameters import nameless_modules  # which a training process need not wait for

    if isolation not in ("auto", "process", "inline"):
        raise ConfigError(f"isolation must be 'auto', 'process' or 'inline'; got '{isolation}'.")
    path = import_path(objective)
    if isolation == "process" and path is None:
        raise ConfigError(
            f"The objective {objective!r} cannot be imported by name, so it cannot run in a process of its "
            "own. Define it at the top level of a module, or use isolation='inline'."
        )
    nameless = nameless_modules()
    if isolation == "process" and nameless:
        raise ConfigError(
            f"Hyperparameters were registered in {', '.join(nameless)}, which a training process cannot "
            "import. Register them in a module of their own, and import it; or use isolation='inline'."
        )
    if isolation == "inline" or path is None or nameless:
        return InlineEvaluator(objective)
    return ProcessEvaluator(path, log, environment)
