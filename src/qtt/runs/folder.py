"""The experiment folder: everything a search leaves behind, under stable names.

Every file of it is described in `qtt.runs.layout`.
"""

import json
import logging
import os
import shutil
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from qtt.errors import ConfigError
from qtt.runs.environment import environment
from qtt.runs.history import History
from qtt.runs.journal import Journal
from qtt.runs.kept_models import INCUMBENT, KeptModel
from qtt.support.files import CLOSED, read_object, write_json
from qtt.types import Candidates, Result, TaskInfo

logger = logging.getLogger("qtt")

FORMAT = 1
END = "end.json"
SEARCH_SPACE = "search_space.json"

PASSING: Mapping[str, Any] = {
    "models": (),
    "work_dir": None,
    "weights_dir": None,
    "best_score": None,
    "workers": 1,
}
"""Parts of a task that belong to one place or one moment of the search."""


_folders: dict[int, "RunFolder"] = {}
"""The folder that is in use in a thread."""


class _LogFile(logging.FileHandler):
    """A log that cannot be written, on a full disk for instance, is no reason to say anything."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Nothing."""


class RunFolder:
    """One search's folder; used as a context it is locked against a second search."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = Journal(path / "journal.jsonl", rising=True)
        self.finetuning = Journal(path / "finetuning.jsonl")
        self.log = path / "search.log"
        self.pipelines = path / "pipelines"
        self.incumbent = path / INCUMBENT
        self._candidates = path / "candidates.json"
        self._lock = FileLock(path / ".lock")

    def __enter__(self) -> Self:
        try:
            self.pipelines.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ConfigError(
                f"Another search is running in {self.path}. Wait for it, or name another run folder."
            ) from error
        except OSError as error:
            if error.errno not in CLOSED:
                raise
            remedy = (
                "Name another folder: runs_dir=DIR on the command line, path=DIR of QuickTuner in Python."
            )
            if self._candidates.is_file():
                remedy = "Copy the folder to where you can write, and go on there."
            raise ConfigError(
                f"Results cannot be written to {self.path} ({error.strerror}). {remedy}"
            ) from error
        self._handler = _LogFile(self.log, encoding="utf-8")
        self._handler.addFilter(self._is_ours)
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._outer = _folders.get(threading.get_ident())
        self._thread = threading.get_ident()
        _folders[self._thread] = self
        logger.addHandler(self._handler)
        logger.setLevel(logging.INFO)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outer is None:
            del _folders[self._thread]
        else:
            _folders[self._thread] = self._outer
        logger.removeHandler(self._handler)
        self._handler.close()
        self._lock.release()

    def _is_ours(self, record: logging.LogRecord) -> bool:
        """Whether a message is of this search, and not of one in another thread."""
        return _folders.get(record.thread or 0, self) is self

    def claim(self, candidates: Candidates, task: TaskInfo, where_it_runs: Collection[str] = ()) -> None:
        """Write down what is searched, or check that a resumed search is about the same.

        A search may move: data of the same content may lie elsewhere, and settings that belong to a place or
        a machine may be others; those of the latest run are written down. A search that stopped before its
        first step, for instance because weights were missing, has no claim yet.

        where_it_runs: names of such settings.

        Raises:
            ConfigError: the folder holds a search over other candidates or another task.
        """
        if not self._begun():
            (self.path / "task.json").unlink(missing_ok=True)
            self._write_candidates(candidates)
        elif self._candidates.exists():
            self._compare(self._candidates, _beginning(self.candidates()), _beginning(candidates))
        else:
            self._write_candidates(candidates)
        self._agree_on_task(task, where_it_runs)
        write_json(self.path / "environment.json", environment())

    def _begun(self) -> bool:
        """Whether a step was ever taken here: its result, or at least its pipeline's folder."""
        return self.journal.path.exists() or (self.pipelines.is_dir() and any(self.pipelines.iterdir()))

    def candidates(self) -> Candidates:
        """All pipelines of the search as they were last written down, the proposed ones behind the others.

        Raises:
            ConfigError: a later version of qtt wrote them, or they are damaged.
        """
        try:
            data = read_object(self._candidates)
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']}; this version reads {FORMAT}")
            return Candidates.from_dict(data)
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise ConfigError(
                f"{self._candidates} cannot be read ({type(error).__name__}: {error}). "
                "Give the search another run folder."
            ) from error

    def keep_proposals(self, candidates: Candidates) -> None:
        """Write down the pipelines that were proposed since the last time.

        Raises:
            ConfigError: those of earlier runs are not among them in the same order, so that the journal's
                results would be taken for results of other pipelines.
        """
        recorded = self.candidates().configs
        here = candidates.configs[: len(recorded)]
        self._compare(self._candidates, {"configs": _plain(recorded)}, {"configs": _plain(here)})
        if len(candidates) > len(recorded):
            self._write_candidates(candidates)

    def agree(self, name: str, data: dict[str, Any]) -> None:
        """Write JSON-able `data` down, or check that an earlier run wrote the same.

        Raises:
            ConfigError: it wrote something else; the first difference is named.
        """
        path = self.path / name
        if path.exists():
            self._compare(path, read_object(path), json.loads(json.dumps(data)))
        else:
            write_json(path, data)

    def _agree_on_task(self, task: TaskInfo, where_it_runs: Collection[str]) -> None:
        """As `agree`, and what belongs to a place is written down anew."""
        path = self.path / "task.json"
        new: dict[str, Any] = json.loads(json.dumps(_task_dict(task)))
        if path.exists():
            old = read_object(path)
            known = old.get("dataset") is not None and new["dataset"] is not None
            self._compare(path, *(_searched(told, where_it_runs, known) for told in (old, new)))
        write_json(path, new)

    def task(self) -> TaskInfo:
        """The task that was searched, without what belongs to one place or moment.

        Raises:
            ConfigError: it cannot be read.
        """
        path = self.path / "task.json"
        try:
            return TaskInfo.from_dict({**PASSING, **read_object(path)})
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read ({type(error).__name__}: {error}).") from error

    def keep_incumbent(self, result: Result, candidates: Candidates, task: TaskInfo) -> None:
        """Take the new incumbent's weights out of its pipeline's folder and write down what they are."""
        self.keep(result, candidates, task, self.incumbent)

    def keep(self, result: Result, candidates: Candidates, task: TaskInfo, folder: Path) -> None:
        """Take the weights of a result out of its pipeline's folder into another one."""
        folder.mkdir(parents=True, exist_ok=True)
        model = KeptModel.of(folder, result, candidates, task.class_names)
        weights = task.weights_file(result.config_id, result.fidelity)
        if weights is not None and weights.exists():
            model.take(weights)
            (folder / "test.json").unlink(missing_ok=True)  # figures of the one before
        else:
            model.write()

    def drop_weights(self, result: Result, task: TaskInfo) -> None:
        """Remove weights that were left of a score as good as the incumbent's, which stays."""
        weights = task.weights_file(result.config_id, result.fidelity)
        if weights is not None:
            with suppress(OSError):
                weights.unlink(missing_ok=True)

    def _compare(self, path: Path, old: Any, new: Any) -> None:
        difference = first_difference(old, new)
        if difference:
            raise ConfigError(
                f"{self.path} holds a search that differs from this one in {path.stem}: {difference}. "
                "Repeat its settings to continue it, or give this search another run folder."
            )

    def _write_candidates(self, candidates: Candidates) -> None:
        write_json(self._candidates, {"format": FORMAT, **candidates.to_dict()})

    def discard(self, config_id: int, task: TaskInfo) -> None:
        """Remove the checkpoint of a pipeline that will not be continued."""
        folder = task.pipeline_dir(config_id)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def checkpoint_sizes(self, task: TaskInfo) -> dict[int, int]:
        """Bytes in the folder of every pipeline that has one, by id."""
        folders = [] if task.work_dir is None or not task.work_dir.is_dir() else list(task.work_dir.iterdir())
        return {int(folder.name): _size(folder) for folder in folders if folder.name.isdecimal()}

    def enforce_quota(
        self, quota: int, history: History, task: TaskInfo, current: Collection[int], coming: int = 0
    ) -> list[int]:
        """Remove checkpoints of the least promising pipelines until all take at most `quota` bytes.

        Those of the current pipelines stay in any case, and are about to take `coming` bytes more. Returns
        the ids whose checkpoints went; they start again when they are asked for again.
        """
        sizes = self.checkpoint_sizes(task)
        ranking = history.ranking()
        unseen = [i for i in sizes if i not in history.observed]
        evicted = []
        for config_id in [*unseen, *reversed(ranking)]:
            if sum(sizes.values()) + coming <= quota:
                break
            if config_id not in current and sizes.get(config_id):
                self.discard(config_id, task)
                sizes[config_id] = 0
                evicted.append(config_id)
        return evicted


