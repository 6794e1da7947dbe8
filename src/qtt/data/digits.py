"""The embedded dataset: scikit-learn's handwritten digits as an image folder.

1,797 scans of digits, 8 × 8 pixels of 17 grey levels, made at NIST and published as "Optical Recognition of
Handwritten Digits" (Alpaydin and Kaynak, UCI Machine Learning Repository, 1998); they come with scikit-learn.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from qtt.data.cached_folder import cached_folder
from qtt.data.splitting import split_off

VERSION = 1
SIDE = 32
SEED = 0


def digits_folder(cache_dir: Path | str | None = None) -> Path:
    """Path of the digits as an image folder: train/val/test hold 60/20/20 % of every class.

    Written at the first call, and whole or not at all: concurrent calls are safe. The scans are stored at
    32 × 32 pixels, enlarged bicubically: models need at least that side, and a smooth enlargement keeps
    every scan's content, where the enlargement of later steps would start from visible blocks.

    cache_dir: where to keep it; None: the user's cache, see `qtt.data.user_cache`.
    """
    return cached_folder(f"digits-v{VERSION}", _write, cache_dir)


def _write(folder: Path) -> None:
    from sklearn.datasets import load_digits  # half a second, and only once per machine

    digits = load_digits()
    scans = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    samples = [(Path(f"{index:04d}.png"), int(label)) for index, label in enumerate(digits.target)]
    rest, test = split_off(samples, 0.2, SEED)
    train, val = split_off(rest, 0.25, SEED)
    for split, members in (("train", train), ("val", val), ("test", test)):
        for name, label in members:
            path = folder / split / str(label) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            scan = Image.fromarray(scans[int(name.stem)])
            scan.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path)
