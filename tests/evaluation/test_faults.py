"""Which errors are faults of the world."""

import errno

import pytest

from qtt.errors import ConfigError, DatasetError, EnvironmentFault, ModelHubError
from qtt.evaluation.faults import ENVIRONMENT, is_of_the_world
from qtt.evaluation.step import run_step
from qtt.finetune.cv.classification.forward import TrainingDiverged
from qtt.finetune.cv.classification.memory import OutOfMemory
from qtt.finetune.cv.classification.writer import CheckpointError
from qtt.types import TaskInfo, Trial


def _led_to_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        DatasetError("gone"),
        ModelHubError("cannot be had"),
        EnvironmentFault("no device"),
        CheckpointError("full"),
        OSError(errno.ENOSPC, "No space left on device"),
        FileNotFoundError(errno.ENOENT, "No such file"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        RuntimeError("No CUDA GPUs are available"),
        _led_to_by(RuntimeError("in a worker"), OSError(errno.EIO, "Input/output error")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_faults_of_the_world(error: Exception, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert is_of_the_world(error)

    def objective(trial: Trial, task: TaskInfo) -> None:
        raise error

    (result,) = run_step(objective, Trial(0, {}, 1), TaskInfo(tmp_path_factory.getbasetemp()))  # type: ignore
    assert result.info[ENVIRONMENT] is True


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("bad option"),
        TrainingDiverged("nan"),
        OutOfMemory("GPU", on_gpu=True),
        ValueError("no such luck"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ZeroDivisionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_faults_of_pipelines(error: Exception) -> None:
    assert not is_of_the_world(error)


def test_an_error_that_is_its_own_cause_ends() -> None:
    error = ValueError("round")
    error.__cause__ = error
    assert not is_of_the_world(error)
