"""Build image folders: versions of Meta-Album from its downloads, or of any image folder.

python -m meta_dataset.build album  --source DOWNLOADS --out OUT --version micro
    OUT/micro/set0/BRD/{train,val,test}/<class>/…      for every dataset whose archive is in DOWNLOADS
python -m meta_dataset.build folder --source DATASET… --out OUT --version micro
    OUT/micro/DATASET/{train,val,test}/<class>/…
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from qtt.cli.messages import errors_for_people
from qtt.data.meta_album import AlbumDataset, build_album, find_archive, read_datasets
from qtt.data.subset_files import build_subset
from qtt.data.subsets import VERSIONS, Choice, make_version
from qtt.errors import DatasetError, unknown

DATASETS = Path(__file__).with_name("datasets.yaml")

Row = tuple[str, str, Choice | None]
"""Name, what happened, and what was chosen."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    options = _parser().parse_args(arguments)
    with errors_for_people():
        rows = _album(options) if options.command == "album" else _folders(options)
    _show(rows)
    if all(choice is None for _, _, choice in rows):
        sys.exit(1)


def _album(options: argparse.Namespace) -> list[Row]:
    known = {dataset.name: dataset for dataset in read_datasets(yaml.safe_load(DATASETS.read_text("utf-8")))}
    for name in options.datasets or ():
        if name not in known:
            raise DatasetError(unknown("dataset of Meta-Album", name, known))
    wanted = [known[name] for name in options.datasets or known if known[name].album_set in options.sets]
    version = make_version(options.version, options.allow_small)
    if not options.source.is_dir():
        raise DatasetError(f"There is no folder of downloads at {options.source}.")
    archives = {dataset.name: find_archive(options.source, dataset.name, version) for dataset in wanted}
    missing = [name for name, archive in archives.items() if archive is None]
    if missing and options.datasets:
        raise DatasetError(
            f"{options.source} has no archive of {', '.join(missing)}. Expected, for instance, "
            f"{missing[0]}_{version.name.capitalize()}.zip or an unpacked folder of that name."
        )

    def build(dataset: AlbumDataset) -> Row:
        archive = archives[dataset.name]
        if archive is None:
            return dataset.name, "no archive", None
        out = options.out / version.name / f"set{dataset.album_set}" / dataset.name
        return _row(
            dataset.name, *build_album(dataset, archive, out, version, options.seed, not options.copy)
        )

    return [build(dataset) for dataset in wanted]


def _folders(options: argparse.Namespace) -> list[Row]:
    version = make_version(options.version, options.allow_small)
    roots = [source.resolve() for source in options.source]
    twice = {root.name for root in roots if [other.name for other in roots].count(root.name) > 1}
    if twice:
        raise DatasetError(f"Several sources are named {', '.join(sorted(twice))}; build them apart.")
    built = []
    for root in roots:
        out = options.out / version.name / root.name
        built.append(_row(root.name, *build_subset(root, out, version, options.seed, not options.copy)))
    return built


def _row(name: str, choice: Choice, written: bool) -> Row:
    return name, "written" if written else "there already", choice


def _show(rows: Sequence[Row]) -> None:
    table = Table("dataset", "", "classes", "train", "val", "test", "remarks")
    for name, event, choice in rows:
        if choice is None:
            table.add_row(name, event)
            continue
        counts = (str(choice.counts[split]) for split in ("train", "val", "test"))
        table.add_row(name, event, str(len(choice.classes)), *counts, " ".join(choice.notes))
    Console().print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m meta_dataset.build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    album = commands.add_parser("album", help="versions of Meta-Album from its downloads")
    album.add_argument("--source", type=Path, required=True, help="folder with the archives, zipped or not")
    album.add_argument("--datasets", nargs="+", metavar="ID", help="only these, for instance BRD PLK")
    album.add_argument("--sets", nargs="+", type=int, choices=(0, 1, 2), default=(0, 1, 2), help="only these")
    folder = commands.add_parser("folder", help="a version of any image folder")
    folder.add_argument("--source", type=Path, required=True, nargs="+", help="image folders")
    for command in (album, folder):
        command.add_argument("--out", type=Path, required=True, help="where the versions go")
        command.add_argument("--version", choices=tuple(VERSIONS), default="micro")
        command.add_argument("--seed", type=int, default=0, help="of the choice of classes and images")
        command.add_argument("--copy", action="store_true", help="copy files instead of linking them")
        command.add_argument(
            "--allow-small", action="store_true", help="take classes with fewer images than the version's"
        )
    return parser


if __name__ == "__main__":
    main()
