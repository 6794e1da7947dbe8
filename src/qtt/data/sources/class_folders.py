"""Class folders directly in a folder: root/<class>/…, of which a share validates."""

from pathlib import Path

from qtt.data.listed import SPLITS, ImageFolder, check_classes, check_fraction, check_validation, listed_names
from qtt.data.lister import Lister
from qtt.data.splitting import split_off
from qtt.data.walking import Rules, subfolders


def scan_class_folders(
    root: Path,
    val_fraction: float,
    seed: int,
    *,
    rules: Rules,
    skip: frozenset[str] = frozenset(),
) -> ImageFolder:
    """List the images of `root/<class>/…`, and split a validation share off; see `scan_image_folder`.

    Folders without any image are no classes, and noted.

    Raises:
        DatasetError: fewer than two classes, no class has two images, or an image is a link that leads
            nowhere.
    """
    check_fraction(val_fraction)
    lister = Lister(root, rules, skip)
    images = {folder.name: lister.images(folder) for folder in subfolders(root, rules, lister.passed)}
    empty = [name for name, found in images.items() if not found]
    class_names = tuple(name for name, found in images.items() if found)
    check_classes(root, class_names)
    inner = [
        name for name in class_names if any(f.name.lower() in SPLITS for f in subfolders(root / name, rules))
    ]
    if inner:
        lister.notes.append(
            f"Folders train, val or test inside of classes ({listed_names(inner, 3)}) are not taken for "
            "splits."
        )
    if empty:
        lister.notes.append(f"Folders without images are no classes: {listed_names(empty)}.")
    samples = [(Path(path), label) for label, name in enumerate(class_names) for path in images[name]]
    train, val = split_off(samples, val_fraction, seed)
    check_validation(root, val)
    return ImageFolder(
        root,
        class_names,
        train,
        val,
        (),
        lister.stamps,
        layout="class folders",
        passed=lister.passed,
        notes=tuple(lister.notes),
        walked=(root,),
        rules=rules,
        skip=skip,
        drawn=True,
    )
