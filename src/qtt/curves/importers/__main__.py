"""`python -m qtt.curves.importers`: turn published learning curves into a curve table."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from rich.console import Console
from rich.text import Text

from qtt.cli.interrupts import interruptible
from qtt.curves.importers import csv_files, extended, final, published
from qtt.curves.importers.recorded import Imported
from qtt.curves.summary import print_summary
from qtt.curves.writing import write_table
from qtt.data.meta_album import AlbumDataset, read_datasets
from qtt.errors import CurveTableError, QTTError


@interruptible()
def main(arguments: Sequence[str] | None = None) -> int:
    """Import as the command line says; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        facts = _facts(options.datasets)
        imported = _read(options, facts)
        table = write_table(
            options.out,
            imported.frames,
            source=imported.source,
            licence=imported.licence,
            notes=imported.notes,
            all_epochs=imported.all_epochs,
        )
    except QTTError as error:
        Console(stderr=True, highlight=False).print(Text(f"Error: {error}"), soft_wrap=True)
        return 1
    print_summary(table, Console(highlight=False))
    return 0


def _read(options: argparse.Namespace, facts: Mapping[str, AlbumDataset]) -> Imported:
    if options.layout == "extended":
        return extended.read(options.source, facts)
    if options.layout == "published":
        return published.read(options.source, options.version, facts)
    if options.layout == "final":
        return final.read(options.source, facts)
    return csv_files.read(options.source, percent=options.percent, licence=options.licence)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m qtt.curves.importers", description=__doc__)
    layouts = parser.add_subparsers(dest="layout", required=True, metavar="LAYOUT")
    for name, module in (
        ("extended", extended),
        ("published", published),
        ("final", final),
        ("csv", csv_files),
    ):
        summary, _, details = (module.__doc__ or "").partition("\n")
        layout = layouts.add_parser(
            name, help=summary, description=f"{summary}\n{details}", formatter_class=_Formatter
        )
        layout.add_argument("--source", type=Path, required=True, help="folder of the published files")
        layout.add_argument("--out", type=Path, required=True, help="folder of the curve table to write")
        layout.add_argument(
            "--datasets", type=Path, help="YAML like meta_dataset/datasets.yaml: sets, domains"
        )
        if name == "published":
            layout.add_argument("--version", choices=published.VERSIONS, required=True)
        if name == "csv":
            layout.add_argument("--percent", action="store_true", help="scores are percent, not shares")
            layout.add_argument("--licence", help="of the data, for the manifest")
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the module's docstring."""


def _facts(path: Path | None) -> Mapping[str, AlbumDataset]:
    """Meta-Album's datasets by name."""
    if path is None:
        return {}
    try:
        listed = read_datasets(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CurveTableError(f"{path} is no list of datasets: {type(error).__name__}: {error}.") from error
    return {dataset.name: dataset for dataset in listed}


if __name__ == "__main__":
    sys.exit(main())