def first_difference(old: Any, new: Any, where: str = "") -> str | None:
    """The first place in which two JSON values differ, in words; None when they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            found = first_difference(old.get(key), new.get(key), f"{where}.{key}" if where else key)
            if found:
                return found
        return None
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return f"{where} has {len(old)} entries there and {len(new)} here"
        pairs = enumerate(zip(old, new, strict=True))
        return next((d for i, (a, b) in pairs if (d := first_difference(a, b, f"{where}[{i}]"))), None)
    return None if old == new else f"{where} is {old!r} there and {new!r} here"


def _beginning(candidates: Candidates) -> dict[str, Any]:
    """What tells one search from another: the pipelines it began with and the cards of their models."""
    named = {config.get("model") for config in candidates.initial}
    cards = [card.trained() for card in candidates.models if card.name in named]
    return {"configs": _plain(candidates.initial), "models": _plain(cards)}


def _plain(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Dicts as JSON would give them back."""
    plain: list[dict[str, Any]] = json.loads(json.dumps([dict(row) for row in rows]))
    return plain


def _task_dict(task: TaskInfo) -> dict[str, Any]:
    return {key: value for key, value in task.to_dict().items() if key not in PASSING}


def _searched(task: Mapping[str, Any], where_it_runs: Collection[str], content_known: bool) -> dict[str, Any]:
    """What of a task's dict tells one search from another; its place only where its content is not known."""
    place = ("path", "source") if content_known else ()
    kept = {name: value for name, value in task.items() if name not in place}
    settings = task.get("settings") or {}
    return kept | {"settings": {name: v for name, v in settings.items() if name not in where_it_runs}}


def _size(folder: Path) -> int:
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # a checkpoint that is being written changes its name
                size += Path(parent, name).stat().st_size
    return size
