"""Which task there is: by name, of an objective, and of a run folder."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qtt.errors import ConfigError
from qtt.support import plugins
from qtt.tasks.contract import Predictor, Task
from qtt.types import Objective

if TYPE_CHECKING:
    from qtt.runs.record import RunRecord

GROUP = "qtt.tasks"
IMAGES = "image_classification"
"""The task of searches that name none, if they had classes and pretrained models."""

ATTRIBUTE = "qtt_task"

F = TypeVar("F", bound=Callable[..., object])


def objective_of(name: str) -> Callable[[F], F]:
    """Decorator: the function is the objective of the task of that name.

    A search that is given the function alone thereby knows how to evaluate, predict, export and report.
    """

    def mark(function: F) -> F:
        setattr(function, ATTRIBUTE, name)
        return function

    return mark


def load_task(name: str) -> Task:
    """The task that an installed package announces under a name.

    Raises:
        ConfigError: there is none (close matches are named), or what is announced is no task.
    """
    found = plugins.load(GROUP, name)
    made = found() if isinstance(found, type) else found
    if not isinstance(made, Task) or made.name != name:
        raise ConfigError(
            f"The entry point '{name}' of {GROUP} leads to {found!r}, which is no task of that name."
        )
    return made


def task_of_objective(objective: Objective) -> Task | None:
    """The task whose objective a function is, None for any other function."""
    name = getattr(objective, ATTRIBUTE, None)
    return None if name is None else load_task(name)


def task_of(record: "RunRecord") -> Task:
    """The task of a search.

    Raises:
        ConfigError: its objective is a function of its own, or its task is not installed here.
    """
    name = task_name(record)
    if name is None:
        raise ConfigError(
            f"The search in {record.path} had an objective of its own and no task, so that nothing is known "
            "of its data. Search with a task (qtt.tasks.Task) to predict, evaluate and export."
        )
    return load_task(name)


def task_name(record: "RunRecord") -> str | None:
    """What `search.json` says; None for a search without a task."""
    if name := record.settings.get("task"):
        return str(name)
    return IMAGES if record.task.class_names and record.candidates.models else None


def load_predictor(run_dir: str | Path, model: str | int = "best", device: str = "auto") -> Predictor:
    """A network of a finished, interrupted or running search, ready for new examples.

    Args:
        run_dir: the run folder; the dataset need not be there.
        model: `best` on the validation examples of all that were kept, `incumbent` for the search's own, or
            the id of a pipeline.
        device: auto (CUDA where there is one), cpu or cuda.

    Raises:
        ConfigError: no run folder, no network was kept, no such network, or its weights are damaged.
    """
    from qtt.runs.record import RunRecord

    record = RunRecord.load(run_dir)
    return task_of(record).predictor(record.kept_model(model), record, device)
