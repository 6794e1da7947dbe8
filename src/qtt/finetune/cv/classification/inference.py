"""Networks that a search kept, ready to classify images as they did on the validation split.

Notation: n images, b images of a batch, s side in pixels, c classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from qtt.data.image_types import limit_pixels
from qtt.data.sources import list_task
from qtt.errors import ConfigError
from qtt.finetune.cv.classification.data import EvalOrder, cache_limit, open_split
from qtt.finetune.cv.classification.loading import Split
from qtt.finetune.cv.classification.model import in_fast_layout
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.sizes import input_size, size_arguments
from qtt.runs.kept_models import KeptModel
from qtt.support.machine import choose_device
from qtt.types import ModelCard, TaskInfo

BATCH = 64


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network says of labelled images.

    probabilities: (n, c) float32. labels: (n,) positions in the class names. paths: of the images.
    class_counts: (c,) images that were there to train with.
    """

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]
    paths: tuple[Path, ...]
    class_counts: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network in eval mode on its device, with the preprocessing that it was validated with.

    size: side of its square input in pixels; images are resized to it with the card's interpolation.
    """

    network: nn.Module
    card: ModelCard
    size: int
    class_names: tuple[str, ...]
    device: str

    @classmethod
    def of(cls, model: KeptModel, task: TaskInfo, device: str = "auto") -> Self:
        """The network of a kept model.

        device: auto (CUDA where there is one), cpu, cuda or cuda:N. Where the search ran is no matter.

        Raises:
            ConfigError: it is no image classifier, or its weights are damaged.
        """
        if model.card is None or not model.class_names:
            raise ConfigError(f"{model.folder} holds no network of a model hub, and cannot classify images.")
        limit_pixels(task.source.get("max_pixels"))
        settings = FinetuneSettings.from_mapping(task.settings)
        size = input_size(model.card, settings, task.image_size)
        device = choose_device(device)
        network = _network(model, len(model.class_names), size).to(device).eval()
        return cls(in_fast_layout(network), model.card, size, model.class_names, device)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Outputs (b, c) on the CPU for images (b, 3, s, s) uint8."""
        outputs: Tensor = self.network(self.normalized(images))
        return outputs.float().cpu()

    def normalized(self, images: Tensor) -> Tensor:
        """What the network takes, (b, 3, s, s) on its device, of images (b, 3, s, s) uint8."""
        mean = 255 * torch.tensor(self.card.mean, device=self.device).view(-1, 1, 1)
        std = 255 * torch.tensor(self.card.std, device=self.device).view(-1, 1, 1)
        return (images.to(self.device).float() - mean) / std

    @property
    def parameters(self) -> int:
        """How many numbers were learned, the classifier's included."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def probabilities(self, split: Split) -> NDArray[np.float32]:
        """Of the classes for all images of a split; (n, c)."""
        batches = (split.images.batch(indices) for indices, _ in EvalOrder(len(split), BATCH))
        parts = [self.logits(images).softmax(1) for images in batches]
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)


def predictions(model: KeptModel, task: TaskInfo, split: str = "val") -> Predictions | None:
    """What a kept network says of the dataset's split `train`, `val` or `test`; None where that is empty.

    Raises:
        ConfigError: see `Classifier.of`.
        DatasetError: the dataset is gone, or an image cannot be read.
    """
    folder = list_task(task)
    samples = folder.split(split)
    if not samples:
        return None
    classifier = Classifier.of(model, task)
    settings = FinetuneSettings.from_mapping(task.settings)
    interpolation = classifier.card.interpolation
    images = open_split(folder, samples, settings, classifier.size, interpolation, cache_limit(settings))
    paths = tuple(path for path, _ in samples)
    counts = np.bincount([label for _, label in folder.train], minlength=len(folder.class_names))
    return Predictions(classifier.probabilities(images), np.asarray(images.labels), paths, counts)


def _network(model: KeptModel, num_classes: int, size: int) -> nn.Module:
    from qtt.hub.weights import create_model

    assert model.card is not None
    model.check_weights()
    network = create_model(model.card, num_classes, pretrained=False, **size_arguments(model.card, size))
    try:
        state = load_file(model.weights)
        network.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(
            f"{model.weights} cannot be loaded into {model.card.name}: {str(error).splitlines()[0]}"
        ) from error
    unusable = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if unusable:
        raise ConfigError(
            f"{model.weights} holds numbers that are none (NaN or infinite) in {unusable[0]}, so that the "
            "network knows nothing. Take another network of the run (--model)."
        )
    return network
