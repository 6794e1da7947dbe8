"""Classify any images with a network that a search kept, prepared as the validation images were."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qtt.data.found_images import find_images, passed_over
from qtt.data.image_types import UNREADABLE, how_to_open
from qtt.errors import DatasetError
from qtt.finetune.cv.classification.cache import THREADS, channels_first
from qtt.finetune.cv.classification.decoding import decode, decode_image
from qtt.finetune.cv.classification.image_predictions import ImagePredictions
from qtt.finetune.cv.classification.inference import BATCH, Classifier
from qtt.runs.kept_models import KeptModel
from qtt.runs.record import RunRecord
from qtt.support.announcements import announce
from qtt.support.machine import available_cores
from qtt.tasks.contract import LeftOut

_loading = Lock()
"""Pillow reads an open file once, at first need; the same image may be given several times."""

ImageSource = str | Path | Image.Image | NDArray[np.uint8]
"""A file, or an image: Pillow's or an array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) of uint8."""


def load_predictor(run_dir: str | Path, model: str | int = "best", device: str = "auto") -> "ImagePredictor":
    """As `qtt.load_predictor`, of a search on images."""
    record = RunRecord.load(run_dir)
    return ImagePredictor.of(record.kept_model(model), record, device)


@dataclass(frozen=True, eq=False)
class ImagePredictor:
    """A kept network that takes images of any size and kind.

    kept: which network it is. classifier: the network with its preprocessing.
    """

    kept: KeptModel
    classifier: Classifier

    @classmethod
    def of(cls, model: KeptModel, record: RunRecord, device: str = "auto") -> "ImagePredictor":
        """The predictor of one of a run's networks; see `load_predictor`."""
        return cls(model, Classifier.of(model, record.task, device))

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the probabilities."""
        return self.classifier.class_names

    def predict(
        self, images: ImageSource | Sequence[ImageSource], *, skip_unreadable: bool = False
    ) -> ImagePredictions:
        """Class probabilities of images.

        Args:
            images: a folder (all images below it), a file, an image, or several of these in a sequence; an
                array (n, h, w, 3) is n images. Large JPEGs are best given as files, which are decoded at
                a smaller scale, as in training; pixels of opened ones differ.
            skip_unreadable: leave images out that cannot be read, and list them in the result.

        Raises:
            DatasetError: an image cannot be read, or a folder holds none.
        """
        parts = self.stream(list_images(images), skip_unreadable=skip_unreadable)
        return ImagePredictions.joined(self.class_names, list(parts))

    def stream(
        self, images: Sequence[ImageSource], *, skip_unreadable: bool = False
    ) -> Iterator[ImagePredictions]:
        """Predictions as they come, up to 64 images at a time, in order; images: see `list_images`.

        Raises:
            DatasetError: an image cannot be read and is not to be skipped.
        """
        for start, decoded in self._decoded(images):
            unreadable, positions, pixels = [], [], []
            for position, result in enumerate(decoded, start=start):
                if isinstance(result, DatasetError):
                    if not skip_unreadable:
                        raise result
                    unreadable.append(LeftOut(position, _path(images[position]), str(result)))
                else:
                    positions.append(position)
                    pixels.append(result)
            probabilities = np.empty((0, len(self.class_names)), dtype=np.float32)
            if pixels:
                probabilities = self.classifier.logits(channels_first(np.stack(pixels))).softmax(1).numpy()
            paths = tuple(_path(images[position]) for position in positions)
            where = np.asarray(positions, dtype=np.int64)
            yield ImagePredictions(self.class_names, probabilities, where, paths, tuple(unreadable))

    def examples(self, sources: Sequence[Path]) -> list[ImageSource]:
        """The images in files and folders; see `list_images`. Pictures that nobody can open are told of."""
        for folder in (source for source in sources if source.is_dir()):
            for name, count in passed_over(folder).items():
                announce(f"Not used: {count} {name}, which cannot be opened here; {how_to_open(name)}.")
        return list_images(list(sources))

    def _decoded(
        self, images: Sequence[ImageSource]
    ) -> Iterator[tuple[int, list[NDArray[np.uint8] | DatasetError]]]:
        """Batches of pixels with the position of their first image; the next is decoded meanwhile."""
        pool = ThreadPoolExecutor(min(THREADS, available_cores()))

        def submit(start: int) -> list[Future[NDArray[np.uint8] | DatasetError]]:
            chosen = range(start, min(start + BATCH, len(images)))
            return [pool.submit(self._decode, images[position], position) for position in chosen]

        try:
            ahead = submit(0)
            for start in range(0, len(images), BATCH):
                now, ahead = ahead, submit(start + BATCH)
                yield start, [future.result() for future in now]
        finally:
            pool.shutdown(cancel_futures=True)

    def _decode(self, source: ImageSource, position: int) -> NDArray[np.uint8] | DatasetError:
        size, interpolation = self.classifier.size, self.classifier.card.interpolation
        try:
            if isinstance(source, str | Path):
                return decode(Path(source), size, interpolation)
            image = source if isinstance(source, Image.Image) else _from_array(source)
            with _loading:
                image.load()
            return decode_image(image, size, interpolation)
        except DatasetError as error:
            return error
        except (*UNREADABLE, TypeError) as error:
            return DatasetError(f"Image number {position} of those given cannot be read: {error}")


def list_images(images: ImageSource | Sequence[ImageSource]) -> list[ImageSource]:
    """Images one by one, folders replaced by what is below them.

    Raises:
        DatasetError: a folder holds no images, or nothing is given.
    """
    single = isinstance(images, str | Path | Image.Image) or (
        isinstance(images, np.ndarray) and images.ndim != 4
    )
    sources: Sequence[ImageSource] = [images] if single else images  # type: ignore[list-item, assignment]
    listed: list[ImageSource] = []
    for source in sources:
        if isinstance(source, str | Path) and Path(source).is_dir():
            listed += find_images(Path(source))
        else:
            listed.append(Path(source) if isinstance(source, str) else source)
    if not listed:
        raise DatasetError("There are no images to classify.")
    return listed


def _path(source: ImageSource) -> Path | None:
    return Path(source) if isinstance(source, str | Path) else None


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"it is a {type(array).__name__}. Give files, Pillow's images or arrays.")
    right = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not right or not array.size:
        raise TypeError(
            f"it is an array {array.shape} of {array.dtype}. Arrays are (h, w), (h, w, 1), (h, w, 3) or "
            "(h, w, 4) of uint8."
        )
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)
