"""One look at every image before a search: whether it can be read, and what it is.

What was found out is kept in the user's cache by path, size and time, so that a second search reads none
again that did not change.
"""

import hashlib
import io
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import PIL
from PIL import Image

from qtt.data.image_types import UNREADABLE, limit_pixels, open_image
from qtt.data.listed import SPLITS, ImageFolder
from qtt.data.user_cache import user_cache
from qtt.data.walking import Stamp
from qtt.errors import ConfigError
from qtt.support.machine import available_cores

log = logging.getLogger(__name__)

FORMAT = 1
THREADS = 8
ORIENTATION = 0x0112
"""EXIF's tag."""

REDUCED = 32
"""Side in pixels down to which JPEGs are decoded; all of the file is read all the same."""


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image file.

    width, height: as stored. turned: whether EXIF's orientation turns or mirrors it. digest: of its content,
    empty where the file cannot even be opened. error: why it cannot be read; then the others are unknown.
    """

    width: int = 0
    height: int = 0
    format: str = ""
    turned: bool = False
    digest: str = ""
    error: str | None = None


def scan_images(folder: ImageFolder, max_pixels: int | None = None) -> dict[str, ImageFacts]:
    """Facts of all images of a listing by path, those of a test split included."""
    stamps = {str(p): folder.stamps[str(p)] for split in SPLITS for p, _ in folder.split(split)}
    file = _facts_file(folder.root, max_pixels)
    known = {} if file is None else _read(file, stamps)
    missing = [path for path in stamps if path not in known]
    if not missing:
        return {path: known[path] for path in stamps}
    limit_pixels(max_pixels)
    with ThreadPoolExecutor(min(THREADS, available_cores())) as pool:
        looked = dict(zip(missing, _watched(pool.map(look, missing), len(missing)), strict=True))
    facts = {path: known.get(path) or looked[path] for path in stamps}
    if file is not None:
        _write(file, {path: fact for path, fact in facts.items() if fact.digest}, stamps)
    return facts


def look(path: str) -> ImageFacts:
    """Read an image file whole and decode it, JPEGs at a reduced size."""
    digest = ""
    try:
        content = Path(path).read_bytes()
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        with open_image(io.BytesIO(content)) as image:
            width, height = image.size
            kind = image.format or ""
            image.draft("RGB", (REDUCED, REDUCED))
            image.load()
            turned = False
            with suppress(Exception):  # damaged EXIF, good pixels
                turned = image.getexif().get(ORIENTATION, 1) in range(2, 9)
    except UNREADABLE as error:
        return ImageFacts(digest=digest, error=why_unreadable(error))
    return ImageFacts(width, height, kind, turned, digest)


def why_unreadable(error: BaseException) -> str:
    """The reason in one line, without the place."""
    if isinstance(error, Image.DecompressionBombError):
        return "it has more pixels than dataset.max_pixels allows"
    if isinstance(error, PIL.UnidentifiedImageError):
        return "cannot identify image file"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (reason.splitlines() or [type(error).__name__])[0] or type(error).__name__


def _watched(results: Iterable[ImageFacts], count: int) -> Iterable[ImageFacts]:
    """Shows on a terminal how far it is, and leaves nothing there."""
    if not sys.stderr.isatty() or count < 2000:
        return results
    from rich.console import Console
    from rich.progress import track

    return track(results, "looking at images", count, console=Console(stderr=True), transient=True)


def _facts_file(root: Path, max_pixels: int | None) -> Path | None:
    """Where facts are kept; None: nowhere."""
    identity = f"{FORMAT} {PIL.__version__} {max_pixels} {root.resolve()}"
    name = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    with suppress(ConfigError):  # a cache that cannot be written is no cache
        return user_cache() / "scans" / f"{name}.parquet"
    return None


def _read(file: Path, stamps: Mapping[str, Stamp]) -> dict[str, ImageFacts]:
    """What the file says of images that have not changed; nothing where it is not there or damaged."""
    if not file.is_file():
        return {}
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        known = {}
        for row in rows:
            path, size, time = os.fsdecode(row.pop("path")), row.pop("size"), row.pop("time")
            if stamps.get(path) == (size, time):
                known[path] = ImageFacts(**row)
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        log.info("%s cannot be read and is made again: %s", file, error)
        return {}
    return known


def _write(file: Path, facts: Mapping[str, ImageFacts], stamps: Mapping[str, Stamp]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {
        "path": [os.fsencode(path) for path in facts],
        "size": [stamps[path][0] for path in facts],
        "time": [stamps[path][1] for path in facts],
    }
    rows = [asdict(fact) for fact in facts.values()]
    columns |= {item.name: [row[item.name] for row in rows] for item in fields(ImageFacts)}
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), temporary)
        temporary.replace(file)
    except (OSError, pa.ArrowException) as error:
        log.info("What was found out about images is not kept: %s", error)
