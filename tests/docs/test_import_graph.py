"""`docs/figures/import_graph.py`: units, arrows, layers and circles of small packages, and the picture."""

import subprocess
import sys
from pathlib import Path

import pytest

FIGURES = Path(__file__).parents[2] / "docs" / "figures"

TREE = {
    "__init__.py": "from qtt.run import main\n",
    "errors.py": "",
    "types.py": "if TYPE_CHECKING:\n    import qtt.run\nimport qtt.errors\n",
    "hub/__init__.py": "",
    "hub/cards.py": "from .files import read\nfrom qtt.types import Card\n",
    "hub/files.py": "from .. import errors\n",
    "hub/__main__.py": "import qtt.run\n",
    "run.py": "def main():\n    from qtt import hub, __version__\n    import json, qtt.errors\n",
}
"""run → hub → types → errors, with shortcuts to errors; the command of the hub lies above run."""


@pytest.fixture
def import_graph(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(FIGURES))
    import import_graph

    return import_graph


def test_arrows_are_imports_between_units(import_graph) -> None:  # type: ignore[no-untyped-def]
    graph = import_graph.Graph.of(TREE)
    assert set(graph.arrows) == {
        ("types", "errors"),
        ("hub", "types"),
        ("hub", "errors"),
        ("run", "hub"),
        ("run", "errors"),
        ("hub/__main__", "run"),
    }
    assert graph.modules == {"errors": 1, "types": 1, "hub": 3, "hub/__main__": 1, "run": 1}
    assert graph.rooms == {"hub"}
    assert sorted(graph.top) == ["errors", "run", "types"]


def test_layers_are_longest_paths(import_graph) -> None:  # type: ignore[no-untyped-def]
    graph = import_graph.Graph.of(TREE)
    assert graph.layer == {"errors": 0, "types": 1, "hub": 2, "run": 3, "hub/__main__": 4}
    assert graph.circles == []
    assert graph.counts == "3 modules at the top, 5 units, 6 arrows, 5 layers, no circle"


def test_a_circle_is_one_layer_and_counted(import_graph) -> None:  # type: ignore[no-untyped-def]
    graph = import_graph.Graph.of({**TREE, "errors.py": "def late():\n    import qtt.types\n"})
    assert graph.circles == [{"errors", "types"}]
    assert graph.layer == {"errors": 0, "types": 0, "hub": 1, "run": 2, "hub/__main__": 3}
    two = {
        "a.py": "import qtt.b",
        "b.py": "import qtt.a",
        "c.py": "import qtt.d",
        "d.py": "import qtt.c, qtt.a",
    }
    assert sorted(map(sorted, import_graph.Graph.of(two).circles)) == [["a", "b"], ["c", "d"]]
    assert import_graph.Graph.of(two).counts.endswith("2 layers, 2 circles")


def test_a_commit_is_read_as_it_was(import_graph, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for path, text in TREE.items():
        file = tmp_path / "src" / "qtt" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    (tmp_path / "src" / "qtt" / "run.py").write_text("")
    assert import_graph.read_commit("HEAD", tmp_path) == TREE
    assert import_graph.read_tree(tmp_path / "src" / "qtt") == {**TREE, "run.py": ""}


@pytest.mark.parametrize("circle", [False, True], ids=["layers", "circle"])
def test_the_picture_is_the_same_every_time_and_names_all_units(  # type: ignore[no-untyped-def]
    import_graph, circle: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import import_graph_drawing as drawing

    monkeypatch.setitem(drawing.STYLE, "svg.fonttype", "none")
    graph = import_graph.Graph.of({**TREE, "errors.py": "import qtt.types"} if circle else TREE)
    for name in ("one.svg", "two.svg"):
        drawing.draw(graph, "Rooms", tmp_path / name)
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    for word in ("Rooms", graph.counts, "hub", "hub.__main__", "types", "3 modules"):
        assert f">{word}<" in text
    assert (drawing.CIRCLE in text) == circle


def test_a_commit_that_there_is_not_is_explained(tmp_path: Path) -> None:
    command = [sys.executable, str(FIGURES / "import_graph.py"), "--ref", "nowhere", "--out", "x.svg"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("nowhere: fatal: ")
    assert "Traceback" not in done.stderr
