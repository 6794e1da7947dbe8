"""Lightning on one device, where networks and optimizers stay between two epochs.

At the end of every fit Lightning moves network and optimizer to the CPU and empties CUDA's cache: for a large
network with Adam these are gigabytes in either direction, for nothing, as the next epoch wants them back.
"""

import lightning
import torch
from lightning.pytorch.accelerators import Accelerator, CPUAccelerator, CUDAAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy


class StayingStrategy(SingleDeviceStrategy):
    """Leaves all where it is."""

    strategy_name = "qtt_staying"

    def teardown(self) -> None:
        """Nothing but what holds no tensors."""
        self.precision_plugin.teardown()
        self.checkpoint_io.teardown()


class StayingCUDA(CUDAAccelerator):
    """Keeps CUDA's cache, which the next epoch fills again."""

    def setup(self, trainer: lightning.Trainer) -> None:
        """Nothing: the device was chosen before, and Lightning would empty the cache here."""

    def teardown(self) -> None:
        """Nothing."""


def strategy_for(device: str) -> StayingStrategy:
    """One device: `cpu`, `cuda` (the current one) or `cuda:N`."""
    accelerator: Accelerator = CPUAccelerator()
    where = torch.device(device)
    if where.type == "cuda":
        accelerator = StayingCUDA()
        where = torch.device("cuda", torch.cuda.current_device() if where.index is None else where.index)
    return StayingStrategy(where, accelerator=accelerator)
