"""Test images that a table or a saved dataset names."""

from collections import Counter
from pathlib import Path

from qtt.data.found_images import LabelledImages, find_labelled
from qtt.data.listed import ImageFolder
from qtt.data.sources.detect import detect
from qtt.data.sources.opening import list_dataset
from qtt.data.sources.saved import is_saved_dataset
from qtt.data.sources.source import Source
from qtt.data.splitting import Sample
from qtt.data.walking import same_name
from qtt.errors import DatasetError
from qtt.types import TaskInfo


def find_test_images(path: Path, task: TaskInfo, ignore_unknown: bool = False) -> LabelledImages:
    """Labelled images at a path: class folders (see `find_labelled`), or a table or saved dataset.

    Of the latter, the images of the split `test` where there is one, else all. A dataset that the search was
    on has the columns that the search read.

    Raises:
        DatasetError: no images, or classes that the task lacks.
    """
    if not (path.is_file() or is_saved_dataset(path)):
        return find_labelled(path, task.class_names, ignore_unknown)
    own = path.resolve() == Path(task.path).expanduser().resolve()
    where, layout = (Path(task.path), task.source) if own else detect(Source.of(path))
    listing = list_dataset(where, layout, task.val_fraction, task.seed)
    named = [(image, listing.class_names[label]) for image, label in listing.test or _all(listing)]
    positions = {same_name(name): position for position, name in enumerate(task.class_names)}
    ignored = Counter(name for _, name in named if same_name(name) not in positions)
    if ignored and not ignore_unknown:
        raise DatasetError(
            f"{path} has classes that the search does not know: {', '.join(ignored)}. Known: "
            f"{', '.join(task.class_names)}. --ignore-unknown leaves them out."
        )
    samples = [(image, positions[same_name(name)]) for image, name in named if same_name(name) in positions]
    found = {label for _, label in samples}
    missing = tuple(name for label, name in enumerate(task.class_names) if label not in found)
    return LabelledImages(tuple(samples), missing, dict(ignored))


def _all(listing: ImageFolder) -> list[Sample]:
    return [*listing.train, *listing.val]
