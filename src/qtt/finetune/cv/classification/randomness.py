"""Where random numbers come from: seeds derive from (run seed, config, epoch), never from what ran before.

So a pipeline trained for 1 + 1 + 1 epochs draws what it would have drawn in 3, and two pipelines that take
turns in one process do not disturb each other.
"""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch

_one_at_a_time = threading.RLock()


class Stream(IntEnum):
    """Uses of randomness within one epoch, each with a seed of its own."""

    MODEL = 0
    ORDER = 1
    AUGMENTATION = 2
    MIXING = 3
    NETWORK = 4


def derive_seed(seed: int, config_id: int, epoch: int, stream: Stream) -> int:
    """A 32-bit seed; epochs count from 1, 0 stands for what happens before training."""
    return int(np.random.SeedSequence((seed, config_id, epoch, stream)).generate_state(1)[0])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python, NumPy and torch inside, and give all of them their old state back after.

    Needed for library code that draws from global states: dropout and initialisation from torch's, timm's
    augmentations from Python's and NumPy's. These states belong to the process: other threads that want to
    draw here wait, so that searches in several threads find what each would find alone.
    """
    with _one_at_a_time:
        yield from _seeded(seed)


def _seeded(seed: int) -> Iterator[None]:
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=devices):
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed_all(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
