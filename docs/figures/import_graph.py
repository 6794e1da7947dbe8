"""Draw who imports whom in src/qtt: rooms and modules in layers, and how many circles there are.

python docs/figures/import_graph.py --out docs/figures/rooms_after.svg
python docs/figures/import_graph.py --ref 228fc2e --out docs/figures/rooms_before.svg

A unit is a child of src/qtt: a module, or a room (a folder of modules). An arrow leads from a unit to another
that one of its modules imports, anywhere in the file except for type checking alone. A unit's layer is one
above the highest that it imports; units that import each other in a circle share one. `python -m` commands of
rooms (their `__main__.py`) are commands like those at the top, and units of their own.
"""

import argparse
import ast
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = "src/qtt"
PACKAGE = "qtt"


@dataclass(frozen=True)
class Graph:
    """Units and arrows between them.

    modules: how many modules each unit has. rooms: units that are folders. uses: imported units by unit.
    """

    modules: Mapping[str, int]
    rooms: frozenset[str]
    uses: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, sources: Mapping[str, str]) -> "Graph":
        """The graph of a package; sources: text by path below its folder, for instance `hub/a.py`."""
        files = {path: text for path, text in sources.items() if path != "__init__.py"}
        units = {path: _unit(path) for path in files}
        names = set(units.values())
        modules = {name: sum(unit == name for unit in units.values()) for name in sorted(names)}
        rooms = frozenset(unit for path, unit in units.items() if "/" in path and not _is_command(path))
        uses: dict[str, set[str]] = {name: set() for name in modules}
        for path, unit in units.items():
            uses[unit] |= {other for other in _imported(files[path], path) if other in names} - {unit}
        return cls(modules, rooms, {name: frozenset(others) for name, others in uses.items()})

    @property
    def arrows(self) -> list[tuple[str, str]]:
        """Pairs of a unit and one that it imports."""
        return [(unit, other) for unit, others in self.uses.items() for other in sorted(others)]

    @cached_property
    def components(self) -> list[frozenset[str]]:
        """Units that reach each other, together; every component after those that it imports (Tarjan)."""
        found: list[frozenset[str]] = []
        order: dict[str, int] = {}
        low: dict[str, int] = {}
        stack: list[str] = []

        def visit(unit: str) -> None:
            order[unit] = low[unit] = len(order)
            stack.append(unit)
            for other in sorted(self.uses[unit]):
                if other not in order:
                    visit(other)
                    low[unit] = min(low[unit], low[other])
                elif other in stack:
                    low[unit] = min(low[unit], order[other])
            if low[unit] == order[unit]:
                start = stack.index(unit)
                found.append(frozenset(stack[start:]))
                del stack[start:]

        for unit in self.uses:
            if unit not in order:
                visit(unit)
        return found

    @property
    def circles(self) -> list[frozenset[str]]:
        """Components of several units."""
        return [component for component in self.components if len(component) > 1]

    @cached_property
    def layer(self) -> dict[str, int]:
        """Layer of every unit, from 0: the longest path down over components."""
        layers: dict[str, int] = {}
        for component in self.components:
            below = {other for unit in component for other in self.uses[unit]} - component
            height = max((layers[other] + 1 for other in below), default=0)
            layers |= dict.fromkeys(component, height)
        return layers

    @property
    def top(self) -> list[str]:
        """Modules that lie in no room."""
        return [unit for unit in self.modules if unit not in self.rooms and "/" not in unit]

    @property
    def counts(self) -> str:
        """The graph in numbers."""
        circles = len(self.circles)
        return (
            f"{len(self.top)} modules at the top, {len(self.modules)} units, {len(self.arrows)} arrows, "
            f"{1 + max(self.layer.values(), default=-1)} layers, "
            f"{'no circle' if circles == 0 else '1 circle' if circles == 1 else f'{circles} circles'}"
        )


def _is_command(path: str) -> bool:
    return path.endswith("/__main__.py") and path.count("/") == 1


def _unit(path: str) -> str:
    """`hub/a.py` belongs to hub, `run.py` is run, `finetune/__main__.py` the command finetune/__main__."""
    return path.removesuffix(".py") if _is_command(path) else path.removesuffix(".py").split("/")[0]


def _imported(text: str, path: str) -> Iterator[str]:
    """Units that a module imports, except for type checking alone."""
    pending: list[ast.AST] = [ast.parse(text)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            pending += node.orelse
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (_first(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = _absolute(node, path)
            yield from (_first(f"{home}.{alias.name}") for alias in node.names)


def _absolute(node: ast.ImportFrom, path: str) -> str:
    """The dotted name that an import starts from, relative ones included."""
    if not node.level:
        return node.module or ""
    folders = [PACKAGE, *path.split("/")[:-1]]
    home = folders[: len(folders) - node.level + 1]
    return ".".join([*home, *([node.module] if node.module else [])])


def _first(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else ""


def read_tree(folder: Path) -> dict[str, str]:
    """Modules of a package's folder: text by path."""
    files = sorted(folder.rglob("*.py"))
    return {file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8") for file in files}


def read_commit(ref: str, repository: Path = ROOT) -> dict[str, str]:
    """Modules of the package as a commit has them."""
    command = ["git", "-C", str(repository), "archive", ref, SOURCE]
    done = subprocess.run(command, capture_output=True, check=True)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".py") else None
            if file is not None:
                found[member.name.removeprefix(f"{SOURCE}/")] = file.read().decode()
    return dict(sorted(found.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ref", help="a commit (default: the working tree)")
    parser.add_argument("--title", help="over the picture")
    parser.add_argument("--out", type=Path, required=True, help="file to write: .svg, .png or .pdf")
    options = parser.parse_args(arguments)
    try:
        sources = read_commit(options.ref) if options.ref else read_tree(ROOT / SOURCE)
    except subprocess.CalledProcessError as error:
        parser.exit(1, f"{options.ref}: {error.stderr.decode().strip()}\n")
    graph = Graph.of(sources)
    from import_graph_drawing import draw

    draw(graph, options.title or (f"{SOURCE} at {options.ref}" if options.ref else SOURCE), options.out)
    print(f"{options.out}: {graph.counts}")  # noqa: T201 - what a script says
    return 0


if __name__ == "__main__":
    sys.exit(main())
