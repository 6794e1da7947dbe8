"""Image folders: which files belong to which split and class.

root/train/<class>/…    required
root/val/<class>/…      optional; otherwise a stratified share of train is split off
root/test/<class>/…     optional
"""

from collections.abc import Mapping
from pathlib import Path

from qtt.data.listed import SPLITS, ImageFolder, check_classes, check_fraction, check_validation, stamp_images
from qtt.data.lister import Lister
from qtt.data.splitting import Sample, split_off
from qtt.data.trees import TREES
from qtt.data.walking import FIRST, Rules, Stamp, subfolders
from qtt.errors import DatasetError

__all__ = ["NAMES", "ImageFolder", "Sample", "Stamp", "scan_image_folder", "stamp_images"]

NAMES: Mapping[str, str] = {name: name for name in SPLITS}


def scan_image_folder(
    root: Path | str,
    val_fraction: float = 0.2,
    seed: int = 0,
    *,
    names: Mapping[str, str] = NAMES,
    rules: Rules = FIRST,
    skip: frozenset[str] = frozenset(),
) -> ImageFolder:
    """List the images of `root`, splitting a validation share off train where there is no `val`.

    val_fraction: share of every class that becomes validation, in (0, 1); a class of two or more images keeps
        at least one image on either side. Not used where `root/val` exists.
    seed: of that split alone; the same folder, share and seed give the same split.
    names: of the folders of the splits.
    skip: images to leave out, by their names relative to the root.

    Raises:
        DatasetError: a folder of training or validation is missing, empty, flat, or has classes that train
            lacks; an image is a link that leads nowhere.
    """
    root = Path(root).expanduser()
    check_fraction(val_fraction)
    lister = Lister(root, rules, skip)
    folders = {split: root / name for split, name in names.items()}
    class_names = _train_classes(root, folders["train"], rules)
    train = lister.samples(folders["train"], class_names)
    there = {split for split, folder in folders.items() if folder.is_dir()}
    if "val" in there:
        val = lister.samples(folders["val"], class_names, complete=False)
    else:
        train, val = split_off(train, val_fraction, seed)
    check_validation(root, val)
    test = lister.test(folders["test"], class_names) if "test" in there else ()
    return ImageFolder(
        root,
        class_names,
        train,
        val,
        test,
        lister.stamps,
        layout=f"class folders in {', '.join(names[split] for split in SPLITS if split in there)}",
        passed=lister.passed,
        notes=tuple(lister.notes),
        walked=tuple(folders[split] for split in SPLITS[:2] if split in folders),
        rules=rules,
        skip=skip,
        drawn="val" not in there,
    )


def _train_classes(root: Path, train: Path, rules: Rules) -> tuple[str, ...]:
    trees = TREES.format(root=root)
    if not root.is_dir():
        raise DatasetError(f"There is no dataset folder at {root}.\n{trees}")
    if not train.is_dir():
        raise DatasetError(f"{root} has no folder '{train.name}'.\n{trees}")
    class_names = tuple(folder.name for folder in subfolders(train, rules))
    check_classes(train, class_names)
    return class_names
