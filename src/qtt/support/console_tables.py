"""What commands about a finished search share: tables of data frames, lines, counts."""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 140
"""Columns of text where there is no terminal that knows better."""


def wide_console() -> Console:
    """The console of a command that prints tables."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def say(console: Console, message: str) -> None:
    """Print a line as it is: no markup, and broken by the terminal alone, so that it can be copied."""
    console.print(Text(message), soft_wrap=True)


def positive_count(text: str) -> int:
    """A whole number from 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def frame_table(frame: pd.DataFrame, formats: Mapping[str, str], title: str | None = None) -> Table:
    """A table of the frame's columns under their names.

    formats: of the numbers by column, for instance `.4f`; such columns are set flush right.
    """
    table = Table(title=title, title_justify="left")
    for name in frame.columns:
        table.add_column(str(name), justify="right" if name in formats else "left", overflow="fold")
    for row in frame.to_dict("records"):
        table.add_row(*(_cell(value, formats.get(str(name), "")) for name, value in row.items()))
    return table


def _cell(value: Any, form: str) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    if form:
        return format(value, form)
    return f"{value:g}" if isinstance(value, float) else str(value)
