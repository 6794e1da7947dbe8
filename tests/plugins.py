"""Packages that announce entry points, as an installer would lay them out in a folder of the path."""

from collections.abc import Mapping
from pathlib import Path


def announce(folder: Path, package: str, points: Mapping[str, Mapping[str, str]], source: str = "") -> None:
    """Lay out a package in `folder`: its metadata, and the module that its entry points name.

    points: entry points `module:name` by group and name. source: of all their modules.
    """
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines: list[str] = []
    for group, named in points.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in named.items())]
        for value in named.values():
            (folder / f"{value.split(':')[0]}.py").write_text(source)
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
