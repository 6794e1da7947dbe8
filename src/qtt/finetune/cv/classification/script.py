"""The finetune script as users import it, and a check of what it will be asked; torch comes when called."""

from collections.abc import Iterator

from qtt.errors import ConfigError
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.statistics.scores import find_metric
from qtt.tasks.preflight import Needs, Said
from qtt.tasks.registry import objective_of
from qtt.types import Candidates, Result, TaskInfo, Trial

WEIGHT, LIBRARIES = 4, 300_000_000
"""Bytes of a weight; bytes that torch and Lightning take."""


@objective_of("image_classification")
def finetune_script(trial: Trial, task_info: TaskInfo) -> Iterator[Result]:
    """Finetune `trial.config` until epoch `trial.fidelity`; see `objective.finetune`.

    A search hands this function to its training process, which loads torch and Lightning there alone.
    """
    from qtt.finetune.cv.classification.objective import finetune

    return finetune(trial, task_info)


def rehearse(candidates: Candidates, task_info: TaskInfo) -> Iterator[Said]:
    """Try what all pipelines need; see `rehearsal.rehearse`. Torch comes when called."""
    from qtt.finetune.cv.classification.objective import rehearse

    return rehearse(candidates, task_info)


def needs(candidates: Candidates) -> Needs:
    """What the largest model takes at least, whoever trains it.

    disk: its checkpoint, of weights and one moment of the optimizer, twice while one replaces the other, and
    the weights of the best epoch. memory: libraries, weights, gradients, one moment.
    """
    largest = max((int(WEIGHT * card.params * 1e6) for card in candidates.models), default=0)
    return Needs(disk=5 * largest, memory=LIBRARIES + 3 * largest)


def check_candidates(candidates: Candidates, task_info: TaskInfo) -> None:
    """See before the search whether the finetune script takes its settings and every candidate.

    Raises:
        ConfigError: it refuses some; the first is named with its reason.
    """
    FinetuneSettings.from_mapping(task_info.settings)
    find_metric(task_info.metric, task_info.num_classes)
    refused: dict[int, str] = {}
    for config_id, config in enumerate(candidates.configs):
        try:
            Recipe.from_config(config)
        except ConfigError as error:
            refused[config_id] = str(error)
    if refused:
        config_id, reason = next(iter(refused.items()))
        raise ConfigError(
            f"{len(refused)} of {len(candidates)} pipelines cannot be finetuned, for instance #{config_id}: "
            f"{reason} Narrow the search space to what can be."
        )
