"""Running out of memory while training: recognised, explained, and its traces removed."""

import gc
from typing import TYPE_CHECKING

import torch

from qtt.errors import QTTError
from qtt.evaluation.faults import EXPLAINED
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.writer import tensors
from qtt.support.machine import on_gpu

if TYPE_CHECKING:
    from qtt.finetune.cv.classification.pipeline import Pipeline

_SIGNS = (
    "out of memory",  # CUDA, and drivers below torch
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUSPARSE_STATUS_INSUFFICIENT_RESOURCES",
    "CUFFT_ALLOC_FAILED",
    "unable to find an engine",  # cuDNN, none of whose algorithms fits into what is left
    "bad_alloc",
)
MEGABYTE = 1e6


class OutOfMemory(QTTError):  # noqa: N818 - says what happened
    """A pipeline needs more memory than there is.

    chunks: into which its batches were split. on_gpu: whose memory is the pipeline's own; that of the machine
    may also be short because of others.
    info: goes into the failed result, so that optimizers can learn from it.
    """

    def __init__(self, message: str, chunks: int = 1, on_gpu: bool = False) -> None:
        super().__init__(message)
        self.chunks = chunks
        self.info = {"out_of_memory": True} | ({EXPLAINED: True} if on_gpu else {})


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory ran out."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign.lower() in said for sign in _SIGNS)


def explain(error: BaseException, pipeline: "Pipeline") -> OutOfMemory:
    """What ran out while a pipeline trained, and what helps."""
    chunks = pipeline.module.accumulate
    split = f" in {chunks} chunks" if chunks > 1 else ""
    what = f"{pipeline.recipe.model}, batch size {pipeline.recipe.batch_size}{split}, image size "
    return _problem(
        error,
        f"{what}{pipeline.image_size}",
        pipeline.settings,
        "Smaller batches or images, or objective.settings."
        f"oom_accumulation={max(4, 2 * chunks)}, which splits batches when this happens, take less.",
        chunks,
    )


def explain_building(error: BaseException, recipe: Recipe, settings: FinetuneSettings) -> OutOfMemory:
    """What ran out before a pipeline could train, which no smaller batch mends."""
    return _problem(
        error,
        f"{recipe.model}, while its network, optimizer and regularisers were built",
        settings,
        "Leave it out of the models (model_hub.models=[…]), or bound them by constraints.max_params.",
    )


def _problem(
    error: BaseException, what: str, settings: FinetuneSettings, advice: str, chunks: int = 1
) -> OutOfMemory:
    gpu = on_gpu(settings.device)
    peak = f", peak {_peak_mb():.0f} MB" if gpu else ""
    text = f"Out of {'GPU' if gpu else 'main'} memory: {what}{peak}. {advice}"
    problem = OutOfMemory(text, chunks, gpu)
    problem.add_note(f"{type(error).__name__}: {error}")
    return problem


def release() -> None:
    """Give back the memory of what nobody refers to any more."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def begin_measuring(pipeline: "Pipeline") -> int:
    """Start to record the peak; returns the bytes of GPU memory that others than this pipeline hold."""
    if not on_gpu(pipeline.settings.device):
        return 0
    torch.cuda.reset_peak_memory_stats()
    own = sum(tensor.nbytes for tensor in tensors(pipeline.state()) if tensor.is_cuda)
    return max(torch.cuda.memory_allocated() - own - pipeline.regularizers.nbytes, 0)


def measured(pipeline: "Pipeline", others: int) -> dict[str, float]:
    """What an epoch's record says of memory.

    max_memory_mb: most GPU memory in 10⁶ bytes since `begin_measuring`, without `others`. The CPU's memory is
        not measured: what of it belongs to one pipeline cannot be told.
    accumulate: chunks of a batch, where there were several.
    """
    info: dict[str, float] = {}
    if on_gpu(pipeline.settings.device):
        info["max_memory_mb"] = round(_peak_mb() - others / MEGABYTE, 1)
    if pipeline.module.accumulate > 1:
        info["accumulate"] = pipeline.module.accumulate
    return info


def _peak_mb() -> float:
    return torch.cuda.max_memory_allocated() / MEGABYTE
