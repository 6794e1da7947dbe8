"""The finetune script as users import it: free of torch until it is called."""

from collections.abc import Iterator

from qtt.types import Result, TaskInfo, Trial


def finetune_script(trial: Trial, task_info: TaskInfo) -> Iterator[Result]:
    """Finetune `trial.config` until epoch `trial.fidelity`; see `objective.finetune`.

    A search hands this function to its training process, which loads torch and Lightning there alone.
    """
    from qtt.finetune.cv.classification.objective import finetune

    return finetune(trial, task_info)
