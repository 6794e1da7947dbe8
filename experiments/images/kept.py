"""Incumbents of a search that goes on, kept with their times, to be tested after it.

A kept incumbent is a run folder of its own: OUT/0003/{task.json,incumbent/{model.json,weights.safetensors}},
which the search's own version of qtt can evaluate. Files are hard links: a search replaces its files and
never writes into them.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INCUMBENT, FACTS, WEIGHTS = "incumbent", "model.json", "weights.safetensors"
NEXT = ".model.next.json"
"""Is there while weights and their description are being replaced."""


@dataclass(frozen=True)
class Kept:
    """One of them. published: when, in seconds since 1970."""

    folder: Path
    published: float

    @property
    def facts(self) -> dict[str, Any]:
        """What the network is, among others `config_id`, `fidelity`, `score` and `config`."""
        found: dict[str, Any] = json.loads((self.folder / INCUMBENT / FACTS).read_text(encoding="utf-8"))
        return found


@dataclass
class Incumbents:
    """Those of a run folder, as `look` found them."""

    run_dir: Path
    out: Path
    kept: list[Kept] = field(default_factory=list)

    def look(self) -> None:
        """Keep the incumbent, if it is another one than at the last look and no other comes meanwhile."""
        before = self._stamp()
        if before is None or (self.kept and self.kept[-1].published == before[0]):
            return
        folder = self.out / f"{len(self.kept):04d}"
        (folder / INCUMBENT).mkdir(parents=True, exist_ok=True)
        for name in ("task.json", f"{INCUMBENT}/{FACTS}", f"{INCUMBENT}/{WEIGHTS}"):
            (folder / name).unlink(missing_ok=True)
            os.link(self.run_dir / name, folder / name)
        if self._stamp() == before:
            self.kept.append(Kept(folder, before[0]))

    def _stamp(self) -> tuple[float, float] | None:
        """When description and weights were written; None: not there, or one without the other."""
        folder = self.run_dir / INCUMBENT
        try:
            stamp = (folder / FACTS).stat().st_mtime, (folder / WEIGHTS).stat().st_mtime
        except FileNotFoundError:
            return None
        return None if (folder / NEXT).exists() else stamp
