"""Tables and figures of the experiments, made from their committed raw results: the same ones every time.

python experiments/pages.py [NAME …]            # write them; NAME: a folder beside this file
python experiments/pages.py --check [NAME …]    # write nothing, and fail where a file says otherwise

An experiment takes part by a script with `page() -> Page`, which SCRIPTS names. Figures are written and not
compared, for another Matplotlib draws them otherwise.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
SCRIPTS = {
    "optimizers": "compare",
    "ablations": "ablations",
    "default_or_search": "defaults",
    "images": "image_tables",
    "parallel": "parallel",
    "model_choice": "model_choice",
    "table1": "table1",
}
"""The script of each experiment that has a page, by its folder."""


@dataclass(frozen=True)
class Page:
    """What an experiment shows.

    texts: what files must hold, tables and READMEs. figures: how to draw `<path>.png` and `<path>.svg`.
    """

    texts: Mapping[Path, str]
    figures: Mapping[Path, Callable[[], Figure]] = field(default_factory=dict)

    def out_of_date(self) -> list[Path]:
        """Files that are missing or hold something else."""
        return [
            path
            for path, text in self.texts.items()
            if not path.exists() or path.read_text(encoding="utf-8") != text
        ]

    def write(self) -> None:
        """Write all files and figures."""
        for path, text in self.texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for path, draw in self.figures.items():
            figure = draw()
            figure.savefig(path.with_suffix(".png"))
            with rc_context({"svg.hashsalt": "qtt"}):  # the same names within, every time
                figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def with_table(text: str, table: str, name: str = "results") -> str:
    """A README with this table between the marks of that name.

    Raises:
        ValueError: it does not have these marks.
    """
    begin, end = f"<!-- table {name}: written by `make tables` -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, also, after = rest.partition(end)
    if not (found and also):
        raise ValueError(f"The text has no place for the table: {begin} … {end}")
    return f"{before}{begin}\n{table}\n{end}{after}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def short(value: float) -> str:
    """Three decimals without a leading zero: .215, -.031."""
    return f"{value:.3f}".replace("0.", ".", 1)


def page_of(name: str) -> Page:
    """The page of an experiment."""
    sys.path.insert(0, str(HERE / name))
    found: Page = import_module(SCRIPTS[name]).page()
    return found


def main() -> None:
    """Entry point; ends with status 1 where --check finds something."""
    parser = argparse.ArgumentParser(description="Tables and figures of the experiments.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all ({', '.join(SCRIPTS)})")
    parser.add_argument(
        "--check", action="store_true", help="write nothing, fail where a file says otherwise"
    )
    arguments = parser.parse_args()
    if strangers := sorted(set(arguments.names) - set(SCRIPTS)):
        parser.error(f"no experiment with a page is called {strangers[0]}; there are {', '.join(SCRIPTS)}")
    pages = {name: page_of(name) for name in arguments.names or SCRIPTS}
    wrong = [path for page in pages.values() for path in page.out_of_date()]
    for path in wrong:
        print(f"{path.relative_to(HERE.parent)} is not what the results say.")  # noqa: T201
    if wrong and arguments.check:
        print("To write it anew: python experiments/pages.py")  # noqa: T201
    if not arguments.check:
        for name, page in pages.items():
            page.write()
            print(f"experiments/{name}: {len(page.texts)} files, {len(page.figures)} figures")  # noqa: T201
    sys.exit(1 if wrong and arguments.check else 0)


if __name__ == "__main__":
    main()
