"""Running out of memory while training: recognised, explained, and its traces removed."""

import gc

import torch

from qtt.errors import QTTError
from qtt.evaluation.faults import EXPLAINED
from qtt.finetune.cv.classification.pipeline import Pipeline
from qtt.finetune.cv.classification.writer import tensors

_SIGNS = (
    "out of memory",  # CUDA, and drivers below torch
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
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
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def explain(error: BaseException, pipeline: Pipeline) -> OutOfMemory:
    """What ran out, with which pipeline, and what helps."""
    on_gpu = pipeline.settings.device == "cuda"
    recipe, chunks = pipeline.recipe, pipeline.module.accumulate
    split = f" in {chunks} chunks" if chunks > 1 else ""
    peak = f", peak {_peak_mb():.0f} MB" if on_gpu else ""
    problem = OutOfMemory(
        f"Out of {'GPU' if on_gpu else 'main'} memory: {recipe.model}, batch size {recipe.batch_size}"
        f"{split}, image size {pipeline.image_size}{peak}. Smaller batches or images, or objective.settings."
        f"oom_accumulation={max(4, 2 * chunks)}, which splits batches when this happens, take less.",
        chunks,
        on_gpu,
    )
    problem.add_note(f"{type(error).__name__}: {error}")
    return problem


def release() -> None:
    """Give back the memory of what nobody refers to any more."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def begin_measuring(pipeline: Pipeline) -> int:
    """Start to record the peak; returns the bytes of GPU memory that others than this pipeline hold."""
    if pipeline.settings.device != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats()
    own = sum(tensor.nbytes for tensor in tensors(pipeline.state()) if tensor.is_cuda)
    return max(torch.cuda.memory_allocated() - own - pipeline.regularizers.nbytes, 0)


def measured(pipeline: Pipeline, others: int) -> dict[str, float]:
    """What an epoch's record says of memory.

    max_memory_mb: most GPU memory in 10⁶ bytes since `begin_measuring`, without `others`. The CPU's memory is
        not measured: what of it belongs to one pipeline cannot be told.
    accumulate: chunks of a batch, where there were several.
    """
    info: dict[str, float] = {}
    if pipeline.settings.device == "cuda":
        info["max_memory_mb"] = round(_peak_mb() - others / MEGABYTE, 1)
    if pipeline.module.accumulate > 1:
        info["accumulate"] = pipeline.module.accumulate
    return info


def _peak_mb() -> float:
    return torch.cuda.max_memory_allocated() / MEGABYTE
