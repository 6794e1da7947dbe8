"""A dataset as its user names it: where it is, and what of it is not to be guessed."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from qtt.errors import ConfigError

MAX_BAD = 0.01


@dataclass(frozen=True)
class Source(os.PathLike[str]):
    """A folder of images, a table of files and labels, or a saved Hugging Face dataset.

    path: of the folder, table file or saved dataset.
    images: folder that the files of a table are relative to; default: the table's own.
    file_column, label_column, split_column, group_column: of a table or saved dataset; default: recognised by
        their names. Images of a group stay on one side of a split that is drawn.
    max_bad: share of images that may be unreadable and are left out, in [0, 1].
    max_pixels: images of more pixels count as unreadable; None: 178,956,970, Pillow's bound.

    Raises:
        ConfigError: an impossible bound.
    """

    path: Path
    images: Path | None = None
    file_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    group_column: str | None = None
    max_bad: float = MAX_BAD
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.max_bad, int | float) and 0 <= self.max_bad <= 1):
            raise ConfigError(f"dataset.max_bad is a share between 0 and 1; got {self.max_bad!r}.")
        if self.max_pixels is not None and not (isinstance(self.max_pixels, int) and self.max_pixels > 0):
            raise ConfigError(f"dataset.max_pixels is a positive number of pixels; got {self.max_pixels!r}.")

    def __fspath__(self) -> str:
        return str(self.path)

    @classmethod
    def of(cls, path: os.PathLike[str] | str, **options: Any) -> Self:
        """The source that a path names; options as the fields, paths also as text.

        Raises:
            ConfigError: see `Source`.
        """
        if isinstance(path, cls):
            if options:
                raise ConfigError("Options of a dataset belong into its Source, where one is given.")
            return path
        images = options.pop("images", None)
        folder = None if images is None else Path(images).expanduser().absolute()
        return cls(Path(path).expanduser().absolute(), folder, **options)

    @property
    def columns(self) -> dict[str, str]:
        """The columns that were named: `file`, `label`, `split`, `group`."""
        named = {f.name.removesuffix("_column"): getattr(self, f.name) for f in fields(self)}
        return {n: named[n] for n in ("file", "label", "split", "group") if named[n] is not None}

    @property
    def needs_table(self) -> bool:
        """Whether options were given that only a table or a saved dataset has."""
        return self.images is not None or bool(self.columns)


def dataset_source(
    path: str,
    images: str | None = None,
    file_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    max_bad: float = MAX_BAD,
    max_pixels: int | None = None,
) -> Source:
    """What `dataset.path` and its neighbours on the command line name; see `Source`.

    Raises:
        ConfigError: an impossible bound.
    """
    columns = {"file": file_column, "label": label_column, "split": split_column, "group": group_column}
    named = {f"{role}_column": name for role, name in columns.items()}
    return Source.of(path, images=images, max_bad=max_bad, max_pixels=max_pixels, **named)
