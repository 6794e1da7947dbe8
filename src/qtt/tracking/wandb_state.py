"""What is known between runs of one search's W&B run: `wandb.json` in the run folder."""

import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from qtt.support.files import read_object, write_json


@dataclass
class WandbState:
    """A search's W&B run.

    W&B keeps the latest data of a run in memory, and loses it when the process is killed. So what counts as
    logged is what was there when the run was last closed; a resumed search logs the rest anew.

    run_dir: of the search. id: of the W&B run. logged: how many results it held when it was last closed.
    opened: the latest folder below `run_dir/wandb`. closed: whether its run ended in order.
    """

    run_dir: Path
    id: str
    logged: int = 0
    opened: str | None = None
    closed: bool = True

    @classmethod
    def of(cls, run_dir: Path) -> Self:
        """The state that a run folder tells, or a new one."""
        path = run_dir / "wandb.json"
        data = read_object(path) if path.exists() else {"id": secrets.token_hex(4)}
        return cls(run_dir, **data)

    @property
    def folder(self) -> Path:
        """Where W&B's own folders lie."""
        return self.run_dir / "wandb"

    @property
    def open_folder(self) -> Path | None:
        """W&B's folder of the run that is open, or was last."""
        return None if self.opened is None else self.folder / self.opened

    def drop_torn(self) -> None:
        """Remove the offline folder of a search that was killed, unless it was uploaded meanwhile."""
        folder = self.open_folder
        if folder is None or self.closed or not folder.name.startswith("offline-run-"):
            return
        if not list(folder.glob("*.synced")):
            shutil.rmtree(folder, ignore_errors=True)

    def open(self, folder: Path) -> None:
        """A run was opened in a folder."""
        self.opened, self.closed = folder.name, False
        self._write()

    def close(self, logged: int) -> None:
        """The run was closed and holds so many results."""
        self.logged, self.closed = logged, True
        self._write()

    def _write(self) -> None:
        data = {name: value for name, value in asdict(self).items() if name != "run_dir"}
        write_json(self.run_dir / "wandb.json", data)
