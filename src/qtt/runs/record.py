"""A search as its run folder tells it, whether it is finished, interrupted, killed or still running."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

from qtt.errors import ConfigError, DamagedFileError, unknown
from qtt.runs.folder import END, RunFolder
from qtt.runs.history import History
from qtt.runs.journal import Entry
from qtt.runs.kept_models import KeptModel, kept_models
from qtt.support.files import read_object
from qtt.types import Candidates, TaskInfo

T = TypeVar("T")

logger = logging.getLogger("qtt")

EXPECTED = """A run folder has at least
  candidates.json   the pipelines to choose from
  task.json         the dataset
  journal.jsonl     every finished epoch
as `python -m qtt.run` and `QuickTuner.run` write them."""


@dataclass(frozen=True)
class RunRecord:
    """What a run folder holds; nothing in it is changed.

    path: the folder. candidates, task: what was searched. entries: every result with the seconds of the
    budget that were spent when it came; finetuning: the same of `QuickTuner.finetune`.
    environment: versions and machine. settings: optimizer, objective and budget of the latest call.
    end: how that ended: `reason`, `results` that there were then, whether it was `whole`; empty: not known.
    """

    path: Path
    candidates: Candidates
    task: TaskInfo
    entries: tuple[Entry, ...]
    finetuning: tuple[Entry, ...]
    environment: dict[str, Any]
    settings: dict[str, Any]
    end: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path, data: str | Path | None = None) -> Self:
        """Read a run folder.

        data: where the dataset is now; None: where it was.

        Raises:
            ConfigError: the folder is none; what was expected is listed.
            JournalError: its journal is damaged.
        """
        path = Path(path)
        missing = [name for name in ("candidates.json", "task.json") if not (path / name).is_file()]
        if missing:
            what = "There is no folder" if not path.is_dir() else f"{', '.join(missing)} is missing in"
            raise ConfigError(f"{what} {path}. {EXPECTED}")
        folder = RunFolder(path.absolute())
        candidates = folder.candidates()
        entries = tuple(folder.journal.read(repair=False))
        check_entries(entries, len(candidates), folder.journal.path)
        return cls(
            path=folder.path,
            candidates=candidates,
            task=folder.task() if data is None else replace(folder.task(), path=Path(data).absolute()),
            entries=entries,
            finetuning=tuple(folder.finetuning.read(repair=False)),
            environment=_optional(path / "environment.json"),
            settings=_optional(path / "search.json"),
            end=_optional(path / END),
        )

    @cached_property
    def history(self) -> History:
        """What the search has seen, without later finetuning."""
        return History(entry.result for entry in self.entries)

    @property
    def elapsed(self) -> float:
        """Seconds of the budget that were spent."""
        return self.entries[-1].elapsed if self.entries else 0.0

    def setting(self, name: str, kind: type[T]) -> T | None:
        """A setting of the latest call; None where it is not written down, or of another kind."""
        found = self.settings.get(name)
        return found if isinstance(found, kind) and not isinstance(found, bool) else None

    def task_here(self) -> TaskInfo:
        """The task with the places of this folder, for training on."""
        weights_dir = self.setting("weights_dir", str)
        return replace(
            self.task,
            models=self.candidates.models,
            work_dir=self.path / "pipelines",
            weights_dir=None if weights_dir is None else Path(weights_dir),
        )

    def check_pipelines(self, config_ids: Sequence[int]) -> None:
        """Raise ConfigError where a pipeline is none of the search's."""
        unknown = [i for i in config_ids if not 0 <= i < len(self.candidates)]
        if unknown:
            raise ConfigError(
                f"{self.path} has no pipelines {unknown}; its {len(self.candidates)} are numbered from 0."
            )

    @property
    def config_text(self) -> str | None:
        """The resolved configuration as YAML, where the command line made the run."""
        path = self.path / "config.yaml"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None

    def kept(self) -> list[KeptModel]:
        """Networks whose weights were kept, the best on the validation images first."""
        return kept_models(self.path)

    def best_model(self) -> KeptModel:
        """The best network on the validation images.

        Raises:
            ConfigError: none was kept.
        """
        kept = self.kept()
        if not kept:
            raise ConfigError(
                f"{self.path} holds no trained network: no pipeline has finished an epoch, or the objective "
                "leaves no weights."
            )
        return kept[0]

    def kept_model(self, which: str | int = "best") -> KeptModel:
        """One of the kept networks: `best` in validation, `incumbent`, a pipeline's id, or a name.

        Of a pipeline that was kept twice, by the search and by finetuning, the id means the better one.

        Raises:
            ConfigError: there is no such network; those that there are are named.
        """
        best = self.best_model()
        if which == "best":
            return best
        kept = self.kept()
        for model in kept:
            if which == model.name or str(which) == str(model.config_id):
                return model
        ids = dict.fromkeys(str(model.config_id) for model in kept)
        names = ["best", *(model.name for model in kept), *ids]
        raise ConfigError(f"{unknown('network', str(which), names)} {self.path} keeps {', '.join(names)}.")


def check_entries(entries: Iterable[Entry], candidates: int, journal: Path) -> None:
    """See whether all results are of pipelines that there are.

    Raises:
        ConfigError: one is not.
    """
    for entry in entries:
        if not 0 <= entry.result.config_id < candidates:
            raise ConfigError(
                f"{journal} has a result of pipeline {entry.result.config_id}, "
                f"but there are only {candidates} candidates."
            )


def dataset_warnings(run_dir: Path) -> tuple[str, ...]:
    """What the survey of a run's dataset warned of when it began; empty where nobody looked."""
    told = _optional(run_dir / "dataset.json").get("warnings", ())
    return tuple(map(str, told)) if isinstance(told, list) else ()


def _optional(path: Path) -> dict[str, Any]:
    """What a file says that readers can do without; empty where it is missing, or damaged, which is told."""
    try:
        return read_object(path)
    except FileNotFoundError:
        return {}
    except DamagedFileError as error:
        logger.warning("%s What it says is left out.", error)
        return {}
