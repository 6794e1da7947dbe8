"""The notebooks of `examples/` run from their first cell to their last, and are committed with outputs."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from guides import ROOT, environment
from waiting import LIMIT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
TRAINS = ("own_images",)
"""Those that finetune networks run with the slow tests."""


def _marks(path: Path) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] if path.stem in TRAINS else []


@pytest.mark.filterwarnings("default")  # of the libraries that talk to the kernel
@pytest.mark.parametrize("path", [pytest.param(p, marks=_marks(p), id=p.stem) for p in NOTEBOOKS])
def test_notebooks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meta_dataset").symlink_to(ROOT / "meta_dataset")
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=int(LIMIT), kernel_name="python3", resources=resources).execute()
    assert all(cell.outputs or cell.source.startswith("from") for cell in _code(notebook)[1:])


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["comparing_optimizers", "own_images", "reading_a_search"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_small_executed_and_clean(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 150_000
    for place in (str(ROOT), str(Path.home()), "/tmp/"):
        assert place not in re.sub(r'"image/png": "[^"]*"', "", text)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = _code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.get("name") == "stderr" for cell in cells for output in cell.outputs)


def _code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
