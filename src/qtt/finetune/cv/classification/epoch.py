"""One epoch of training and evaluation on Lightning's Trainer, without anything that it does beside."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins import MixedPrecision

from qtt.finetune.cv.classification.loading import Batch
from qtt.finetune.cv.classification.staying import strategy_for
from qtt.support.machine import on_gpu

log = logging.getLogger(__name__)

Loader = Iterable[Batch]

_HINTS = (
    "does not have many workers",  # images come from memory: workers would cost more than they give
    "Trying to infer the `batch_size`",  # nothing is logged through Lightning
    "GPU available but not used",  # the settings asked for the CPU
    "module\\(s\\) in eval mode at the start",  # frozen batch norms; `TrainMode` sets the others
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning against the newest torch
)


def choose_precision(amp: bool, device: str) -> str:
    """Lightning's name of the precision: bfloat16 or half precision with loss scaling on CUDA, as it can."""
    if not amp:
        return "32-true"
    if not on_gpu(device):
        say_once("amp=True changes nothing on the CPU: training stays in 32 bits.")
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def run_epoch(
    module: lightning.LightningModule,
    train: Loader,
    val: Loader,
    callbacks: Sequence[Callback],
    *,
    device: str,
    precision: str,
    clip_grad: float | None,
    scaler: torch.amp.GradScaler | None,
    deterministic: bool = False,
) -> None:
    """Train one epoch and evaluate; gradients are clipped to norm `clip_grad`.

    deterministic: see `FinetuneSettings`.
    """
    plugins: list[Any] = [LightningEnvironment()]  # one process, also where SLURM would have it otherwise
    gpu = on_gpu(device)
    if precision != "32-true":
        plugins.append(MixedPrecision(precision, "cuda" if gpu else "cpu", scaler))  # type: ignore[arg-type]
    if gpu:
        torch.set_float32_matmul_precision("highest" if deterministic else "high")
    with _quiet():
        trainer = lightning.Trainer(
            strategy=strategy_for(device),
            devices=1,
            deterministic="warn" if gpu and deterministic else False,
            benchmark=gpu and not deterministic,  # all batches but an epoch's last are of one size
            max_epochs=1,
            plugins=plugins,
            callbacks=list(callbacks),
            gradient_clip_val=clip_grad,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        _fit(trainer, module, train, val)


def _fit(trainer: lightning.Trainer, module: lightning.LightningModule, train: Loader, val: Loader) -> None:
    """`Trainer.fit`, but Ctrl-C stays a KeyboardInterrupt, which Lightning turns into an exit."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, train, val)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if in_main_thread and handler is not None:  # Lightning leaves Ctrl-C ignored
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's hints off the console; its errors are raised all the same."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for hint in _HINTS:
                warnings.filterwarnings("ignore", f".*{hint}")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


_said: set[str] = set()


def say_once(text: str) -> None:
    """Log a line that a process need not read twice."""
    if text not in _said:
        _said.add(text)
        log.info(text)
